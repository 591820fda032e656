"""Context: adds the channel context to every message, in log order, before events are dealt to lanes."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import bytewax.operators as op
from bytewax.dataflow import Stream, operator
from bytewax.operators import StatefulBatchLogic

from dataflows.kafka.partitioner import partition_of
from dataflows.operators.decode import Decoded
from detectors.policy.sections import ChannelPolicy
from detectors.profiles.channels import Channels


class ContextLogic(StatefulBatchLogic[list[Decoded], list[Decoded], bytes]):
    """The channels of one source partition, which receives its events in log order.

    `lateness` and `ttl` (ms) are the policy's allowed lateness and profile TTL.
    """

    def __init__(self, channels: ChannelPolicy, lateness: int, ttl: int, snapshot: bytes | None) -> None:
        bounds = channels.remembered or 0, lateness, ttl
        self._channels = Channels(*bounds) if snapshot is None else Channels.load(snapshot, *bounds)

    def on_batch(self, values: list[list[Decoded]]) -> tuple[list[list[Decoded]], bool]:
        """Add the channel context to every message."""
        see = self._channels.see
        return [[Decoded(event, at, see(event)) for event, at, _ in chain.from_iterable(values)]], False

    def snapshot(self) -> bytes:
        """Return the channels as versioned bytes."""
        return self._channels.dump()


@operator
def context(
    step_id: str,
    up: Stream[list[Decoded]],
    channels: ChannelPolicy,
    lateness: int,
    ttl: int,
    as_partitions: int | None,
) -> Stream[list[Decoded]]:
    """Return the events as they came, each message with its channel context.

    `channels` sets the number of channels kept for each source partition, or for each of `as_partitions` partitions
    among which Kafka would distribute the users. `lateness` and `ttl` are as in `ContextLogic`.
    """

    def by_partition(batch: list[list[Decoded]]) -> Iterable[tuple[str, list[Decoded]]]:
        partitions: dict[int, list[Decoded]] = {}
        for decoded in chain.from_iterable(batch):
            event, at, _ = decoded
            number = at.partition if as_partitions is None else partition_of(event.user_id, as_partitions)
            partitions.setdefault(number, []).append(decoded)
        return ((f"{number:04d}", events) for number, events in partitions.items())

    def unkeyed(batch: list[tuple[str, list[Decoded]]]) -> list[list[Decoded]]:
        return [events for _, events in batch]

    partitions = op.flat_map_batch("by_partition", up, by_partition)
    seen = op.stateful_batch("channels", partitions, lambda snapshot: ContextLogic(channels, lateness, ttl, snapshot))
    return op.flat_map_batch("told", seen, unkeyed)
