"""Answers what goes wrong while the engine runs, the recovery store's faults above all: with what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from bytewax.recovery import InconsistentPartitionsError, MissingPartitionsError, NoPartitionsError

from dataflows.recovery.engine_store import RESTORE, decay, took_none
from dataflows.recovery.lock import StoreError
from dataflows.recovery.users import UserStores
from dataflows.runtime.errors import first

REFUSED_SNAPSHOT = re.compile(r'code: (?:DiskFull|SystemIoFailure|ReadOnly|CannotOpen)\b[^}]*\}, Some\("([^"]*)"\)')
"""What the engine says of a write to the recovery store that the disk did not take, and in it what SQLite says."""
PROBE_BYTES = 1 << 20
"""More than SQLite writes at a time: a disk that takes it has room again, or had it all along."""
UNFIT = (InconsistentPartitionsError, MissingPartitionsError, NoPartitionsError)
"""What the engine raises where parts do not belong together."""
UNREADABLE = frozenset({"UnpicklingError", "EOFError"})
"""The classes, by name, of what it raises where it cannot read a snapshot of its own."""


@contextmanager
def errors_explained(directory: Path | None, users: UserStores | None = None) -> Iterator[None]:
    """Raise `StoreError` for what is the store's fault: a disk that takes no more, and damage, which is looked for.

    The engine tells neither but by panicking; `users` note their own. Where it panicked because of an error that was
    noted (`dataflows.runtime.errors`), that one is raised. Anything else is let through.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        noted = first() if panicked(error) else None
        if directory is None:
            if noted is not None:
                raise noted from None
            raise
        if users is not None and users.fault is not None:
            raise users.fault from None
        if (why := _refused(error, directory)) is not None:
            raise StoreError(took_none(directory, why)) from None
        if noted is not None:
            raise noted from None
        if isinstance(error, UNFIT) or type(error).__name__ in UNREADABLE:
            problem = f"Recovery directory {directory} cannot be resumed from ({_first_line(error)}): {RESTORE}"
            raise StoreError(*decay(directory) or [problem]) from None
        if _from_store(error) and (problems := decay(directory)):
            raise StoreError(*problems) from None
        raise


def _refused(error: BaseException, directory: Path) -> str | None:
    """What the disk said if it refused a snapshot; None if it was something else that went wrong."""
    if (said := REFUSED_SNAPSHOT.search(str(error))) is not None:
        return said[1]
    if not panicked(error):
        return None
    # Of several workers, or processes, the engine does not say why one panicked; so the disk is asked.
    try:
        with TemporaryFile(dir=directory) as probe:
            probe.write(bytes(PROBE_BYTES))
    except OSError as refusal:
        return refusal.strerror
    return None


def _from_store(error: BaseException) -> bool:
    return panicked(error) or "SqliteFailure" in str(error)


def panicked(error: BaseException) -> bool:
    """Return whether a thread of the engine's died; the class of that has no public name."""
    return type(error).__name__ == "PanicException"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
