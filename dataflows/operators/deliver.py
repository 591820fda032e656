"""Deliver: a lane's batches are handed to the broker as they come, and the end of an epoch waits until it has them.

The engine's stateless sinks hear of no epoch, so they would have to wait for each batch, and everything with them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, Generic, Protocol, TypeVar

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic
from bytewax.outputs import DynamicSink, Sink

from detectors.base.state import known_version, pack

X = TypeVar("X")

STATE_VERSION = 1
"""Version of a snapshot, which says nothing: all is delivered once it is there."""


class Delivery(Protocol[X]):
    """Where one worker hands over what is to be written."""

    def hand_over(self, items: list[X], /) -> None:
        """Begin to write items; raises what became of earlier ones, if that is known to be nothing good."""

    def settle(self) -> None:
        """Return when all that was handed over is written, or raise."""


class DeliverySink(DynamicSink[X], Generic[X]):
    """A sink that need not be waited for with every batch."""

    @abstractmethod
    def delivery(self) -> Delivery[X]:
        """That of this worker, which has built its part."""


class DeliverLogic(StatefulBatchLogic[X, Any, bytes]):
    """One lane's batches on their way."""

    def __init__(self, delivery: Delivery[X], snapshot: bytes | None) -> None:
        self._delivery = delivery
        if snapshot is not None:
            known_version(snapshot, STATE_VERSION, "delivery")

    def on_batch(self, values: list[X]) -> tuple[Iterable[Any], bool]:
        """Hand them over."""
        self._delivery.hand_over(values)
        return [], False

    def snapshot(self) -> bytes:
        """Nothing, once all of the epoch is written: a run that resumes begins behind it, and one that ends is over."""
        self._delivery.settle()
        return pack({}, STATE_VERSION)


@operator
def deliver(step_id: str, up: KeyedStream[X], sink: Sink[X]) -> None:
    """Write what lanes give to a sink, and wait for it no more often than it asks for."""
    if isinstance(sink, DeliverySink):
        up = op.stateful_batch("lanes", up, lambda snapshot: DeliverLogic(sink.delivery(), snapshot))
    op.output("output", op.key_rm("unkeyed", up), sink)
