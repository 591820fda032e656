"""Mapping files in Python: a function that makes the events of a row. The file is code, which the operator names."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any, Literal, Required, Self, TypedDict

from dataflows.mapping.errors import MappingError
from dataflows.mapping.sql import mapping_name, mapping_text


class MappedScore(TypedDict):
    """A scorer's result for a message; `value` may be text, and is a probability."""

    scorer: str
    version: str
    value: float | str | None


class MappedEvent(TypedDict, total=False):
    """An event that a mapping in Python makes of a row: the fields of every kind, and those of its own kind.

    A time without a zone is UTC. A number is milliseconds since the epoch. None and the empty text are absent.
    """

    kind: Required[Literal["message", "report", "sanction", "reversal", "exposure", "erasure"]]
    event_time: Required[datetime | int | None]
    user_id: Required[str | int | None]
    event_id: str | int | None
    channel: str | int | None
    text: str | None
    locale: str | None
    age_band: str | None
    recipients: Sequence[str | int] | None
    scores: Sequence[MappedScore] | None
    reporter_id: str | int | None
    category: str | None
    message_id: str | int | None
    action: str | None
    severity: int | str | None
    policy: str | None
    source: str | None
    sanction_id: str | int | None
    reason: str | None
    intervention: str | None
    arm: str | None
    probability: float | str | None


Events = Callable[[Mapping[str, Any]], Iterable[MappedEvent] | None]


class _Loader(SourceFileLoader):
    """Loads a module without writing bytecode beside it."""

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        """Write nothing."""


@dataclass(frozen=True)
class PythonMapping:
    """The function `events` of a mapping in Python, and how the rows are read; see `LogMapping` for the options."""

    path: Path
    name: str
    events: Events
    delimiter: str | None = None
    quote: str | None = None
    sort: bool = False

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Run a mapping file, and return its function `events` and its options.

        Raises:
            MappingError: if the file cannot be read or run, or has no function `events`.
        """
        path = Path(path)
        mapping_text(path)
        loader = _Loader(f"forewarn_mapping_{path.stem}", str(path))
        spec = spec_from_loader(loader.name, loader)
        if spec is None:  # only for a loader that says so
            raise MappingError([f"{path}: cannot be imported"])
        module = module_from_spec(spec)
        try:
            loader.exec_module(module)
        except SyntaxError as error:
            raise MappingError([f"{path}: line {error.lineno}: {error.msg}: correct the Python"]) from None
        except Exception as error:  # whatever the operator's code raises
            raise MappingError([f"{path}: {raised(error, path)} when it was imported: correct the Python"]) from None
        events = getattr(module, "events", None)
        if not callable(events):
            raise MappingError([f"{path}: has no function events: write def events(row), which yields events"])
        name = mapping_name(path, str(getattr(module, "name", path.stem)), 'name = "my_log"')
        delimiter, quote = getattr(module, "delimiter", None), getattr(module, "quote", None)
        for key, given in (("delimiter", delimiter), ("quote", quote)):
            if given is not None and not (isinstance(given, str) and len(given) <= 1 and given not in ("\n", "\r")):
                raise MappingError([f"{path}: {key} must be one character"])
        return cls(path, name, events, delimiter or None, quote, getattr(module, "sort", False) is True)


def raised(error: BaseException, path: Path) -> str:
    """Return what a mapping raised, and on which line, without the error's own text, which may hold a row's values."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    where = f" on line {lines[-1]}" if lines else ""
    return f"raised {type(error).__name__}{where}"
