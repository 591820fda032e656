"""Profile: processes each user's events in order, lane by lane.

It emits points, training events, late events, outcomes and rejects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import bytewax.operators as op
from bytewax.dataflow import Stream, operator
from bytewax.operators import KeyedStream, StatefulBatchLogic

from dataflows.operators.decode import Decoded
from dataflows.recovery.users import UserStore, UserStores
from dataflows.runtime.telemetry import Telemetry
from dataflows.runtime.worker_local import WorkerLocal
from detectors.base.state import pack, unpack
from detectors.profiles.results import LaneItem, Outcome, TrainingEvent
from detectors.profiles.shards import lane_names, number_of
from detectors.profiles.user import CompiledPolicy
from detectors.profiles.users import LIVE, BatchResult, Users
from schemas.records.base import CHAT, MODERATION, Position
from schemas.records.events import ChatMessage, Event
from schemas.records.rejects import Reject, RejectReason

STATE_VERSION = 2
"""Version of the snapshot of a lane's users, and of the users' format in the lane's file."""


PART = 131_072
"""Bytes of changes that are worth writing before the end of an epoch."""


class Late(NamedTuple):
    """An Event too far behind its user's clock to be counted, without its text."""

    event: Event
    at: Position


@dataclass(frozen=True)
class ProfileOut:
    """Results of all events: points, outcomes and erasures by lane, training events, late events and rejects."""

    items: KeyedStream[list[LaneItem]]
    training_events: Stream[TrainingEvent]
    lates: Stream[Late]
    rejects: Stream[Reject]
    outcomes: Stream[Outcome]


def reject_of(event: Event, at: Position, stage: str, error: Exception) -> Reject:
    """Return a Reject for an event that broke a step; its detail is the class of the error, not the error's message."""
    return Reject.model_validate(
        {
            "reason": RejectReason.INTERNAL_ERROR,
            "stage": stage,
            "detail": type(error).__name__,
            "subject": CHAT if isinstance(event, ChatMessage) else MODERATION,
            "topic": at.topic,
            "partition": at.partition,
            "offset": at.offset,
            "seq": at.seq,
            "received": None,
            "key": event.user_id.encode("utf-8", "surrogatepass"),
            "value": event.model_dump_json().encode(),
        },
    )


class Gathered(NamedTuple):
    """The results of a batch of many users' events: the items by lane, and everything else."""

    items: dict[str, list[LaneItem]]
    training_events: list[TrainingEvent]
    lates: list[Late]
    rejects: list[Reject]
    outcomes: list[Outcome]


class Bundle(NamedTuple):
    """A lane's events of a batch, in order of arrival."""

    lane: str
    events: list[Decoded]


class ProfileLogic(StatefulBatchLogic[Bundle, BatchResult, bytes]):
    """The users of one lane, opened when the first events or the snapshot provide the lane's name.

    With `stores` the users are kept there, and a snapshot contains only the store generation. `lanes` are the lanes of
    this worker; the new lane appends itself.
    """

    def __init__(
        self,
        new_users: Callable[[], Users],
        stores: UserStores | None,
        lanes: list[ProfileLogic],
        snapshot: bytes | None,
    ) -> None:
        self._stores = stores
        self._store: UserStore | None = None
        self._kept: Future[int] | None = None  # the generation being written
        self._lanes = lanes
        self.users = new_users()
        lanes.append(self)
        self._lane: str | None = None
        if snapshot is not None:
            if stores is None:
                raise ValueError("users who were kept in memory only cannot be resumed: give the flow its stores")
            _, state = unpack(snapshot, STATE_VERSION, "users")
            self._open(state["lane"], state["generation"])

    def _open(self, lane: str, generation: int) -> None:
        self._lane = lane
        if self._stores is not None:
            self._store = self._stores.open(lane, generation)
            for user_id, state in self._store.read():
                self.users.restore(user_id, state)

    def on_batch(self, values: list[Bundle]) -> tuple[list[BatchResult], bool]:
        """Process the events; see `Users.take`."""
        if self._lane is None:
            self._open(values[0].lane, 0)
        store = self._store if self._kept is None else None
        if store is not None:
            store.settle_later()
        events = values[0].events if len(values) == 1 else [event for bundle in values for event in bundle.events]
        taken = self.users.take(events)
        if store is not None and self.users.written >= PART and store.free:
            store.keep_part_later(self.users.some_changes())
        return [taken], False

    def snapshot(self) -> bytes:
        """Flush changes and return the store generation of this snapshot.

        The engine snapshots the lanes of a worker one after the other; all of them have had events since their last
        snapshot. The first of them therefore starts the writes of all lanes of the worker, in parallel.
        """
        generation = 0
        if self._store is not None:
            if self._kept is None:
                for lane in self._lanes:
                    lane._begin_to_keep()  # noqa: SLF001 - of the same class
            kept, self._kept = self._kept, None
            generation = self._store.generation if kept is None else kept.result()
        return pack({"lane": self._lane, "generation": generation}, STATE_VERSION)

    def _begin_to_keep(self) -> None:
        if self._store is not None and self._kept is None:
            changes = self.users.changes()
            if changes or self._store.parts:
                self._kept = self._store.keep_later(changes)


def without_text(event: Event) -> Event:
    """Return the event without its text, in which form it may leave the dataflow."""
    if isinstance(event, ChatMessage) and event.text is not None:
        return event.model_copy(update={"text": None})
    return event


@operator
def profile(
    step_id: str,
    up: Stream[list[Decoded]],
    rules: CompiledPolicy,
    lanes: int,
    telemetry: Telemetry,
    stores: UserStores | None,
) -> ProfileOut:
    """Process events into profiles, in order for each partition.

    Return points by lane, training events, late events, rejects and outcomes. The users are kept in `stores`, or in
    memory only.
    """
    names = lane_names(lanes)
    opened = WorkerLocal[list[ProfileLogic]](list)
    telemetry.profiles.set_function(lambda: sum(len(lane.users) for lane in chain.from_iterable(opened.all())))

    def new_users() -> Users:
        return Users(rules, max(LIVE // lanes, 1), recorded=stores is not None)

    def by_lane(batch: list[list[Decoded]]) -> list[tuple[str, Bundle]]:
        bundles: dict[str, Bundle] = {}
        for decoded in chain.from_iterable(batch):
            lane = names[number_of(decoded.event.user_id) % lanes]
            bundle = bundles.get(lane)
            if bundle is None:
                bundle = bundles[lane] = Bundle(lane, [])
            bundle.events.append(decoded)
        return list(bundles.items())

    bundles = op.flat_map_batch("by_lane", up, by_lane)
    steps = op.stateful_batch(
        "lanes", bundles, lambda snapshot: ProfileLogic(new_users, stores, opened.get(), snapshot)
    )

    def gather(batch: list[tuple[str, BatchResult]]) -> list[Gathered]:
        found = Gathered({}, [], [], [], [])
        outcomes: Counter[str] = Counter()
        items = 0
        for lane, taken in batch:
            if taken.items:
                items += len(taken.items)
                found.items.setdefault(lane, []).extend(taken.items)
            found.training_events.extend(taken.training_events)
            found.outcomes.extend(taken.outcomes)
            found.lates.extend([Late(without_text(event), at) for event, at in taken.lates])
            found.rejects.extend([reject_of(event, at, "profile", error) for event, at, error in taken.broken])
            outcomes.update(duplicate=taken.duplicates, erased=taken.erased, late=len(taken.lates))
            telemetry.add("dropped", Counter(silence=taken.silent, erasure=taken.forgotten))
        _count(found, items, outcomes, telemetry)
        return [found]

    gathered = op.flat_map_batch("gathered", steps, gather)

    def to_lanes(batch: list[Gathered]) -> Iterable[tuple[str, list[LaneItem]]]:
        return chain.from_iterable(found.items.items() for found in batch)

    def to_training_events(batch: list[Gathered]) -> Iterable[TrainingEvent]:
        return chain.from_iterable(found.training_events for found in batch)

    def to_lates(batch: list[Gathered]) -> Iterable[Late]:
        return chain.from_iterable(found.lates for found in batch)

    def to_rejects(batch: list[Gathered]) -> Iterable[Reject]:
        return chain.from_iterable(found.rejects for found in batch)

    def to_outcomes(batch: list[Gathered]) -> Iterable[Outcome]:
        return chain.from_iterable(found.outcomes for found in batch)

    return ProfileOut(
        items=op.flat_map_batch("items", gathered, to_lanes),
        training_events=op.flat_map_batch("lessons", gathered, to_training_events),
        lates=op.flat_map_batch("lates", gathered, to_lates),
        rejects=op.flat_map_batch("rejects", gathered, to_rejects),
        outcomes=op.flat_map_batch("outcomes", gathered, to_outcomes),
    )


def _count(found: Gathered, items: int, outcomes: Counter[str], telemetry: Telemetry) -> None:
    erased = outcomes["erased"]
    outcomes["seen"] = len(found.training_events) - outcomes.total()
    telemetry.add("outcomes", outcomes)
    telemetry.watch.events(len(found.training_events), outcomes["late"])
    changed = Counter([outcome.kind for outcome in found.outcomes])
    decisions = Counter(
        decision_points=items - len(found.outcomes) - erased,
        escalations=changed["escalated"],
        overturned=changed["overturned"],
    )
    telemetry.add("decisions", decisions)
    telemetry.add("rejects", Counter([reject.reason.value for reject in found.rejects]))
