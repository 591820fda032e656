"""Ends a process that is asked to end, whatever it is doing.

A signal without a handler ends a process, unless it is the first of its container (PID 1): then the kernel drops it.
A handler in Python runs between two steps of the main thread, and a step may be seconds of compiled code. So Python is
made to note the signal in a pipe as it arrives, and a thread that reads the pipe ends the process.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress

ENDING = (signal.SIGTERM, signal.SIGHUP)


def end_when_asked(status: int | None = None) -> None:
    """Let SIGTERM and SIGHUP end this process at once, until other handlers take their place.

    It ends with `status`, or as what the signal ended. Call this in the main thread, before anything that takes time.
    What was ignored before (`nohup`) stays ignored.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=_note_nothing)  # what a child notes is its own
    for number in ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _noted)
    threading.Thread(target=_end, args=(reading, status), name="end-when-asked", daemon=True).start()


def _note_nothing() -> None:
    with suppress(ValueError):  # forked by a thread, which keeps no signals
        signal.set_wakeup_fd(-1)


def _noted(_number: int, _frame: object) -> None:
    """Do nothing: the signal stands in the pipe."""


def _end(reading: int, status: int | None) -> None:
    while noted := os.read(reading, 1):
        if signal.getsignal(noted[0]) is _noted:
            os._exit(128 + noted[0] if status is None else status)
