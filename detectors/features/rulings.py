"""The law of events, sanctions and reversals, written once for users, targets and channels.

- An event is told by its user, its kind of topic and its id. One that is behind its user's clock by more than the
  allowed lateness is Late and changes nothing. One that comes after a silence longer than the profile's TTL begins
  anew: nothing of before is known any more.
- A sanction is told by its user and its id. It counts once, when it is first heard of, unless it was overturned by
  then. Heard of again it does not count again, and one that was overturned does not stand again; its time and severity
  are what was said of them last.
- A reversal overturns the sanction of its own user that it names, for good, whether that has come or not. It takes
  something back once, and only where the sanction had counted.
"""

from __future__ import annotations

from mypy_extensions import i64


def is_late(time: i64, clock: i64, lateness: i64) -> bool:
    """Return whether an event at `time` is too far behind its user's clock (-1 before the first event) to count."""
    return time < clock - lateness


def begins_anew(time: i64, clock: i64, ttl: i64) -> bool:
    """Return whether an event comes after so long a silence that nothing of before it counts."""
    return clock >= 0 and time > clock + ttl


def counts(upheld: bool | None) -> bool:
    """Return whether a sanction counts that is heard of now.

    `upheld` is what is known of it: None if nothing, otherwise whether it stands.
    """
    return upheld is None


def stands(upheld: bool | None) -> bool:
    """Return whether a sanction that is heard of now stands; `upheld` as for `counts`."""
    return upheld is not False


def takes_back(upheld: bool | None) -> bool:
    """Return whether a reversal that is heard of now takes its sanction back; `upheld` as for `counts`."""
    return upheld is True
