"""Guards a recovery store before the engine reads it: who may write to it, and whether what it holds is plain data.

The engine keeps snapshots as pickles, and to read a pickle is to run whatever it says. So nobody else may write to the
directory, and each snapshot is looked through first, opcode by opcode, without running it: what the flow's states are
made of (numbers, text, bytes, and tuples, lists, dictionaries and sets of those) needs none of the opcodes that name,
import or call anything, and a snapshot with any other is refused. That needs no key and so none can be stolen. It does
not tell a forged number from a true one: who may write to the directory may still make the flow forget or invent users.
"""

from __future__ import annotations

import logging
import os
import pickletools
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from dataflows.recovery.engine_store import RESTORE, opened, part_files
from dataflows.recovery.lock import StoreError

log = logging.getLogger(__name__)

PLAIN = frozenset(
    {
        *("PROTO", "FRAME", "STOP", "MEMOIZE", "BINGET", "LONG_BINGET", "MARK"),
        *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
        *("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8"),
        *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS"),
        *("EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_SET", "ADDITEMS", "FROZENSET"),
    }
)
"""Opcodes that make plain data and nothing else."""
SNAPSHOTS = "SELECT step_id, typeof(ser_change), ser_change FROM snaps WHERE ser_change IS NOT NULL"
LIVING = "SELECT type, name FROM sqlite_master WHERE type IN ('view', 'trigger') OR sql LIKE 'CREATE VIRTUAL%'"
"""Database objects that can return other rows than those checked."""


@contextmanager
def private_files() -> Iterator[None]:
    """Let every file that this process makes be its user's alone."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def keep_private(directory: Path) -> None:
    """See that nobody else may write to a recovery directory, and let nobody else read it.

    Raises:
        StoreError: if somebody else owns a part of it or may write to it; then nothing is changed.
    """
    found = [(path, path.lstat()) for path in (directory.resolve(), *sorted(directory.resolve().rglob("*")))]
    owners = {0, os.geteuid()}
    problems = [
        f"{path} belongs to another user (uid {about.st_uid}), who could put anything into it: give this user's "
        "deployment a recovery directory of its own."
        for path, about in found
        if about.st_uid not in owners
    ]
    problems += [
        f"{path} is no file of a recovery store but a link or a device: take it out."
        for path, about in found
        if not stat.S_ISREG(about.st_mode) and not stat.S_ISDIR(about.st_mode)
    ]
    open_to_all = [path for path, about in found if about.st_mode & 0o022 and not stat.S_ISLNK(about.st_mode)]
    if open_to_all:
        problems.append(
            f"Others than this user may write to {open_to_all[0]}, and so decide what forewarn does with it: if nobody "
            f"did, run chmod -R go-w {directory} and start again; if somebody may have, {RESTORE}"
        )
    if problems:
        raise StoreError(*problems)
    readable = [path for path, about in found if about.st_mode & 0o077]
    for path in readable:
        path.chmod(0o700 if path.is_dir() else 0o600)
    if readable:
        log.warning("Recovery directory %s could be read by others; from now on only its owner can.", directory)


def refuse_code(directory: Path) -> None:
    """See that the snapshots in a store are plain data, before the engine reads them.

    Raises:
        StoreError: if one of them is not; the store is left as it is.
    """
    problems = []
    for part in part_files(directory):
        try:
            with closing(opened(part)) as database:
                if (why := _hazard(database)) is not None:
                    problems.append(
                        f"{part} holds {why}, which forewarn never writes and which could run anything: find out who "
                        f"wrote it, and {RESTORE}"
                    )
        except sqlite3.Error as error:
            problems.append(f"{part} cannot be read as part of a recovery store ({error}): {RESTORE}")
    if problems:
        raise StoreError(*problems)


def _hazard(database: sqlite3.Connection) -> str | None:
    """Return what in a part is not plain data."""
    for kind, name in database.execute(LIVING):
        return f"a {kind} {name!r}"
    for step, kind, change in database.execute(SNAPSHOTS):
        if kind != "blob":
            return f"a snapshot of step {step!r} that is no bytes"
        if (found := strange_opcode(change)) is not None:
            return f"a snapshot of step {step!r} that is not plain data ({found})"
    return None


def strange_opcode(pickled: bytes) -> str | None:
    r"""Return the first opcode of a pickle that plain data does not need; None where there is none.

    >>> strange_opcode(b"\x80\x04K\x01.")
    >>> strange_opcode(b"cos\nsystem\n.")
    'GLOBAL'
    """
    try:
        for opcode, _, _ in pickletools.genops(pickled):
            if opcode.name not in PLAIN:
                return opcode.name
    except Exception:
        return "no whole pickle"
    return None
