"""Keeps a second run off a recovery store: two that write the same snapshots would each undo the other's."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Self

from schemas.errors import ExpectedError

LOCK_NAME = "lock"


class StoreError(ExpectedError, ValueError):
    """A recovery store that cannot be used."""


class StoreLock:
    """Holds a recovery directory for as long as the `with` block lasts: for itself, or as one process of a cluster.

    Whoever holds it alone holds the file `lock`, and has seen that nobody holds one of the files `lock-1`, `lock-2` and
    so on. `process` N of a cluster holds `lock-N`, and the first of them, 0, `lock`: so nothing starts beside what is
    left of a cluster whose first process, or whose supervisor, has died.

    The kernel holds the lock, not the file: it ends with the process however that ends, and a file left behind is no
    obstacle. A child that inherits `fileno()` holds it too, until it ends. Other hosts are kept off only where the
    file system carries locks between them.

    Errors: `StoreError`, when another process holds the lock or the directory cannot be used.
    """

    def __init__(self, directory: Path, process: int | None = None) -> None:
        self._directory, self._process = directory, process
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = self._take(f"{LOCK_NAME}-{self._process}" if self._process else LOCK_NAME)
            try:
                if self._process is None:
                    for beside in self._directory.glob(f"{LOCK_NAME}-*"):
                        os.close(self._take(beside.name))
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
            except BaseException:
                os.close(descriptor)
                raise
        except OSError as error:
            raise unusable(self._directory, error) from None
        self._descriptor = descriptor
        return self

    def _take(self, name: str) -> int:
        """The descriptor that holds one of the files."""
        descriptor = os.open(self._directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _holder(descriptor)
            os.close(descriptor)
            if not isinstance(error, BlockingIOError):
                raise
            raise StoreError(
                f"Recovery directory {self._directory} is in use by another forewarn run{holder}: "
                "stop that one first, or give this one a recovery directory of its own."
            ) from None
        return descriptor

    def __exit__(self, *_: object) -> None:
        # closing is enough, and an unlock would take the lock from the children that share it;
        # the file stays, because unlinking it would let two runs lock two files of the same name
        os.close(self.fileno())
        self._descriptor = None

    def fileno(self) -> int:
        """The descriptor that holds the lock; to be passed on to children that must not outlive it."""
        if self._descriptor is None:
            raise ValueError("the lock is not held")
        return self._descriptor


def unusable(directory: Path, error: OSError) -> StoreError:
    """What is told when the system refuses something in the recovery directory."""
    return StoreError(
        f"Recovery directory {directory} cannot be used ({error.strerror}): "
        "it takes a directory that this user may write, on a disk with room left."
    )


def _holder(descriptor: int) -> str:
    """The process that wrote its number into the file; nothing, if it has not come to that yet."""
    number = os.pread(descriptor, 32, 0).strip()
    return f" (process {number.decode()})" if number.isdigit() else ""
