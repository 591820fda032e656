"""What a process of a cluster tells its supervisor, as marked lines among those it prints."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import NamedTuple

import orjson

MARK = "\x1e"
"""What begins a line for the supervisor; no text that is printed holds it."""
BEAT, FAULT, LOG = f"{MARK}B", f"{MARK}F", f"{MARK}L"
"""The process turns; why it ends; a line of the log."""


class Fault(NamedTuple):
    """Why a process ends: the sentence, and the exit code."""

    sentence: str
    code: int


def tell_beat() -> None:
    """Tell the supervisor that this process turns."""
    _write(BEAT)


def tell_fault(fault: Fault) -> None:
    """Tell the supervisor why this process ends."""
    _write(f"{FAULT}{orjson.dumps(fault._asdict()).decode()}")


def read_fault(line: str) -> Fault | None:
    """Return what a line that begins with `FAULT` tells; None where it was cut."""
    try:
        return Fault(**orjson.loads(line.removeprefix(FAULT)))
    except (orjson.JSONDecodeError, TypeError):
        return None


def _write(line: str) -> None:
    with suppress(OSError):  # without a supervisor there is nobody to tell, and this process ends for that
        os.write(1, f"{line}\n".encode())  # at once and in one piece, whatever else is printed meanwhile
