"""What every command shares: its parameters, and answering what can be expected with a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from dataflows.exit_codes import ExitCode, code_of, expected
from dataflows.logs import configure_plain

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)
SETTINGS = click.option(
    "--settings",
    "settings_file",
    type=FILE,
    help="Settings in TOML; FOREWARN_ environment variables win over it.",
)
TEXT_MODEL = click.option(
    "--text-model", type=FILE, help="Score messages that bring no scores with this model of `forewarn train-text`."
)


class Failure(click.ClickException):
    """An expected error, answered with its sentence and exit code."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.exit_code = code  # type: ignore[misc]  # click reads it of the instance too


@contextmanager
def answered(mend: int) -> Iterator[None]:
    """Answer expected errors, also where the engine wrapped them; `mend` is the code for what has to be mended."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except Exception as error:
        cause = expected(error)
        if cause is None:
            raise
        code = code_of(cause)
        raise Failure(str(cause), mend if code == ExitCode.MEND else code) from None


class Commands(click.Group):
    """Answers expected errors with their text: exit code 75 if a later try may do, else 1, and of `run` 3."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand."""
        configure_plain()
        with answered(ExitCode.BUG):
            return super().invoke(ctx)
