"""A lane: scores the decision points of its users in batches, and decides their tiers.

In a replay, a lane holds a point until every version in force at its position has arrived, so that the same log gives
the same scores regardless of batching. In a live run, points do not wait: the newest version that is old enough scores
at once.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import chain
from math import inf, isnan, nan
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from detectors.base.log_clock import LogClock
from detectors.base.points import DecisionPoint
from detectors.base.vectors import Matrix
from detectors.learning.learner import Forgotten, Published
from detectors.models.version import FrozenModel
from detectors.monitoring.quality import SAMPLE, USERS, Counts, Live, keys_of, row_of
from detectors.monitoring.scorers import Scored
from detectors.policy.policy import Policy
from detectors.profiles.results import Erasure, LaneItem, Outcome
from detectors.rules.catalogue import ActiveRule, active_rules
from detectors.scoring.batch import Batch, between
from detectors.scoring.explain import explain
from detectors.scoring.served import NONE_SERVED, ServedBatch, joined
from detectors.scoring.tiers import CLEAR, Decider, WarningState
from detectors.scoring.versions import Note, Run, Versions, probabilities_of, runs_of
from detectors.scoring.waiting import item_of, plain
from schemas.records.base import Position
from schemas.records.decisions import RiskEvent, Tier, Tombstone, Trigger

STATE_VERSION = 4
"""Version of a lane's packed state; all earlier versions can be read."""
MOST_ALIKE = 3
"""Maximum number of exemplars in a risk event."""
CROWD = 50_000
"""A lane with fewer warning states drops none."""
FORGET_AFTER = 30 * 86_400_000
"""Time after which a settled warning state may be dropped (ms)."""
_place = attrgetter("at.seq")
"""Key function: the log position of an item."""


class ModelUpdate(NamedTuple):
    """A learner's update to the lanes: published versions, and its position in each partition.

    `forgotten` are erased users, whose data must be removed from stored versions from the position of their erasure on.
    `fates` counts examples that were not learnt at once: see `Learner.fates`.
    """

    model: str
    published: list[Published]
    reached: dict[int, int]
    forgotten: Sequence[Forgotten] = ()
    fates: Mapping[str, int] = {}


class Publication(NamedTuple):
    """A record for subscribers, with the position of the event that caused it."""

    at: Position
    event: RiskEvent | Tombstone


class Lane:
    """The state of one lane: model versions, waiting points, and the warning states of its users."""

    def __init__(self, policy: Policy, *, pinned: FrozenModel | None = None, wait: bool = False) -> None:
        self._policy, self._policy_version = policy, policy.version
        self._pinned = pinned
        self._wait = wait and pinned is None
        learning = policy.learning
        models = () if pinned is not None else (learning.champion, *learning.challengers)
        self._versions = {model: Versions(policy.learning_of(model).keep_versions) for model in models}
        self._reached: dict[str, int] = dict.fromkeys(models, 0)
        self._live = Live(horizon=policy.target.horizon, lateness=policy.allowed_lateness)
        self._waiting: list[LaneItem] = []
        self._forgotten: list[tuple[str, Forgotten]] = []  # by model, in log order: erasures not yet applied
        self._standings: dict[str, WarningState] = {}
        self._clock = LogClock(USERS)
        self._crowd = CROWD
        self._decider = Decider(policy.tiers, policy.warnings, policy.promises)
        self._held_back = 0
        self._rules = active_rules(policy.rules)
        self._min_events = learning.min_events
        self._champion = learning.champion if pinned is None else pinned.name
        detectors = (self._champion, *(active.rule.name for active in self._rules))
        self._detector_set = "+".join([policy.name, *detectors])

    def hear(self, update: ModelUpdate) -> None:
        """Apply a learner's model update."""
        self._versions[update.model].hear(update.published)
        self._reached[update.model] = max(self._reached[update.model], *update.reached.values(), 0)
        if update.forgotten:
            self._forgotten += [(update.model, forgotten) for forgotten in update.forgotten]
            self._forgotten.sort(key=lambda erased: erased[1].seq)
        if not self._wait:
            self._forget_before(None)

    def take(self, arrived: list[LaneItem]) -> tuple[list[Publication], ServedBatch]:
        """Score and decide all items that are ready; return the records to publish, and the points as served."""
        if not arrived and not self._waiting:
            return [], NONE_SERVED
        # restore log order across users, so that no clock runs ahead within a batch
        due = sorted([*self._waiting, *arrived], key=_place)
        if self._wait:
            split = bisect_left(due, min(self._reached.values()), key=_place)
            due, self._waiting = due[:split], due[split:]
        out: list[Publication] = []
        batches: list[ServedBatch] = []
        while due:
            # a point is scored by versions without the users erased before it, and with all others
            self._forget_before(due[0].at.seq)
            until = self._forgotten[0][1].seq if self._forgotten else due[-1].at.seq
            split = bisect_right(due, until, key=_place)
            published, served = self._take(due[:split])
            out += published
            batches.append(served)
            due = due[split:]
        return out, joined(batches)

    def _forget_before(self, seq: int | None) -> None:
        """Remove users erased before a log position from the versions; all erased users, if it is None."""
        while self._forgotten and (seq is None or self._forgotten[0][1].seq < seq):
            model, (user, _, _) = self._forgotten.pop(0)
            self._versions[model].forget(user)

    def _take(self, due: list[LaneItem]) -> tuple[list[Publication], ServedBatch]:
        """Score and decide the items that are due."""
        points = [item for item in due if isinstance(item, DecisionPoint)]
        if not points:
            return [publication for item in due for publication in self._note(item)], NONE_SERVED
        batch = Batch(points)
        runs, probabilities, shadows = self._score(batch)
        if self._min_events > 1:  # every point has at least one event
            probabilities[np.array(batch.events) < self._min_events] = nan
        out, tiers, sampled = self._judge(batch, runs, probabilities.tolist(), between(due, len(points)))
        if sampled:
            self._live.rows(batch.matrix[sampled], probabilities[sampled])
        for held in self._versions.values():
            held.trim(due[-1].at.seq, one_partition=self._wait)
        versions = [("" if model is None else model.version, stop - start) for model, _, start, stop in runs]
        held_back, self._held_back = self._held_back, 0
        return out, ServedBatch(
            points,
            batch.matrix,
            probabilities,
            tiers,
            list(chain.from_iterable([version] * number for version, number in versions)),
            shadows,
            held_back,
            *self._silence(batch, runs, probabilities),
        )

    def _silence(self, batch: Batch, runs: list[Run], probabilities: Matrix) -> tuple[Counter[str], Counter[str]]:
        """Return the number of points without a score, and of scored points without a reachable tier, by cause."""
        unscored, silent = Counter[str](), Counter[str]()
        absent = np.isnan(probabilities)
        for model, note, start, stop in runs:
            missing = int(absent[start:stop].sum())
            limits = self._decider.limits(model)
            if missing < stop - start and limits.tiers[0][1] == inf:
                silent["promise" if limits.unbudgeted[0] == inf else "budget"] += stop - start - missing
            if not missing:
                continue
            if note == "no_version":
                unscored["no_version"] += missing
            elif model is None or not model.ready:
                unscored["not_learnt"] += missing
            else:
                few = sum(
                    events < self._min_events and gone
                    for events, gone in zip(batch.events[start:stop], absent[start:stop].tolist(), strict=True)
                )
                unscored["few_events"] += few
                unscored["model_silent"] += missing - few
        return +unscored, +silent

    def _judge(
        self, batch: Batch, runs: list[Run], values: list[float], between: dict[int, list[LaneItem]]
    ) -> tuple[list[Publication], list[Tier], list[int]]:
        """Decide the points of a batch with these probabilities, and apply the items `between` them, in log order.

        Return the records to publish, the resulting tier of each point, and the rows of the points sampled for
        evaluation.
        """
        out: list[Publication] = []
        tiers = [Tier.NONE] * len(batch)
        fired, keys = self._fire(batch.matrix), keys_of(batch.seqs)
        sampled = [row for row, key in enumerate(keys) if key < SAMPLE]
        besides, live, decider = {*fired, *sampled, *between}, self._live, self._decider
        for model, note, start, stop in runs:
            rows = range(start, stop)
            for row in decider.moved(
                rows, batch.users, batch.as_of, values, self._standings, decider.limits(model), besides, tiers
            ):
                for item in between.get(row, ()):
                    out.extend(self._note(item))
                user_id, as_of, _, _, _, at, _ = batch.points[row]
                value, key = values[row], keys[row]
                if key < SAMPLE:
                    live.point(user_id, as_of, at.partition, at.seq, key, value, row_of(at))
                event, tiers[row] = self._decide(batch, row, value, model, note, fired.get(row, []))
                if event is not None:
                    out.append(Publication(at, event))
                    if event.tier.rank > event.previous_tier.rank:
                        live.warning(user_id, as_of, at.partition, at.seq, key, event.tier, row_of(at))
        for item in between.get(len(batch), ()):
            out.extend(self._note(item))
        return out, tiers, sampled

    def scored(self, results: list[Scored]) -> None:
        """Add toxicity scorers' results on a sample of messages."""
        self._live.scored(results)

    def measured(self) -> Counts:
        """Return the measurements since the last call: see `Live`."""
        return self._live.take()

    def _note(self, item: LaneItem) -> list[Publication]:
        """Apply an item that is not a decision point: an outcome, or an erasure, which gives a tombstone."""
        if isinstance(item, Outcome):
            self._live.outcome(item)
        elif isinstance(item, Erasure):
            self._standings.pop(item.user_id, None)
            self._clock.forget(item.user_id)
            self._live.erase(item.user_id, item.at.partition)
            return [Publication(item.at, Tombstone(user_id=item.user_id, as_of=item.as_of))]
        return []

    def _score(self, batch: Batch) -> tuple[list[Run], Matrix, Matrix]:
        """Return the champion's runs and probabilities, and the challengers' probabilities, a row for each."""
        if self._pinned is not None:
            ok, ahead = (self._pinned, "ok"), (self._pinned, "ahead")
            until = -1 if self._pinned.learned_until is None else self._pinned.learned_until
            runs = runs_of((ahead if until >= as_of else ok, row) for row, as_of in enumerate(batch.as_of, 1))
            return runs, self._pinned.score(batch.columns, batch.users), np.empty((0, len(batch)))
        chosen = [held.choose_all(batch, one_partition=self._wait) for held in self._versions.values()]
        champion, *challengers = [probabilities_of(batch, runs) for runs in chosen]
        return chosen[0], champion, np.array(challengers).reshape(len(challengers), len(batch))

    def _fire(self, matrix: Matrix) -> dict[int, list[ActiveRule]]:
        """Return the rules that fire, by row of the matrix; rows without one are absent."""
        fired: dict[int, list[ActiveRule]] = {}
        for active in self._rules:
            for row in active.rule.fires_on(matrix).nonzero()[0].tolist():
                fired.setdefault(row, []).append(active)
        return fired

    def _decide(
        self,
        batch: Batch,
        row: int,
        value: float,
        model: FrozenModel | None,
        note: Note,
        fired: list[ActiveRule],
    ) -> tuple[RiskEvent | None, Tier]:
        """Return the risk event to publish if the verdict changes, and the user's current tier; `value` may be NaN."""
        probability = None if isnan(value) else value
        if probability is None and note != "no_version":
            note = "insufficient_history"
        user_id, as_of = batch.users[row], batch.as_of[row]
        raised_to = max((active.tier for active in fired), key=_rank) if fired else Tier.NONE
        standing = self._standings.get(user_id, CLEAR)
        decider, thresholds = self._decider, self._decider.limits(model)
        after = decider.decide(standing, as_of, probability, raised_to, thresholds)
        before = standing.tier if as_of < standing.expires_at else Tier.NONE
        if after.tier is Tier.NONE or after is standing:
            self._held_back += decider.held_back(standing, as_of, probability, thresholds)
        if after is standing:
            return None, before
        self._standings[user_id] = after
        self._clock.advance(user_id, as_of)
        if after.tier is before:
            return None, before  # only the floor changed, not the tier in force: stored, not published
        if len(self._standings) > self._crowd:
            self._forget()
        policy, point, column = self._policy, batch.points[row], batch.columns[:, row : row + 1].copy()
        # separates ids of messages and moderation events; ids of messages keep their original form
        kind = "\0moderation" if point.moderation else ""
        identity = f"{user_id}\0{point.event_id}\0{self._detector_set}{kind}".encode("utf-8", "surrogatepass")
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
            reasons=explain(point, scorer, fired, policy.warnings.reasons, column),
            exemplars=() if scorer is None else scorer.exemplars(point, MOST_ALIKE, column),
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
        """Drop the warning states that have had no effect for `FORGET_AFTER`.

        Points of different users arrive in no order, so the margin must exceed the range of event times in flight.
        """
        now, standings = self._clock.now - FORGET_AFTER, self._standings
        for user_id in [u for u, s in standings.items() if self._decider.settled(s, now)]:
            del standings[user_id]
        self._crowd = max(CROWD, 2 * len(self._standings))

    def state(self) -> dict[str, Any]:
        """Return the state as plain data.

        Items that wait are not before the learners' positions, so erasures before those positions are applied first.
        """
        if self._wait:
            self._forget_before(min(self._reached.values()))
        return {
            "versions": {model: versions.state() for model, versions in self._versions.items()},
            "reached": self._reached,
            "waiting": [plain(item) for item in self._waiting],
            "forgotten": self._forgotten,
            "standings": self._standings,
            "clock": self._clock.state(),
            "live": self._live.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state of any version; version 1 had no online evaluation."""
        for model, versions in state["versions"].items():
            if model in self._versions:
                self._versions[model].restore(versions)
        self._reached.update({m: reached for m, reached in state["reached"].items() if m in self._reached})
        self._waiting = [item_of(kind, fields) for kind, fields in state["waiting"]]
        self._standings = {
            user: WarningState(Tier(tier), expires_at, entered_at, Tier(entered), Tier(floor))
            for user, (tier, expires_at, entered_at, entered, floor) in state["standings"].items()
        }
        if isinstance(state["clock"], list):  # before version 4: the latest time of any user, not restored
            self._clock = LogClock.load(state["clock"], USERS)
        self._forgotten = [(m, Forgotten(*erased)) for m, erased in state.get("forgotten", ()) if m in self._versions]
        if "live" in state:
            self._live.restore(state["live"])


def _rank(tier: Tier) -> int:
    return tier.rank
