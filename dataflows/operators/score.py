"""Score: lanes score their users' points in batches, and decide their tiers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import bytewax.operators as op
from bytewax.dataflow import Stream, operator
from bytewax.operators import KeyedStream, StatefulBatchLogic

from dataflows.runtime.telemetry import Telemetry
from detectors.base.state import pack, unpack
from detectors.monitoring.quality import Counts
from detectors.monitoring.scorers import Scored, ScoredBatch
from detectors.profiles.results import LaneItem
from detectors.profiles.shards import lane_names, lane_of
from detectors.scoring.served import ServedBatch
from detectors.scoring.shard import STATE_VERSION, Lane, ModelUpdate, Publication


@dataclass(frozen=True)
class JudgeOut:
    """Records to publish, keyed by user, and the points as served, keyed by lane."""

    events: KeyedStream[Publication]
    served: KeyedStream[ServedBatch]


class Judgement(NamedTuple):
    """A lane's result for a batch."""

    events: list[Publication]
    served: ServedBatch
    measured: Counts


class JudgeLogic(StatefulBatchLogic[Any, Judgement, bytes]):
    """One lane: applies model updates first, then scores and decides points."""

    def __init__(self, lane: Lane, snapshot: bytes | None) -> None:
        self._lane = lane
        if snapshot is not None:
            lane.restore(unpack(snapshot, STATE_VERSION, "lane")[1])

    def on_batch(self, values: list[ModelUpdate | ScoredBatch | list[LaneItem]]) -> tuple[list[Judgement], bool]:
        """Apply model updates and toxicity scorers' results, then score and decide the points."""
        arrived: list[LaneItem] = []
        for value in values:
            if isinstance(value, ModelUpdate):
                self._lane.hear(value)
            elif isinstance(value, ScoredBatch):
                self._lane.scored(value.results)
            else:
                arrived.extend(value)
        events, served = self._lane.take(arrived)
        measured = self._lane.measured()
        return ([Judgement(events, served, measured)] if events or served or measured else []), False

    def snapshot(self) -> bytes:
        """Return the lane's state as versioned bytes."""
        return pack(self._lane.state(), STATE_VERSION)


@operator
def score(
    step_id: str,
    items: KeyedStream[list[LaneItem]],
    scored: Stream[list[Scored]],
    updates: Stream[ModelUpdate],
    new_lane: Callable[[], Lane],
    lanes: int,
    telemetry: Telemetry,
    champion: str,
    *,
    wait: bool,
) -> JudgeOut:
    """Score and decide the points of each lane in batches.

    Every lane receives all model updates; the results of a toxicity scorer all go to one lane. Updates that contain
    only the learners' positions go only to lanes that `wait` for them. Other lanes need published versions and erasures
    only.
    """
    names = lane_names(lanes)

    def broadcast(batch: list[ModelUpdate]) -> list[tuple[str, ModelUpdate]]:
        telemetry.fates([item.fates for item in batch if item.model == champion])
        return [(lane, item) for item in batch if wait or item.published or item.forgotten for lane in names]

    def deal(batches: list[list[Scored]]) -> list[tuple[str, ScoredBatch]]:
        dealt: dict[str, ScoredBatch] = {}
        for results in batches:
            for result in results:
                dealt.setdefault(lane_of(result.scorer, lanes), ScoredBatch([])).results.append(result)
        return list(dealt.items())

    # the merged stream carries several kinds of value, which the engine's types cannot express
    scorer_results: KeyedStream[Any] = op.flat_map_batch("scorers", scored, deal)
    inputs: KeyedStream[Any] = op.merge(
        "heard", items, scorer_results, op.flat_map_batch("broadcast", updates, broadcast)
    )
    judged = op.stateful_batch("lanes", inputs, lambda snapshot: JudgeLogic(new_lane(), snapshot))

    def to_events(batch: list[tuple[str, Judgement]]) -> list[tuple[str, Publication]]:
        events = [event for _, judgement in batch for event in judgement.events]
        telemetry.judged(events)
        telemetry.measured([judgement.measured for _, judgement in batch])
        return [(item.event.user_id, item) for item in events]

    def to_served(batch: list[tuple[str, Judgement]]) -> list[tuple[str, ServedBatch]]:
        served = [judgement.served for _, judgement in batch]
        telemetry.add("decisions", Counter(held_back=sum(one.held_back for one in served)))
        telemetry.served(served)
        return [(lane, judgement.served) for lane, judgement in batch if judgement.served]

    return JudgeOut(
        events=op.flat_map_batch("events", judged, to_events),
        served=op.flat_map_batch("served", judged, to_served),
    )
