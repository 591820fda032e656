"""Context in the flow: told in the order of the log, for each partition by itself, whoever asks."""

from __future__ import annotations

from collections.abc import Iterator

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, run_main

from dataflows.operators import context
from dataflows.operators.decode import Decoded
from dataflows.partitioner import partition_of
from detectors.channels import Channels
from schemas.records import ChatMessage, Position

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


def bundles(events: list[Decoded], batch: int) -> Iterator[list[tuple[str, list[Decoded]]]]:
    """What decode gives: a batch's events by user."""
    for begin in range(0, len(events), batch):
        users: dict[str, list[Decoded]] = {}
        for event in events[begin : begin + batch]:
            users.setdefault(event.event.user_id, []).append(event)
        yield list(users.items())


def flow(events: list[Decoded], batch: int, as_partitions: int | None) -> dict[str, Decoded]:
    """The events as they come out, by id."""
    out: list[tuple[str, list[Decoded]]] = []
    dataflow = Dataflow("context_test")
    source = op.input("source", dataflow, TestingSource(list(bundles(events, batch)), batch_size=1))
    keyed = op.flat_map("users", source, lambda users: users)
    op.output("out", context("context", keyed, 9, as_partitions), TestingSink(out))
    run_main(dataflow)
    assert all(user == decoded.event.user_id for user, bundle in out for decoded in bundle)
    for user in {user for user, _ in out}:
        seqs = [decoded.at.seq for who, bundle in out if who == user for decoded in bundle]
        assert seqs == sorted(seqs)
    return {decoded.event.event_id: decoded for _, bundle in out for decoded in bundle}


@pytest.mark.parametrize("batch", [1, 7, 500])
def test_messages_find_what_their_partition_has_seen_before_them_however_they_were_batched(batch: int) -> None:
    """Event by event in the order of the partition, and nothing of the other partitions."""
    events = log(200, PARTITIONS)
    channels = [Channels(9) for _ in range(PARTITIONS)]
    wanted = {e.event.event_id: e._replace(context=channels[e.at.partition].see(e.event)) for e in events}
    assert repr(flow(events, batch, None)[f"m{150}"]) == repr(wanted["m150"])
    assert {k: repr(v) for k, v in flow(events, batch, None).items()} == {k: repr(v) for k, v in wanted.items()}


def test_one_partition_told_to_be_many_finds_what_many_find() -> None:
    """So that a replay of a log can say what a run over so many partitions would."""
    many, one = flow(log(200, PARTITIONS), 20, None), flow(log(200, 1), 20, PARTITIONS)
    alone = flow(log(200, 1), 20, None)
    assert [repr(many[name].context) for name in many] == [repr(one[name].context) for name in many]
    assert [repr(many[name].context) for name in many] != [repr(alone[name].context) for name in many]
