"""Settings: where Kafka, the topics, the registry and the recovery store are, and how the dataflow runs.

One TOML file, overlaid by environment variables (`FOREWARN_`, sections separated by `__`, so that
`FOREWARN_KAFKA__BOOTSTRAP_SERVERS` sets `kafka.bootstrap_servers`). This module is the only one that knows the
environment: it also takes variables away that would let a library do what nobody asked forewarn for.
Secrets come from the environment or from files named here; one written into the settings file is refused.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableVariable

from dataflows.config.errors import SettingsError, hint, sentence
from dataflows.config.kafka import KafkaSettings, Positive, Section, kafka_client_config, with_secret
from dataflows.runtime.text_files import TextError, read_text
from schemas.registry.settings import RegistrySettings

__all__ = [
    "KafkaSettings",
    "LogSettings",
    "PathSettings",
    "RecoverySettings",
    "RegistrySettings",
    "RunSettings",
    "Settings",
    "SettingsError",
    "TopicSettings",
    "kafka_client_config",
]

PREFIX = "FOREWARN_"
SEPARATOR = "__"
OTHER_VARIABLES = (f"{PREFIX}TEST_", f"{PREFIX}REQUIRE_")
"""Prefixes of variables that steer the test suite; they are not settings and are left alone here."""

SECRETS = (("kafka", "password"), ("kafka", "ssl_key_password"), ("registry", "password"))
"""Settings that are never written into the settings file; each has a `..._file` beside it."""

ENGINE_SERVER = "BYTEWAX_DATAFLOW_API_ENABLED"
"""Set to anything at all, it makes the engine serve the dataflow over HTTP to every host that can reach this one."""

Topic = Annotated[str, Field(min_length=1, max_length=249, pattern=r"^[A-Za-z0-9._-]+$")]


class TopicSettings(Section):
    """The names of the topics, inputs first."""

    chat_messages: Topic = "chat.messages"
    moderation_events: Topic = "moderation.events"
    risk_events: Topic = "risk.events"
    risk_models: Topic = "risk.models"
    risk_features: Topic = "risk.features"
    dead_letters: Topic = "risk.dead-letters"
    late: Topic = "risk.late"

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = list(self.model_dump().values())
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is named more than once, give every topic a name of its own")
        return self


class RecoverySettings(Section):
    """Where snapshots are kept (none: nothing survives a restart) and how often they are taken."""

    directory: Path | None = None
    epoch_interval_seconds: Annotated[float, Field(ge=0)] = 3.0
    partitions: Positive = 4
    """Files the store is dealt over; fixed for the store's life."""


class RunSettings(Section):
    """How the dataflow runs: batch sizes, polling, lanes and the metrics port."""

    batch_size: Positive = 1_000
    poll_timeout_ms: Positive = 20
    """How long a source partition that had little or nothing to give waits before it looks again."""
    lanes: Positive = 8
    allowed_skew_seconds: Annotated[float, Field(ge=0)] = 300.0
    """How far an event's time may lie ahead of its record's before it is rejected as `future_timestamp`."""
    max_record_bytes: Positive = 1_048_576
    """A record with a longer value is rejected as `too_large`."""
    feature_sample: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Fraction of users, by the hash of their id, whose decision points are published."""
    metrics_port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    metrics_host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """The address metrics and health are served on; `0.0.0.0` or `::` for all of them."""
    restarts: Annotated[int, Field(ge=0)] = 10
    """How often a cluster is started again within `restarts_within_seconds` before its supervisor gives up."""
    restarts_within_seconds: Annotated[float, Field(gt=0)] = 900.0
    restart_wait_seconds: Annotated[float, Field(ge=0)] = 1.0
    """The wait before the first restart; doubled with each one that follows."""
    restart_wait_most_seconds: Annotated[float, Field(ge=0)] = 60.0
    hung_seconds: Annotated[float, Field(gt=0)] = 30.0
    """A process of a cluster that shows no life for so long is killed, and the cluster started again."""


class LogSettings(Section):
    """Level and format of a run's log on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class PathSettings(Section):
    """Files the dataflow reads, relative to the working directory."""

    policy: Path | None = None


class Settings(BaseSettings):
    """Everything a live run needs to know. Build it with `Settings.load`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter=SEPARATOR,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    kafka: KafkaSettings
    topics: TopicSettings = TopicSettings()
    registry: RegistrySettings | None = None
    recovery: RecoverySettings = RecoverySettings()
    run: RunSettings = RunSettings()
    log: LogSettings = LogSettings()
    paths: PathSettings = PathSettings()

    @field_validator("registry", mode="before")
    @classmethod
    def _read_secret_file(cls, data: Any) -> Any:
        """`RegistrySettings` knows no files, so its password's file is read on its behalf."""
        read = with_secret(data, "password")
        return {key: read[key] for key in read if key != "password_file"} if isinstance(read, dict) else read

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment first, then what the file said."""
        return (env_settings, init_settings)

    @classmethod
    def load(cls, path: Path | None) -> Settings:
        """Settings from the file (if any) and the environment, which wins.

        Errors: `SettingsError`, with a sentence for each thing that is wrong and no value quoted.
        """
        data = _read_file(path)
        problems = [*_secrets_in_file(data, path), *_unknown_variables()]
        try:
            settings = cls(**{"kafka": {}, **data})
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=False, include_context=False)
            problems += [sentence(detail, cls, _where(detail["loc"], data, path)) for detail in details]
        except UnreadableVariable:
            problems.append("An environment variable for a section or for kafka.options is not JSON: correct it.")
        if problems:
            raise SettingsError(sorted(set(problems)))
        return settings


def _read_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(read_text(path))
    except OSError as error:
        raise SettingsError([f"The settings file {path} cannot be read ({error.strerror}): check its name."]) from None
    except TextError as error:
        raise SettingsError([f"The settings file {path} {error}."]) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        at = str(error).rpartition("(")[2].rstrip(")") if isinstance(error, tomllib.TOMLDecodeError) else "too deep"
        # Only the place is told: tomllib may quote the text around the mistake, and that text may be a secret.
        raise SettingsError([f"The settings file {path} is not TOML ({at}): correct it there."]) from None


def _secrets_in_file(data: dict[str, Any], path: Path | None) -> list[str]:
    found = [(section, key) for section, key in SECRETS if isinstance(data.get(section), dict) and key in data[section]]
    return [
        f"{section}.{key} is written in {path}, where anyone who reads the file sees it: "
        f"remove it and set {_variable((section, key))} or {section}.{key}_file instead."
        for section, key in found
    ]


def _unknown_variables() -> list[str]:
    sections = {name.upper() for name in Settings.model_fields}
    unknown = []
    for variable in sorted(os.environ):
        section = variable.upper().removeprefix(PREFIX).partition(SEPARATOR)[0]
        ours = variable.upper().startswith(PREFIX) and not variable.upper().startswith(OTHER_VARIABLES)
        if ours and section not in sections:
            unknown.append(f"The environment variable {variable} is not a setting: {hint(section, sections, PREFIX)}")
    return unknown


def _variable(loc: tuple[int | str, ...]) -> str:
    return PREFIX + SEPARATOR.join(str(part) for part in loc).upper()


def _where(loc: tuple[int | str, ...], data: dict[str, Any], path: Path | None) -> str:
    """The key, and whether it was the environment or the file that said it; of an option, only that it is one."""
    loc = loc[:2]
    key = ".".join(str(part) for part in loc)
    if _variable(loc) in {name.upper() for name in os.environ}:
        return f"{key} (from the environment variable {_variable(loc)})"
    node: Any = data
    for part in loc:
        node = node.get(part) if isinstance(node, dict) else None
    if node is not None:
        return f"{key} (from {path})"
    return f"{key} (settable as {_variable(loc)})" if len(loc) > 1 else key


@contextmanager
def matplotlib_apart(folder: Path) -> Iterator[None]:
    """Let Matplotlib be imported with `folder` as its only place, whatever variables and files say of its settings.

    It looks for a file `matplotlibrc` in the working directory too, so that is `folder` as well until the block ends.
    """
    foreign = {name: os.environ.pop(name, None) for name in ("MPLBACKEND", "MATPLOTLIBRC", "MPLCONFIGDIR")}
    here = os.open(".", os.O_RDONLY | os.O_CLOEXEC)
    os.environ["MPLCONFIGDIR"] = str(folder.absolute())
    try:
        os.chdir(folder)
        yield
    finally:
        os.fchdir(here)
        os.close(here)
        del os.environ["MPLCONFIGDIR"]
        os.environ.update({name: value for name, value in foreign.items() if value is not None})


@contextmanager
def engine_apart() -> Iterator[None]:
    """Let the engine start without its web server, which would listen on every interface."""
    found = os.environ.pop(ENGINE_SERVER, None)
    try:
        yield
    finally:
        if found is not None:
            os.environ[ENGINE_SERVER] = found
