"""Exclusive lock on a recovery store: two runs that write the same snapshots would overwrite each other's."""

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
    """Lock on a recovery directory for the duration of a `with` block, for a single run or one process of a cluster.

    A single run locks the file `lock`, and checks that no process holds one of the files `lock-1`, `lock-2` and so on.
    `process` N of a cluster locks `lock-N`, and process 0 locks `lock`. Therefore no run starts while any process
    remains of a cluster whose first process or supervisor has died.

    The kernel keeps the lock, not the file: the lock ends with the process, for any reason, and a leftover file is no
    obstacle. A child that inherits `fileno()` also holds the lock until it ends. Other hosts are excluded only if the
    file system shares locks between hosts.

    Raises:
        StoreError: if another process holds the lock, or the directory cannot be used.
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
        """Lock one of the files and return the descriptor that holds the lock."""
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
        # Closing is enough, and an unlock would also release the lock of children that share it.
        # The file stays, because after an unlink two runs could lock two files of the same name.
        os.close(self.fileno())
        self._descriptor = None

    def fileno(self) -> int:
        """Return the descriptor that holds the lock, to pass to children that must not run without the lock.

        Raises:
            ValueError: if the lock is not held.
        """
        if self._descriptor is None:
            raise ValueError("the lock is not held")
        return self._descriptor


def unusable(directory: Path, error: OSError) -> StoreError:
    """Return the error for a recovery directory in which a file operation failed."""
    return StoreError(
        f"Recovery directory {directory} cannot be used ({error.strerror}): "
        "it takes a directory that this user may write, on a disk with room left."
    )


def _holder(descriptor: int) -> str:
    """Return the number of the process written in a lock file, as text for a sentence; empty if there is none yet."""
    number = os.pread(descriptor, 32, 0).strip()
    return f" (process {number.decode()})" if number.isdigit() else ""
