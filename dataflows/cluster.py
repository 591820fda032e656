"""Runs the dataflow in several processes of this machine, and all of them anew when one dies.

The engine's processes form a cluster: when one is gone the others cannot go on. A process manager (honcho) starts them
together and ends them together; here it is only decided whether they start again.
"""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence

from honcho import manager as honcho

from dataflows.cluster_door import held_ports
from dataflows.console import say
from dataflows.run import Place

log = logging.getLogger(__name__)

DRAIN_SECONDS = 10
"""How long processes may take to end after the first of them did, before they are killed."""
REFUSED = 3
"""The exit status of a process that said why it cannot run, which starting again does not cure."""
STOPPED = frozenset({130, 143})
"""What the process manager says after Ctrl-C and SIGTERM."""


class _Printer:
    """Passes on what the processes print, and what the manager says of them, line by line."""

    width = 0

    def write(self, message: honcho.Message) -> None:
        data = message.data.decode(errors="replace") if isinstance(message.data, bytes) else message.data
        system = message.name == honcho.SYSTEM_PRINTER_NAME
        say(f"{message.name}: {data.rstrip()}", err=system)


def run_cluster(arguments: Sequence[str], processes: int, clean_up: Callable[[], None]) -> int:
    """Run `forewarn` with these arguments in `processes` processes until they end; the exit status.

    When one dies, the rest is ended, and after a `clean_up` all start again. A drain ends them all with 0.
    """
    honcho.KILL_WAIT = DRAIN_SECONDS
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup` leaves it
        signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    while True:
        cluster = honcho.Manager(_Printer())
        with held_ports(processes) as ports:
            addresses = tuple(f"127.0.0.1:{port}" for port in ports)
            for number in range(processes):
                place = Place(number, addresses, os.getpid())
                command = [sys.executable, "-m", "dataflows.cli", *arguments, "--place", str(place)]
                cluster.add_process(f"process-{number}", f"exec {shlex.join(command)}")
            cluster.loop()
        ended: list[int] = [known["returncode"] for known in cluster._processes.values()]  # noqa: SLF001 - it has no other way
        if REFUSED in ended:
            return REFUSED
        if any(ended):
            clean_up()
        if cluster.returncode in STOPPED or not any(ended):
            return max(0 if code == -signal.SIGTERM else abs(code) for code in ended)  # stopped before it had begun
        log.warning("A process of the cluster died: all %d start again from the last snapshot.", processes)
