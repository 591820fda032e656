"""Logging of a run to standard error, one record a line, as text or as JSON.

Other commands log only warnings and errors, in one plain format.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson

from dataflows.live.supervision import LOG
from dataflows.runtime.console import log_line
from dataflows.runtime.escaping import visible

if TYPE_CHECKING:
    from dataflows.config.settings import LogSettings

OURS = ("dataflows", "detectors", "schemas")
"""Loggers of this project; those of libraries log at level WARNING and above."""


class Text(logging.Formatter):
    """Formatter of text lines: time, level, logger and message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, followed by the lines of its traceback."""
        said = f"{_time(record)} {record.levelname} {record.name} {_one_line(record.getMessage())}"
        if not record.exc_info:
            return said
        return "\n".join([said, *map(visible, self.formatException(record.exc_info).split("\n"))])


class Json(logging.Formatter):
    """Formatter of JSON lines, one object a record; `process` is the number of a cluster's process."""

    def __init__(self, process: int | None = None) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        fields = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._process is not None:
            fields["process"] = str(self._process)
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(fields).decode()


class Plain(logging.Formatter):
    """Formatter of warnings in commands other than a run: level and message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        return f"{record.levelname.capitalize()}: {_one_line(record.getMessage())}"


class _StandardError(logging.Handler):
    """Handler that writes to the current `sys.stderr`, which may be replaced after the handler is made."""

    def __init__(self, formatter: logging.Formatter, before: str = "") -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._before = before

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            log_line(f"{self._before}{self.format(record)}")
        except Exception:
            self.handleError(record)


def configure(settings: LogSettings, process: int | None = None) -> None:
    """Configure logging from the settings, replacing earlier calls; `process` is the number of a cluster's process."""
    formatter = Json(process) if settings.format == "json" else Text()
    _install(_StandardError(formatter, "" if process is None else LOG), settings.level.upper())


def configure_plain() -> None:
    """Configure logging of warnings and errors in one plain format."""
    _install(_StandardError(Plain()), "NOTSET")  # inherit the level of the root logger: WARNING


def _install(handler: logging.Handler, level: str) -> None:
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _StandardError)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(capture=True)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _one_line(message: str) -> str:
    return visible(" ".join(message.splitlines()))
