"""Moderation events of a simulation: reports, delayed sanctions, reversals, exposures, erasures, and brigades."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

import numpy as np

from dataflows.simulate.config import SimulationConfig
from dataflows.simulate.population import NEVER, Population
from schemas.records.base import MODERATION

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000

LADDER: tuple[tuple[str, int, float], ...] = (
    ("warning", 1, 0.0),
    ("warning", 1, 0.0),
    ("mute", 2, 1.0 * HOUR),
    ("suspension", 3, 1.0 * DAY),
    ("suspension", 4, 3.0 * DAY),
    ("ban", 5, NEVER),
)
"""Action, severity and duration of silence (ms) of a user's first, second, ... sanction; the last step repeats."""

Event = dict[str, Any]


class Moderation:
    """Queue of future moderation events, earliest first; `due` returns the next one and applies its effects."""

    def __init__(
        self, config: SimulationConfig, people: Population, rng: np.random.Generator, new_id: Callable[[], str]
    ) -> None:
        self._config, self._people, self._rng, self._new_id = config, people, rng, new_id
        self._coming: list[tuple[int, str, int, Event]] = []
        self._sanctioned: dict[str, int] = {}
        self._plan_brigades()
        self._plan_erasures()

    @property
    def next_at(self) -> float:
        """Return the time of the next moderation event (ms from the start), infinite if there is none."""
        return self._coming[0][0] if self._coming else NEVER

    def due(self) -> Event:
        """Remove and return the next moderation event, and apply its effects to the users."""
        time, _, user, event = heapq.heappop(self._coming)
        kind, people = event["kind"], self._people
        if kind == "sanction":
            action, severity, silence = LADDER[min(people.strikes[user], len(LADDER) - 1)]
            event["sanction"].update(action=action, severity=severity)
            people.strikes[user] += 1
            people.restrain(user, taught=False)
            people.silence(user, time + silence)
        elif kind == "reversal":
            people.strikes[user] = max(0, people.strikes[user] - 1)
            people.silent_until[user] = time
        elif kind == "exposure" and event["exposure"]["arm"] == "educate":
            people.restrain(user, taught=True)
        elif kind == "erasure":
            people.silence(user, NEVER)
        return event

    def violated(self, user: int, time: int, message_id: str, channel: str) -> None:
        """Plan the consequences of a message that broke a rule: at random, reports, a sanction and an exposure."""
        config, rng = self._config, self._rng
        policy = "unwanted_contact" if self._people.contacting[user] else "toxicity"
        if rng.random() < config.reported:
            for _ in range(1 + int(rng.poisson(0.5))):
                self._report(user, time + self._delay(15 * MINUTE), policy, channel, message_id)
        if rng.random() < config.sanctioned:
            automated = bool(rng.random() < 0.4)
            self._sanction(
                user, time + self._delay(5_000 if automated else 2 * HOUR), policy, automated, config.overturned
            )
        if rng.random() < config.exposed:
            arm = "educate" if rng.random() < config.treated else "control"
            chance = config.treated if arm == "educate" else round(1.0 - config.treated, 12)
            detail = {"intervention": "community-notice", "arm": arm, "probability": chance}
            self._plan(time + 2_000, user, "exposure", detail)

    def falsely_reported(self, user: int, time: int, message_id: str, channel: str) -> None:
        """Plan a report of a message that broke no rule."""
        self._report(user, time + self._delay(15 * MINUTE), "toxicity", channel, message_id)

    def _plan_brigades(self) -> None:
        rng, span, size = self._rng, self._config.span_ms, self._people.size
        for _ in range(int(rng.poisson(self._config.brigades_per_week * span / (7 * DAY)))):
            victim, begin = int(rng.integers(size)), int(rng.integers(span))
            for _ in range(int(rng.integers(8, 31))):
                self._report(victim, begin + self._delay(4 * MINUTE), "toxicity", None, None)
            if rng.random() < 0.3:
                self._sanction(victim, begin + 10 * MINUTE, "toxicity", automated=True, overturned=0.8)

    def _plan_erasures(self) -> None:
        leaving = self._rng.random(self._people.size) < self._config.erased
        for user in np.flatnonzero(leaving).tolist():
            self._plan(int(self._rng.uniform(0.3, 1.0) * self._config.span_ms), user, "erasure", None)

    def _report(self, user: int, time: int, category: str, channel: str | None, message_id: str | None) -> None:
        reporter = (user + 1 + int(self._rng.integers(self._people.size - 1))) % self._people.size
        detail: Event = {"reporter_id": self._people.names[reporter], "category": category}
        if message_id is not None:
            detail |= {"channel": channel, "message_id": message_id}
        self._plan(time, user, "report", detail)

    def _sanction(self, user: int, time: int, policy: str, automated: bool, overturned: float) -> None:
        detail = {"policy": policy, "source": "automated" if automated else "human"}
        sanction = self._plan(time, user, "sanction", detail)
        if self._rng.random() < overturned:
            appeal = {"sanction_id": sanction, "reason": "appeal"}
            self._plan(time + MINUTE + self._delay(DAY), user, "reversal", appeal)

    def _plan(self, time: int, user: int, kind: str, detail: Event | None) -> str:
        event: Event = {
            "subject": MODERATION,
            "event_id": self._new_id(),
            "event_time": self._config.start_ms + time,
            "user_id": self._people.names[user],
            "kind": kind,
        }
        if detail is not None:
            event[kind] = detail
        heapq.heappush(self._coming, (time, event["event_id"], user, event))
        return str(event["event_id"])

    def _delay(self, mean: float) -> int:
        return 1 + int(self._rng.exponential(mean))
