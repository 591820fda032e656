"""Labels as evaluation sees them: only what happened after a point, and only when its horizon has passed."""

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
"""What a score is asked: does the user escalate within the horizon; or before anything else of theirs is seen."""


class Escalation(NamedTuple):
    """An escalation that was not overturned later: when (ms), and its place in the log.

    `record` is the first place of the record that its event was made from, if that is not its own place: a row of a log
    may be made into several events.
    """

    as_of: int
    seq: int
    record: int | None = None

    @property
    def since(self) -> int:
        """The place before which a point must lie to come before the escalation."""
        return self.seq if self.record is None else self.record


class OutcomeRecord(NamedTuple):
    """An outcome of a user: its kind, as of when (ms), its place in the log, and the escalation it is about.

    An overturned escalation has the `cause` of the one it takes back; where there is none it is the user's latest.
    """

    user: int
    kind: str
    as_of: int
    seq: int
    cause: str | None = None
    record: int | None = None


class Labels(NamedTuple):
    """For every point whether the answer is yes, whether the log is long enough to know it, and when it was known (ms).

    A point whose horizon reaches beyond the log is censored whatever happened in between: to count its positives and
    drop its negatives would flatter every score. At a `late` point what escalates within the horizon is nearer than was
    asked for, or came with the point's own record: neither the yes of a warning in time nor a no.
    """

    positive: Flags
    mature: Flags
    known_at: Times
    late: Flags

    @property
    def answered(self) -> Flags:
        """Which points there is a yes or a no for."""
        return self.mature & ~self.late


def upheld(outcomes: Iterable[tuple[Any, ...]]) -> dict[int, list[Escalation]]:
    """Return escalations by user, without those that were overturned, whenever that was.

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
    """The labels of points in the order of the log; `escalations` are those upheld, by user.

    With `ahead` (ms) only escalations that are at least so far away count for the question *horizon*.

    An escalation is told from what came before it in the log, not from a point of its own record. The end
    of the log is where its clock has come in the end (`LogClock`), as a few wrong clocks must not make it longer. The
    question *next* is the one that papers on ban prediction ask; every row of a log answers it: none is censored.
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
    """Return the time (ms) that the log's clock has reached after these points, in the order of the log."""
    clock = LogClock()
    for one, time in zip(user.tolist(), as_of.tolist(), strict=True):
        clock.advance(str(one), time)
    return clock.now


def period_of(user: NDArray[np.int64], as_of: Times) -> tuple[int, int] | None:
    """Return the first and the last time (ms) of points in the order of the log, without what a few users claim.

    A time counts if it is no more than a day outside of what the log's clock has gone through, forwards and backwards.
    """
    if not len(as_of):
        return None
    last = end_of_log(user, as_of)
    latest = int(as_of.max())
    first = latest - end_of_log(user[::-1], latest - as_of[::-1])
    within = as_of[(as_of >= first - DAY) & (as_of <= last + DAY)] if last >= 0 else as_of
    return (int(within.min()), int(within.max())) if len(within) else (int(as_of.min()), latest)
