"""A lane: scores the decision points of its users in batches, and decides.

In a replay a lane waits with a point until every version in force at its position has been heard of, so that the
same log gives the same scores however it was batched. Live, nothing waits: the newest version that is old enough
scores at once.
"""

from __future__ import annotations

from array import array
from hashlib import blake2b
from math import isnan, nan
from typing import Any, NamedTuple

import numpy as np

from detectors.contract import DecisionPoint, Matrix, matrix_from
from detectors.decide import CLEAR, Decider, Standing, Thresholds
from detectors.explain import explain
from detectors.learn import Published
from detectors.models.version import FrozenModel
from detectors.policy import Policy
from detectors.rules.catalogue import ActiveRule, active_rules
from detectors.served import NONE_SERVED, ServedBatch
from detectors.versions import Note, Versions
from schemas.records import Position, RiskEvent, Tier, Tombstone, Trigger

STATE_VERSION = 1
"""Version of a lane's packed state."""
CROWD = 50_000
"""A lane with fewer standings forgets none."""
MOST_THRESHOLDS = 512
"""Versions whose thresholds are remembered."""
FORGET_AFTER = 30 * 86_400_000
"""How long after it has settled a standing may be forgotten (ms)."""


class Erasure(NamedTuple):
    """A user is to be forgotten, in turn with the points around it."""

    user_id: str
    as_of: int
    at: Position


class News(NamedTuple):
    """What a learner tells the lanes: versions published, and the position it has reached in each partition."""

    model: str
    published: list[Published]
    reached: dict[int, int]


class Publication(NamedTuple):
    """What goes to subscribers, with the position of the event that made it."""

    at: Position
    event: RiskEvent | Tombstone


_Choice = tuple[FrozenModel | None, Note]


class Lane:
    """The state of one lane: versions, points that wait, and where each warned-of user stands."""

    def __init__(self, policy: Policy, *, pinned: FrozenModel | None = None, wait: bool = False) -> None:
        self._policy = policy
        self._pinned = pinned
        self._wait = wait and pinned is None
        learning = policy.learning
        models = () if pinned is not None else (learning.champion, *learning.challengers)
        self._versions = {model: Versions(learning.keep_versions) for model in models}
        self._reached: dict[str, int] = dict.fromkeys(models, 0)
        self._waiting: list[DecisionPoint | Erasure] = []
        self._standings: dict[str, Standing] = {}
        self._clock = -1
        self._crowd = CROWD
        self._decider = Decider(policy)
        self._fixed = None if policy.tracked else self._decider.thresholds(None)
        self._thresholds: dict[str, Thresholds] = {}
        self._held_back = 0
        self._rules = active_rules(policy)
        self._champion = learning.champion if pinned is None else pinned.name
        detectors = (self._champion, *(active.rule.name for active in self._rules))
        self._detector_set = "+".join([policy.name, *detectors])

    def hear(self, news: News) -> None:
        """Take in what a learner tells."""
        self._versions[news.model].hear(news.published)
        self._reached[news.model] = max(self._reached[news.model], *news.reached.values(), 0)

    def take(self, arrived: list[DecisionPoint | Erasure]) -> tuple[list[Publication], ServedBatch]:
        """Score and decide what can be: risk events and tombstones to publish, and the points as served."""
        due = arrived
        if self._wait:
            self._waiting.extend(arrived)
            self._waiting.sort(key=lambda item: item.at.seq)
            reached = min(self._reached.values())
            split = next((i for i, item in enumerate(self._waiting) if item.at.seq >= reached), len(self._waiting))
            due, self._waiting = self._waiting[:split], self._waiting[split:]
        points = [item for item in due if isinstance(item, DecisionPoint)]
        if not points:
            return [self._erase(item) for item in due if isinstance(item, Erasure)], NONE_SERVED
        matrix = matrix_from([point.vector for point in points])
        chosen, probabilities, shadows = self._score(points, matrix)
        probabilities[np.array([point.events for point in points]) < self._policy.learning.min_events] = nan
        fired = self._fire(matrix)
        tiers = [Tier.NONE] * len(points)
        out: list[Publication] = []
        # nearly everybody is in no tier and stays there: nothing to decide
        fixed = self._fixed
        limits = [self._thresholds_of(model).quiet_below for model, _ in chosen] if fixed is None else fixed.quiet_below
        alarming = (probabilities >= np.array(limits)).tolist()
        for row in fired:
            alarming[row] = True
        row, standings = -1, self._standings
        for item in due:
            if isinstance(item, Erasure):
                out.append(self._erase(item))
                continue
            row += 1
            if alarming[row] or item.user_id in standings:
                value = float(probabilities[row])
                event, tiers[row] = self._decide(item, value, *chosen[row], fired.get(row, []))
                standings = self._standings
                if event is not None:
                    out.append(Publication(item.at, event))
        for held in self._versions.values():
            held.trim(due[-1].at.seq, one_partition=self._wait)
        versions = ["" if model is None else model.version for model, _ in chosen]
        held_back, self._held_back = self._held_back, 0
        return out, ServedBatch(points, matrix, probabilities, tiers, versions, shadows, held_back)

    def _erase(self, item: Erasure) -> Publication:
        self._standings.pop(item.user_id, None)
        return Publication(item.at, Tombstone(user_id=item.user_id, as_of=item.as_of))

    def _score(self, points: list[DecisionPoint], matrix: Matrix) -> tuple[list[_Choice], Matrix, Matrix]:
        """The champion's version and note for each point, its probabilities, and the challengers', a row for each."""
        if self._pinned is not None:
            pinned, until = self._pinned, self._pinned.learned_until
            ready: list[_Choice] = [
                (pinned, "ahead" if until is not None and until >= point.as_of else "ok") for point in points
            ]
            return ready, pinned.probabilities(matrix), np.empty((0, len(points)))
        choices = [held.choose_all(points, one_partition=self._wait) for held in self._versions.values()]
        champion, *challengers = [_probabilities(matrix, chosen) for chosen in choices]
        return choices[0], champion, np.array(challengers).reshape(len(challengers), len(points))

    def _thresholds_of(self, model: FrozenModel | None) -> Thresholds:
        """Where tiers are entered and left on the scores of a version."""
        if self._fixed is not None:
            return self._fixed
        version = "" if model is None else model.version
        found = self._thresholds.get(version)
        if found is None:
            if len(self._thresholds) > MOST_THRESHOLDS:
                self._thresholds = {}
            found = self._thresholds[version] = self._decider.thresholds(None if model is None else model.track)
        return found

    def _fire(self, matrix: Matrix) -> dict[int, list[ActiveRule]]:
        """The rules that fire, by row of the matrix; rows on which none does are not there."""
        fired: dict[int, list[ActiveRule]] = {}
        for active in self._rules:
            for row in np.flatnonzero(active.rule.fires_on(matrix)).tolist():
                fired.setdefault(row, []).append(active)
        return fired

    def _decide(
        self,
        point: DecisionPoint,
        value: float,
        model: FrozenModel | None,
        note: Note,
        fired: list[ActiveRule],
    ) -> tuple[RiskEvent | None, Tier]:
        """The risk event to publish, if the verdict changes, and the tier the user is in now; `value` may be NaN."""
        probability = None if isnan(value) else value
        if probability is None and note != "no_version":
            note = "insufficient_history"
        user_id, as_of = point.user_id, point.as_of
        self._clock = max(self._clock, as_of)
        raised_to = max((active.tier for active in fired), key=lambda tier: tier.rank, default=Tier.NONE)
        standing = self._standings.get(user_id, CLEAR)
        decider, thresholds = self._decider, self._thresholds_of(model)
        after = decider.decide(standing, as_of, probability, raised_to, thresholds)
        before = standing.tier if as_of < standing.expires_at else Tier.NONE
        if after.tier is Tier.NONE or after is standing:
            self._held_back += decider.held_back(standing, as_of, probability, thresholds)
        if after is standing:
            return None, before
        self._standings[user_id] = after
        if after.tier is before:
            return None, before  # a rule asked for less than the tier in force: that is noted, not published
        if len(self._standings) > self._crowd:
            self._forget()
        policy = self._policy
        identity = f"{user_id}\0{point.event_id}\0{self._detector_set}".encode("utf-8", "surrogatepass")
        event = RiskEvent(
            risk_event_id=blake2b(identity, digest_size=16).hexdigest(),
            user_id=user_id,
            as_of=as_of,
            tier=after.tier,
            previous_tier=before,
            probability=probability,
            target=policy.target.name,
            horizon_ms=policy.target.horizon,
            expires_at=after.expires_at if after.tier.rank else as_of,
            reasons=explain(point, None if probability is None else model, fired, policy.warnings.reasons),
            model=self._champion,
            model_version="" if model is None else model.version,
            learned_until=None if model is None else model.learned_until,
            model_note=note,
            policy=policy.name,
            policy_version=policy.version,
            trigger=Trigger(
                event_id=point.event_id,
                topic=point.at.topic,
                partition=point.at.partition,
                offset=point.at.offset,
            ),
        )
        return event, after.tier

    def _forget(self) -> None:
        """Drop the standings that have not mattered for `FORGET_AFTER`.

        Points of different users come in no order, so the margin must exceed the event time that can be under way.
        """
        now = self._clock - FORGET_AFTER
        self._standings = {u: s for u, s in self._standings.items() if not self._decider.settled(s, now)}
        self._crowd = max(CROWD, 2 * len(self._standings))

    def state(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {
            "versions": {model: versions.state() for model, versions in self._versions.items()},
            "reached": self._reached,
            "waiting": [_plain(item) for item in self._waiting],
            "standings": {
                u: (str(s.tier), s.expires_at, s.entered_at, str(s.entered), str(s.floor))
                for u, s in self._standings.items()
            },
            "clock": self._clock,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        for model, versions in state["versions"].items():
            if model in self._versions:
                self._versions[model].restore(versions)
        self._reached.update({m: reached for m, reached in state["reached"].items() if m in self._reached})
        self._waiting = [
            Erasure._make((*fields[:-1], Position(*fields[-1])))
            if erased
            else DecisionPoint._make((*fields[:3], array("d", fields[3]), fields[4], Position(*fields[5])))
            for erased, fields in state["waiting"]
        ]
        self._standings = {
            user: Standing(Tier(tier), expires_at, entered_at, Tier(entered), Tier(floor))
            for user, (tier, expires_at, entered_at, entered, floor) in state["standings"].items()
        }
        self._clock = state["clock"]


def _probabilities(matrix: Matrix, chosen: list[_Choice]) -> Matrix:
    """Each row scored by the version chosen for it; NaN without one."""
    values = np.full(len(matrix), nan)
    rows: dict[FrozenModel, list[int]] = {}
    for row, (model, _) in enumerate(chosen):
        if model is not None:
            rows.setdefault(model, []).append(row)
    for model, indexes in rows.items():
        values[indexes] = model.probabilities(matrix[indexes])
    return values


def _plain(item: DecisionPoint | Erasure) -> tuple[bool, tuple[Any, ...]]:
    """Whether it is an erasure, and its fields as plain data."""
    if isinstance(item, Erasure):
        return True, tuple(item)
    return False, (*item[:3], item.vector.tobytes(), *item[4:])
