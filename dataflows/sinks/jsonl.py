"""A sink for JSON lines in the order of the log, whatever order the workers wrote in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import orjson

from dataflows.sinks.memory import MemorySink

X = TypeVar("X")


class JsonlSink(MemorySink[X], Generic[X]):
    """Keeps items until `finish` writes them to `path`, one JSON object a line, sorted by `order`.

    Order and rendering are functions of the item alone, so the file does not depend on batches or workers.
    """

    def __init__(self, path: Path, render: Callable[[X], dict[str, Any]], order: Callable[[X], Any]) -> None:
        super().__init__()
        self._path, self._render, self._order = path, render, order

    def finish(self) -> int:
        """Write the file; how many lines it has."""
        with self._path.open("wb") as file:
            for item in sorted(self.items, key=self._order):
                file.write(orjson.dumps(self._render(item), option=orjson.OPT_APPEND_NEWLINE))
        return len(self.items)
