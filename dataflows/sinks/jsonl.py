"""A sink for JSON lines in log order, regardless of the order in which workers write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import orjson

from dataflows.sinks.memory import MemorySink

X = TypeVar("X")


class JsonlSink(MemorySink[X], Generic[X]):
    """Sink that stores items until `finish` writes them to `path`, one JSON object per line, sorted by `order`.

    Order and rendering are functions of the item alone, so the file does not depend on batches or workers.
    """

    def __init__(self, path: Path, render: Callable[[X], dict[str, Any]], order: Callable[[X], Any]) -> None:
        super().__init__()
        self._path, self._render, self._order = path, render, order

    def finish(self) -> int:
        """Write the file and return its number of lines."""
        with self._path.open("wb") as file:
            for item in sorted(self.items, key=self._order):
                file.write(orjson.dumps(self._render(item), option=orjson.OPT_APPEND_NEWLINE))
        return len(self.items)
