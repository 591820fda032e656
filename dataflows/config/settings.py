"""Settings: the addresses of Kafka, topics, registry and recovery store, and the run options of the dataflow.

One TOML file, overlaid by environment variables (`FOREWARN_`, sections separated by `__`, so that
`FOREWARN_KAFKA__BOOTSTRAP_SERVERS` sets `kafka.bootstrap_servers`). This is the only module that reads the environment.
It also removes variables that would make a library do something that was not requested. Secrets come from the
environment or from files named here; a secret in the settings file is rejected.
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
from detectors.profiles.shards import LANES
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
"""Prefixes of variables for the test suite; they are not settings and are ignored here."""

SECRETS = (("kafka", "password"), ("kafka", "ssl_key_password"), ("registry", "password"))
"""Settings that are rejected in the settings file; each has a `..._file` beside it."""

ENGINE_SERVER = "BYTEWAX_DATAFLOW_API_ENABLED"
"""Variable that, set to any value, makes the engine serve the dataflow over HTTP on every interface."""

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
    """The directory of the snapshots (None: nothing survives a restart) and the interval between them."""

    directory: Path | None = None
    epoch_interval_seconds: Annotated[float, Field(ge=0)] = 3.0
    partitions: Positive = 4
    """Number of files that the store is spread over; fixed for the store's life."""


class RunSettings(Section):
    """Run options of the dataflow: batch sizes, polling, lanes, metrics port, and restarts."""

    batch_size: Positive = 1_000
    poll_timeout_ms: Positive = 20
    """Wait of a source partition after a small or empty batch before it looks again."""
    lanes: Positive = LANES
    allowed_skew_seconds: Annotated[float, Field(ge=0)] = 300.0
    """Maximum lead of an event's time over its record's; beyond it the event is rejected as `future_timestamp`."""
    max_record_bytes: Positive = 1_048_576
    """A record with a longer value is rejected as `too_large`."""
    feature_sample: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Fraction of users, by the hash of their id, whose decision points are published."""
    metrics_port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    metrics_host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """The address on which metrics and health are served; `0.0.0.0` or `::` for all addresses."""
    restarts: Annotated[int, Field(ge=0)] = 10
    """Maximum number of restarts of a cluster within `restarts_within_seconds`; after it the supervisor gives up."""
    restarts_within_seconds: Annotated[float, Field(gt=0)] = 900.0
    restart_wait_seconds: Annotated[float, Field(ge=0)] = 1.0
    """The wait before the first restart; doubled for each further one."""
    restart_wait_most_seconds: Annotated[float, Field(ge=0)] = 60.0
    hung_seconds: Annotated[float, Field(gt=0)] = 30.0
    """Time without a sign of life after which a process of a cluster is killed and the cluster restarted."""


class LogSettings(Section):
    """Level and format of a run's log on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class PathSettings(Section):
    """Files the dataflow reads, relative to the working directory."""

    policy: Path | None = None


class Settings(BaseSettings):
    """All settings of a live run. Use `Settings.load` to build it."""

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
        """Read the file of the registry's password, since `RegistrySettings` reads no files."""
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
        """Return the sources in order of precedence: the environment, then the file."""
        return (env_settings, init_settings)

    @classmethod
    def load(cls, path: Path | None) -> Settings:
        """Load the settings from the file (if any) and the environment, which takes precedence.

        Raises:
            SettingsError: with a sentence for each problem; no value is quoted.
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
        # Only the position is reported: tomllib may quote the text around the error, and that text may be a secret.
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
    """Return the key and its source (environment or file), limited to two levels, so without a Kafka option's name."""
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
    """Let Matplotlib be imported with `folder` as its only place for settings, ignoring variables and other files.

    It also looks for a file `matplotlibrc` in the working directory, so that is `folder` as well until the block ends.
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
    """Hide `ENGINE_SERVER` until the block ends, so that the engine starts no web server on every interface."""
    found = os.environ.pop(ENGINE_SERVER, None)
    try:
        yield
    finally:
        if found is not None:
            os.environ[ENGINE_SERVER] = found
