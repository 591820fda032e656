"""Atomic writes of a single file or of several files together.

Several files that are valid only together are written into a folder inside their directory and then moved up. The file
that makes them readable is moved out first and moved in last. The folder lies inside the directory because the
directory may be a mount point, and permission to write in it does not imply permission to write beside it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from evaluation.run_directory import UNFINISHED


class BusyError(Exception):
    """Another process is writing files into the same directory."""


def write_whole(path: Path, data: bytes) -> None:
    """Write a file atomically, even across a power failure; an existing file keeps its permissions.

    Raises:
        OSError: if it cannot be written; an existing file is then unchanged.
    """
    with whole_file(path) as file:
        file.write(data)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file to write to, and move it into place when the block ends; if the block fails, nothing changes.

    A path that is not a regular file, such as a named pipe, is written to directly.

    Raises:
        OSError: if it cannot be written.
    """
    path = path.resolve()
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        with path.open("wb") as file:
            yield file
        return
    fresh = path.with_name(f"{path.name}.new")
    try:
        with fresh.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, fresh)
        fresh.replace(path)
    except (Exception, KeyboardInterrupt):
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise
    _sync(path.parent)


@contextmanager
def written_together(directory: Path, last: str, gone: Iterable[str] = ()) -> Iterator[Path]:
    """Yield an empty folder, and move its content into `directory` when the block ends; if it fails, nothing changes.

    Files and folders replace those of the same name; those named in `gone` are removed. `last` is the file without
    which no reader uses the others. It is removed before the first of them changes and moved in after all of them, so
    a process killed in between leaves the old files, the new files, or files that are not read.

    Raises:
        BusyError: if another process is writing there too.
        OSError: if something cannot be written.
    """
    made = _missing(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        folder = directory / UNFINISHED
        descriptor = _hold(folder)
    except BaseException:
        _remove_empty(made)
        raise
    try:
        fresh, old = folder / "new", folder / "old"
        fresh.mkdir()
        old.mkdir()
        try:
            yield fresh
            _sync_all(fresh)
            _move(fresh, old, directory, last, gone)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            _remove_empty(made)
            raise
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


def _hold(folder: Path) -> int:
    """Lock a folder, remove what a killed process left in it, and return the descriptor that holds the lock.

    Raises:
        BusyError: if another process holds the lock.
    """
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:  # its owner has just removed it
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), folder.stat()):
                for left in folder.iterdir():
                    shutil.rmtree(left)
                return descriptor
        except FileNotFoundError:
            pass
        except BlockingIOError:
            os.close(descriptor)
            raise BusyError from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _move(fresh: Path, old: Path, directory: Path, last: str, gone: Iterable[str]) -> None:
    """Move all entries into place, or back if one of them cannot be moved."""
    names = sorted(path.name for path in fresh.iterdir() if path.name != last)
    try:
        for name in dict.fromkeys([last, *gone, *names]):
            if (directory / name).exists():
                (directory / name).rename(old / name)
                _sync(directory)
        for name in [*names, last]:
            (fresh / name).rename(directory / name)
        _sync(directory)
    except BaseException:
        for name in [last, *names]:
            if not (fresh / name).exists():
                (directory / name).rename(fresh / name)
        for path in sorted(old.iterdir(), key=lambda path: path.name == last):
            path.rename(directory / path.name)
        raise


def _missing(directory: Path) -> list[Path]:
    """Return the directories to create for this one, innermost first."""
    return [path for path in (directory, *directory.parents) if not path.exists()]


def _remove_empty(made: list[Path]) -> None:
    for path in made:
        with suppress(OSError):
            path.rmdir()


def _sync_all(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
