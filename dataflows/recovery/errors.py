"""Explanation of errors raised while the engine runs, above all those of the recovery store, with advice."""

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
"""The engine's message for a write to the recovery store that the disk refused; the group is SQLite's message."""
PROBE_BYTES = 1 << 20
"""Size of a probe write, larger than any write of SQLite: a disk that takes it has room."""
UNFIT = (InconsistentPartitionsError, MissingPartitionsError, NoPartitionsError)
"""Errors that the engine raises for partitions that do not belong together."""
UNREADABLE = frozenset({"UnpicklingError", "EOFError"})
"""Class names of the errors that the engine raises for a snapshot that it cannot read."""


@contextmanager
def errors_explained(directory: Path | None, users: UserStores | None = None) -> Iterator[None]:
    """Raise `StoreError` for an error caused by the store: a disk that takes no more, or damage, which is searched for.

    The engine reports both only by a panic; `users` records its own errors. If the engine panicked because of an error
    that was noted (`dataflows.runtime.errors`), that error is raised. Any other error passes unchanged.
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
        if users is not None and users.first_error is not None:
            raise users.first_error from None
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
    """Return the reason why the disk refused a snapshot; None if the error has another cause."""
    if (said := REFUSED_SNAPSHOT.search(str(error))) is not None:
        return said[1]
    if not panicked(error):
        return None
    # With several workers or processes, the engine does not report why one panicked; so probe the disk.
    try:
        with TemporaryFile(dir=directory) as probe:
            probe.write(bytes(PROBE_BYTES))
    except OSError as refusal:
        return refusal.strerror
    return None


def _from_store(error: BaseException) -> bool:
    return panicked(error) or "SqliteFailure" in str(error)


def panicked(error: BaseException) -> bool:
    """Return whether a thread of the engine panicked; the exception class has no public name."""
    return type(error).__name__ == "PanicException"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
