"""The steps of the spine, one key at a time and without an engine, and how they go on from a snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from dataflows.operators.context import ContextLogic
from dataflows.operators.decode import Decoded
from dataflows.operators.idle import DAY, Expire, Idle
from dataflows.operators.judge import JudgeLogic, Judgement
from dataflows.operators.learn import LearnLogic, Lessons
from dataflows.operators.profile import ProfileLogic, lane_of, reject_of, without_text
from dataflows.operators.warm import Warm
from dataflows.telemetry import Telemetry
from dataflows.testing import START, small_policy
from detectors.contract import DecisionPoint
from detectors.items import Erasure, Lesson, Outcome, lesson_of
from detectors.lane import Lane, News
from detectors.storage import StateVersionError
from detectors.user import Rulebook, Step, User
from schemas.records import (
    ChatMessage,
    ModerationEvent,
    Position,
    Reject,
    RejectReason,
    RiskEvent,
    Tombstone,
)

POLICY = small_policy(
    learning={"publish_every": "1m", "min_positives": 2},
    rules={"report_burst": {"tier": "high", "limit": 3}},
)
RULES = Rulebook(POLICY)
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


def steps_of(lives: Iterable[list[Decoded]]) -> list[Step]:
    """What the users' events come to, in the order of the log."""
    out = []
    for life in lives:
        user = User(RULES)
        out += [user.step(event, where, context) for event, where, context in life]
    return sorted(out, key=lambda step: step.at.seq)


def lessons_of(steps: Iterable[Step]) -> list[Lesson]:
    return [lesson_of(step) for step in steps]


STEPS = steps_of([life_of("ann", 0, 2), life_of("bob", 1, 2), life_of("cid", 32, 2), life_of("dan", 33, 2)])
LESSONS = lessons_of(STEPS)


def news_of(batches: Iterable[list[Lesson]]) -> list[News]:
    logic = LearnLogic(POLICY, None)
    return [news for batch in batches for news in logic.on_batch([Lessons("logistic", batch)])[0]]


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


def counting(snapshot: bytes | None = None, idle: Idle | None = None) -> ProfileLogic:
    """A user, alone in the process unless the list of its users is given."""
    return ProfileLogic(RULES, snapshot, idle or Idle(RULES, Telemetry()), Warm())


def whole_log() -> list[list[Decoded]]:
    """Two users' lives as the channels of a partition are given them, a few events at a time."""
    events = sorted(life_of("ann", 0, 2) + life_of("bob", 1, 2), key=lambda decoded: decoded.at.seq)
    return [events[n : n + 2] for n in range(0, 32, 2)]


KINDS: dict[str, tuple[Callable[[bytes | None], Any], list[list[Any]]]] = {
    "profile": (counting, [[[event]] for event in life_of("ann", 0, 1)]),
    "learn": (
        lambda snapshot: LearnLogic(POLICY, snapshot),
        [[Lessons("bayes", LESSONS[n : n + 3][::-1])] for n in range(0, 64, 3)],
    ),
    "judge": (lambda snapshot: JudgeLogic(lane(), snapshot), heard_and_seen()),
    "context": (lambda snapshot: ContextLogic(9, snapshot), [[events] for events in whole_log()]),
}
VERSIONS = {"profile": 5, "learn": 3, "judge": 2, "context": 1}


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


def test_every_event_of_a_user_gives_one_lesson_and_a_late_one_is_kept_beside_it() -> None:
    """Seen, late and duplicate alike: the learner must hear of every place in the order."""
    life = life_of("ann", 0, 1)
    (out,), done = counting().on_batch([life])
    assert repr(out.lessons) == repr(lessons_of(steps_of([life])))
    assert [lesson.seq for lesson in out.lessons] == list(range(16))
    steps = steps_of([life])
    assert repr([item for item in out.items if isinstance(item, DecisionPoint)]) == repr(
        [step.point for step in steps if step.point is not None]
    )
    assert [item for item in out.items if isinstance(item, Outcome)] == out.outcomes
    assert [outcome.at for outcome in out.outcomes] == [s.at for s in steps if s.escalated or s.overturned]
    assert out.outcomes
    assert [(event.event_id, place.seq) for event, place in out.lates] == [("m-10", 10)]
    assert [(turn.kind, turn.at.seq) for turn in out.outcomes] == [
        ("escalated", 6),
        ("overturned", 8),
        ("escalated", 13),
    ]
    assert (out.duplicates, out.erased, out.broken) == (1, 0, [])
    assert not done


def test_a_late_message_leaves_without_its_text() -> None:
    """The late topic is read by others; everything else of the event stays as it was."""
    chat = message(0, text="a secret").event
    assert without_text(chat) == chat.model_copy(update={"text": None})
    assert without_text(ban(0).event) == ban(0).event


def test_a_user_of_whom_nothing_is_known_any_more_is_discarded() -> None:
    """After an erasure there is no state to keep, unless the user has come back in the same batch."""
    talk, erasure = message(0), moderation(1, "erasure")
    logic = counting()
    assert logic.on_batch([[talk]])[1] is False
    assert logic.on_batch([[erasure]])[1] is True
    back = counting()
    assert back.on_batch([[talk, erasure], [message(2)]])[1] is False
    fresh = counting()
    fresh.on_batch([[message(2)]])
    assert back.snapshot() == fresh.snapshot()


def test_a_user_who_was_silent_goes_without_a_word() -> None:
    """Asked to go, a user whose clock has not reached the time named gives nothing and is discarded."""
    idle = Idle(RULES, Telemetry())
    logic = counting(idle=idle)
    logic.on_batch([[message(0)]])
    assert idle.live == 1
    assert logic.on_batch([Expire(START)]) == ([], False)
    assert logic.on_batch([Expire(START + 1)]) == ([], True)
    assert idle.live == 0


@pytest.mark.parametrize("heard_first", [True, False])
def test_a_user_who_is_back_in_the_batch_that_asks_stays(*, heard_first: bool) -> None:
    """Whichever of the two comes first."""
    back, question = [message(1, time=START + 400 * DAY)], Expire(START + 300 * DAY)
    logic = counting()
    logic.on_batch([[message(0)]])
    (out,), gone = logic.on_batch([back, question] if heard_first else [question, back])
    assert not gone
    assert [point.events for point in out.items if isinstance(point, DecisionPoint)] == [1]


def test_a_late_event_in_the_batch_that_asks_is_handed_on() -> None:
    """It does not keep the user, and is not lost with them."""
    logic = counting()
    logic.on_batch([[message(0)]])
    (out,), gone = logic.on_batch([Expire(START + 1), [message(1, time=START - DAY)]])
    assert gone
    assert [place.seq for _, place in out.lates] == [lesson.seq for lesson in out.lessons] == [1]


def test_a_user_nobody_knows_can_be_asked() -> None:
    """A question that comes after an erasure makes no user."""
    assert counting().on_batch([Expire(START)]) == ([], True)


class Fragile(str):
    """A text that whoever looks into it stumbles over."""

    __slots__ = ()

    def casefold(self) -> str:
        raise LookupError("a secret")


def broken(number: int) -> Decoded:
    """A message that cannot be counted."""
    return Decoded(message(number).event.model_copy(update={"text": Fragile("hello")}), at(number))


def test_an_event_that_breaks_a_step_is_a_reject_and_the_next_event_is_counted() -> None:
    """The reject says which kind of error it was and where the record came from; its detail quotes nothing."""
    (out,), _ = counting().on_batch([[message(0), broken(1), message(2)]])
    ((event, where, error),) = out.broken
    reject = reject_of(event, where, "profile", error)
    assert [lesson.seq for lesson in out.lessons] == [0, 2]
    assert [point.events for point in out.items if isinstance(point, DecisionPoint)] == [1, 2]
    assert isinstance(reject, Reject)
    assert (reject.reason, reject.stage, reject.detail) == (RejectReason.INTERNAL_ERROR, "profile", "LookupError")
    assert (reject.topic, reject.partition, reject.offset, reject.seq) == at(1)
    assert reject.key == b"ann"
    assert reject.value == message(1, text="hello").event.model_dump_json().encode()


def test_an_event_that_broke_a_step_is_no_duplicate_when_it_comes_again() -> None:
    """After the fix its dead letter is sent through again, and then it counts."""
    profiles = counting()
    (stumbled,), _ = profiles.on_batch([[message(0), broken(1)]])
    assert [place.seq for _, place, _ in stumbled.broken] == [1]
    (mended,), _ = profiles.on_batch([[Decoded(message(1).event, at(2))]])
    assert (mended.duplicates, [lesson.seq for lesson in mended.lessons]) == (0, [2])
    assert len(mended.items) == 1


def test_users_who_are_too_many_to_be_live_are_kept_as_bytes_and_nothing_changes() -> None:
    """With room for one: whoever comes in freezes the other, whose snapshot is there, and who goes on as before."""
    idle, cold = Idle(RULES, Telemetry()), Warm(1)
    roomy = {user: counting() for user in ("ann", "bob")}
    narrow = {user: ProfileLogic(RULES, None, idle, cold) for user in ("ann", "bob")}
    for number in range(12):
        user = "ann" if number % 3 else "bob"
        batch = [[message(number, user)]]
        assert repr(narrow[user].on_batch(batch)) == repr(roomy[user].on_batch(batch))
        live = {name for name, logic in narrow.items() if logic._user is not None}
        assert live == {user}
        if number:
            assert [one.snapshot() for one in narrow.values()] == [one.snapshot() for one in roomy.values()]


def test_a_resumed_user_is_thawed_by_the_first_event_and_not_before() -> None:
    """The snapshot goes on being their state, and the day they are listed under is read off its front."""
    idle, before = Idle(RULES, Telemetry()), counting()
    before.on_batch([[message(0)]])
    resumed = counting(before.snapshot(), idle)
    assert idle.live == 1
    assert resumed._user is None
    assert resumed.snapshot() == before.snapshot()
    assert resumed._user is None
    assert repr(resumed.on_batch([[message(1)]])) == repr(before.on_batch([[message(1)]]))
    assert resumed.snapshot() == before.snapshot()


def test_a_user_has_the_same_lane_in_every_process() -> None:
    """Lanes are state: these must never change, for any user id."""
    assert [lane_of(user, 16) for user in ("ann", "bob", "", "日本", "a\x00b")] == ["003", "000", "000", "012", "001"]
    assert {lane_of(f"user-{number}", 4) for number in range(100)} == {"000", "001", "002", "003"}


def test_a_learner_waits_for_what_is_missing_before_a_lesson() -> None:
    """Lessons that came early teach nothing until every earlier place is accounted for, then all of it in order."""
    logic = LearnLogic(POLICY, None)
    early = [Lessons("logistic", LESSONS[1:])]
    assert logic.on_batch(early) == ([News("logistic", [], {0: 0})], False)
    (news,), _ = logic.on_batch([Lessons("logistic", LESSONS[:1])])
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
    assert logic.on_batch([News("logistic", [], {0: 0})]) == ([], False)
    (judgement,), _ = logic.on_batch([News("logistic", [], {0: 1})])
    assert repr([row.point for row in judgement.served]) == repr([point])


def high(user_id: str, seq: int) -> DecisionPoint:
    """A point at which the report burst fires."""
    logic = counting()
    reports = [moderation(seq - 3 + n, "report", user_id, reporter_id=f"r{n}") for n in range(3)]
    (out,), _ = logic.on_batch([reports])
    point = out.items[-1]
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
