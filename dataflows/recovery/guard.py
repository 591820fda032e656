"""Checks of a recovery store before the engine reads it: only its user may write to it, and it contains plain data.

The engine stores snapshots as pickles, and unpickling can run any code. Therefore no other user may write to the
directory, and each snapshot is scanned first, opcode by opcode, without running it. The flow's states consist of
numbers, text, bytes, and tuples, lists, dictionaries and sets of those. They need none of the opcodes that name,
import or call anything, and a snapshot with such an opcode is refused. The scan needs no key, so none can be stolen. It
does not detect false values: a user who may write to the directory can still make the flow forget or invent users.
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
"""Opcodes that create only plain data."""
SNAPSHOTS = "SELECT step_id, typeof(ser_change), ser_change FROM snaps WHERE ser_change IS NOT NULL"
LIVING = "SELECT type, name FROM sqlite_master WHERE type IN ('view', 'trigger') OR sql LIKE 'CREATE VIRTUAL%'"
"""Query for database objects that can return other rows than those checked."""


@contextmanager
def private_files() -> Iterator[None]:
    """Deny other users access to files that this process creates within the block."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def keep_private(directory: Path) -> None:
    """Check that no other user may write to a recovery directory, and deny others read access.

    Raises:
        StoreError: if an entry belongs to a user other than this one or root, may be written by others, or is neither
            file nor directory; then nothing is changed.
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
    """Check that the snapshots in a store are plain data, before the engine reads them.

    Raises:
        StoreError: if one of them is not, or a partition cannot be read; the store is unchanged.
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
    """Return a description of the first content of a partition that is not plain data; None if there is none."""
    for kind, name in database.execute(LIVING):
        return f"a {kind} {name!r}"
    for step, kind, change in database.execute(SNAPSHOTS):
        if kind != "blob":
            return f"a snapshot of step {step!r} that is no bytes"
        if (found := strange_opcode(change)) is not None:
            return f"a snapshot of step {step!r} that is not plain data ({found})"
    return None


def strange_opcode(pickled: bytes) -> str | None:
    r"""Return the first opcode of a pickle that plain data does not need; None if there is none.

    The result for bytes that are no complete pickle is a description instead of an opcode.

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
