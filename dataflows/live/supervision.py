"""Messages from a cluster's process to its supervisor, sent as marked lines of its standard output."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import NamedTuple

import orjson

MARK = "\x1e"
"""Prefix of lines for the supervisor, which printed text never contains."""
BEAT, ENDED, LOG = f"{MARK}B", f"{MARK}F", f"{MARK}L"
"""Prefixes of a heartbeat, of the reason for a process's end, and of a log line."""
BEAT_SECONDS = 1.0
"""Interval between two heartbeats of a process."""


class EndReason(NamedTuple):
    """Reason for a process's end: a sentence and the exit code."""

    sentence: str
    code: int


def beat(supervisor: int) -> None:
    """Send a heartbeat every second from a new thread, until this process ends; end it when the supervisor is gone."""
    threading.Thread(target=_beat, args=(supervisor,), name="beat", daemon=True).start()


def _beat(supervisor: int) -> None:
    while True:
        tell_beat()
        try:
            os.kill(supervisor, 0)
        except ProcessLookupError:
            os._exit(1)  # nothing would restart or end the cluster
        threading.Event().wait(BEAT_SECONDS)


def tell_beat() -> None:
    """Send a heartbeat to the supervisor."""
    _write(BEAT)


def tell_end(reason: EndReason) -> None:
    """Send the reason for this process's end to the supervisor."""
    _write(f"{ENDED}{orjson.dumps(reason._asdict()).decode()}")


def read_end(line: str) -> EndReason | None:
    """Parse a line that begins with `ENDED`; return None if it is truncated."""
    try:
        return EndReason(**orjson.loads(line.removeprefix(ENDED)))
    except (orjson.JSONDecodeError, TypeError):
        return None


def _write(line: str) -> None:
    with suppress(OSError):  # the supervisor is gone, for which the heartbeat thread ends this process
        os.write(1, f"{line}\n".encode())  # unbuffered and in one write, so that other output cannot split the line
