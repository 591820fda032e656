"""Files that are there whole or not at all, alone or together.

Several files that mean something only together are written into a folder inside their directory and then moved up, the
one that makes them readable first out and last in. Inside, because a directory may be a mount point, and whoever may
write in it may still not write beside it.
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
    """Put a file in place whole or not at all, whenever the power goes; an older one's permissions stay.

    Raises:
        OSError: if it cannot be written; what was there is then as it was.
    """
    with whole_file(path) as file:
        file.write(data)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Give a file to write to, and put it in place when the block ends, whole; if it fails, nothing is changed.

    What is no regular file, such as a named pipe, is written to as it is.

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
    """Give an empty folder, and move what is in it into `directory` when the block ends; if it fails, nothing changes.

    Files and folders replace those of the same name; those named in `gone` are removed. `last` is the file without
    which nobody reads the others: it is taken away before the first of them changes and comes back after all, so that
    whoever is killed in between leaves old files, new files, or none that are read.

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
    """Return a descriptor that locks an empty folder; what a killed process left in it is removed."""
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:  # its owner has just finished
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
    """Move everything into place, or back if something cannot be moved."""
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
    """Return the directories that have to be made for this one, innermost first."""
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
