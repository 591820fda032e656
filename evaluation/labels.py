"""Labels for evaluation: only events after a point count, and only when the point's horizon has passed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.base.log_clock import LogClock

Flags = NDArray[np.bool_]
Times = NDArray[np.int64]

DAY = 86_400_000

Question = Literal["horizon", "next"]
"""The question that a score answers: does the user escalate within the horizon (`horizon`), or before any other event
of theirs is seen (`next`)."""


class Escalation(NamedTuple):
    """An escalation that was not overturned later: its time (ms), and its place in the log.

    `record` is the first place of the record from which its event was made, if it differs from the event's own place:
    one row of a log may become several events.
    """

    as_of: int
    seq: int
    record: int | None = None

    @property
    def since(self) -> int:
        """Return the place before which a point must lie to precede the escalation."""
        return self.seq if self.record is None else self.record


class OutcomeRecord(NamedTuple):
    """An outcome of a user: its kind, its time (ms), its place in the log, and the escalation it belongs to.

    A reversal has the `cause` of the escalation that it overturns; without a cause it overturns the user's latest.
    """

    user: int
    kind: str
    as_of: int
    seq: int
    cause: str | None = None
    record: int | None = None


class Labels(NamedTuple):
    """For every point: the label, whether the log is long enough to determine it, and when it was known (ms).

    A point whose horizon reaches beyond the log is censored, whatever happened in between: counting its positives and
    dropping its negatives would flatter every score. A `late` point has an escalation within the horizon that is nearer
    than `ahead`, or that came with the point's own record. Its label is neither positive, since no warning was in time,
    nor negative.
    """

    positive: Flags
    mature: Flags
    known_at: Times
    late: Flags

    @property
    def answered(self) -> Flags:
        """Return a mask of the points with a known label."""
        return self.mature & ~self.late


def upheld(outcomes: Iterable[tuple[Any, ...]]) -> dict[int, list[Escalation]]:
    """Return escalations by user, without those that were overturned at any later time.

    `outcomes` are the fields of `OutcomeRecord`, in the order of the log.
    """
    found: dict[int, list[tuple[str | None, Escalation]]] = defaultdict(list)
    for outcome in outcomes:
        user, kind, as_of, seq, cause, record = OutcomeRecord(*outcome)
        own = found[user]
        if kind == "escalated":
            own.append((cause, Escalation(as_of, seq, record)))
            continue
        place = next((place for place in reversed(range(len(own))) if own[place][0] == cause), None)
        if place is not None:
            del own[place]
    return {user: [escalation for _, escalation in own] for user, own in found.items() if own}


def label(
    question: Question,
    user: NDArray[np.int64],
    as_of: Times,
    seq: Times,
    escalations: Mapping[int, Sequence[Escalation]],
    horizon: int,
    ahead: int = 0,
) -> Labels:
    """Return the labels of points; `escalations` are those upheld, by user.

    With `ahead` (ms) only escalations at least this far away count for the question *horizon*.

    An escalation is predicted from earlier points of the log, not from a point of its own record. The end of the log is
    the final time of its clock (`LogClock`), so that a few wrong clocks do not make it longer. The question *next* is
    the one that papers on ban prediction ask. Every row of a log answers it, so no point is censored.
    """
    positive = np.zeros(len(user), dtype=np.bool_)
    late = np.zeros(len(user), dtype=np.bool_)
    known_at = as_of.copy() if question == "next" else as_of + horizon
    order = np.lexsort((seq, user))
    starts = np.flatnonzero(np.diff(user[order], prepend=-1))
    ends = np.append(starts, len(order))[1:]
    bounds = dict(zip(user[order][starts].tolist(), zip(starts, ends, strict=True), strict=True))
    for one, suffered in escalations.items():
        if one not in bounds:
            continue
        rows = order[slice(*bounds[one])]
        for escalation in suffered:
            before = rows[seq[rows] < escalation.since]
            own = rows[(seq[rows] >= escalation.since) & (seq[rows] < escalation.seq)]
            late[own[(as_of[own] <= escalation.as_of) & (escalation.as_of <= as_of[own] + horizon)]] = True
            if question == "next":
                positive[before[-1:]] = True
                known_at[before[-1:]] = np.maximum(as_of[before[-1:]], escalation.as_of)
            else:
                # a user's own clock never goes back, but an escalation may carry an earlier time than the last point
                times = as_of[before]
                positive[before[(times + ahead <= escalation.as_of) & (escalation.as_of <= times + horizon)]] = True
                late[before[(times <= escalation.as_of) & (escalation.as_of < times + ahead)]] = True
    late &= ~positive
    if question == "next":
        return Labels(positive, np.ones(len(user), dtype=np.bool_), known_at, late)
    in_order = np.argsort(seq, kind="stable")
    return Labels(positive, known_at <= end_of_log(user[in_order], as_of[in_order]), known_at, late)


def end_of_log(user: NDArray[np.int64], as_of: Times) -> int:
    """Return the time (ms) of the log's clock after these points, in the order of the log."""
    clock = LogClock()
    for one, time in zip(user.tolist(), as_of.tolist(), strict=True):
        clock.advance(str(one), time)
    return clock.now


def period_of(user: NDArray[np.int64], as_of: Times) -> tuple[int, int] | None:
    """Return the first and the last time (ms) of points in the order of the log, ignoring wrong times of a few users.

    A time counts if it is at most a day outside the range of the log's clock, run forwards and backwards. None without
    points.
    """
    if not len(as_of):
        return None
    last = end_of_log(user, as_of)
    latest = int(as_of.max())
    first = latest - end_of_log(user[::-1], latest - as_of[::-1])
    within = as_of[(as_of >= first - DAY) & (as_of <= last + DAY)] if last >= 0 else as_of
    return (int(within.min()), int(within.max())) if len(within) else (int(as_of.min()), latest)
