"""Judge: lanes score their users' points in batches, and decide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import bytewax.operators as op
from bytewax.dataflow import Stream, operator
from bytewax.operators import KeyedStream, StatefulBatchLogic

from dataflows.telemetry import Telemetry
from detectors.contract import DecisionPoint
from detectors.lane import STATE_VERSION, Erasure, Lane, News, Publication
from detectors.served import ServedBatch
from detectors.storage import pack, unpack


@dataclass(frozen=True)
class JudgeOut:
    """What is published, by user, and the points as served."""

    events: KeyedStream[Publication]
    served: Stream[ServedBatch]


class Judgement(NamedTuple):
    """What a lane made of a batch."""

    events: list[Publication]
    served: ServedBatch


class JudgeLogic(StatefulBatchLogic[Any, Judgement, bytes]):
    """One lane: news heard first, then points scored and decided."""

    def __init__(self, lane: Lane, snapshot: bytes | None) -> None:
        self._lane = lane
        if snapshot is not None:
            lane.restore(unpack(snapshot, STATE_VERSION, "lane")[1])

    def on_batch(self, values: list[News | list[DecisionPoint | Erasure]]) -> tuple[list[Judgement], bool]:
        """Hear the news, then take the points."""
        arrived: list[DecisionPoint | Erasure] = []
        for value in values:
            if isinstance(value, News):
                self._lane.hear(value)
            else:
                arrived.extend(value)
        events, served = self._lane.take(arrived)
        return ([Judgement(events, served)] if events or served else []), False

    def snapshot(self) -> bytes:
        """The lane's state as versioned bytes."""
        return pack(self._lane.state(), STATE_VERSION)


@operator
def judge(
    step_id: str,
    points: KeyedStream[list[DecisionPoint | Erasure]],
    news: Stream[News],
    new_lane: Callable[[], Lane],
    lanes: int,
    telemetry: Telemetry,
) -> JudgeOut:
    """Score the points of each lane in batches and decide; every lane hears all news."""
    names = [f"{lane:03d}" for lane in range(lanes)]

    def broadcast(batch: list[News]) -> list[tuple[str, News]]:
        return [(lane, item) for item in batch for lane in names]

    # the merged stream carries both kinds of value, which the engine's own types cannot say
    heard: KeyedStream[Any] = op.merge("heard", points, op.flat_map_batch("broadcast", news, broadcast))
    judged = op.stateful_batch("lanes", heard, lambda snapshot: JudgeLogic(new_lane(), snapshot))

    def to_events(batch: list[tuple[str, Judgement]]) -> list[tuple[str, Publication]]:
        events = [event for _, judgement in batch for event in judgement.events]
        telemetry.judged(events)
        return [(item.event.user_id, item) for item in events]

    def to_served(batch: list[tuple[str, Judgement]]) -> list[ServedBatch]:
        telemetry.add("decisions", Counter(held_back=sum(judgement.served.held_back for _, judgement in batch)))
        return [judgement.served for _, judgement in batch if judgement.served]

    return JudgeOut(
        events=op.flat_map_batch("events", judged, to_events),
        served=op.flat_map_batch("served", judged, to_served),
    )
