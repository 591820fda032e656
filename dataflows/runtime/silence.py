"""Reports of scoring that stopped, shrank or degraded, with the reasons, as sentences and in the log.

A replay reports such states in its summary, its report and the terminal. A live run logs a warning once when a state
begins and once when it ends, over windows of `WINDOW` decision points or events. The underlying counts are metrics.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from threading import Lock
from typing import Any

log = logging.getLogger(__name__)

WINDOW = 2_000
"""Least number of decision points, or events, in a window over which a live run computes shares."""
MOST = 0.5
"""Share from which a state is reported."""
OVER = 0.1
"""Share below which a reported state has ended."""

CAUSES = {
    "no_version": "no model version was old enough",
    "not_learnt": "the model had not learnt enough positives and negatives yet",
    "few_events": "their users had shown fewer events than the policy asks for",
    "model_silent": "the model says nothing about such points",
}
"""Reasons for points without a score."""
SILENT = {
    "promise": "no threshold has shown the promised precision yet",
    "budget": "no threshold keeps to the budget of warnings",
}
"""Reasons for points at which no score could raise a warning."""


def silence_sentences(summary: Mapping[str, Any]) -> list[str]:
    """Return one sentence for each sign in a replay's summary that scoring stopped, shrank or degraded."""
    sentences = []
    points, unscored = summary["decision_points"], summary["unscored"]
    for cause, said in CAUSES.items():
        many = unscored.get(cause, 0)
        if many and (cause == "no_version" or many >= MOST * points):
            sentences.append(f"{many:,} of {points:,} points had no score: {said}.")
    scored = points - sum(unscored.values())
    for cause, said in SILENT.items():
        many = summary["silent"].get(cause, 0)
        if many and many >= MOST * scored:
            sentences.append(f"At {many:,} of {scored:,} scored points no score could have warned: {said}.")
    events, late = sum(summary["events"].values()), summary["late"]
    if events and late >= MOST * events:
        sentences.append(f"{late:,} of {events:,} events were late and not counted.")
    rejects = summary["rejects"]["total"]
    if rejects and rejects >= MOST * (events + rejects):
        sentences.append(f"{rejects:,} of {events + rejects:,} records were rejected.")
    ahead = sum(summary["clock_ahead"].values())
    if ahead:
        sentences.append(f"{ahead:,} of {events:,} events were dated more than a day ahead of the log's other users.")
    left_out = summary["examples"].get("left_out", 0)
    if left_out:
        sentences.append(f"{left_out:,} examples were not learnt: too many were dated ahead of the log.")
    failed = sum(summary["text_failures"].values())
    if failed:
        sentences.append(f"{failed:,} messages have no toxicity: the text scorer failed on them.")
    return sentences


class Watch:
    """Logger of changes of state, once each. Without `shares`, as in a replay, only the summary reports shares."""

    def __init__(self, *, shares: bool = True) -> None:
        self._lock = Lock()
        self._shares = shares
        self._seen: dict[str, Counter[str]] = {}
        self._on: set[str] = set()

    def points(self, points: int, causes: Mapping[str, int]) -> None:
        """Count decision points and, by cause, those without a score or without a threshold to reach."""
        said = {cause: f"had no score: {CAUSES[cause]}" for cause in CAUSES}
        said |= {cause: f"could not have warned: {SILENT[cause]}" for cause in SILENT}
        self._count("points", points, causes, said)

    def events(self, events: int, late: int) -> None:
        """Count events and late events."""
        self._count("events", events, {"late": late}, {"late": "were late and not counted"})

    def failed(self, kind: str, sentence: str) -> None:
        """Log that something of this kind fails, once until `worked` is called."""
        with self._lock:
            if kind in self._on:
                return
            self._on.add(kind)
        log.warning("%s", sentence)

    def worked(self, kind: str) -> None:
        """Log that this kind works again, if it had failed."""
        with self._lock:
            if kind not in self._on:
                return
            self._on.remove(kind)
        log.warning("%s works again.", kind)

    def _count(self, of: str, many: int, parts: Mapping[str, int], said: Mapping[str, str]) -> None:
        if not self._shares:
            return
        messages = []
        with self._lock:
            seen = self._seen.setdefault(of, Counter())
            seen["all"] += many
            seen.update(parts)
            whole = seen["all"]
            if whole < WINDOW:
                return
            for cause, sentence in said.items():
                share = seen[cause] / whole
                if share >= MOST and cause not in self._on:
                    self._on.add(cause)
                    messages.append(f"{seen[cause]:,} of the latest {whole:,} {of} {sentence}.")
                elif share < OVER and cause in self._on:
                    self._on.remove(cause)
                    messages.append(f"Over: {seen[cause]:,} of the latest {whole:,} {of} {sentence}.")
            self._seen[of] = Counter()
        for message in messages:
            log.warning("%s", message)
