"""The port between the processes of a cluster takes no stranger: real processes of the engine, and callers who pose."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator

import pytest

from dataflows.live.cluster_door import held_ports
from tests.kit.paths import ROOT

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="who is at the other end is what Linux knows"),
    pytest.mark.slow,
]

NOBODY = 65_534
GREETING = 0xC2F1FB770118ADD9
"""What the engine's processes greet each other with, before their number."""

PROCESS = """
    import os
    import sys
    import bytewax.operators as op
    from bytewax.dataflow import Dataflow
    from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
    from bytewax.testing import TestingSink, cluster_main
    from dataflows.live import cluster_door

    me, supervisor, door_kept = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    addresses = [f"127.0.0.1:{port}" for port in sys.argv[4:]]
    if door_kept == "unfiltered":
        cluster_door.SO_ATTACH_FILTER = 9_999
    door = cluster_door.Door(me, addresses, supervisor)

    class Part(StatefulSourcePartition):
        left = 2

        def next_batch(self):
            self.left -= 1
            if self.left < 0:
                raise StopIteration
            os.write(1, b"read\\n")  # in one piece, whatever other processes print
            return [str(number) for number in range(20)]

        def snapshot(self):
            return None

    class Source(FixedPartitionedSource):
        def list_parts(self):
            door.check()
            return ["one", "two", "three"]

        def build_part(self, step_id, for_part, resume_state):
            return Part()

    flow = Dataflow("clustered")
    counted = []
    keyed = op.key_on("keyed", op.input("in", flow, Source()), lambda item: item)
    counts = op.stateful_map("counts", keyed, lambda count, _: ((count or 0) + 1, (count or 0) + 1))
    op.output("out", counts, TestingSink(counted))
    if door_kept == "open":
        cluster_main(flow, addresses, me)
    else:
        with door:
            cluster_main(flow, addresses, me)
    os.write(1, f"counted {len(counted)}\\n".encode())
"""
SUPERVISOR = """
    import os, subprocess, sys, time
    process, kept, *ports = sys.argv[1:]
    alone = kept == "open" or kept == "unfiltered"
    started = [
        subprocess.Popen([sys.executable, "-c", process, str(number), str(os.getpid()), kept, *ports])
        for number in range(1 if alone else len(ports))
    ]
    while None in (ended := [one.poll() for one in started]):
        if any(ended):  # one has died, and the engine's others would wait for it
            for one in started:
                one.kill()
        time.sleep(0.02)
    print("ended", *ended)
"""
STRANGER = """
    import encodings.idna, os, socket, sys, time  # while the library can still be read
    port, greeting, user = int(sys.argv[1]), bytes.fromhex(sys.argv[2]), sys.argv[3]
    if user:
        os.setgroups([])
        os.setuid(int(user))
    print("calling", flush=True)
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 0.3) as call:
                print("connected", flush=True)
                call.sendall(greeting)
                if call.recv(1):
                    print("answered", flush=True)
        except OSError:
            time.sleep(0.002)
"""


def greeting(number: int, magic: int = GREETING) -> bytes:
    return magic.to_bytes(8, "little") + number.to_bytes(8, "little")


@pytest.fixture
def supervised() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a supervisor of the engine's processes at the given ports; those alone wait for a second one."""
    started: list[subprocess.Popen[str]] = []

    def start(kept: str, ports: list[int]) -> subprocess.Popen[str]:
        code = [textwrap.dedent(SUPERVISOR), textwrap.dedent(PROCESS), kept, *map(str, ports)]
        one = subprocess.Popen(
            [sys.executable, "-c", *code],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(one)
        return one

    yield start
    for one in started:
        if one.poll() is None:
            os.killpg(one.pid, 9)
        one.communicate()


def call(running: subprocess.Popen[str], port: int, said: bytes) -> socket.socket:
    """Call the engine as soon as it listens, and say something."""
    while running.poll() is None:
        try:
            caller = socket.create_connection(("127.0.0.1", port), 60)
        except ConnectionRefusedError:
            continue
        caller.sendall(said)
        return caller
    raise AssertionError(running.communicate()[0])


@pytest.mark.parametrize("kept", ["open", "unfiltered"])
def test_whoever_poses_as_a_process_ends_the_start_before_anything_is_read(
    supervised: Callable[..., subprocess.Popen[str]], kept: str
) -> None:
    """Where the filter came too late, or the kernel has none: the greeting is right, and yet nothing is exchanged."""
    with held_ports(2) as ports:
        running = supervised(kept, ports)
        with call(running, ports[0], greeting(1)):
            said, _ = running.communicate(timeout=120)
    assert "is with a stranger" in said
    assert "ended 1" in said
    assert "read" not in said.replace("nothing was read", "").split()


def test_whoever_connects_and_is_silent_does_not_hold_the_start_up_for_ever(
    supervised: Callable[..., subprocess.Popen[str]],
) -> None:
    """The engine would wait for the rest of a greeting that never comes."""
    with held_ports(2) as ports:
        running = supervised("unfiltered", ports)
        with call(running, ports[0], b"\x00"):
            said, _ = running.communicate(timeout=120)
    assert "is with a stranger" in said


@pytest.mark.parametrize(
    "user", [None, pytest.param(NOBODY, marks=pytest.mark.skipif(os.geteuid() != 0, reason="root"))]
)
@pytest.mark.parametrize("said", [greeting(1), greeting(1, 17), b""], ids=["right", "wrong", "silent"])
def test_a_cluster_starts_beside_strangers_who_call_all_the_time(
    supervised: Callable[..., subprocess.Popen[str]], user: int | None, said: bytes
) -> None:
    """Two ports under fire from before the start: it starts, or ends with a sentence and starts at the next attempt."""
    for _ in range(9):
        with held_ports(3) as ports:
            strangers = [
                subprocess.Popen(
                    [sys.executable, "-c", textwrap.dedent(STRANGER), str(port), said.hex(), str(user or "")],
                    stdout=subprocess.PIPE,
                    text=True,
                )
                for port in ports[:2]
            ]
            try:
                for stranger in strangers:
                    assert stranger.stdout is not None
                    assert stranger.stdout.readline() == "calling\n"
                heard, _ = supervised("kept", ports).communicate(timeout=120)
            finally:
                for stranger in strangers:
                    stranger.kill()
                answers = [stranger.communicate()[0] for stranger in strangers]
        if "ended 0 0 0" in heard:
            counted = sum(map(int, re.findall(r"counted (\d+)", heard)))
            assert counted == 3 * 2 * 20
            assert not any("answered" in answer for answer in answers)  # some may have waited to be let in, in vain
            return
        assert re.search("is with a stranger|could not be connected|panicked|PanicException", heard), heard
    pytest.fail("it never started")


def test_a_greeting_that_is_wrong_is_told_in_a_sentence(supervised: Callable[..., subprocess.Popen[str]]) -> None:
    """Where the filter came too late, the engine gives up; what it says is put into words, and no traceback follows."""
    with held_ports(2) as ports:
        running = supervised("unfiltered", ports)
        with call(running, ports[0], greeting(1, 17)):
            said, _ = running.communicate(timeout=120)
    assert "could not be connected (received incorrect timely handshake)" in said
    assert "Traceback" not in said


def test_ports_are_nobody_elses_while_they_are_held() -> None:
    """Not even of those who ask the kernel for any port; and whoever is told of one can listen there."""
    with held_ports(3) as ports:
        assert len(set(ports)) == 3
        with pytest.raises(OSError, match="in use"), socket.socket() as other:
            other.bind(("127.0.0.1", ports[0]))
        with socket.create_server(("127.0.0.1", ports[0])):
            pass
