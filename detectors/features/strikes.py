"""The ledger of sanctions, net of reversals, from which strikes and sanction features are read."""

from __future__ import annotations

from typing import NamedTuple, final

from detectors.base.elementary import exp2
from detectors.features.rulings import stands, takes_back

LEDGER_CAP = 64
"""Maximum number of sanctions in a ledger; beyond it the oldest is removed."""


class Entry(NamedTuple):
    """One sanction: hash of its event id, event time (ms), severity, and whether it still stands."""

    sanction: int
    time: int
    severity: int
    upheld: bool


@final
class Ledger:
    """A user's sanctions. An overturned one does not count from its reversal on.

    A reversal that arrives before its sanction is stored, so that the sanction never counts.
    """

    __slots__ = ("entries",)

    def __init__(self, entries: list[Entry] | None = None) -> None:
        self.entries = [] if entries is None else entries

    def add(self, sanction: int, time: int, severity: int) -> bool:
        """Add a sanction, or update its time and severity; return whether it stands: see `rulings`."""
        upheld = self._upheld(sanction)
        standing = Entry(sanction, time, severity, upheld=stands(upheld))
        if upheld is None:
            self._keep(standing)
        else:
            self.entries = [standing if entry.sanction == sanction else entry for entry in self.entries]
        return standing.upheld

    def overturn(self, sanction: int, time: int) -> bool:
        """Overturn a sanction; return whether it stood until now."""
        upheld = self._upheld(sanction)
        if upheld is None:
            self._keep(Entry(sanction, time, 0, upheld=False))
        elif upheld:
            self.entries = [e._replace(upheld=False) if e.sanction == sanction else e for e in self.entries]
        return takes_back(upheld)

    def _upheld(self, sanction: int) -> bool | None:
        """Return whether a sanction stands; None if it is not in the ledger."""
        for entry in self.entries:
            if entry.sanction == sanction:
                return entry.upheld
        return None

    def _keep(self, entry: Entry) -> None:
        self.entries.append(entry)
        if len(self.entries) > LEDGER_CAP:
            self.entries.remove(min(self.entries, key=lambda e: (e.time, e.sanction)))

    def count(self, since: int) -> int:
        """Return the number of upheld sanctions at or after `since` (ms)."""
        return sum(1 for e in self.entries if e.upheld and e.time >= since)

    def severity(self, since: int) -> int:
        """Return the sum of severities of upheld sanctions at or after `since` (ms)."""
        return sum(e.severity for e in self.entries if e.upheld and e.time >= since)

    def decay(self, now: int, half_life: int) -> float:
        """Return the decayed count of upheld sanctions as of `now` (ms), with a half-life in ms."""
        total = 0.0
        for entry in self.entries:
            if entry.upheld:
                total += exp2((entry.time - now) / half_life)
        return total

    def last(self) -> int | None:
        """Return the event time (ms) of the latest upheld sanction; None if there is none."""
        return max((e.time for e in self.entries if e.upheld), default=None)
