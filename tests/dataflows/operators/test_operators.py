"""The steps of the spine, one key at a time and without an engine, and how they go on from a snapshot."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, run_main

from dataflows.operators import score
from dataflows.operators.context import ContextLogic
from dataflows.operators.decode import Decoded
from dataflows.operators.learn import LearnLogic, TrainingEvents, learner_of
from dataflows.operators.profile import PART, Bundle, ProfileLogic, reject_of, without_text
from dataflows.operators.score import JudgeLogic, Judgement
from dataflows.recovery.users import BEHIND, TOGETHER, UserStores, make_users, path_of
from dataflows.runtime.telemetry import Telemetry
from dataflows.testing import START, small_policy
from detectors.base.points import DecisionPoint
from detectors.base.state import StateVersionError
from detectors.policy.sections import ChannelPolicy
from detectors.profiles.results import Erasure, TrainingEvent, training_event_of
from detectors.profiles.shards import lane_names, lane_of
from detectors.profiles.user import CompiledPolicy, EventResult, User
from detectors.profiles.users import Users
from detectors.scoring.shard import Lane, ModelUpdate
from schemas.records.base import Position
from schemas.records.decisions import RiskEvent, Tombstone
from schemas.records.events import ChatMessage, ModerationEvent
from schemas.records.rejects import Reject, RejectReason

POLICY = small_policy(
    learning={"publish_every": "1m", "min_positives": 2},
    rules={"report_burst": {"tier": "high", "limit": 3}},
)
RULES = CompiledPolicy(POLICY)
MINUTE = 60_000


def at(seq: int) -> Position:
    return Position("test", 0, seq, seq)


def message(seq: int, user_id: str = "ann", *, time: int | None = None, **fields: Any) -> Decoded:
    moment = START + seq * MINUTE if time is None else time
    chat = ChatMessage(event_id=f"m-{seq}", event_time=moment, user_id=user_id, channel="lobby", **fields)
    return Decoded(chat, at(seq))


def moderation(seq: int, kind: str, user_id: str = "ann", **detail: Any) -> Decoded:
    body = {} if kind == "erasure" else {kind: detail}
    record = {"event_id": f"x-{seq}", "event_time": START + seq * MINUTE, "user_id": user_id, "kind": kind, **body}
    return Decoded(ModerationEvent.model_validate(record), at(seq))


def ban(seq: int, user_id: str = "ann") -> Decoded:
    return moderation(seq, "sanction", user_id, action="ban", severity=5, policy="conduct")


def life_of(user_id: str, first: int, step: int) -> list[Decoded]:
    """A user's life in sixteen events: talk, reports, a ban that is reversed, another, and something late."""
    seqs = [first + number * step for number in range(16)]
    reporters = iter("bcd")
    return [
        message(seqs[0], user_id, text="hello everybody"),
        message(seqs[1], user_id, text="hello everybody", recipients=("bob", "cid")),
        message(seqs[2], user_id, scores=({"scorer": "s", "version": "1", "value": 0.9},)),
        *(moderation(seqs[n], "report", user_id, reporter_id=next(reporters)) for n in (3, 4, 5)),
        ban(seqs[6], user_id),
        message(seqs[7], user_id),
        moderation(seqs[8], "reversal", user_id, sanction_id=f"x-{seqs[6]}"),
        message(seqs[9], user_id),
        message(seqs[10], user_id, time=START - 10 * 60 * MINUTE, text="late"),
        message(seqs[11], user_id, text="hello everybody"),
        moderation(seqs[12], "exposure", user_id, intervention="lesson", arm="a", probability=0.5),
        ban(seqs[13], user_id),
        Decoded(ban(seqs[13], user_id).event, at(seqs[14])),
        message(seqs[15], user_id),
    ]


def steps_of(lives: Iterable[list[Decoded]]) -> list[EventResult]:
    """What the users' events come to, in the order of the log."""
    out = []
    for life in lives:
        user = User(RULES)
        out += [user.step(event, where, context) for event, where, context in life]
    return sorted(out, key=lambda step: step.at.seq)


def lessons_of(steps: Iterable[EventResult]) -> list[TrainingEvent]:
    return [training_event_of(step) for step in steps]


STEPS = steps_of([life_of("ann", 0, 2), life_of("bob", 1, 2), life_of("cid", 32, 2), life_of("dan", 33, 2)])
LESSONS = lessons_of(STEPS)


def news_of(batches: Iterable[list[TrainingEvent]]) -> list[ModelUpdate]:
    logic = LearnLogic(partial(learner_of, POLICY), None)
    return [news for batch in batches for news in logic.on_batch([TrainingEvents("logistic", batch)])[0]]


def heard_and_seen() -> list[list[Any]]:
    """Values as a lane is given them, a batch of its own each: points, an erasure, and now and then news."""
    news = iter(news_of([LESSONS[n : n + 4] for n in range(0, 64, 4)]))
    batches: list[list[Any]] = []
    for number, step in enumerate(STEPS):
        if step.point is not None:
            batches.append([[step.point]])
        if number == 40:
            batches.append([[Erasure("cid", step.time, step.at)]])
        if number % 4 == 3:
            batches.append([next(news)])
    return batches


def lane() -> Lane:
    policy = POLICY.model_copy(update={"learning": POLICY.learning.model_copy(update={"challengers": ()})})
    return Lane(policy, wait=True)


def whole_log() -> list[list[Decoded]]:
    """Two users' lives as the channels of a partition are given them, a few events at a time."""
    events = sorted(life_of("ann", 0, 2) + life_of("bob", 1, 2), key=lambda decoded: decoded.at.seq)
    return [events[n : n + 2] for n in range(0, 32, 2)]


KINDS: dict[str, tuple[Callable[[bytes | None], Any], list[list[Any]]]] = {
    "learn": (
        lambda snapshot: LearnLogic(partial(learner_of, POLICY), snapshot),
        [[TrainingEvents("bayes", LESSONS[n : n + 3][::-1])] for n in range(0, 64, 3)],
    ),
    "judge": (lambda snapshot: JudgeLogic(lane(), snapshot), heard_and_seen()),
    "context": (
        lambda snapshot: ContextLogic(
            ChannelPolicy(remembered=9), POLICY.allowed_lateness, POLICY.profile_ttl, snapshot
        ),
        [[events] for events in whole_log()],
    ),
}
VERSIONS = {"learn": 4, "judge": 4, "context": 2}


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_goes_on_from_a_snapshot_taken_at_any_point(kind: str) -> None:
    """Built anew from its snapshot after each batch in turn, it gives what it would have given, to the last bit."""
    build, batches = KINDS[kind]
    straight = build(None)
    outputs, snapshots = [], []
    for batch in batches:
        outputs.append(repr(straight.on_batch(batch)))
        snapshots.append(straight.snapshot())
    assert len(set(outputs)) > 12
    for cut, snapshot in enumerate(snapshots[:-1], start=1):
        rebuilt = build(snapshot)
        assert rebuilt.snapshot() == snapshot
        assert [repr(rebuilt.on_batch(batch)) for batch in batches[cut:]] == outputs[cut:]
        assert rebuilt.snapshot() == snapshots[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_snapshot_is_bytes_that_say_their_version(kind: str) -> None:
    """Never our classes: bytes of plain data behind a version byte, and another version is refused."""
    build, batches = KINDS[kind]
    logic = build(None)
    logic.on_batch(batches[0])
    snapshot = logic.snapshot()
    assert type(snapshot) is bytes
    assert snapshot[0] == VERSIONS[kind]
    with pytest.raises(StateVersionError, match=f"state version {VERSIONS[kind] + 1} is unknown"):
        build(bytes([VERSIONS[kind] + 1]) + snapshot[1:])


def profiles(stores: UserStores | None, snapshot: bytes | None = None) -> ProfileLogic:
    """A lane's users, one of them live."""
    return ProfileLogic(lambda: Users(RULES, 1, recorded=stores is not None), stores, [], snapshot)


@pytest.mark.slow
@pytest.mark.parametrize("part", [1, 131_072])
@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_a_lanes_users_go_on_from_a_snapshot_however_much_was_written_after_it(
    tmp_path: Path, ahead: int, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process dies with its store some epochs ahead of the engine's; the next gives what it would have given."""
    monkeypatch.setattr(import_module("dataflows.operators.profile"), "PART", part)
    batches = [[Bundle("000", events)] for events in whole_log()]
    straight = profiles(None)
    expected = [repr(straight.on_batch(batch)) for batch in batches]
    for cut in range(1, len(batches)):
        directory = tmp_path / str(cut)
        make_users(directory, lane_names(1))
        snapshots = []
        with UserStores(directory) as stores:
            first = profiles(stores)
            for batch in batches[: cut + ahead]:
                first.on_batch(batch)
                snapshots.append(first.snapshot())
        with UserStores(directory) as stores:
            second = profiles(stores, snapshots[cut - 1])
            assert [repr(second.on_batch(batch)) for batch in batches[cut:]] == expected[cut:]


def test_a_snapshot_of_a_lanes_users_says_its_version_and_needs_its_store(tmp_path: Path) -> None:
    """Bytes of plain data; another version is refused, and so is going on without the store."""
    make_users(tmp_path, lane_names(1))
    with UserStores(tmp_path) as stores:
        logic = profiles(stores)
        logic.on_batch([Bundle("000", [message(0)])])
        snapshot = logic.snapshot()
        assert type(snapshot) is bytes
        assert snapshot[0] == 2
        with pytest.raises(StateVersionError, match="users state version 3 is unknown"):
            profiles(stores, bytes([3]) + snapshot[1:])
    with pytest.raises(ValueError, match="kept in memory only cannot be resumed"):
        profiles(None, snapshot)


def test_what_no_resume_goes_behind_is_folded_beside_a_run(tmp_path: Path) -> None:
    """The step asks for it when it goes on after an epoch's end; a file would grow for good otherwise."""
    make_users(tmp_path, lane_names(1))
    with UserStores(tmp_path) as stores:
        logic = profiles(stores)
        for number in range(2 * (BEHIND + TOGETHER)):
            logic.on_batch([Bundle("000", [message(number)])])
            logic.snapshot()
    with closing(sqlite3.connect(path_of(tmp_path, "000"))) as database:
        ((left, latest),) = database.execute("SELECT COUNT(*), MAX(generation) FROM changes")
    assert latest == 2 * (BEHIND + TOGETHER)
    assert BEHIND <= left < BEHIND + TOGETHER


def test_what_will_hardly_change_is_written_before_an_epochs_end_once_it_is_worth_it(tmp_path: Path) -> None:
    """In parts, so that the end of an epoch waits for the last few users only; all of them are there afterwards."""
    make_users(tmp_path, lane_names(1))
    users = [f"u{number}" for number in range(2 * PART // 100)]
    with UserStores(tmp_path) as stores:
        logic = profiles(stores)
        for number, user in enumerate(users):
            logic.on_batch([Bundle("000", [message(number, user)])])
            assert logic._store is not None
            logic._store.wait()
        with closing(sqlite3.connect(path_of(tmp_path, "000"))) as database:
            sizes = [size for (size,) in database.execute("SELECT LENGTH(packed) FROM changes ORDER BY part")]
            assert len(sizes) > 2
            assert all(PART <= size < PART + 1_000 for size in sizes)
            logic.snapshot()
            ((rest,),) = database.execute("SELECT LENGTH(packed) FROM changes ORDER BY part DESC LIMIT 1")
            assert 0 < rest < PART
    with UserStores(tmp_path) as stores:
        kept = dict(stores.open("000", 1).read())
        assert kept == {user: logic.users.state_of(user) for user in users}


def test_a_late_message_leaves_without_its_text() -> None:
    """The late topic is read by others; everything else of the event stays as it was."""
    chat = message(0, text="a secret").event
    assert without_text(chat) == chat.model_copy(update={"text": None})
    assert without_text(ban(0).event) == ban(0).event


def test_an_event_that_broke_a_step_becomes_a_reject_that_quotes_nothing() -> None:
    """It says which kind of error it was and where the record came from."""
    event, where, _ = message(1)
    reject = reject_of(event, where, "profile", LookupError("a secret"))
    assert isinstance(reject, Reject)
    assert (reject.reason, reject.stage, reject.detail) == (RejectReason.INTERNAL_ERROR, "profile", "LookupError")
    assert (reject.topic, reject.partition, reject.offset, reject.seq) == at(1)
    assert reject.key == b"ann"
    assert reject.value == event.model_dump_json().encode()


def test_a_user_has_the_same_lane_in_every_process() -> None:
    """Lanes are state: these must never change, for any user id."""
    assert [lane_of(user, 16) for user in ("ann", "bob", "", "日本", "a\x00b")] == ["003", "000", "000", "012", "001"]
    assert {lane_of(f"user-{number}", 4) for number in range(100)} == {"000", "001", "002", "003"}


def test_a_learner_waits_for_what_is_missing_before_a_lesson() -> None:
    """Lessons that came early teach nothing until every earlier place is accounted for, then all of it in order."""
    logic = LearnLogic(partial(learner_of, POLICY), None)
    early = [TrainingEvents("logistic", LESSONS[1:])]
    assert logic.on_batch(early) == ([ModelUpdate("logistic", [], {0: 0})], False)
    (news,), _ = logic.on_batch([TrainingEvents("logistic", LESSONS[:1])])
    assert news.reached == {0: 64}
    assert news.published == [item for straight in news_of([LESSONS]) for item in straight.published]
    assert len(news.published) > 10


def test_a_lane_publishes_in_the_order_of_the_log_and_serves_every_point() -> None:
    """However points and news arrived, each point is served once, at its place."""
    logic, out = JudgeLogic(lane(), None), []
    for batch in heard_and_seen():
        out += logic.on_batch(batch)[0]
    points = [step.point for step in STEPS if step.point is not None]
    assert repr([row.point for judgement in out for row in judgement.served]) == repr(points)
    published = [item.at.seq for judgement in out for item in judgement.events]
    assert published == sorted(published)
    assert any(isinstance(item.event, Tombstone) for judgement in out for item in judgement.events)
    assert any(row.probability is not None for judgement in out for row in judgement.served)


def test_a_lane_that_has_nothing_to_say_says_nothing() -> None:
    """Points that wait and news alone give no output, not an empty one."""
    point = next(step.point for step in STEPS if step.point is not None)
    logic = JudgeLogic(lane(), None)
    assert logic.on_batch([[point]]) == ([], False)
    assert logic.on_batch([ModelUpdate("logistic", [], {0: 0})]) == ([], False)
    (judgement,), _ = logic.on_batch([ModelUpdate("logistic", [], {0: 1})])
    assert repr([row.point for row in judgement.served]) == repr([point])


def high(user_id: str, seq: int) -> DecisionPoint:
    """A point at which the report burst fires."""
    reports = [moderation(seq - 3 + n, "report", user_id, reporter_id=f"r{n}") for n in range(3)]
    point = Users(RULES).take(reports).items[-1]
    assert isinstance(point, DecisionPoint)
    return point


def test_an_erasure_takes_its_turn_among_the_points_of_a_batch() -> None:
    """Warned, erased and warned again in one batch: the second warning begins from nothing."""
    judgements, _ = JudgeLogic(Lane(POLICY), None).on_batch(
        [[high("ann", 5), Erasure("ann", START, at(6)), high("ann", 9), high("bob", 12)]],
    )
    (judgement,) = judgements
    assert isinstance(judgement, Judgement)
    told = [
        (item.event.previous_tier, item.event.tier) if isinstance(item.event, RiskEvent) else item.event.user_id
        for item in judgement.events
    ]
    assert told == [("none", "high"), "ann", ("none", "high"), ("none", "high")]


@pytest.mark.parametrize("wait", [False, True])
def test_only_lanes_that_wait_hear_how_far_a_learner_has_come(wait: bool) -> None:
    """What was published every lane hears; a place that was reached is nothing to a lane that scores at once."""
    news = news_of([LESSONS])
    heard: list[ModelUpdate] = []

    class Listening(Lane):
        def hear(self, news: ModelUpdate) -> None:
            heard.append(news)
            super().hear(news)

    flow = Dataflow("test")
    nothing: Any = op.input("nothing", flow, TestingSource([]))
    told = op.input("told", flow, TestingSource([ModelUpdate("logistic", [], {0: 0}), *news]))
    score("judge", nothing, nothing, told, lambda: Listening(POLICY, wait=wait), 2, Telemetry(), "logistic", wait=wait)
    out: list[Judgement] = []
    op.output("out", told, TestingSink(out))
    run_main(flow)
    assert any(item.published for item in news)
    assert len(heard) == 2 * (len(news) + 1 if wait else sum(bool(item.published) for item in news))
