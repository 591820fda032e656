"""Redrive: dead letters go back to where they came from, once each, after what refused them was mended.

Original key, bytes and schema header go to the original topic and partition, and in the same transaction a *marker* to
the dead-letter topic: a record without a value whose headers name the coordinates. The next redrive leaves out what has
a marker, so that nothing is sent twice, killed or not. A later redrive takes the transactional id away from an earlier
one.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple, cast

from confluent_kafka import OFFSET_BEGINNING, Message

from dataflows.config.settings import KafkaSettings, Settings
from dataflows.kafka.headers import REDRIVEN_FROM, SCHEMA_ID
from dataflows.kafka.topics import existing_partitions
from dataflows.recovery.engine_store import listed
from dataflows.runtime.clock import now_ms
from dataflows.sinks.kafka.producer import delivery_error
from dataflows.sinks.kafka.rejects import LEFT_OUT
from dataflows.sinks.kafka.transactions import Draft, Transactions
from dataflows.sources.kafka.to_end import read_to_end
from schemas.codec.outputs import Decoder
from schemas.errors import ExpectedError
from schemas.records.base import Record
from schemas.records.refusal import UnreadableError
from schemas.records.rejects import Reject, RejectReason

BATCH_RECORDS = 100
"""Records sent again in one transaction, at most; each may be as large as the inputs take."""
PATIENCE_MS = 30_000
"""How long Kafka is waited for. So long, too, a redrive that died holds back those who read what it was writing."""
MARKER = ("redriven-topic", "redriven-partition", "redriven-offset")
"""Headers of a marker."""


class RedriveError(ExpectedError, ValueError):
    """A redrive that makes no sense as asked for, in a sentence."""


class Origin(NamedTuple):
    """Where a rejected record was: what makes it the same record, however often it was rejected."""

    topic: str
    partition: int
    offset: int


class Selection(NamedTuple):
    """Which rejects: of these reasons, from these input topics (empty: all), rejected within a span of time.

    The time is the dead letter's own record timestamp (ms): from `since` on, before `until`.
    """

    reasons: frozenset[RejectReason] = frozenset()
    topics: frozenset[str] = frozenset()
    since: int | None = None
    until: int | None = None

    def takes(self, reject: Reject, letter: Message) -> bool:
        """Whether the reject in this dead letter is among them."""
        if (self.reasons and reject.reason not in self.reasons) or (self.topics and reject.topic not in self.topics):
            return False
        time = letter.timestamp()[1]
        return (self.since is None or time >= self.since) and (self.until is None or time < self.until)


@dataclass(slots=True)
class DeadLetterSummary:
    """What the dead-letter topic holds, without a value of it: filled record by record, in any order.

    `inputs` are the input topics with their partition counts: only there may a reject go back to.
    """

    decode: Callable[[bytes], Record]
    inputs: dict[str, int]
    selection: Selection
    selected: dict[Origin, tuple[RejectReason, int, int]] = field(default_factory=dict)
    """Why it was rejected, and partition and offset of its dead letter (the first where it was written twice)."""
    redriven: set[Origin] = field(default_factory=set)
    homeless: set[Origin] = field(default_factory=set)
    left_out: set[Origin] = field(default_factory=set)
    """Selected, and without the value, for which the dead-letter topic had no room."""
    unreadable: Counter[str] = field(default_factory=Counter)

    def add(self, letter: Message) -> None:
        """Take one record of the topic: a reject, a marker, or something that is neither."""
        if (origin := marked(letter)) is not None:
            self.redriven.add(origin)
            return
        try:
            reject = self.read(letter)
        except UnreadableError as error:
            self.unreadable[error.reason.value] += 1
            return
        origin = Origin(reject.topic, reject.partition, reject.offset)
        if reject.stage == "source" or not 0 <= origin.partition < self.inputs.get(origin.topic, 0):
            self.homeless.add(origin)
        elif not self.selection.takes(reject, letter):
            return
        elif LEFT_OUT in dict(letter.headers() or ()):
            self.left_out.add(origin)
        else:
            self.selected.setdefault(origin, (reject.reason, letter.partition() or 0, letter.offset() or 0))

    def read(self, letter: Message) -> Reject:
        """The reject in a dead letter; `UnreadableError` where there is none."""
        return cast("Reject", self.decode(letter.value() or b""))  # it is what the decoder was made for

    def lines(self, sent: int | None) -> Iterator[str]:
        """What to tell the operator; `sent` is how many were sent, None in a dry run. No key and no value."""
        rejects, before = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        for origin, (reason, _, _) in self.selected.items():
            rejects[reason.value, origin.topic] += 1
            before[reason.value, origin.topic] += origin in self.redriven
        rows = [("reason", "topic", "to send" if sent is None else "sent now", "redriven before")]
        rows += [(*kind, f"{count - before[kind]:,}", f"{before[kind]:,}") for kind, count in sorted(rejects.items())]
        wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows if rejects else ():
            yield f"{row[0]:<{wide[0]}}  {row[1]:<{wide[1]}}  {row[2]:>{wide[2]}}  {row[3]:>{wide[3]}}"
        if self.homeless:
            yield f"{len(self.homeless):,} rejects come from a file, or from no topic and partition of the inputs."
        if left := sorted(self.left_out - self.selected.keys() - self.redriven):
            places = listed([f"{at.topic} partition {at.partition} offset {at.offset}" for at in left])
            yield (
                f"{len(left):,} rejects were too large for the dead-letter topic and are there without their values: "
                f"fetch them from where they came from, and produce them again from there: {places}."
            )
        for why, count in sorted(self.unreadable.items()):
            yield f"{count:,} dead letters cannot be read as rejects: {why}."
        if sent is None:
            yield f"{len(self.selected.keys() - self.redriven):,} records would be sent again; --send sends them."
        else:
            yield f"{sent:,} records sent again."


class Writer:
    """Holds the deployment's redrive to itself, and writes batches of records with their markers, whole or not at all.

    Errors: `FencedOutError` when another redrive took over, `DeliveryFailed` when Kafka does not take a batch.
    """

    def __init__(self, kafka: KafkaSettings, letters: str) -> None:
        self._letters, self._topic, self._clock = letters, "", 0
        self._transactions = Transactions(
            kafka,
            f"{kafka.group_id}.redrive",
            patience_ms=min(kafka.delivery_timeout_ms, PATIENCE_MS),
            lease_ms=PATIENCE_MS,
            fenced="Another redrive of this deployment has taken over: let it finish, then see what is left.",
            failed=lambda _messages, why, code: delivery_error(code)(
                f"Kafka did not take a batch of the redrive ({why}): check that it runs at {kafka.bootstrap_servers}, "
                "that this user may write transactions, and that the input's max.message.bytes has 1,000 bytes to "
                "spare, then run it again: it goes on where this one came to."
            ),
        )

    def send(self, batch: list[tuple[Reject, Message]]) -> None:
        """Write the rejects' records, and markers beside their dead letters; in the end there are all or none."""
        drafts = []
        for reject, letter in batch:
            # The source merges the inputs by time, so what moves on to the other one must have a later time.
            self._clock = max(self._clock + (reject.topic != self._topic), now_ms())
            self._topic = reject.topic
            at = tuple(str(part).encode() for part in (reject.topic, reject.partition, reject.offset))
            headers, mark = [(REDRIVEN_FROM, b":".join(at))], list(zip(MARKER, at, strict=True))
            if reject.schema_header is not None:  # without it the value is a datum of no schema
                headers.append((SCHEMA_ID, reject.schema_header))
            drafts.append(Draft(reject.topic, reject.value, reject.key, headers, reject.partition, self._clock))
            drafts.append(Draft(self._letters, None, letter.key(), mark, letter.partition() or 0, self._clock))
        self._transactions.write(drafts)


def redrive(
    settings: Settings,
    selection: Selection,
    *,
    send: bool = False,
    batch_records: int = BATCH_RECORDS,
) -> tuple[DeadLetterSummary, int | None]:
    """Survey the dead letters, and with `send` send the selected ones again; how many were sent, None without `send`.

    Errors: those of `Writer`; `RedriveError` for a topic that is no input; `BrokerError` without the topics or Kafka.
    """
    kafka, topics, letters = settings.kafka, settings.topics, settings.topics.dead_letters
    inputs = (topics.chat_messages, topics.moderation_events)
    if strangers := sorted(selection.topics.difference(inputs)):
        raise RedriveError(f"{strangers[0]} is no input topic of these settings: choose {' or '.join(inputs)}.")
    counts = existing_partitions(kafka, (*inputs, letters))
    # Before looking: taking over ends what another redrive has begun, so that no marker is still on its way.
    writer = Writer(kafka, letters) if send else None
    with contextlib.closing(Decoder("reject", settings.registry)) as decoder:
        survey = DeadLetterSummary(decoder.decode, {name: counts[name] for name in inputs}, selection)
        everything = dict.fromkeys(range(counts[letters]), OFFSET_BEGINNING)
        for letter in read_to_end(kafka, letters, everything, PATIENCE_MS):
            survey.add(letter)
        sent, open_ = 0, _open(kafka, letters, survey)
        while writer and (batch := list(islice(open_, batch_records))):
            writer.send(batch)
            sent += len(batch)
    return survey, sent if writer else None


def marked(letter: Message) -> Origin | None:
    """The coordinates that a marker stands for; None for any other record."""
    headers = dict(letter.headers() or ())
    topic, partition, offset = (headers.get(name) for name in MARKER)
    if letter.value() is not None or not (isinstance(topic, bytes) and partition and offset):
        return None
    try:
        return Origin(topic.decode(), int(partition), int(offset))
    except ValueError:
        return None


def _open(kafka: KafkaSettings, topic: str, survey: DeadLetterSummary) -> Iterator[tuple[Reject, Message]]:
    """What is selected and was not redriven, read once more: to keep all values of the survey could fill the memory."""
    wanted = {at[1:] for origin, at in survey.selected.items() if origin not in survey.redriven}
    starts: dict[int, int] = {}
    for partition, offset in wanted:
        starts[partition] = min(offset, starts.get(partition, offset))
    for letter in read_to_end(kafka, topic, starts, PATIENCE_MS):
        place = (letter.partition() or 0, letter.offset() or 0)
        if place in wanted:
            wanted.remove(place)
            yield survey.read(letter), letter
        if not wanted:
            return
