"""Whatever a step raises is noted before the engine makes a panic of it, wherever in the flow that is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, FixedPartitionedSink, StatefulSinkPartition, StatelessSinkPartition

from dataflows.kafka.topics import TopicError
from dataflows.recovery.errors import errors_explained
from dataflows.runtime import errors as faults
from dataflows.runtime.engine import run_flow

PLACES = (
    "list_parts",
    "source build_part",
    "next_batch",
    "source snapshot",
    "mapper",
    "lazy mapper",
    "builder",
    "on_batch",
    "logic snapshot",
    "on_eof",
    "sink list_parts",
    "sink build_part",
    "sink write_batch",
    "sink snapshot",
    "build",
    "write_batch",
    "close",
)
"""Every callback of ours that the engine calls."""


class Broken:
    """Raises where it is told to."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.error = TopicError(f"broken at {place}")

    def at(self, place: str) -> None:
        if place == self.place:
            raise self.error


class Source(FixedPartitionedSource[int, int]):
    def __init__(self, broken: Broken) -> None:
        self.broken = broken

    def list_parts(self) -> list[str]:
        self.broken.at("list_parts")
        return ["0", "1"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> SourcePart:
        del step_id, for_part, resume_state
        self.broken.at("source build_part")
        return SourcePart(self.broken)


class SourcePart(StatefulSourcePartition[int, int]):
    def __init__(self, broken: Broken) -> None:
        self.broken, self.left = broken, 3

    def next_batch(self) -> list[int]:
        self.broken.at("next_batch")
        if not self.left:
            raise StopIteration
        self.left -= 1
        return [1]

    def snapshot(self) -> int:
        self.broken.at("source snapshot")
        return 0


class Logic(StatefulBatchLogic[Any, Any, bytes]):
    def __init__(self, broken: Broken) -> None:
        broken.at("builder")
        self.broken = broken

    def on_batch(self, values: list[Any]) -> tuple[list[Any], bool]:
        self.broken.at("on_batch")
        return values, False

    def on_eof(self) -> tuple[list[Any], bool]:
        self.broken.at("on_eof")
        return [], False

    def snapshot(self) -> bytes:
        self.broken.at("logic snapshot")
        return b""


class Keyed(FixedPartitionedSink[Any, int]):
    def __init__(self, broken: Broken) -> None:
        self.broken = broken

    def list_parts(self) -> list[str]:
        self.broken.at("sink list_parts")
        return ["0"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> KeyedPart:
        del step_id, for_part, resume_state
        self.broken.at("sink build_part")
        return KeyedPart(self.broken)


class KeyedPart(StatefulSinkPartition[Any, int]):
    def __init__(self, broken: Broken) -> None:
        self.broken = broken

    def write_batch(self, values: list[Any]) -> None:
        del values
        self.broken.at("sink write_batch")

    def snapshot(self) -> int:
        self.broken.at("sink snapshot")
        return 0


class Plain(DynamicSink[Any]):
    def __init__(self, broken: Broken) -> None:
        self.broken = broken

    def build(self, step_id: str, worker_index: int, worker_count: int) -> PlainPart:
        del step_id, worker_index, worker_count
        self.broken.at("build")
        return PlainPart(self.broken)


class PlainPart(StatelessSinkPartition[Any]):
    def __init__(self, broken: Broken) -> None:
        self.broken = broken

    def write_batch(self, items: list[Any]) -> None:
        del items
        self.broken.at("write_batch")

    def close(self) -> None:
        self.broken.at("close")


def flow_with(broken: Broken) -> Dataflow:
    """A flow with a step of every kind that forewarn uses."""

    def mapper(batch: list[int]) -> list[tuple[str, int]]:
        broken.at("mapper")
        return [(str(number), number) for number in batch]

    def lazy_mapper(batch: list[tuple[str, int]]) -> Iterator[tuple[str, int]]:
        for item in batch:
            broken.at("lazy mapper")
            yield item

    flow = Dataflow("broken")
    numbers = op.input("source", flow, Source(broken))
    keyed = op.flat_map_batch("mapper", numbers, mapper)
    keyed = op.flat_map_batch("lazy_mapper", keyed, lazy_mapper)
    stated = op.stateful_batch("logic", keyed, lambda _state: Logic(broken))
    op.output("keyed", stated, Keyed(broken))
    op.output("plain", op.key_rm("unkeyed", stated), Plain(broken))
    return flow


@pytest.fixture(autouse=True)
def _nothing_noted() -> Iterator[None]:
    faults.clear()
    yield
    faults.clear()


@pytest.mark.parametrize("place", PLACES)
def test_what_a_callback_raises_is_noted(place: str) -> None:
    """In the words in which it was raised, and it still ends the flow."""
    broken = Broken(place)
    flow = flow_with(broken)
    faults.watch(flow)
    with pytest.raises(BaseException):  # noqa: B017, PT011 - a panic of the engine's has no public class
        run_flow(flow)
    assert faults.first() is broken.error


def test_a_flow_that_ends_in_order_has_noted_nothing() -> None:
    """Neither the end of a source counts, nor the end of the flow."""
    flow = flow_with(Broken("nowhere"))
    faults.watch(flow)
    run_flow(flow)
    assert faults.first() is None


def test_the_first_error_counts() -> None:
    """What fails in its wake is not the cause."""
    first, second = TopicError("first"), TopicError("second")
    assert faults.note(first) is first
    assert faults.note(second) is second
    assert faults.first() is first


class PanicException(BaseException):
    """What the engine raises where a thread of its own died."""


def test_a_panic_is_answered_with_the_error_that_was_noted() -> None:
    """With a recovery directory or without; a panic without one is passed on as it came."""
    cause = faults.note(TopicError("gone"))
    with pytest.raises(TopicError) as raised, errors_explained(None):
        raise PanicException("Send thread panic: Any { .. }")
    assert raised.value is cause
    faults.clear()
    with pytest.raises(PanicException), errors_explained(None):
        raise PanicException("Send thread panic: Any { .. }")


class Turns:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def built(self) -> None:
        self.told.append("built")

    def began(self) -> None:
        self.told.append("began")

    def turned(self) -> None:
        self.told.append("turned")

    def ended(self) -> None:
        self.told.append("ended")


def test_a_flow_tells_that_it_moves() -> None:
    """Each source partition begins, is asked for records, and ends; each sink is built."""
    turns = Turns()
    flow = flow_with(Broken("nowhere"))
    faults.watch(flow, turns)
    run_flow(flow)
    assert [turns.told.count(word) for word in ("began", "ended", "built", "turned")] == [2, 2, 2, 8]
