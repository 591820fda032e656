"""Printing to the terminal; no other module prints.

User ids, file names, topic names and the values of a policy come from outside. Control characters, bidirectional marks
and line breaks in them are shown as escapes, and nothing in them is interpreted as markup.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

import orjson

from dataflows.runtime.escaping import printable, visible, visible_json
from schemas.errors import ExpectedError

if TYPE_CHECKING:
    from rich.console import Console


class OutputError(ExpectedError):
    """Standard output or standard error cannot be written."""


def say(text: str = "", *, err: bool = False, style: str = "") -> None:
    """Print a line, to standard error with `err`; `style` is a rich style, used only on a terminal.

    Raises:
        OutputError: if the stream cannot be written.
        BrokenPipeError: if the reader of the stream is gone.
    """
    stream = sys.stderr if err else sys.stdout
    if stream is not None:  # None if the process was started without the stream
        _write(stream, visible(text), style)


def log_line(text: str) -> None:
    """Print a log line to standard error; the caller has escaped its text."""
    if sys.stderr is not None:
        _write(sys.stderr, text, "")


def say_json(document: Any) -> None:
    """Print a document as JSON, with characters that are unsafe on a terminal escaped."""
    if sys.stdout is not None:
        text = orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()
        _write(sys.stdout, visible_json(text, sys.stdout.encoding or "utf-8"), "")


def take_over() -> None:
    """Escape the output of other code too: tracebacks, and the log until it is configured."""
    sys.excepthook = _tell_bug
    if any(option.startswith("error") for option in sys.warnoptions):
        # PYTHONWARNINGS=error would turn every warning between libraries into an error
        warnings.resetwarnings()
        warnings.simplefilter("default")
    # if /dev/shm is not writable, a dependency of River warns at each start; we do not use its parallel mode
    warnings.filterwarnings("ignore", message=".*joblib will operate in serial mode")
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(VisibleFormatter())


class VisibleFormatter(logging.Formatter):
    """Log formatter that shows characters unsafe on a terminal as escapes."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's text; line breaks are kept only in a record with a traceback."""
        message = super().format(record)
        return "\n".join(map(visible, message.split("\n"))) if record.exc_info else visible(message)


@contextmanager
def progress(label: str, total: float | None = None) -> Iterator[Callable[[float], None]]:
    """Show a progress bar if standard error is a terminal; yield a function that sets the completed amount."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda _completed: None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn(label), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_console(sys.stderr), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda completed: bar.update(task, completed=completed)


def _write(stream: TextIO, text: str, style: str) -> None:
    text = printable(text, stream.encoding or "utf-8")
    try:
        if style and stream.isatty():
            from rich.text import Text  # noqa: PLC0415 - most commands print plain lines

            _console(stream).print(Text(text, style=style), soft_wrap=True)
        else:
            stream.write(f"{text}\n")
            stream.flush()
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        _give_up(stream)
        raise OutputError(f"Output cannot be written ({error.strerror}): make room, or send it elsewhere.") from None


def _console(stream: TextIO) -> Console:
    from rich.console import Console  # noqa: PLC0415 - the import takes 0.1 s, and few commands need it

    # with COLUMNS=0 rich would print nothing
    width = shutil.get_terminal_size().columns
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False)


def _give_up(stream: TextIO) -> None:
    """Redirect a stream to the null device, or Python would fail again when it flushes the buffer at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _tell_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    for part in traceback.format_exception(kind, error, trace):
        for line in part.removesuffix("\n").split("\n"):
            say(line, err=True)
