"""Redrive: dead letters are sent back to their original topics, once each, after the cause of the rejection was fixed.

Original key, bytes and schema header go to the original topic and partition. The same transaction writes a *marker* to
the dead-letter topic: a record without a value whose headers contain the coordinates. The next redrive skips rejects
with a marker, so that nothing is sent twice, even if a redrive was killed. A later redrive takes the transactional id
over from an earlier one.
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
from dataflows.sinks.kafka.producer import Outgoing, delivery_error
from dataflows.sinks.kafka.rejects import LEFT_OUT
from dataflows.sinks.kafka.transactions import Transactions
from dataflows.sources.kafka.to_end import read_to_end
from schemas.codec.outputs import Decoder
from schemas.errors import ExpectedError
from schemas.records.base import Record
from schemas.records.refusal import UnreadableError
from schemas.records.rejects import Reject, RejectReason

BATCH_RECORDS = 100
"""Maximum number of records sent again in one transaction; each may be as large as the inputs accept."""
PATIENCE_MS = 30_000
"""Maximum wait (ms) for Kafka, and the time for which a killed redrive blocks the readers of its open transaction."""
MARKER = ("redriven-topic", "redriven-partition", "redriven-offset")
"""Headers of a marker."""


class RedriveError(ExpectedError, ValueError):
    """A redrive with invalid options; the text is one sentence."""


class Origin(NamedTuple):
    """Coordinates of a rejected record, which identify it however often it was rejected."""

    topic: str
    partition: int
    offset: int


class Selection(NamedTuple):
    """Filter of rejects by reason, input topic (empty: all) and time of the rejection.

    The time is the dead letter's own record timestamp (ms): from `since` on, before `until`.
    """

    reasons: frozenset[RejectReason] = frozenset()
    topics: frozenset[str] = frozenset()
    since: int | None = None
    until: int | None = None

    def takes(self, reject: Reject, letter: Message) -> bool:
        """Return whether the reject in this dead letter is selected."""
        if (self.reasons and reject.reason not in self.reasons) or (self.topics and reject.topic not in self.topics):
            return False
        time = letter.timestamp()[1]
        return (self.since is None or time >= self.since) and (self.until is None or time < self.until)


@dataclass(slots=True)
class DeadLetterSummary:
    """Content of the dead-letter topic without any value, filled record by record, in any order.

    `inputs` contains the input topics with their partition counts: a reject may return only to these.
    """

    decode: Callable[[bytes], Record]
    inputs: dict[str, int]
    selection: Selection
    selected: dict[Origin, tuple[RejectReason, int, int]] = field(default_factory=dict)
    """Reason, and partition and offset of the dead letter (of the first if it was written twice), by origin."""
    redriven: set[Origin] = field(default_factory=set)
    homeless: set[Origin] = field(default_factory=set)
    left_out: set[Origin] = field(default_factory=set)
    """Selected rejects whose value was left out, because the dead-letter topic had no room for it."""
    unreadable: Counter[str] = field(default_factory=Counter)

    def add(self, letter: Message) -> None:
        """Add one record of the topic: a reject, a marker, or neither."""
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
        """Return the reject in a dead letter.

        Raises:
            UnreadableError: if there is none.
        """
        return cast("Reject", self.decode(letter.value() or b""))  # the decoder decodes rejects

    def lines(self, sent: int | None) -> Iterator[str]:
        """Yield the report for the operator, without keys and values; `sent` is the number sent, None in a dry run."""
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
    """The only writer of the deployment's redrive; writes batches of records with their markers atomically.

    Raises:
        FencedOutError: if another redrive took over.
        DeliveryFailed: if Kafka does not accept a batch.
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
        """Write the rejects' records and the markers for their dead letters in one transaction."""
        messages = []
        for reject, letter in batch:
            # The source merges the inputs by time, so a record of the other input needs a later time than the last one.
            self._clock = max(self._clock + (reject.topic != self._topic), now_ms())
            self._topic = reject.topic
            at = tuple(str(part).encode() for part in (reject.topic, reject.partition, reject.offset))
            headers: tuple[tuple[str, bytes], ...] = ((REDRIVEN_FROM, b":".join(at)),)
            if reject.schema_header is not None:  # the value cannot be decoded without it
                headers = (*headers, (SCHEMA_ID, reject.schema_header))
            record = Outgoing(reject.key, reject.value, self._clock, headers, reject.partition)
            marker = Outgoing(
                letter.key(), None, self._clock, tuple(zip(MARKER, at, strict=True)), letter.partition() or 0
            )
            messages += [(reject.topic, record), (self._letters, marker)]
        self._transactions.write(messages)


def redrive(
    settings: Settings,
    selection: Selection,
    *,
    send: bool = False,
    batch_records: int = BATCH_RECORDS,
) -> tuple[DeadLetterSummary, int | None]:
    """Summarise the dead letters, and with `send` send the selected ones again.

    Return the summary and the number of records sent, None without `send`. Errors of `Writer` propagate.

    Raises:
        RedriveError: if a selected topic is not an input.
        BrokerError: if a topic is missing or Kafka does not answer.
    """
    kafka, topics, letters = settings.kafka, settings.topics, settings.topics.dead_letters
    inputs = (topics.chat_messages, topics.moderation_events)
    if strangers := sorted(selection.topics.difference(inputs)):
        raise RedriveError(f"{strangers[0]} is no input topic of these settings: choose {' or '.join(inputs)}.")
    counts = existing_partitions(kafka, (*inputs, letters))
    # Before reading: the takeover ends the open transaction of another redrive, so that no marker is pending.
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
    """Return the coordinates in a marker; None for any other record."""
    headers = dict(letter.headers() or ())
    topic, partition, offset = (headers.get(name) for name in MARKER)
    if letter.value() is not None or not (isinstance(topic, bytes) and partition and offset):
        return None
    try:
        return Origin(topic.decode(), int(partition), int(offset))
    except ValueError:
        return None


def _open(kafka: KafkaSettings, topic: str, survey: DeadLetterSummary) -> Iterator[tuple[Reject, Message]]:
    """Yield the selected rejects that were not redriven, in a second read: all values at once could fill the memory."""
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
