"""Nothing older is written behind what the risk topic holds of a user, whatever a flow gives again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

from dataflows.config.settings import KafkaSettings, Settings
from dataflows.live.sinks import placing
from dataflows.sinks.kafka.exactly_once import ExactlyOnceSink, LeftOut, Placing, Plain, State, Writer
from dataflows.sinks.kafka.newest import Newest, Order
from dataflows.sinks.kafka.producer import Outgoing
from detectors.scoring.shard import Publication
from schemas.codec.outputs import Encoder
from schemas.records.base import Position
from schemas.records.decisions import RiskEvent, Tier, Tombstone, Trigger
from tests.kit.kafka.logs import read_committed

ORDERS = st.builds(Order, st.integers(0, 2**45), st.integers(0, 2), st.integers(0, 2**45))


@given(ORDERS, ORDERS)
def test_packed_orders_compare_as_orders_do(one: Order, other: Order) -> None:
    """They are kept as bytes, which take half the memory."""
    assert (one < other, one == other) == (one.packed() < other.packed(), one.packed() == other.packed())


def test_what_is_older_is_left_out_until_the_flow_has_passed_the_newest() -> None:
    """By its id given again, or by something newer; each key for itself."""
    newest = Newest()
    newest.read(b"ann", "a5", Order(50, 0, 5))
    newest.read(b"bob", "b5", Order(50, 0, 6))
    assert newest.is_older(b"ann", Order(40, 0, 4))
    newest.passes(b"ann", "a4")
    assert newest.is_older(b"ann", Order(50, 0, 4))
    newest.passes(b"ann", "a5")
    assert not newest.is_older(b"ann", Order(50, 0, 4))  # a clock that does not move, and a later event
    assert newest.is_older(b"bob", Order(50, 0, 6))
    assert not newest.is_older(b"bob", Order(50, 1, 0))  # moderation of the same moment is read after chat
    assert not newest.is_older(b"bob", Order(10, 0, 0))
    assert not newest.is_older(b"cid", Order(10, 0, 0))
    assert len(newest) == 0


def test_of_what_was_written_out_of_order_the_newest_counts() -> None:
    """A topic may hold an older record behind a newer one, from a version that did not look."""
    newest = Newest()
    newest.read(b"ann", "new", Order(50, 0, 5))
    newest.read(b"ann", "old", Order(40, 0, 4))
    assert newest.is_older(b"ann", Order(45, 0, 4))
    assert Newest(newest.state()).is_older(b"ann", Order(45, 0, 4))
    assert b"ann" in newest


class Verdict(NamedTuple):
    """An item for a writer: whose, as of when, and whether it is a tombstone."""

    user: str
    time: int
    gone: bool = False

    @property
    def name(self) -> str:
        return f"{self.user}-{self.time}"


PARTITIONS = 2
OF_VERDICTS = Placing[Verdict](
    lambda item: Order(item.time, 0, item.time),
    lambda message: (
        Order(int(dict(message.headers())["time"]), 0, int(dict(message.headers())["time"]))
        if message.headers()
        else None
    ),
)


def encode(item: Verdict) -> Outgoing:
    value = None if item.gone else str(item.time).encode()
    return Outgoing(item.user.encode(), value, None, (("time", str(item.time).encode()),))


class Build(NamedTuple):
    """Builds writers of a topic anew, as starts of a flow do."""

    kafka: str
    made: list[Writer[Verdict]]
    left_out: Counter[LeftOut]

    def __call__(self, topic: str, state: Plain | None = None, topic_id: str = "") -> Writer[Verdict]:
        sink = ExactlyOnceSink[Verdict](
            KafkaSettings(bootstrap_servers=self.kafka),
            topic,
            f"newest.{topic}",
            lambda item: item.name,
            encode,
            placing=OF_VERDICTS,
            topic_id=lambda: topic_id,
            on_left_out=lambda why: self.left_out.update([why]),
        )
        self.made.append(sink.build_part("risk", "writer", state))
        return self.made[-1]


@pytest.fixture
def build(kafka: str) -> Iterator[Build]:
    """A builder whose writers are closed."""
    builder = Build(kafka, [], Counter())
    yield builder
    for one in builder.made:
        one.close()


def table(kafka: str, topic: str) -> dict[str, str | None]:
    """What the topic says of each user to whoever reads it as a table."""
    found: dict[str, str | None] = {}
    for message in read_committed(kafka, topic):
        value = message.value()
        found[(message.key() or b"").decode()] = None if value is None else value.decode()
    return found


def written(kafka: str, topic: str) -> Counter[tuple[str, str]]:
    """How often each verdict is on the topic."""
    return Counter(
        ((message.key() or b"").decode(), (message.value() or b"gone").decode())
        for message in read_committed(kafka, topic)
    )


HISTORY = [Verdict(user, time) for time in range(1, 6) for user in ("ann", "bob", "cid")]
LEFT = [Verdict("ann", 5), Verdict("bob", 5), Verdict("cid", 5)]
"""What compaction leaves of the history."""


def test_what_compaction_removed_is_not_written_behind_the_newest(
    kafka: str, topics: Callable[..., str], build: Build
) -> None:
    """A flow that begins anew gives all of it again: older ones are left out and counted, what is new is written."""
    topic = topics("risk", PARTITIONS)
    first = build(topic)
    first.write_batch(LEFT)
    first.settle()
    again = build(topic)
    again.write_batch([*HISTORY, Verdict("ann", 6), Verdict("dan", 1)])
    again.settle()
    assert table(kafka, topic) == {"ann": "6", "bob": "5", "cid": "5", "dan": "1"}
    assert set(written(kafka, topic).values()) == {1}
    assert build.left_out == {"older": 12, "repeated": 3}


def test_a_backup_that_is_older_than_compaction_turns_nothing_back_either(
    kafka: str, topics: Callable[..., str], build: Build
) -> None:
    """It goes on behind its snapshot, and what was written since is compacted too."""
    topic = topics("risk", PARTITIONS)
    first = build(topic)
    first.write_batch([Verdict("ann", 1)])
    backup = first.snapshot()
    first.write_batch(LEFT)
    first.settle()
    again = build(topic, backup)
    again.write_batch([item for item in HISTORY if item != Verdict("ann", 1)])
    again.settle()
    assert table(kafka, topic) == {"ann": "5", "bob": "5", "cid": "5"}


@pytest.mark.parametrize("most", [10_000, 1], ids=["in the snapshot", "read back once more"])
def test_what_is_newest_is_remembered_over_restarts(
    kafka: str, topics: Callable[..., str], build: Build, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """However many lives it takes to come to it, and whether or not a snapshot has room for all keys."""
    monkeypatch.setattr("dataflows.sinks.kafka.exactly_once.MOST_IDS", most)
    topic = topics("risk", PARTITIONS)
    first = build(topic)
    first.write_batch(LEFT)
    first.settle()
    state = None
    for start in range(0, len(HISTORY), 4):
        life = build(topic, state)
        life.write_batch(HISTORY[start : start + 4])
        state = life.snapshot()
    assert table(kafka, topic) == {"ann": "5", "bob": "5", "cid": "5"}
    assert set(written(kafka, topic).values()) == {1}
    # what a life has written itself is not taken for something that a later one is still to come to
    life = build(topic, state)
    life.write_batch([Verdict("dan", 9, gone=True)])
    state = life.snapshot()
    life = build(topic, state)
    life.write_batch([Verdict("dan", 8)])
    life.settle()
    assert table(kafka, topic)["dan"] == "8"


def test_an_erasure_is_undone_by_no_older_verdict_and_forgets_no_newer_one(
    kafka: str, topics: Callable[..., str], build: Build
) -> None:
    """A tombstone is the newest like any record; one that is older than a user's return is not written behind it."""
    topic = topics("risk", PARTITIONS)
    first = build(topic)
    first.write_batch([Verdict("ann", 5, gone=True), Verdict("bob", 7)])
    first.settle()
    again = build(topic)
    again.write_batch([Verdict("ann", 4), Verdict("bob", 4), Verdict("bob", 5, gone=True)])
    again.write_batch([Verdict("ann", 5, gone=True), Verdict("bob", 7), Verdict("ann", 3)])
    again.settle()
    assert table(kafka, topic) == {"ann": "3", "bob": "7"}  # ann came back: it is behind her erasure in the flow


def test_a_flow_that_goes_on_carries_every_erasure_out(kafka: str, topics: Callable[..., str], build: Build) -> None:
    """Killed between a verdict and the erasure behind it, which a moderator's slower clock has dated before."""
    topic = topics("risk", PARTITIONS)
    first = build(topic)
    state = first.snapshot()
    first.write_batch([Verdict("ann", 5)])
    first.settle()
    again = build(topic, state)
    again.write_batch([Verdict("ann", 4, gone=True)])
    again.settle()
    assert table(kafka, topic) == {"ann": None}


def test_a_topic_made_anew_is_read_back_from_its_beginning(
    kafka: str, topics: Callable[..., str], build: Build
) -> None:
    """Offsets of the one before would leave out what it holds."""
    old, new = topics("risk", PARTITIONS), topics("risk", PARTITIONS)
    first = build(old, None, "one")
    first.write_batch([Verdict("ann", time) for time in range(1, 20)])
    state = first.snapshot()
    assert State(*state).topic_id == "one"
    build(new, None, "two").write_batch(LEFT)
    build.made[-1].settle()
    again = build(new, state, "two")
    again.write_batch(LEFT)
    again.settle()
    assert set(written(kafka, new).values()) == {1}
    assert State(*again.snapshot()).topic_id == "two"


def test_publications_and_records_are_placed_alike() -> None:
    """By as-of time, topic and offset of the trigger; a tombstone's record by when it was written, and the skew."""
    settings = Settings(kafka=KafkaSettings(bootstrap_servers="nowhere:9092"))
    at = Position(settings.topics.moderation_events, 3, 77, 100)
    event = RiskEvent(
        risk_event_id="x",
        user_id="ann",
        as_of=1_000,
        tier=Tier.HIGH,
        previous_tier=Tier.NONE,
        probability=0.9,
        target="t",
        horizon_ms=1,
        expires_at=2_000,
        reasons=(),
        model="m",
        model_version="v",
        learned_until=None,
        model_note="ok",
        policy="p",
        policy_version="v",
        trigger=Trigger(event_id="e", topic=at.topic, partition=3, offset=77),
    )
    of_item, of_record = placing(settings)
    record = Message(value=Encoder("risk_event").encode(event), key=b"ann", timestamp=(1, 5_000))
    assert of_item(Publication(at, event)) == of_record(record) == Order(1_000, 1, 77)
    assert of_item(Publication(at._replace(topic="chat"), event)) == Order(1_000, 0, 77)
    assert of_item(Publication(at, Tombstone(user_id="ann", as_of=9))) == Order(9, 1, 77)
    assert of_record(Message(value=None, key=b"ann", timestamp=(1, 5_000))) == Order(305_000, 1, 0)
    assert of_record(Message(value=b"something else", key=b"ann", timestamp=(1, 5_000))) is None
