"""The rules for events, sanctions and reversals, shared by users, targets and channels.

- An event is identified by its user, its kind of topic and its id. An event behind its user's clock by more than the
  allowed lateness is Late and changes nothing. An event after a silence longer than the profile's TTL starts a new
  profile: nothing from before it is kept.
- A sanction is identified by its user and its id. It counts once, when it first arrives, unless it was overturned by
  then. A repeated sanction does not count again, and an overturned one is not reinstated; its time and severity are
  those of the latest arrival.
- A reversal overturns the sanction of its own user that it names, permanently, even if the sanction has not arrived
  yet. It takes something back once, and only if the sanction had counted.
"""

from __future__ import annotations

from mypy_extensions import i64


def is_late(time: i64, clock: i64, lateness: i64) -> bool:
    """Return whether an event at `time` is too far behind its user's clock (-1 before the first event) to count."""
    return time < clock - lateness


def begins_anew(time: i64, clock: i64, ttl: i64) -> bool:
    """Return whether an event comes after a silence longer than `ttl` (ms), so that nothing before it counts."""
    return clock >= 0 and time > clock + ttl


def counts(upheld: bool | None) -> bool:
    """Return whether a sanction that arrives now counts.

    `upheld` is its stored state: None if there is none, otherwise whether the sanction stands.
    """
    return upheld is None


def stands(upheld: bool | None) -> bool:
    """Return whether a sanction that arrives now stands; `upheld` as for `counts`."""
    return upheld is not False


def takes_back(upheld: bool | None) -> bool:
    """Return whether a reversal that arrives now takes its sanction back; `upheld` as for `counts`."""
    return upheld is True
