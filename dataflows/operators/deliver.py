"""Deliver: hands a lane's batches to the broker as they come; the end of an epoch waits until the broker has them.

The engine's stateless sinks are not notified of epochs, so they would have to wait for each batch, and the flow with
them.
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
"""Version of a snapshot, which is empty: once it exists, everything is delivered."""


class Delivery(Protocol[X]):
    """One worker's handle for writing items asynchronously."""

    def hand_over(self, items: list[X], /) -> None:
        """Start to write items; raise the error of earlier items if they are known to have failed."""

    def settle(self) -> None:
        """Wait until all items that were handed over are written, or raise."""


class DeliverySink(DynamicSink[X], Generic[X]):
    """A sink that does not require waiting for every batch."""

    @abstractmethod
    def delivery(self) -> Delivery[X]:
        """Return the current worker's delivery handle."""


class DeliverLogic(StatefulBatchLogic[X, Any, bytes]):
    """One lane's batches in delivery."""

    def __init__(self, delivery: Delivery[X], snapshot: bytes | None) -> None:
        self._delivery = delivery
        if snapshot is not None:
            known_version(snapshot, STATE_VERSION, "delivery")

    def on_batch(self, values: list[X]) -> tuple[Iterable[Any], bool]:
        """Hand over the batches."""
        self._delivery.hand_over(values)
        return [], False

    def snapshot(self) -> bytes:
        """Wait until all items of the epoch are written; return an empty state.

        A run that resumes continues after the epoch, and a run that ends is complete.
        """
        self._delivery.settle()
        return pack({}, STATE_VERSION)


@operator
def deliver(step_id: str, up: KeyedStream[X], sink: Sink[X]) -> None:
    """Write the lanes' output to a sink, and wait for it no more often than the sink requires."""
    if isinstance(sink, DeliverySink):
        up = op.stateful_batch("lanes", up, lambda snapshot: DeliverLogic(sink.delivery(), snapshot))
    op.output("output", op.key_rm("unkeyed", up), sink)
