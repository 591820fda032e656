"""Shared parts of all commands: parameters, lazy loading, and the reporting of expected errors.

`forewarn` imports a command's module only when that command is used. No command pays the import time of another
command's libraries, or fails because of them.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import click

from dataflows.runtime.console import say, take_over
from dataflows.runtime.exit_codes import ExitCode, code_of, expected
from dataflows.runtime.logs import configure_plain
from dataflows.runtime.termination import end_when_asked
from dataflows.runtime.times import iso_datetime


class IsoTime(click.ParamType[datetime]):
    """An ISO 8601 time, parsed by the same rule as times in log files; UTC if it names no zone."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the time in UTC."""
        if isinstance(value, datetime):
            return value
        try:
            return iso_datetime(value)
        except ValueError:
            self.fail(f"{value!r} is no ISO time: write it as 2024-03-01T09:30Z", param, ctx)


TIME = IsoTime()
FILE = click.Path(path_type=Path, dir_okay=False)
LOG = click.Path(path_type=Path)
"""A log: a file, or with a mapping in SQL also a directory."""
FOLDER = click.Path(path_type=Path, file_okay=False)
SETTINGS = click.option(
    "--settings",
    "settings_file",
    type=FILE,
    help="Settings in TOML; FOREWARN_ environment variables win over it.",
)
MAPPING = click.option(
    "--mapping",
    type=FILE,
    help="How the log becomes events, in TOML, SQL (.sql) or Python (.py); without, forewarn's own JSON lines.",
)
REPLAYED_MAPPING = click.option("--mapping", type=FILE, help="The mapping that it was replayed with.")
TEXT_MODEL = click.option(
    "--text-model", type=FILE, help="Score messages that bring no scores with this model of `forewarn train-text`."
)


class Failure(Exception):  # noqa: N818 - reports another error, and is no error of its own
    """An expected error as the sentences to print and the exit code."""

    def __init__(self, problems: Sequence[str], code: int) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)
        self.code = code


@contextmanager
def answered(mend: int) -> Iterator[None]:
    """Convert expected errors, also those wrapped by the engine, into `Failure`.

    `mend` is the exit code of errors that a retry cannot fix.
    """
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort, Failure):
        raise
    except Exception as error:
        cause = expected(error)
        if cause is None:
            raise
        code = code_of(cause)
        raise Failure(cause.problems, mend if code == ExitCode.MEND else code) from None


def tell(problems: Sequence[str]) -> None:
    """Print an error's sentences to standard error, one a line."""
    for number, problem in enumerate(problems):
        say(f"{'' if number else 'Error: '}{problem}", err=True)


class Entry(NamedTuple):
    """A command's module and attribute, and its summary for listings."""

    module: str
    name: str
    summary: str


class Loading(MutableMapping[str, click.Command]):
    """Commands by name; each is imported on first access."""

    def __init__(self, places: Mapping[str, Entry]) -> None:
        self.places = dict(places)
        self._loaded: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._loaded:
            place = self.places[name]
            self._loaded[name] = getattr(import_module(place.module), place.name)
        return self._loaded[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self.places[name] = Entry("", "", command.get_short_help_str())
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self.places[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


class Commands(click.Group):
    """A group that imports commands on first use and prints expected errors as sentences.

    The exit code of an expected error is 75 if a later try may succeed, else 1, or 3 for `run`.
    """

    def __init__(self, *args: Any, places: Mapping[str, Entry], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._loading = Loading(places)
        self.commands = self._loading

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        limit = formatter.width - 6 - max(map(len, self._loading.places))
        rows = [
            (name, click.Command(name, help=place.summary).get_short_help_str(limit))
            for name, place in sorted(self._loading.places.items())
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command and exit; return its result instead if `standalone_mode` is false.

        Without `args`, read this process's command line and set up its signal handlers and console first.
        """
        if args is None:
            # a `run` that is stopped before it starts has nothing to drain: it exits with 0, as after draining
            end_when_asked(0 if sys.argv[1:2] == ["run"] else None)
            take_over()
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        try:
            status = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.Abort:
            say("Aborted!", err=True)
            sys.exit(1)
        except click.ClickException as error:
            _tell_refusal(error)
            sys.exit(error.exit_code)
        except Failure as failure:
            tell(failure.problems)
            sys.exit(failure.code)
        sys.exit(status if isinstance(status, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand; raise `Failure` for an expected error."""
        configure_plain()
        with answered(ExitCode.BUG):
            return super().invoke(ctx)


def _tell_refusal(error: click.ClickException) -> None:
    """Print click's error for wrong arguments: the usage, then the message.

    The message is printed as one line, also if an argument in it contains a line break.
    """
    shown = io.StringIO()
    error.show(shown)
    message = error.format_message()
    usage, found, _ = shown.getvalue().rpartition(f"Error: {message}")
    for line in usage.splitlines() if found else ():
        say(line, err=True)
    say(f"Error: {message}", err=True)
