"""Immediate termination of a process by a signal, even during long compiled code.

A signal without a handler ends a process, but the kernel drops it for the first process of a container (PID 1). A
handler in Python runs between two instructions of the main thread, and one instruction may be seconds of compiled code.
Therefore Python writes each signal to a pipe as it arrives, and a thread that reads the pipe ends the process.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress

ENDING = (signal.SIGTERM, signal.SIGHUP)


def end_when_asked(status: int | None = None) -> None:
    """Make SIGTERM and SIGHUP end this process immediately, until other handlers replace these.

    The exit status is `status`, or 128 plus the signal's number if that is None. Call this in the main thread, before
    anything that takes time. A signal that is ignored already (`nohup`) stays ignored.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=_note_nothing)  # a child must not write to this pipe
    for number in ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _noted)
    threading.Thread(target=_end, args=(reading, status), name="end-when-asked", daemon=True).start()


def _note_nothing() -> None:
    with suppress(ValueError):  # only the main thread may set it, and another thread forked
        signal.set_wakeup_fd(-1)


def _noted(_number: int, _frame: object) -> None:
    """Do nothing: the pipe already contains the signal."""


def _end(reading: int, status: int | None) -> None:
    while noted := os.read(reading, 1):
        if signal.getsignal(noted[0]) is _noted:
            os._exit(128 + noted[0] if status is None else status)
