"""A cluster that fails starts again later each time, and not for ever; its processes' lines are told apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.live.cluster import _Printer, _worst
from dataflows.live.restarts import Restarts
from dataflows.live.run import ClusterSlot
from dataflows.live.supervision import BEAT, ENDED, LOG, EndReason, read_end, tell_beat, tell_end


class Line:
    """A line as the process manager gives it."""

    def __init__(self, name: str, data: str | bytes) -> None:
        self.name, self.data = name, data


def test_waits_double_up_to_the_longest_and_then_there_are_no_more() -> None:
    """Failures that follow each other at once."""
    restarts = Restarts(most=5, within=900, wait=1, longest=6)
    assert [restarts.wait_before_next(100.0) for _ in range(6)] == [1, 2, 4, 6, 6, None]
    assert restarts.total == 5


def test_a_cluster_that_ran_well_for_long_enough_begins_anew() -> None:
    """Old restarts neither count nor make it wait."""
    restarts = Restarts(most=2, within=900, wait=1, longest=60)
    assert [restarts.wait_before_next(now) for now in (0.0, 10.0)] == [1, 2]
    assert restarts.wait_before_next(899.0) is None
    assert restarts.wait_before_next(900.0) == 2  # the one at 10 s still counts
    assert restarts.wait_before_next(2_000.0) == 1


@given(
    most=st.integers(0, 20),
    within=st.integers(1, 1_000),
    gaps=st.lists(st.integers(0, 500), max_size=60),
)
def test_no_span_holds_more_restarts_than_allowed(most: int, within: int, gaps: list[int]) -> None:
    """Whenever failures come; whole seconds, because sums of fractions are rounded."""
    restarts = Restarts(most=most, within=within, wait=1, longest=60)
    now, times = 0, []
    for gap in gaps:
        now += gap
        if restarts.wait_before_next(now) is not None:
            times.append(now)
    assert all(sum(1 for time in times if end - within < time <= end) <= most for end in times)


def test_no_restarts_may_be_allowed_at_all() -> None:
    """Where another process manager does that."""
    assert Restarts(most=0, within=900, wait=1, longest=60).wait_before_next(0.0) is None


def test_lines_of_a_process_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """Beats and reasons are kept, lines of the log go to standard error, the rest to standard output under its name."""
    printer = _Printer()
    for line in (
        f"{BEAT}\n",
        f'{ENDED}{{"sentence":"gone","code":3}}\n',
        f"{LOG}a line\n",
        f'{LOG}{{"message":"json"}}\n',
        "events: none\n",
        f"{ENDED}cut",
    ):
        printer.write(Line("process-1", line.encode()))
    assert printer.beats == {"process-1": 1}
    assert printer.reasons == {"process-1": EndReason("gone", 3)}
    printed = capsys.readouterr()
    assert printed.out == "process-1: events: none\n"
    assert printed.err == 'process-1: a line\n{"message":"json"}\n'


def test_what_a_process_tells_is_what_its_supervisor_reads(capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever the sentence holds."""
    reason = EndReason('one "sentence"\nand another, ü', 75)
    tell_end(reason)
    tell_beat()
    told, beat = capfd.readouterr().out.strip("\n").split("\n")
    assert read_end(told) == reason
    assert beat == BEAT
    assert read_end(f"{ENDED}{{") is None


def test_of_several_faults_the_one_to_be_mended_is_told() -> None:
    """The others may have come of it."""
    away, gone = EndReason("away", 75), EndReason("gone", 3)
    assert _worst([away, gone]) == gone
    assert _worst([away, EndReason("busy", 75)]) == away
    assert _worst([]) is None


def test_a_place_survives_the_command_line() -> None:
    """With how often the cluster was started again."""
    place = ClusterSlot(1, ("127.0.0.1:1", "127.0.0.1:2"), 42, 7)
    assert ClusterSlot.parse(str(place)) == place
