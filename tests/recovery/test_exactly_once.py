"""The risk sink on a real broker: each id once, whatever was written, forgotten or taken over in between."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event

import pytest

from dataflows.config.settings import KafkaSettings
from dataflows.kafka.topics import BrokerError
from dataflows.recovery.lock import StoreError
from dataflows.sinks.kafka.exactly_once import ID, ExactlyOnceSink, Plain, State, Writer
from dataflows.sinks.kafka.producer import DeliveryFailed, Outgoing, not_taken
from dataflows.sinks.kafka.transactions import FencedOutError, LeaseExpired, Transactions
from tests.kit.kafka.logs import read_committed

pytestmark = pytest.mark.kafka

PARTITIONS = 3


@pytest.fixture
def topic(topics: Callable[..., str]) -> str:
    return topics("risk", PARTITIONS)


@pytest.fixture
def writer(kafka: str, topic: str) -> Iterator[Callable[..., Writer[str]]]:
    """Build the writer anew, as a start of the flow does."""
    made: list[Writer[str]] = []

    def build(state: Plain | None = None, *, delivery_timeout_ms: int = 20_000, to: str = topic) -> Writer[str]:
        settings = KafkaSettings(bootstrap_servers=kafka, delivery_timeout_ms=delivery_timeout_ms)
        sink = ExactlyOnceSink[str](settings, to, f"test.{topic}", lambda item: item, encode)
        [part] = sink.list_parts()
        made.append(sink.build_part("risk", part, state))
        return made[-1]

    yield build
    for one in made:
        one.close()


def encode(item: str) -> Outgoing:
    """A message keyed so that items go to all partitions."""
    return Outgoing(item.encode(), b"" if item.startswith("empty") else b"value of " + item.encode(), None)


def committed(kafka: str, topic: str) -> list[str]:
    """The ids a reader of committed records sees, once for each record."""
    return sorted(dict(message.headers() or ())[ID].decode() for message in read_committed(kafka, topic))


def numbered(first: int, last: int) -> list[str]:
    return [f"item-{number:04d}" for number in range(first, last)]


def test_what_was_written_after_the_snapshot_is_not_written_again(
    kafka: str, topic: str, writer: Callable[..., Writer[str]]
) -> None:
    """Killed behind its snapshot, and given the same items again in other batches, it adds only what was missing."""
    first = writer()
    first.write_batch(numbered(0, 100))
    state = first.snapshot()
    first.write_batch(numbered(100, 250))
    first.settle()
    again = writer(state)
    for start in range(100, 400, 30):
        again.write_batch(numbered(start, min(start + 30, 400)))
    again.settle()
    assert committed(kafka, topic) == numbered(0, 400)


def test_a_snapshot_is_where_reading_back_begins(kafka: str, topic: str, writer: Callable[..., Writer[str]]) -> None:
    """It reads back what came after it and nothing before: an id that the flow gives anew on purpose is written."""
    first = writer()
    first.write_batch(numbered(0, 60))
    snapshot = first.snapshot()
    state = State(*snapshot)
    assert (state.version, state.ids, state.newest) == (2, [], [])
    assert sum(state.since.values()) >= 60
    again = writer(snapshot)
    again.write_batch(numbered(0, 3))
    again.settle()
    assert committed(kafka, topic) == sorted(numbered(0, 60) + numbered(0, 3))


def test_without_a_snapshot_the_whole_topic_is_read_back(
    kafka: str, topic: str, writer: Callable[..., Writer[str]]
) -> None:
    """Killed before its first snapshot, or started with a new recovery directory, it doubles nothing."""
    first = writer()
    first.write_batch(numbered(0, 500))
    first.settle()
    again = writer()
    again.write_batch(numbered(0, 510))
    again.settle()
    assert committed(kafka, topic) == numbered(0, 510)


@pytest.mark.parametrize("most", [10_000, 5], ids=["ids in the snapshot", "read back once more"])
def test_what_is_read_back_is_left_out_however_many_lives_it_takes(
    kafka: str, topic: str, writer: Callable[..., Writer[str]], monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Each life gives a part of what was written before, snapshots, and is killed: still each id is there once."""
    monkeypatch.setattr("dataflows.sinks.kafka.exactly_once.MOST_IDS", most)
    first = writer()
    first.write_batch(numbered(0, 10))
    state = first.snapshot()
    first.write_batch(numbered(10, 50))
    first.settle()
    for start in range(10, 60, 7):
        life = writer(state)
        life.write_batch(numbered(start, min(start + 7, 60)))
        state = life.snapshot()
    assert committed(kafka, topic) == numbered(0, 60)
    assert State(*state).ids == []


def test_what_waits_from_an_earlier_life_is_not_forgotten_when_much_is_read_back(
    kafka: str, topic: str, writer: Callable[..., Writer[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids of a snapshot lie before where it reads back from, so a later snapshot has to carry them on."""
    monkeypatch.setattr("dataflows.sinks.kafka.exactly_once.MOST_IDS", 5)
    first = writer()
    state = first.snapshot()
    first.write_batch(numbered(0, 4))
    first.settle()
    second = writer(state)
    state = second.snapshot()
    assert State(*state).ids == numbered(0, 4)
    second.write_batch(numbered(4, 40))
    second.settle()
    third = writer(state)
    again = writer(third.snapshot())
    again.write_batch(numbered(0, 50))
    again.settle()
    assert committed(kafka, topic) == numbered(0, 50)


def test_a_second_instance_fences_the_first_out_and_doubles_nothing(
    kafka: str, topic: str, writer: Callable[..., Writer[str]]
) -> None:
    """From the moment the second has the transactional id, the first cannot write, says so, and nothing is lost."""
    first = writer()
    first.write_batch(numbered(0, 10))
    first.settle()
    second = writer()
    first.write_batch(numbered(10, 20))
    with pytest.raises(FencedOutError, match=r"Another instance of this deployment .* now writes .* doubled nothing"):
        first.snapshot()
    second.write_batch(numbered(0, 30))
    second.settle()
    assert committed(kafka, topic) == numbered(0, 30)


def test_a_batch_the_broker_refuses_is_written_not_even_in_part(
    kafka: str, topics: Callable[..., str], writer: Callable[..., Writer[str]]
) -> None:
    """A message too large for the topic fails its whole batch; the next start writes all of it."""
    small = topics("small", PARTITIONS, **{"max.message.bytes": "1000"})
    narrow = writer(to=small)
    narrow.write_batch(numbered(0, 5))
    narrow.write_batch(["one", random.Random(1).randbytes(2_000).hex(), "three"])
    with pytest.raises(DeliveryFailed, match=r"did not take 3 messages .*max.message.bytes"):
        narrow.write_batch(["four"])
    assert committed(kafka, small) == numbered(0, 5)
    again = writer(to=small)
    again.write_batch([*numbered(0, 5), "one", "three"])
    again.settle()
    assert committed(kafka, small) == sorted([*numbered(0, 5), "one", "three"])


def test_the_flow_goes_on_while_a_batch_is_written_and_a_snapshot_waits_for_it(
    kafka: str, topic: str, writer: Callable[..., Writer[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the broker takes: what a snapshot says is written is there."""
    begun, answered = Event(), Event()
    write = Transactions.write

    def slowly(self: Transactions, batch: Sequence[tuple[str, Outgoing]]) -> dict[tuple[str, int], int]:
        begun.set()
        assert answered.wait(60)
        return write(self, batch)

    monkeypatch.setattr(Transactions, "write", slowly)
    one = writer()
    one.write_batch(numbered(0, 20))
    assert begun.wait(60)
    assert committed(kafka, topic) == []
    with ThreadPoolExecutor(1) as beside:
        snapshot = beside.submit(one.snapshot)
        answered.set()
        state = State(*snapshot.result(60))
    assert committed(kafka, topic) == numbered(0, 20)
    assert (sum(state.since.values()) >= 20, state.ids) == (True, [])


def test_a_missing_topic_is_named_with_what_to_do(writer: Callable[..., Writer[str]]) -> None:
    """Before anything is written."""
    with pytest.raises(BrokerError, match=r"Topic absent does not exist at .*: run `forewarn topics create`"):
        writer(to="absent")


@pytest.mark.parametrize(("stood", "error"), [(29.0, FencedOutError), (31.0, LeaseExpired)])
def test_a_transaction_that_was_open_for_too_long_is_told_from_another_instance(
    kafka: str, topic: str, monkeypatch: pytest.MonkeyPatch, stood: float, error: type[Exception]
) -> None:
    """Kafka says the same of both; a process that stood still may start again, one that was replaced may not."""
    settings = KafkaSettings(bootstrap_servers=kafka)

    def take() -> Transactions:
        failed = partial(not_taken, settings, topic)
        return Transactions(settings, topic, patience_ms=20_000, lease_ms=30_000, fenced="another", failed=failed)

    first = take()
    produce = first._produce

    def stand_still(topic: str, message: Outgoing, reached: dict[tuple[str, int], int]) -> None:
        first._begun -= stood
        produce(topic, message, reached)

    monkeypatch.setattr(first, "_produce", stand_still)
    take()  # so that Kafka refuses the first
    with pytest.raises(error):
        first.write([(topic, Outgoing(b"k", b"v", None))])


def test_a_state_of_another_format_is_refused(writer: Callable[..., Writer[str]]) -> None:
    """A newer version's positions are not guessed at."""
    with pytest.raises(StoreError, match="output positions of format 9: run the version that wrote it"):
        writer((9, {}, []))


def test_a_state_of_the_version_before_is_read(kafka: str, topic: str, writer: Callable[..., Writer[str]]) -> None:
    """It had no more than where to read back from, and the ids to leave out."""
    first = writer()
    first.write_batch(numbered(0, 10))
    since = State(*first.snapshot()).since
    first.write_batch(numbered(10, 20))
    first.settle()
    again = writer((1, since, ["item-0003"]))
    again.write_batch(["item-0003", *numbered(10, 25)])
    again.settle()
    assert committed(kafka, topic) == numbered(0, 25)
