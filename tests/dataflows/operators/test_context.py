"""Context in the flow: told in the order of the log, for each partition by itself, whoever asks."""

from __future__ import annotations

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, run_main

from dataflows.kafka.partitioner import partition_of
from dataflows.operators import context
from dataflows.operators.decode import Decoded
from dataflows.testing import small_policy
from detectors.policy.sections import ChannelPolicy
from detectors.profiles.channels import Channels
from schemas.records.base import Position
from schemas.records.events import ChatMessage

PARTITIONS = 3


def log(length: int, partitions: int) -> list[Decoded]:
    """Ten users talking in two rooms, each user's messages in one of the partitions."""
    counts = [0] * partitions
    events = []
    for number in range(length):
        user = f"user-{number * 7 % 10}"
        partition = partition_of(user, partitions)
        fields = {"event_id": f"m{number}", "event_time": 1_000 * number, "user_id": user, "channel": f"c{number % 2}"}
        at = Position("chat", partition, counts[partition], counts[partition])
        counts[partition] += 1
        events.append(Decoded(ChatMessage.model_validate(fields), at))
    return events


def flow(events: list[Decoded], batch: int, as_partitions: int | None) -> dict[str, Decoded]:
    """The events as they come out, by id."""
    out: list[list[Decoded]] = []
    dataflow = Dataflow("context_test")
    batches = [events[begin : begin + batch] for begin in range(0, len(events), batch)]
    source = op.input("source", dataflow, TestingSource(batches, batch_size=1))
    policy = small_policy()
    bounds = ChannelPolicy(remembered=9), policy.allowed_lateness, policy.profile_ttl
    op.output("out", context("context", source, *bounds, as_partitions), TestingSink(out))
    run_main(dataflow)
    told = [decoded for batch in out for decoded in batch]
    for partition in {decoded.at.partition for decoded in told}:
        users = {decoded.event.user_id for decoded in told if decoded.at.partition == partition}
        for user in users:
            seqs = [decoded.at.seq for decoded in told if decoded.event.user_id == user]
            assert seqs == sorted(seqs)
    return {decoded.event.event_id: decoded for decoded in told}


@pytest.mark.parametrize("batch", [1, 7, 500])
def test_messages_find_what_their_partition_has_seen_before_them_however_they_were_batched(batch: int) -> None:
    """Event by event in the order of the partition, and nothing of the other partitions."""
    events = log(200, PARTITIONS)
    channels = [Channels(9) for _ in range(PARTITIONS)]
    wanted = {e.event.event_id: e._replace(context=channels[e.at.partition].see(e.event)) for e in events}
    assert {k: repr(v) for k, v in flow(events, batch, None).items()} == {k: repr(v) for k, v in wanted.items()}


def test_one_partition_told_to_be_many_finds_what_many_find() -> None:
    """So that a replay of a log can say what a run over so many partitions would."""
    many, one = flow(log(200, PARTITIONS), 20, None), flow(log(200, 1), 20, PARTITIONS)
    alone = flow(log(200, 1), 20, None)
    assert [repr(many[name].context) for name in many] == [repr(one[name].context) for name in many]
    assert [repr(many[name].context) for name in many] != [repr(alone[name].context) for name in many]
