"""Messages from a cluster's process to its supervisor, as marked lines of its output."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import NamedTuple

import orjson

MARK = "\x1e"
"""Prefix of lines for the supervisor; printed text never contains it."""
BEAT, FAULT, LOG = f"{MARK}B", f"{MARK}F", f"{MARK}L"
"""The process turns; why it ends; a line of the log."""
BEAT_SECONDS = 1.0
"""How often a process says that it turns."""


class Fault(NamedTuple):
    """Why a process ends: the sentence, and the exit code."""

    sentence: str
    code: int


def beat(supervisor: int) -> None:
    """Tell the supervisor every second, until this process ends, that it turns; end it when the supervisor is gone."""
    threading.Thread(target=_beat, args=(supervisor,), name="beat", daemon=True).start()


def _beat(supervisor: int) -> None:
    while True:
        tell_beat()
        try:
            os.kill(supervisor, 0)
        except ProcessLookupError:
            os._exit(1)  # nobody would restart the cluster, or end it
        threading.Event().wait(BEAT_SECONDS)


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
