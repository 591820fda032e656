"""Context: what every message finds in its channel, told in the order of the log, before the users part."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from operator import attrgetter

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic

from dataflows.operators.decode import Decoded
from dataflows.partitioner import partition_of
from detectors.channels import Channels

Users = dict[str, list[Decoded]]
"""A batch's events by user, each user's in order."""


class ContextLogic(StatefulBatchLogic[list[Decoded], Users, bytes]):
    """The channels of one source partition, told its events in their order."""

    def __init__(self, remembered: int, snapshot: bytes | None) -> None:
        self._channels = Channels(remembered) if snapshot is None else Channels.load(snapshot, remembered)

    def on_batch(self, values: list[list[Decoded]]) -> tuple[list[Users], bool]:
        """Add to every message what it finds."""
        see, users = self._channels.see, Users()
        for event, at, _ in chain.from_iterable(values):
            users.setdefault(event.user_id, []).append(Decoded(event, at, see(event)))
        return [users], False

    def snapshot(self) -> bytes:
        """The channels as versioned bytes."""
        return self._channels.dump()


@operator
def context(
    step_id: str, up: KeyedStream[list[Decoded]], remembered: int, as_partitions: int | None
) -> KeyedStream[list[Decoded]]:
    """Events by user, as they came, each message with what it found in its channel.

    `remembered` is how many channels are kept for each source partition, or for each of `as_partitions` among which
    Kafka would deal the users.
    """

    def by_partition(batch: list[tuple[str, list[Decoded]]]) -> Iterable[tuple[str, list[Decoded]]]:
        partitions: dict[int, list[Decoded]] = {}
        for user_id, bundle in batch:
            number = bundle[0].at.partition if as_partitions is None else partition_of(user_id, as_partitions)
            partitions.setdefault(number, []).extend(bundle)
        for partition, events in partitions.items():
            events.sort(key=_SEQ)
            yield f"{partition:04d}", events

    def by_user(batch: list[tuple[str, Users]]) -> list[tuple[str, list[Decoded]]]:
        return [bundle for _, users in batch for bundle in users.items()]

    partitions = op.flat_map_batch("by_partition", up, by_partition)
    told = op.stateful_batch("channels", partitions, lambda snapshot: ContextLogic(remembered, snapshot))
    return op.flat_map_batch("by_user", told, by_user)


_SEQ = attrgetter("at.seq")
