"""One user's moderation history for the target, and the decision points that wait for a label."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, final

from librt.strings import BytesWriter
from librt.vecs import append, pop, vec
from mypy_extensions import i64

from detectors.base.packed import Reader, write_key, write_number, write_time, write_whole

OFFERED_TILES: Final[i64] = 24
"""Number of tiles per horizon in which offered points are counted."""
NOBODY: Final = -1
"""Reporter of a fact without a known reporter; not a valid hash."""

Change = Literal["escalated", "overturned"]


class Fact(NamedTuple):
    """A moderation event that the target may count.

    `key` is the hash of its id, `severity` that of a sanction or 0 for a report, `reporter` the hash of the reporter's
    id.
    """

    key: int
    time: int
    severity: int
    reporter: int = NOBODY


class Taught(NamedTuple):
    """A positive learnt from an escalation: as-of time (ms) of its decision point, packed vector as served, weight."""

    as_of: int
    vector: bytes
    weight: float


class Escalation(NamedTuple):
    """An escalation that stands, with the data needed to undo it.

    `cause` is the key of the event that completed it, `severity` that event's severity and `time` its event time (ms).
    `seq` is the position in the log at which the escalation was found. Only events after `since` (ms), the user's
    previous reset, count towards it.
    """

    cause: int
    severity: int
    time: int
    seq: int
    since: int
    taught: tuple[Taught, ...]


class Turn(NamedTuple):
    """A new or an overturned escalation of a user, identified by `cause`, `time` and `seq` of `Escalation`."""

    kind: Change
    cause: int
    time: int
    seq: int


class Pending(NamedTuple):
    """A decision point that waits for its label: reservoir priority, as-of time (ms), packed vector as served."""

    priority: int
    as_of: int
    vector: bytes


@final
class History:
    """One user's moderation history for the target, with the decision points that wait for a label.

    `waiting` alternates priority and as-of time (ms) of the waiting points; `vectors` has their packed vectors in the
    same order. `offered` alternates the tiles of the horizon, in ascending order, and the number of points offered in
    each. `escalations` are the latest that stand, in the order they were found. `escalated_at` is the time (ms) of the
    escalation from which the user has not been reset, -1 without one.
    """

    __slots__ = ("escalated_at", "escalations", "facts", "highest", "offered", "reset_at", "vectors", "waiting")

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self.waiting: vec[i64] = vec[i64]()
        self.vectors: list[bytes] = []
        self.highest: i64 = -1  # highest priority in `waiting`, -1 if it has to be recomputed
        self.offered: vec[i64] = vec[i64]()
        self.escalated_at: i64 = -1
        self.reset_at: i64 = -1
        self.escalations: list[Escalation] = []

    @property
    def pending(self) -> list[Pending]:
        """Return the points that wait for a label."""
        return [
            Pending(self.waiting[2 * at], self.waiting[2 * at + 1], vector) for at, vector in enumerate(self.vectors)
        ]

    def wait(self, key: i64, as_of: i64, vector: bytes) -> None:
        """Add a point that waits for a label."""
        self.waiting = append(append(self.waiting, key), as_of)
        self.vectors.append(vector)
        self.highest = -1

    def expire(self, since: i64) -> None:
        """Drop waiting points with an as-of time before `since` (ms)."""
        kept, vectors = vec[i64](), []
        for at, vector in enumerate(self.vectors):
            if self.waiting[2 * at + 1] >= since:
                kept = append(append(kept, self.waiting[2 * at]), self.waiting[2 * at + 1])
                vectors.append(vector)
        self.waiting, self.vectors, self.highest = kept, vectors, -1

    def worst(self) -> i64:
        """Return the highest priority among the waiting points; -1 if there are none."""
        highest = self.highest
        if highest < 0:
            waiting = self.waiting
            for at in range(i64(0), i64(len(waiting)), 2):
                highest = max(highest, waiting[at])
            self.highest = highest
        return highest

    def drop_worst(self) -> None:
        """Drop the waiting point with the highest priority."""
        highest, waiting = self.worst(), self.waiting
        at: i64 = 0
        while waiting[at] != highest:
            at += 2
        del self.vectors[at // 2]
        end = i64(len(waiting)) - 2
        while at < end:
            waiting[at] = waiting[at + 2]
            at += 1
        self.waiting, _ = pop(waiting)
        self.waiting, _ = pop(self.waiting)
        self.highest = -1

    def count_offer(self, tile: i64, oldest: i64) -> None:
        """Count a point offered in `tile`, no earlier than any tile before; tiles before `oldest` may be dropped."""
        offered = self.offered
        end = i64(len(offered))
        if end and offered[end - 2] == tile:
            offered[end - 1] += 1
            return
        self.offered = offered = append(append(offered, tile), 1)
        if end + 2 > 4 * OFFERED_TILES:
            cut: i64 = 0
            while offered[cut] < oldest:
                cut += 2
            self.offered = offered[cut:]

    def offers(self, first: i64, last: i64) -> i64:
        """Return the number of points offered in the tiles from `first` to `last`, inclusive."""
        offered = self.offered
        found: i64 = 0
        for at in range(i64(0), i64(len(offered)), 2):
            if first <= offered[at] <= last:
                found += offered[at + 1]
        return found

    def label(self) -> None:
        """Clear the waiting points and the counts of offers, once the label is known."""
        self.waiting, self.vectors, self.offered, self.highest = vec[i64](), [], vec[i64](), -1

    def write(self, writer: BytesWriter, clock: i64) -> None:
        """Write the whole history, with times relative to the profile's clock (ms)."""
        write_whole(writer, len(self.facts))
        for key, time, severity, reporter in self.facts:
            write_key(writer, key)
            write_time(writer, time, clock)
            write_whole(writer, severity * 2 + (reporter != NOBODY))
            if reporter != NOBODY:
                write_key(writer, reporter)
        waiting, offered = self.waiting, self.offered
        write_whole(writer, len(self.vectors))
        for at in range(i64(0), i64(len(waiting)), 2):
            write_key(writer, waiting[at])
            write_time(writer, waiting[at + 1], clock)
        for vector in self.vectors:
            write_whole(writer, len(vector))
            writer.write(vector)
        write_whole(writer, i64(len(offered)))
        for number in offered:
            write_whole(writer, number)
        write_time(writer, self.escalated_at, clock)
        write_time(writer, self.reset_at, clock)
        write_whole(writer, len(self.escalations))
        for cause, severity, time, seq, since, taught in self.escalations:
            write_key(writer, cause)
            write_whole(writer, severity)
            write_time(writer, time, clock)
            write_whole(writer, seq + 1)
            write_time(writer, since, clock)
            write_whole(writer, len(taught))
            for as_of, vector, weight in taught:
                write_time(writer, as_of, clock)
                write_number(writer, weight)
                write_whole(writer, len(vector))
                writer.write(vector)


def read_history(reader: Reader, clock: i64, *, before_7: bool = False) -> History:
    """Return the history that was written; `before_7` is true for user state version 6.

    Version 6 has no reporters, and of the latest escalation only its time, and the vectors and weights of the positives
    learnt from it, without their as-of times.
    """
    history = History()
    for _ in range(reader.whole()):
        key, time, packed = reader.key(), reader.time(clock), reader.whole()
        if before_7:
            history.facts.append(Fact(key, time, packed))
        else:
            history.facts.append(Fact(key, time, packed // 2, reader.key() if packed % 2 else NOBODY))
    many = reader.whole()
    if many:
        history.waiting = reader.pairs(many, clock)
        for _ in range(many):
            history.vectors.append(reader.taken(reader.whole()))
    history.offered = reader.wholes(reader.whole())
    history.escalated_at, history.reset_at = reader.time(clock), reader.time(clock)
    if before_7:
        _read_latest(reader, history)
        return history
    for _ in range(reader.whole()):
        cause, severity, time = reader.key(), reader.whole(), reader.time(clock)
        seq, since = reader.whole() - 1, reader.time(clock)
        taught = []
        for _ in range(reader.whole()):
            as_of, weight = reader.time(clock), reader.number()
            taught.append(Taught(as_of, reader.taken(reader.whole()), weight))
        history.escalations.append(Escalation(cause, severity, time, seq, since, tuple(taught)))
    return history


def _read_latest(reader: Reader, history: History) -> None:
    """Read the latest escalation in user state version 6; its cause is a fact with the same time."""
    at, taught = int(history.escalated_at), list[Taught]()
    for _ in range(reader.whole()):
        weight = reader.number()
        taught.append(Taught(at, reader.taken(reader.whole()), weight))
    causes = [fact for fact in history.facts if fact.time == at]
    if at >= 0 and causes:
        cause = causes[-1]
        history.escalations.append(Escalation(cause.key, cause.severity, at, -1, int(history.reset_at), tuple(taught)))
