"""Items of a log source, records and rejects, and the counters of one reading."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dataflows.sources.files.rows import BadRow
from schemas.records.base import Position, Raw, Subject
from schemas.records.rejects import Reject

Item = Raw | Reject


@dataclass(slots=True)
class LogCounts:
    """Counters of one reading of a log; a caller that passes them in may read them at any time.

    `rows` counts all rows, `skipped` the rows that a mapping leaves out, `eventless` the rows that match no event
    block, and `rejects` the rows that could not be read or mapped. `fraction` is the fraction of the file read so far,
    from 0 to 1.
    """

    rows: int = 0
    skipped: int = 0
    eventless: int = 0
    rejects: int = 0
    fraction_of: Callable[[], float] = field(default=lambda: 0.0, repr=False, compare=False)

    @property
    def fraction(self) -> float:
        """Return the fraction of the file read so far, from 0 to 1."""
        return self.fraction_of()


def record_key(value: dict[str, Any]) -> bytes | None:
    """Return the key of a record: its user id as UTF-8, or None if it has none that can be encoded."""
    user = value.get("user_id")
    try:
        return user.encode() if isinstance(user, str) else None
    except UnicodeEncodeError:
        return None


def reject_of(bad: BadRow, subject: Subject, at: Position, received: int | None, counts: LogCounts) -> Reject:
    """Return the `Reject` of a row that could not be read or mapped, and count it."""
    counts.rejects += 1
    return Reject(
        reason=bad.reason,
        stage="source",
        detail=bad.detail[:256],
        subject=subject,
        topic=at.topic,
        partition=at.partition,
        offset=at.offset,
        seq=at.seq,
        received=received,
        key=None,
        value=bad.value,
    )
