"""Supervisor of a cluster: runs the dataflow in several processes of this machine, and restarts all when one dies.

The engine's processes form a cluster: when one dies, the others cannot continue. A process manager (honcho) starts and
ends them together. This module decides if and when they restart, and kills a process that hangs.
"""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from honcho import manager as honcho

from dataflows.config.settings import RunSettings
from dataflows.live.cluster_door import held_ports
from dataflows.live.restarts import Restarts
from dataflows.live.run import ClusterSlot
from dataflows.live.supervision import BEAT, BEAT_SECONDS, ENDED, LOG, EndReason, read_end
from dataflows.runtime.console import say
from dataflows.runtime.exit_codes import ExitCode

log = logging.getLogger(__name__)

DRAIN_SECONDS = 10
"""Seconds that the processes may take to end after the first of them has ended, before they are killed."""
STOPPED = frozenset({130, 143})
"""Return codes of the process manager after Ctrl-C and SIGTERM."""
STARTING = 4
"""Factor on the time limit of a process that has sent no heartbeat yet, because it is still loading."""


class _Printer:
    """Receiver of the output of the processes and of the process manager, line by line."""

    width = 0

    def __init__(self) -> None:
        self.beats: dict[str, int] = {}
        self.reasons: dict[str, EndReason] = {}

    def write(self, message: honcho.Message) -> None:
        data = message.data.decode(errors="replace") if isinstance(message.data, bytes) else message.data
        line = data.rstrip()
        if message.name == honcho.SYSTEM_PRINTER_NAME:
            log.info("%s.", line)
        elif line.startswith(BEAT):
            self.beats[message.name] = self.beats.get(message.name, 0) + 1
        elif line.startswith(ENDED):
            if (reason := read_end(line)) is not None:
                self.reasons.setdefault(message.name, reason)
        elif line.startswith(LOG):
            said = line.removeprefix(LOG)
            say(said if said.startswith("{") else f"{message.name}: {said}", err=True)
        else:
            say(f"{message.name}: {line}")


def run_cluster(
    arguments: Sequence[str], processes: int, clean_up: Callable[[], None], settings: RunSettings
) -> EndReason | None:
    """Run `forewarn` with these arguments in `processes` processes; return why they ended, or None after a drain.

    If one dies or hangs, the others are ended, and after a `clean_up` all start again. They do not restart if one of
    them reports that something has to be fixed first, or if the limit of restarts is reached.
    """
    honcho.KILL_WAIT = DRAIN_SECONDS
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # set by `nohup`
        signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    restarts = Restarts(
        most=settings.restarts,
        within=settings.restarts_within_seconds,
        wait=settings.restart_wait_seconds,
        longest=settings.restart_wait_most_seconds,
    )
    while True:
        printer = _Printer()
        cluster = honcho.Manager(printer)
        over = threading.Event()
        with held_ports(processes) as ports:
            addresses = tuple(f"127.0.0.1:{port}" for port in ports)
            for number in range(processes):
                place = ClusterSlot(number, addresses, os.getpid(), restarts.total)
                command = [sys.executable, "-m", "dataflows.cli.main", *arguments, "--place", str(place)]
                cluster.add_process(f"process-{number}", f"exec {shlex.join(command)}")
            hung = (cluster, printer, settings.hung_seconds, over)
            threading.Thread(target=_end_hung, args=hung, daemon=True).start()
            cluster.loop()
        over.set()
        ended: list[int] = [known["returncode"] for known in cluster._processes.values()]  # noqa: SLF001 - there is no public attribute
        reason = _worst([*printer.reasons.values()])
        if ExitCode.MEND in ended:
            return reason or EndReason("A process of the cluster ended without saying why.", ExitCode.MEND)
        if any(ended):
            clean_up()
        if cluster.returncode in STOPPED or not any(ended):
            code = max(0 if code == -signal.SIGTERM else abs(code) for code in ended)  # stopped before it had handlers
            why = _sentence(reason, "A process of the cluster failed as it drained.")
            return None if code == 0 else EndReason(why, code)
        seconds = restarts.wait_before_next(time.monotonic())
        if seconds is None:
            why = _sentence(reason, "See above for what they said.")
            return EndReason(
                f"The cluster was started again {settings.restarts} times within "
                f"{settings.restarts_within_seconds:g} s and failed again, so this ends. {why}",
                reason.code if reason is not None else ExitCode.BUG if ExitCode.BUG in ended else ExitCode.TRY_AGAIN,
            )
        log.warning(
            "A process of the cluster died: all %d start again from the last snapshot in %g s. %s",
            processes,
            seconds,
            _sentence(reason, ""),
        )
        if _stopped_within(seconds):
            return None


def _worst(reasons: list[EndReason]) -> EndReason | None:
    """Return the reason to report: the first that has to be fixed, or else the first; None if there are none."""
    return next((reason for reason in reasons if reason.code == ExitCode.MEND), reasons[0] if reasons else None)


def _sentence(reason: EndReason | None, otherwise: str) -> str:
    return otherwise if reason is None else reason.sentence


def _stopped_within(seconds: float) -> bool:
    """Wait, and return whether SIGTERM or Ctrl-C arrived meanwhile."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    return stop.wait(seconds)


def _end_hung(cluster: Any, printer: _Printer, limit: float, over: threading.Event) -> None:
    """Kill a process that no longer sends heartbeats, which ends all of them.

    Silence is measured in ticks of this thread, so that a pause of the whole machine does not count.
    """
    seen: dict[str, int] = {}
    silent: dict[str, int] = {}
    while not over.wait(BEAT_SECONDS):
        for name, known in list(cluster._processes.items()):  # noqa: SLF001 - there is no public attribute
            if "pid" not in known or "returncode" in known:
                continue
            beats = printer.beats.get(name, 0)
            silent[name] = 0 if beats != seen.get(name, 0) else silent.get(name, 0) + 1
            seen[name] = beats
            if silent[name] * BEAT_SECONDS >= limit * (1 if beats else STARTING):
                silent[name] = 0
                log.error("%s has not moved for %g s, so it is killed: the cluster starts again.", name, limit)
                os.killpg(known["pid"], signal.SIGKILL)
