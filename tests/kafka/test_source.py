"""The live source against a real broker: order, resuming, idleness, back-pressure and loud failure."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bytewax import operators as op
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, cluster_main, run_main
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from dataflows.config.settings import KafkaSettings, TopicSettings
from dataflows.kafka.topics import BrokerError
from dataflows.runtime.clock import Steps, now_ms
from dataflows.sources.kafka.partition import FETCH, Input, ReadOptions
from dataflows.sources.kafka.rest import Rest
from dataflows.sources.kafka.source import InputError, MergedKafkaSource, MergedPartition, input_partitions
from schemas.records.base import CHAT, MODERATION, Raw
from tests.kit.kafka.logs import Inputs, Written, write

pytestmark = pytest.mark.kafka

MakeInputs = Callable[..., Inputs]
DEADLINE_SECONDS = 20.0


def _backlog(users: int = 40, records: int = 1_500) -> tuple[list[Written], list[Written]]:
    """A backlog: each record of either topic has a time of its own, and its value says which it is."""
    chat = [Written(f"u{n * 7 % users}", 1_000 + 10 * n, b"c%d" % n) for n in range(records)]
    moderation = [Written(f"u{n * 11 % users}", 1_005 + 40 * n, b"m%d" % n) for n in range(records // 4)]
    return chat, moderation


def _flow(source: MergedKafkaSource, out: list[Raw], step: Callable[[Raw], Raw] = lambda raw: raw) -> Dataflow:
    flow = Dataflow("test")
    stream = op.input("in", flow, source)
    op.output("out", op.map("step", stream, step), TestingSink(out))
    return flow


def _until(
    part: MergedPartition, enough: Callable[[list[Raw]], bool], look: Callable[[], list[Raw]] | None = None
) -> list[Raw]:
    """What the partition gives until it is enough."""
    got: list[Raw] = []
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not enough(got):
        assert time.monotonic() < deadline, f"only {len(got)} records came"
        got += (look or part.next_batch)()
    return got


def _rest(part: MergedPartition) -> list[Raw]:
    """What the partition gives until it completes."""
    got: list[Raw] = []
    deadline = time.monotonic() + DEADLINE_SECONDS
    try:
        while time.monotonic() < deadline:
            got += part.next_batch()
    except StopIteration:
        part.close()
        return got
    raise AssertionError(f"it did not complete; {len(got)} records came")


@pytest.mark.parametrize("batch_size", [1, 100, 10_000])
def test_every_users_chat_and_sanctions_come_in_order_when_catching_up(
    make_inputs: MakeInputs, batch_size: int
) -> None:
    """After downtime both backlogs arrive whole and, for every user across both topics, in the order of time."""
    inputs = make_inputs(4)
    chat, moderation = _backlog()
    inputs.chat(chat)
    inputs.moderation(moderation)
    out: list[Raw] = []
    run_main(_flow(MergedKafkaSource(*inputs, batch_size=batch_size, stop_at_end=True), out))
    assert sorted((r.key, r.received, r.value) for r in out) == sorted(
        (w.user.encode(), w.time, w.value) for w in chat + moderation
    )
    assert {
        raw.subject for raw in out if raw.value is not None and isinstance(raw.value, bytes) and raw.value[:1] == b"c"
    } == {CHAT}
    by_user, by_partition = defaultdict(list), defaultdict(list)
    for raw in out:
        by_user[raw.key].append(raw.received)
        by_partition[raw.at.partition].append(raw.at.seq)
    assert all(times == sorted(times) for times in by_user.values())
    assert len(by_partition) == 4
    assert all(seqs == list(range(len(seqs))) for seqs in by_partition.values())


def test_several_workers_share_the_partitions(make_inputs: MakeInputs) -> None:
    """With two workers every record still arrives exactly once, and a partition's records in order."""
    inputs = make_inputs(4)
    chat, moderation = _backlog(records=400)
    inputs.chat(chat)
    inputs.moderation(moderation)
    out: list[Raw] = []
    cluster_main(_flow(MergedKafkaSource(*inputs, stop_at_end=True), out), [], 0, worker_count_per_proc=2)
    assert len(out) == len({(raw.at.topic, raw.at.partition, raw.at.offset) for raw in out}) == 500
    for partition in range(4):
        times = [raw.received for raw in out if raw.at.partition == partition]
        assert times == sorted(times)


def test_an_idle_topic_does_not_block_the_other(make_inputs: MakeInputs) -> None:
    """A topic at the end of its log is not waited for, whichever it is, and is heard again when it has something."""
    inputs = make_inputs()
    part = MergedKafkaSource(*inputs).build_part("in", "00000", None)
    inputs.chat([Written("u1", 2_000, b"first")])
    assert [raw.value for raw in _until(part, bool)] == [b"first"]
    inputs.moderation([Written("u1", 1_000, b"second")])
    assert [raw.value for raw in _until(part, bool)] == [b"second"]
    inputs.chat([Written("u1", 3_000, b"third")])
    third = _until(part, bool)
    assert [(raw.value, raw.at.seq) for raw in third] == [(b"third", 2)]
    part.close()


class Hands:
    """A monotonic clock that is moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000_000
        for module in ("rest", "partition"):
            monkeypatch.setattr(f"dataflows.sources.kafka.{module}.monotonic_ms", lambda: self.now)

    def next_look(self, part: MergedPartition, poll_ms: int) -> list[Raw]:
        """What the partition gives when its poll interval is over."""
        self.now += poll_ms - self.now % poll_ms
        return part.next_batch()


def test_a_partition_that_found_little_rests_until_its_poll_interval_is_over(
    make_inputs: MakeInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an empty or a small batch it gives nothing until then, whatever there is; after a larger one, at once."""
    inputs, hands = make_inputs(), Hands(monkeypatch)
    part = MergedKafkaSource(*inputs, batch_size=100, poll_ms=60_000).build_part("in", "00000", None)
    assert part.next_batch() == []
    inputs.chat([Written("u1", 1_000)])
    for _ in range(200):
        assert part.next_batch() == []
    assert _until(part, bool, lambda: hands.next_look(part, 60_000))
    inputs.chat([Written("u1", 2_000)] * 190)
    assert part.next_batch() == []
    _until(part, lambda got: len(got) >= 90, lambda: hands.next_look(part, 60_000))
    assert part.next_batch()
    part.close()


@pytest.mark.parametrize("step", [-3_600_000, 3_600_000])
def test_a_wall_clock_that_steps_neither_stops_the_source_nor_ends_it(
    make_inputs: MakeInputs, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """An hour back or forward, as when a machine is restored: records come on, and the engine is told no moment."""
    inputs = make_inputs()
    part = MergedKafkaSource(*inputs).build_part("in", "00000", None)
    inputs.chat([Written("u1", 1_000)])
    assert len(_until(part, bool)) == 1
    monkeypatch.setattr("dataflows.sources.kafka.partition.now_ms", lambda: now_ms() + step)
    inputs.chat([Written("u1", 2_000)])
    assert [raw.received for raw in _until(part, bool)] == [2_000]
    assert part.next_awake().timestamp() == 0
    part.close()


def test_resuming_from_any_snapshot_loses_nothing_and_doubles_nothing(make_inputs: MakeInputs) -> None:
    """Stopped after a few records, whatever was read ahead, the pieces make the uninterrupted run, seq and all."""
    inputs = make_inputs()
    chat, moderation = _backlog(records=200)
    inputs.chat(chat)
    inputs.moderation(moderation)
    straight = _rest(MergedKafkaSource(*inputs, stop_at_end=True).build_part("in", "00000", None))
    assert len(straight) == 250
    pieces: list[Raw] = []
    state = None
    for size in (1, 7, 40, 3, 99):
        part = MergedKafkaSource(*inputs, batch_size=size).build_part("in", "00000", state)
        pieces += _until(part, bool)
        state = part.snapshot()
        part.close()
    pieces += _rest(MergedKafkaSource(*inputs, stop_at_end=True).build_part("in", "00000", state))
    assert pieces == straight


def test_a_record_that_the_client_hands_out_again_is_not_given_twice(make_inputs: MakeInputs) -> None:
    """After an outage the client is told to read on from where we are; should it step back further, nothing doubles."""
    inputs = make_inputs()
    inputs.chat([Written("u1", 1_000 + n) for n in range(5)])
    part = MergedKafkaSource(*inputs).build_part("in", "00000", None)
    _until(part, lambda got: len(got) == 5)
    part._consumer.seek(TopicPartition(inputs.topics.chat_messages, 0, 2))
    inputs.chat([Written("u1", 2_000)])
    assert [(raw.at.offset, raw.at.seq) for raw in _until(part, bool)] == [(5, 5)]
    part.close()


def test_a_snapshot_is_plain_versioned_data(make_inputs: MakeInputs) -> None:
    """What recovery keeps is numbers and names, so that moving a class never breaks a store."""
    inputs = make_inputs()
    inputs.chat([Written("u1", 1_000)] * 3)
    part = MergedKafkaSource(*inputs, batch_size=2).build_part("in", "00000", None)
    assert part.snapshot() == (2, ((inputs.topics.chat_messages, 0, ""), (inputs.topics.moderation_events, 0, "")), 0)
    _until(part, bool)
    assert part.snapshot() == (2, ((inputs.topics.chat_messages, 2, ""), (inputs.topics.moderation_events, 0, "")), 2)
    part.close()


def test_a_drained_flow_resumes_exactly(make_inputs: MakeInputs, tmp_path: Path) -> None:
    """Setting `stop` completes the flow with a last snapshot; the next run carries on at the very next record."""
    inputs = make_inputs(2)
    chat, moderation = _backlog(records=400)
    inputs.chat(chat)
    inputs.moderation(moderation)
    init_db_dir(tmp_path, 1)
    stop = threading.Event()
    out: list[Raw] = []

    def stop_in_the_middle(raw: Raw) -> Raw:
        if raw.at.seq == 60:
            stop.set()
        return raw

    source = MergedKafkaSource(*inputs, batch_size=10, stop=stop)
    run_main(_flow(source, out, stop_in_the_middle), recovery_config=RecoveryConfig(str(tmp_path)))
    drained = len(out)
    assert 60 < drained < 500
    source = MergedKafkaSource(*inputs, stop_at_end=True)
    run_main(_flow(source, out), recovery_config=RecoveryConfig(str(tmp_path)))
    places = [(raw.at.topic, raw.at.partition, raw.at.offset) for raw in out]
    assert len(places) == len(set(places)) == 500
    for partition in range(2):
        assert sorted(raw.at.seq for raw in out if raw.at.partition == partition) == list(
            range(sum(raw.at.partition == partition for raw in out))
        )


def test_a_catch_up_run_stops_at_the_end_there_was_when_it_began(make_inputs: MakeInputs) -> None:
    """With `stop_at_end`, what is written while reading is left for the next run."""
    inputs = make_inputs()
    inputs.chat([Written("u1", 1_000, b"before")])
    inputs.moderation([Written("u1", 1_001, b"before too")])
    part = MergedKafkaSource(*inputs, stop_at_end=True).build_part("in", "00000", None)
    inputs.chat([Written("u1", 1_002, b"after")])
    assert [raw.value for raw in _rest(part)] == [b"before", b"before too"]
    after = _rest(MergedKafkaSource(*inputs, stop_at_end=True).build_part("in", "00000", part.snapshot()))
    assert [(raw.value, raw.at.seq) for raw in after] == [(b"after", 2)]


def test_the_topic_that_runs_ahead_is_held_back(make_inputs: MakeInputs) -> None:
    """While the older topic is read, no more than the bound of the newer one is held, and all of it arrives after."""
    inputs = make_inputs()
    inputs.chat([Written("u1", 2_000_000 + n, b"x" * 100) for n in range(6 * FETCH)])
    inputs.moderation([Written("u1", 1_000_000 + n, b"y" * 100) for n in range(6 * FETCH)])
    part = MergedKafkaSource(*inputs, stop_at_end=True, read_ahead=50).build_part("in", "00000", None)
    held: list[int] = []
    emit = part._emit

    def watch(taken: Any) -> list[Raw]:
        held.extend(len(feed.items) for feed in part._feeds.values())
        return emit(taken)

    part._emit = watch
    got = _rest(part)
    assert 50 <= max(held) <= FETCH + 50
    assert [raw.received for raw in got] == [
        *range(1_000_000, 1_000_000 + 6 * FETCH),
        *range(2_000_000, 2_000_000 + 6 * FETCH),
    ]


def test_a_tombstone_passes_as_a_record_without_a_value(make_inputs: MakeInputs) -> None:
    """What has no value is for decode to judge, not for the source to skip."""
    inputs = make_inputs()
    inputs.chat([Written("u1", 1_000, None)])
    (raw,) = _rest(MergedKafkaSource(*inputs, stop_at_end=True).build_part("in", "00000", None))
    assert (raw.value, raw.key, raw.subject, raw.at.offset) == (None, b"u1", CHAT, 0)


def test_a_record_stamped_in_the_future_counts_as_received_now(make_inputs: MakeInputs) -> None:
    """A poisoned clock neither moves the reference for future timestamps nor holds back the records behind it."""
    inputs = make_inputs(**{"message.timestamp.after.max.ms": str(2**62)})
    tomorrow = now_ms() + 86_400_000
    inputs.chat([Written("u1", tomorrow, b"poison"), Written("u1", 1_000, b"behind it")])
    part = MergedKafkaSource(*inputs).build_part("in", "00000", None)
    poison, behind = _until(part, lambda got: len(got) == 2)
    part.close()
    assert (poison.value, behind.value, behind.received) == (b"poison", b"behind it", 1_000)
    assert poison.received is not None
    assert tomorrow - 86_400_000 <= poison.received <= now_ms()


def _slow(monkeypatch: pytest.MonkeyPatch, slow_ms: int) -> None:
    """Let this machine's clock be slow."""
    monkeypatch.setattr("dataflows.sources.kafka.partition.now_ms", lambda: now_ms() - slow_ms)


def test_a_slow_clock_rejects_nothing_and_stops_the_flow_before_a_record_is_passed(
    make_inputs: MakeInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the clock is right again the next start reads every record, with its own time; those before went on."""
    inputs, minute = make_inputs(), 60_000
    _slow(monkeypatch, 10 * minute)
    before = [Written("u1", now_ms() - 20 * minute, b"before")]
    ahead = [Written(f"u{number}", now_ms() - number, b"%d" % number) for number in range(25)]
    inputs.chat(before + ahead)
    part = MergedKafkaSource(*inputs).build_part("in", "00000", None)
    assert [raw.value for raw in _until(part, bool)] == [b"before"]
    inputs.moderation([Written("u1", now_ms() - 15 * minute, b"beside")])
    assert [raw.value for raw in _until(part, bool)] == [b"beside"]
    monkeypatch.setattr("dataflows.sources.kafka.slow_clock.PATIENCE_MS", 0)
    with pytest.raises(
        InputError, match=r"partition 0: the records of 25 users are [56]\d\d s ahead .* nothing is lost"
    ):
        _until(part, bool)
    state = part.snapshot()
    part.close()
    monkeypatch.undo()
    got = _rest(MergedKafkaSource(*inputs, stop_at_end=True).build_part("in", "00000", state))
    assert [(raw.value, raw.received) for raw in got] == [(record.value, record.time) for record in ahead]
    assert [raw.at.seq for raw in got] == list(range(2, 27))


def test_a_clock_that_is_set_right_in_time_lets_the_flow_go_on(
    make_inputs: MakeInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was held is dated as if the clock had been right when it was read."""
    inputs, minute = make_inputs(), 60_000
    _slow(monkeypatch, 10 * minute)
    ahead = [Written(f"u{number}", now_ms() - number, b"%d" % number) for number in range(25)]
    inputs.chat(ahead)
    part = MergedKafkaSource(*inputs).build_part("in", "00000", None)
    _until(part, lambda _: len(part._first.held) == 25)
    assert part.snapshot()[1][0][1] == 0
    monkeypatch.undo()
    assert [raw.received for raw in _until(part, bool)] == [record.time for record in ahead]
    part.close()


def test_a_single_wrong_clock_delays_nobody_but_its_owner(make_inputs: MakeInputs) -> None:
    """A record of next year waits until somebody else's says that it is alone, and both are given then."""
    inputs = make_inputs()
    inputs.chat([Written("poison", now_ms() + 600_000, b"poison")])
    part = MergedKafkaSource(*inputs).build_part("in", "00000", None)
    _until(part, lambda _: len(part._first.held) == 1)
    inputs.moderation([Written("u1", now_ms(), b"beside")])
    assert [raw.value for raw in _until(part, bool)] == [b"beside"]
    inputs.chat([Written("u1", now_ms(), b"behind")])
    assert [raw.value for raw in _until(part, lambda got: len(got) == 2)] == [b"poison", b"behind"]
    inputs.chat([Written("poison", now_ms() + 600_000, b"again")])
    _until(part, lambda _: len(part._first.held) == 1)
    assert part.snapshot()[1][0][1] == 2
    part.close()
    got = _rest(MergedKafkaSource(*inputs, stop_at_end=True).build_part("in", "00000", part.snapshot()))
    assert [raw.value for raw in got] == [b"again"]


def test_unequal_partition_counts_stop_the_flow_with_advice(kafka: str, topics: Callable[..., str]) -> None:
    """Topics that are not side by side cannot keep a user's order, so the flow does not start."""
    names = TopicSettings(chat_messages=topics("chat", 2), moderation_events=topics("moderation", 3))
    source = MergedKafkaSource(KafkaSettings(bootstrap_servers=kafka), names, stop_at_end=True)
    with pytest.raises(BytewaxRuntimeError) as caught:
        run_main(_flow(source, []))
    error: BaseException | None = caught.value
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__
    assert str(error) == (
        f"Topic {names.chat_messages} has 2 partitions and {names.moderation_events} has 3, so that a user's chat and "
        "sanctions are not side by side: give both the same number and produce their records again."
    )


def test_a_missing_topic_stops_the_flow_and_is_not_made_by_looking(kafka: str, topics: Callable[..., str]) -> None:
    """Asking after a topic must not create it with whatever defaults the broker has."""
    names = TopicSettings(chat_messages=topics("chat"), moderation_events="nobody.made.this")
    for _ in range(2):
        with pytest.raises(InputError, match=r"^Topic nobody\.made\.this does not exist at .*topics create`\.$"):
            input_partitions(KafkaSettings(bootstrap_servers=kafka), names)


def test_no_broker_at_the_start_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody listens the flow ends with the address and what to check, not with a stack of clients."""
    monkeypatch.setattr("dataflows.kafka.topics.ANSWER_SECONDS", 0.5)
    with pytest.raises(BrokerError, match=r"could not be looked at .*check that Kafka runs at 127\.0\.0\.1:1 "):
        input_partitions(KafkaSettings(bootstrap_servers="127.0.0.1:1"), TopicSettings())


def _remove(admin: AdminClient, topic: str, before: int) -> None:
    for future in admin.delete_records([TopicPartition(topic, 0, before)]).values():
        future.result(10)


def test_resuming_at_an_offset_that_retention_removed_stops_with_advice(
    make_inputs: MakeInputs, admin: AdminClient
) -> None:
    """Records lost while the flow was down are never jumped over silently."""
    inputs = make_inputs()
    inputs.chat([Written("u1", 1_000 + n) for n in range(10)])
    part = MergedKafkaSource(*inputs, batch_size=2).build_part("in", "00000", None)
    _until(part, bool)
    state = part.snapshot()
    part.close()
    _remove(admin, inputs.topics.chat_messages, 5)
    with pytest.raises(InputError) as caught:
        MergedKafkaSource(*inputs).build_part("in", "00000", state)
    assert str(caught.value) == (
        f"Topic {inputs.topics.chat_messages} partition 0 no longer holds offset 2, where this flow left off, because "
        "retention removed it unread: start with a new recovery directory to go on from what is left, and keep records "
        "longer than the longest stop."
    )


def test_an_offset_removed_while_running_stops_with_the_same_advice(
    make_inputs: MakeInputs, admin: AdminClient
) -> None:
    """Retention may also overtake a flow that is running but slow; that too is loud."""
    inputs = make_inputs()
    inputs.chat([Written("u1", 1_000 + n) for n in range(10)])
    _remove(admin, inputs.topics.chat_messages, 5)
    chat = Input(inputs.topics.chat_messages, CHAT, 2, None)
    moderation = Input(inputs.topics.moderation_events, MODERATION, 0, None)
    config = MergedKafkaSource(*inputs)._consumer_config()
    part = MergedPartition(
        config, 0, chat, moderation, 2, ReadOptions(10, 20, 100, 100_000, None, Rest(), 300_000, Steps())
    )
    with pytest.raises(InputError, match="no longer holds offset 2, where this flow left off"):
        _until(part, lambda got: len(got) > 100)
    part.close()


def test_a_first_start_begins_at_the_earliest_record_there_is(make_inputs: MakeInputs, admin: AdminClient) -> None:
    """A new deployment on an old topic reads what retention left, and does not mistake the rest for a loss."""
    inputs = make_inputs()
    inputs.chat([Written("u1", 1_000 + n) for n in range(10)])
    _remove(admin, inputs.topics.chat_messages, 4)
    got = _rest(MergedKafkaSource(*inputs, stop_at_end=True).build_part("in", "00000", None))
    assert [raw.at.offset for raw in got] == [4, 5, 6, 7, 8, 9]
    assert [raw.at.seq for raw in got] == [0, 1, 2, 3, 4, 5]


def test_a_topic_made_anew_under_the_same_name_stops_with_advice(make_inputs: MakeInputs) -> None:
    """An offset beyond the end means another log; going on would skip its records until it grew that long."""
    inputs = make_inputs()
    state = (1, ((inputs.topics.chat_messages, 7), (inputs.topics.moderation_events, 0)), 7)
    with pytest.raises(InputError, match=r"partition 0 ends at offset 0, before offset 7 .* made anew or cut: restore"):
        MergedKafkaSource(*inputs).build_part("in", "00000", state)


def test_a_store_of_other_topics_or_of_another_format_is_refused(make_inputs: MakeInputs) -> None:
    """Positions of one pair of topics say nothing about another pair."""
    inputs = make_inputs()
    with pytest.raises(InputError, match="was written for the topics old and older, but the settings name chat"):
        MergedKafkaSource(*inputs).build_part("in", "00000", (1, (("old", 0), ("older", 0)), 0))
    with pytest.raises(InputError, match="source positions of format 3: run the version that wrote it"):
        MergedKafkaSource(*inputs).build_part("in", "00000", (3, (("old", 0), ("older", 0)), 0))


def _committed(admin: AdminClient, inputs: Inputs) -> dict[str, int]:
    request = [ConsumerGroupTopicPartitions(inputs.kafka.group_id)]
    (future,) = admin.list_consumer_group_offsets(request).values()
    return {found.topic: found.offset for found in future.result(10).topic_partitions}


def test_the_group_shows_what_was_emitted_and_no_more(make_inputs: MakeInputs, admin: AdminClient) -> None:
    """Lag dashboards see the positions of emitted records, during the run and after it, never those read ahead."""
    inputs = make_inputs()
    inputs.chat([Written("u1", 1_000 + n) for n in range(10)])
    inputs.moderation([Written("u1", 2_000 + n) for n in range(10)])
    part = MergedKafkaSource(*inputs, batch_size=3).build_part("in", "00000", None)
    _until(part, bool)
    part._commit_due = 0
    _until(part, bool)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while part._commits_open:
        assert time.monotonic() < deadline
        part._consumer.consume(1, 0.05)
    chat, moderation = inputs.topics.chat_messages, inputs.topics.moderation_events
    assert _committed(admin, inputs) == {chat: 6, moderation: 0}
    part.next_batch()
    part.close()
    assert _committed(admin, inputs) == {chat: 9, moderation: 0}


def test_the_groups_offsets_are_never_resumed_from(make_inputs: MakeInputs) -> None:
    """Without a recovery state the flow begins at the beginning, whatever the group says."""
    inputs = make_inputs()
    inputs.chat([Written("u1", 1_000 + n) for n in range(5)])
    for _ in range(2):
        got = _rest(MergedKafkaSource(*inputs, stop_at_end=True).build_part("in", "00000", None))
        assert [raw.at.offset for raw in got] == [0, 1, 2, 3, 4]


def test_records_of_an_aborted_transaction_are_not_read(make_inputs: MakeInputs, kafka: str) -> None:
    """What a producer took back never happened; the end of such a log is still found."""
    inputs = make_inputs()
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": inputs.kafka.group_id})
    producer.init_transactions(10)
    for commit in (True, False):
        producer.begin_transaction()
        producer.produce(inputs.topics.chat_messages, b"kept" if commit else b"aborted", b"u1", timestamp=1_000)
        producer.flush(10)
        producer.commit_transaction(10) if commit else producer.abort_transaction(10)
    part = MergedKafkaSource(*inputs, stop_at_end=True).build_part("in", "00000", None)
    assert [raw.value for raw in _rest(part)] == [b"kept"]
    write(kafka, inputs.topics.chat_messages, [Written("u1", 2_000, b"next")])
    part = MergedKafkaSource(*inputs, stop_at_end=True).build_part("in", "00000", part.snapshot())
    assert [raw.value for raw in _rest(part)] == [b"next"]
