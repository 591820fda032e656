"""A lane: scores the decision points of its users in batches, and decides.

In a replay a lane waits with a point until every version in force at its position has been heard of, so that the
same log gives the same scores however it was batched. Live, nothing waits: the newest version that is old enough
scores at once.
"""

from __future__ import annotations

from hashlib import blake2b
from math import isnan, nan
from typing import Any, NamedTuple

import numpy as np

from detectors.contract import DecisionPoint, Matrix, matrix_from
from detectors.decide import CLEAR, Decider, Standing
from detectors.explain import explain
from detectors.features.upgrade import stored_vector
from detectors.items import Erasure, LaneItem, Outcome
from detectors.learn import Published
from detectors.live.live import SAMPLE, Counts, Live, keys_of
from detectors.live.scorers import Scored
from detectors.models.version import FrozenModel
from detectors.policy import Policy
from detectors.rules.catalogue import ActiveRule, active_rules
from detectors.served import NONE_SERVED, ServedBatch
from detectors.versions import Choice, Note, Versions, probabilities_of
from schemas.records import Position, RiskEvent, Tier, Tombstone, Trigger

STATE_VERSION = 2
"""Version of a lane's packed state."""
MOST_ALIKE = 3
"""How many exemplars a risk event names."""
CROWD = 50_000
"""A lane with fewer standings forgets none."""
FORGET_AFTER = 30 * 86_400_000
"""How long after it has settled a standing may be forgotten (ms)."""


class News(NamedTuple):
    """What a learner tells the lanes: versions published, and the position it has reached in each partition."""

    model: str
    published: list[Published]
    reached: dict[int, int]


class Publication(NamedTuple):
    """What goes to subscribers, with the position of the event that made it."""

    at: Position
    event: RiskEvent | Tombstone


class Lane:
    """The state of one lane: versions, points that wait, and where each warned-of user stands."""

    def __init__(self, policy: Policy, *, pinned: FrozenModel | None = None, wait: bool = False) -> None:
        self._policy, self._policy_version = policy, policy.version
        self._pinned = pinned
        self._wait = wait and pinned is None
        learning = policy.learning
        models = () if pinned is not None else (learning.champion, *learning.challengers)
        self._versions = {model: Versions(learning.keep_versions) for model in models}
        self._reached: dict[str, int] = dict.fromkeys(models, 0)
        self._live = Live(policy)
        self._waiting: list[LaneItem] = []
        self._standings: dict[str, Standing] = {}
        self._clock = -1
        self._crowd = CROWD
        self._decider = Decider(policy)
        self._held_back = 0
        self._rules = active_rules(policy)
        self._champion = learning.champion if pinned is None else pinned.name
        detectors = (self._champion, *(active.rule.name for active in self._rules))
        self._detector_set = "+".join([policy.name, *detectors])

    def hear(self, news: News) -> None:
        """Take in what a learner tells."""
        self._versions[news.model].hear(news.published)
        self._reached[news.model] = max(self._reached[news.model], *news.reached.values(), 0)

    def take(self, arrived: list[LaneItem]) -> tuple[list[Publication], ServedBatch]:
        """Score and decide what can be: risk events and tombstones to publish, and the points as served."""
        # users' bundles back in the order of the log, so that no clock runs ahead within a batch
        due = sorted([*self._waiting, *arrived], key=lambda item: item.at.seq)
        if self._wait:
            reached = min(self._reached.values())
            split = next((i for i, item in enumerate(due) if item.at.seq >= reached), len(due))
            due, self._waiting = due[:split], due[split:]
        points = [item for item in due if isinstance(item, DecisionPoint)]
        if not points:
            return [publication for item in due for publication in self._note(item)], NONE_SERVED
        matrix = matrix_from([point.vector for point in points])
        chosen, probabilities, shadows = self._score(points, matrix)
        probabilities[np.array([point.events for point in points]) < self._policy.learning.min_events] = nan
        fired = self._fire(matrix)
        tiers = [Tier.NONE] * len(points)
        out: list[Publication] = []
        keys = keys_of(np.array([point.at.seq for point in points]))
        sampled = keys < SAMPLE
        # nearly everybody is in no tier and stays there: nothing to decide
        limits = self._decider.limits
        alarming = (probabilities >= np.array([limits(model).quiet_below for model, _ in chosen])).tolist()
        for row in fired:
            alarming[row] = True
        row, standings, live, looked_at = -1, self._standings, self._live, sampled.tolist()
        for item in due:
            if not isinstance(item, DecisionPoint):
                out.extend(self._note(item))
                continue
            row += 1
            if looked_at[row]:
                _, partition, _, seq = item.at
                live.point(item.user_id, item.as_of, partition, seq, int(keys[row]), float(probabilities[row]))
            if alarming[row] or item.user_id in standings:
                value = float(probabilities[row])
                event, tiers[row] = self._decide(item, value, *chosen[row], fired.get(row, []))
                standings = self._standings
                if event is not None:
                    out.append(Publication(item.at, event))
                    if event.tier.rank > event.previous_tier.rank:
                        _, partition, _, seq = item.at
                        live.warning(item.user_id, item.as_of, partition, seq, int(keys[row]), event.tier)
        live.rows(matrix[sampled], probabilities[sampled])
        for held in self._versions.values():
            held.trim(due[-1].at.seq, one_partition=self._wait)
        versions = ["" if model is None else model.version for model, _ in chosen]
        held_back, self._held_back = self._held_back, 0
        return out, ServedBatch(points, matrix, probabilities, tiers, versions, shadows, held_back)

    def scored(self, results: list[Scored]) -> None:
        """Take in what toxicity scorers said of a sample of messages."""
        self._live.scored(results)

    def measured(self) -> Counts:
        """What was measured since the last call: see `Live`."""
        return self._live.take()

    def _note(self, item: LaneItem) -> list[Publication]:
        """Take in what is no decision point: an erasure, of which subscribers are told, or an outcome."""
        if isinstance(item, Outcome):
            self._live.outcome(item)
        elif isinstance(item, Erasure):
            self._standings.pop(item.user_id, None)
            self._live.erase(item.user_id, item.at.partition)
            return [Publication(item.at, Tombstone(user_id=item.user_id, as_of=item.as_of))]
        return []

    def _score(self, points: list[DecisionPoint], matrix: Matrix) -> tuple[list[Choice], Matrix, Matrix]:
        """The champion's version and note for each point, its probabilities, and the challengers', a row for each."""
        if self._pinned is not None:
            pinned, until = self._pinned, self._pinned.learned_until
            ready: list[Choice] = [
                (pinned, "ahead" if until is not None and until >= point.as_of else "ok") for point in points
            ]
            users = [point.user_id for point in points]
            return ready, pinned.probabilities(matrix, users), np.empty((0, len(points)))
        choices = [held.choose_all(points, one_partition=self._wait) for held in self._versions.values()]
        champion, *challengers = [probabilities_of(points, matrix, chosen) for chosen in choices]
        return choices[0], champion, np.array(challengers).reshape(len(challengers), len(points))

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
        decider, thresholds = self._decider, self._decider.limits(model)
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
        scorer = None if probability is None else model
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
            reasons=explain(point, scorer, fired, policy.warnings.reasons),
            exemplars=() if scorer is None else scorer.exemplars(point, MOST_ALIKE),
            model=self._champion,
            model_version="" if model is None else model.version,
            learned_until=None if model is None else model.learned_until,
            model_note=note,
            policy=policy.name,
            policy_version=self._policy_version,
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
            "live": self._live.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state, of this version or of version 1, which had no live evaluation."""
        for model, versions in state["versions"].items():
            if model in self._versions:
                self._versions[model].restore(versions)
        self._reached.update({m: reached for m, reached in state["reached"].items() if m in self._reached})
        self._waiting = [_read(kind, fields) for kind, fields in state["waiting"]]
        self._standings = {
            user: Standing(Tier(tier), expires_at, entered_at, Tier(entered), Tier(floor))
            for user, (tier, expires_at, entered_at, entered, floor) in state["standings"].items()
        }
        self._clock = state["clock"]
        if "live" in state:
            self._live.restore(state["live"])


def _plain(item: LaneItem) -> tuple[int, tuple[Any, ...]]:
    """Which kind of item it is, and its fields as plain data."""
    if isinstance(item, DecisionPoint):
        return 0, (*item[:3], item.vector.tobytes(), *item[4:])
    return (1 if isinstance(item, Erasure) else 2), tuple(item)


def _read(kind: int, fields: list[Any]) -> LaneItem:
    """The item that `_plain` turned into data; version 1 had no outcomes, and false and true for 0 and 1."""
    at = Position(*fields[-1])
    if kind == 0:
        return DecisionPoint._make((*fields[:3], stored_vector(fields[3]), fields[4], at))
    return Erasure._make((*fields[:-1], at)) if kind == 1 else Outcome._make((*fields[:-1], at))
