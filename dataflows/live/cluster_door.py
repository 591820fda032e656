"""Protection of the connections between a cluster's processes against other users of the machine.

The engine connects the processes over TCP on the loopback interface. It accepts the first peer that sends its handshake
and reads pickles from it, so any account of the machine could pose as a process and run code as this user. The engine
cannot authenticate a peer, but the kernel lists which process holds the other end of a connection.

- A filter on the listening socket admits only source ports of siblings: processes below the same supervisor. A call is
  dropped until its port is admitted, and the kernel repeats it a second later. The filter is attached a moment after
  the socket is created, so a stranger (a peer that is no sibling) may connect before.
- Therefore each connection is checked again before a worker reads anything. If the other end is not a sibling, the
  process ends, and with it the cluster, which restarts at other ports. Nothing that a stranger sent is read.

All checks rely on the kernel only. They do not protect against processes of this user or of root.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
import sys
import threading
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, NoReturn, Self

from dataflows.runtime.console import say

PROC = Path("/proc")
LISTENING, ESTABLISHED = "0A", "01"
"""States of a connection in the kernel's list."""
SO_ATTACH_FILTER = 26
LOAD_PORT = (0x28, 0, 0, 0)
"""Instruction of a classic packet filter (BPF): load the half word at 0, the source port of a TCP segment."""
TAKE, DROP = (0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0)
NOT_CONNECTED = "error building timely communication pipeline"
"""The engine's error text for a wrong handshake or a port in use."""
SPIN_SECONDS = 0.0005
"""Polling interval for the engine's listening socket."""
LOOK_SECONDS = 0.02
"""Polling interval for incoming connections."""
LOOKS = 5
"""Checks before a connection without a known owner is refused; the kernel's table is not a consistent snapshot."""


class Connection(NamedTuple):
    """A line of the kernel's list of connections: both ends as listed, state, owner and the inode of the socket."""

    local: str
    remote: str
    state: str
    uid: int
    inode: str


class Door:
    """Guard of the connections of one process of a cluster, from the start of the block until `check` passes.

    `addresses` are those of all processes, and `process` is the index of this one.
    """

    def __init__(self, process: int, addresses: Sequence[str], supervisor: int) -> None:
        self._address = _endpoint(addresses[process])
        self._own = _written(self._address)
        self._all = {_written(_endpoint(address)) for address in addresses}
        self._links = len(addresses) - 1
        self._called = process < self._links  # a process calls those of lower index; those of higher index call it
        self._supervisor = supervisor
        self._passed = threading.Event()

    def __enter__(self) -> Self:
        if self._called and sys.platform == "linux":
            threading.Thread(target=self._watch, name="door", daemon=True).start()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._passed.set()
        if error is not None and NOT_CONNECTED in str(error):
            cause = str(error.__cause__ or error).rpartition(": ")[2]
            say(
                f"Error: The processes of this cluster could not be connected ({cause}): a stranger called, or took a "
                "port. The cluster starts again at other ports.",
                err=True,
            )
            os._exit(1)

    def check(self) -> None:
        """End this process if one of its connections is with a stranger; call this before anything is read."""
        if sys.platform != "linux":
            return
        own = _sockets(os.getpid())
        for _ in range(LOOKS):
            found = _connections()
            links = [link for link in found if link.inode in own and {link.local, link.remote} & self._all]
            links = [link for link in links if link.state != LISTENING]
            strange = self._strange(links, found)
            if not strange and len(links) == self._links:
                self._passed.set()
                return
            threading.Event().wait(LOOK_SECONDS)
        _refuse(strange)

    def _watch(self) -> None:
        """Admit only siblings while the engine listens, and end the process if a stranger is connected."""
        while (listener := self._listener()) is None:
            if self._passed.wait(SPIN_SECONDS):
                return
        admitted: frozenset[int] = frozenset()
        _admit(listener, admitted)
        looks = 0
        while not self._passed.wait(LOOK_SECONDS):
            found = _connections()
            sisters = _sockets_below(self._supervisor)
            calling = frozenset(
                int(link.local.rpartition(":")[2], 16)
                for link in found
                if link.remote == self._own and _is_of(link, sisters)
            )
            if calling != admitted and (listener := self._listener()) is not None:
                _admit(listener, calling)
                admitted = calling
            here = [link for link in found if link.local == self._own and link.state == ESTABLISHED]
            strange = self._strange(here, found)
            looks = looks + 1 if strange else 0
            if looks == LOOKS and not self._passed.is_set():
                _refuse(strange)

    def _strange(self, links: list[Connection], found: list[Connection]) -> list[Connection | None]:
        """Return the other ends of connections that no sibling holds; None stands for an end that is not listed."""
        sisters = _sockets_below(self._supervisor)
        ends = {(link.local, link.remote): link for link in found}
        others = [ends.get((link.remote, link.local)) for link in links]
        return [other for other in others if other is None or not _is_of(other, sisters)]

    def _listener(self) -> socket.socket | None:
        """Return a duplicate of the socket on which the engine listens, or is about to; None if there is none."""
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - takes half the time
            with suppress(OSError):  # it was closed in the meantime
                if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                    continue
                found = socket.socket(fileno=os.dup(int(name)))
                if found.family == socket.AF_INET and found.getsockname() == self._address and not _connected(found):
                    return found
                found.close()
        return None


@contextmanager
def held_ports(count: int) -> Iterator[list[int]]:
    """Yield free ports of the loopback interface, and reserve them until the block ends.

    They are bound but not listened on, so that the processes of the cluster can still listen there.
    """
    held = []
    try:
        for _ in range(count):
            one = socket.socket()
            held.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(("127.0.0.1", 0))
        yield [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def _admit(listener: socket.socket, ports: frozenset[int]) -> None:
    """Make a listening socket accept only these source ports; without kernel support, only `check` protects."""
    instructions = [
        LOAD_PORT,
        *((0x15, len(ports) - place, 0, port) for place, port in enumerate(sorted(ports))),  # if equal, jump to TAKE
        DROP,
        TAKE,
    ]
    program = array("B", b"".join(struct.pack("HBBI", *instruction) for instruction in instructions))
    with listener, suppress(OSError):
        about = struct.pack("HP", len(instructions), program.buffer_info()[0])
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, about)


def _is_of(link: Connection, sockets: set[str]) -> bool:
    """Return whether the near end of a connection is one of these sockets and belongs to this user."""
    return link.inode in sockets and link.uid == os.geteuid()


def _connected(one: socket.socket) -> bool:
    try:
        one.getpeername()
    except OSError as error:
        return error.errno != errno.ENOTCONN
    return True


def _endpoint(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def _written(endpoint: tuple[str, int]) -> str:
    """Return an endpoint in the format of the kernel's list."""
    return f"{int.from_bytes(socket.inet_aton(endpoint[0]), sys.byteorder):08X}:{endpoint[1]:04X}"


def _connections() -> list[Connection]:
    """Return the TCP connections over IPv4 in this process's network namespace."""
    found = []
    for line in (PROC / "self/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        _, local, remote, state, _, _, _, uid, _, inode, *_ = line.split()
        found.append(Connection(local, remote, state, int(uid), inode))
    return found


def _sockets(process: int | str) -> set[str]:
    """Return the inodes of the sockets that a process holds; empty if it is another user's, or gone."""
    found = set()
    with suppress(OSError):
        for path in (PROC / str(process) / "fd").iterdir():
            with suppress(OSError):
                kind, _, number = str(path.readlink()).partition(":")
                if kind == "socket":
                    found.add(number.strip("[]"))
    return found


def _sockets_below(supervisor: int) -> set[str]:
    """Return the inodes of the sockets that a supervisor and the processes below it hold."""
    parents: dict[str, str] = {}
    for path in PROC.iterdir():
        if path.name.isdigit():
            with suppress(OSError):
                # the process name before it may contain any character, even a bracket
                parents[path.name] = (path / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]
    found: set[str] = set()
    for process in parents:
        above = process
        while above in parents and above != str(supervisor):
            above = parents[above]
        if above == str(supervisor):
            found |= _sockets(process)
    return found


def _refuse(strange: list[Connection | None]) -> NoReturn:
    """End the process immediately, so that nothing more is read from any connection."""
    who = ", ".join(sorted({"it is gone" if one is None else f"uid {one.uid}" for one in strange})) or "one is missing"
    say(
        f"Error: A connection between the processes of this cluster is with a stranger ({who}): nothing was read from "
        "it, and the cluster starts again at other ports; find out what calls them.",
        err=True,
    )
    os._exit(1)
