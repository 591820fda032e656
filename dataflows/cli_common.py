"""What every command shares: its parameters, and answering what can be expected with a sentence."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click
from bytewax.errors import BytewaxRuntimeError

from dataflows.evaluation.outputs import EvaluationError
from dataflows.evidence import PromotionError
from dataflows.manifest import StoreError
from dataflows.mapping_errors import MappingError
from dataflows.policy_file import PolicyError
from dataflows.produce import ProduceError
from dataflows.redrive import RedriveError
from dataflows.replay import ReplayError
from dataflows.run import RunError
from dataflows.settings import SettingsError
from dataflows.simulate import SimulationError
from dataflows.sources.rows import LogError
from dataflows.text_model import TextModelError
from dataflows.times import iso_datetime
from dataflows.topics import BrokerError
from dataflows.train_text import TrainingError
from schemas.registry import RegistryUnavailable

EXPECTED = (
    BrokerError,
    EvaluationError,
    LogError,
    MappingError,
    PolicyError,
    ProduceError,
    PromotionError,
    RedriveError,
    RegistryUnavailable,
    ReplayError,
    RunError,
    SettingsError,
    StoreError,
    SimulationError,
    TextModelError,
    TrainingError,
)
"""Errors whose text is the answer; anything else is a bug and keeps its traceback."""


class IsoTime(click.ParamType[datetime]):
    """An ISO 8601 time, read as those of logs are; UTC where it names no zone."""

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


def expected(error: BaseException) -> str | None:
    """The sentence of an expected error, also when the engine wrapped it; None of any other."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, EXPECTED):
        cause = cause.__cause__
    return None if cause is None else str(cause)


class Commands(click.Group):
    """Answers expected errors with their text and exit code 1, also when the engine wrapped them."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand."""
        try:
            return super().invoke(ctx)
        except (BytewaxRuntimeError, *EXPECTED) as error:
            sentence = expected(error)
            if sentence is None:
                raise
            raise click.ClickException(sentence) from None
