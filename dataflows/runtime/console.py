"""The one place that prints. Whatever is said goes through `say`, which makes it fit for any terminal.

User ids, file names, topic names and the values of a policy come from outside: control characters, marks of direction
and line breaks in them are shown as escapes, and nothing in them is read as markup.
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
    """Standard output or standard error takes no more."""


def say(text: str = "", *, err: bool = False, style: str = "") -> None:
    """Print a line, to standard error with `err`; `style` is one of rich's, for terminals that have it.

    Raises:
        OutputError: if the stream takes no more; `BrokenPipeError` if nobody reads it any more.
    """
    stream = sys.stderr if err else sys.stdout
    if stream is not None:  # None: the process was started without it
        _write(stream, visible(text), style)


def log_line(text: str) -> None:
    """Print a line of the log to standard error; what it quotes has been made visible."""
    if sys.stderr is not None:
        _write(sys.stderr, text, "")


def say_json(document: Any) -> None:
    """Print a document as JSON that is also fit for a terminal."""
    if sys.stdout is not None:
        text = orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()
        _write(sys.stdout, visible_json(text, sys.stdout.encoding or "utf-8"), "")


def take_over() -> None:
    """Let what others print go the same way: tracebacks, and the log for as long as nobody configured it."""
    sys.excepthook = _tell_bug
    if any(option.startswith("error") for option in sys.warnoptions):
        # PYTHONWARNINGS=error makes an error of every hint that one library gives another
        warnings.resetwarnings()
        warnings.simplefilter("default")
    # where not even /dev/shm can be written, a library below River says so at each start; nothing here asks it for more
    warnings.filterwarnings("ignore", message=".*joblib will operate in serial mode")
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(VisibleFormatter())


class VisibleFormatter(logging.Formatter):
    """Formats log records like its base, with what is not fit for a terminal shown as escapes."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's text; only the lines of a traceback are lines of their own."""
        message = super().format(record)
        return "\n".join(map(visible, message.split("\n"))) if record.exc_info else visible(message)


@contextmanager
def progress(label: str, total: float | None = None) -> Iterator[Callable[[float], None]]:
    """Show a bar on standard error, where that is a terminal, and give what sets how far it has come."""
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
    from rich.console import Console  # noqa: PLC0415 - a tenth of a second that only some commands need

    # rich takes a variable COLUMNS of 0 at its word, and prints nothing
    width = shutil.get_terminal_size().columns
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False)


def _give_up(stream: TextIO) -> None:
    """Let what is still buffered go nowhere, or Python would fail at it once more when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _tell_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    for part in traceback.format_exception(kind, error, trace):
        for line in part.removesuffix("\n").split("\n"):
            say(line, err=True)
