"""The target in golden scenarios: what escalates, who is at risk, and what that teaches."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from librt.strings import BytesWriter

from detectors.base.packed import write_key, write_number, write_time, write_whole
from detectors.features.signals import point_key, stable_hash
from detectors.labels.target import ESCALATIONS_CAP, FACTS_CAP, TAUGHT_CAP
from detectors.profiles.user import CompiledPolicy, User
from schemas.records.events import Event
from tests.kit.streams import DAY, HOUR, START, message, place, policy, report, reversal, sanction

THREE = {"when": [{"event": "sanction", "count": 3}], "horizon": "30d"}


class Row(NamedTuple):
    """An event, and what it is to come to."""

    event: Event
    escalated: bool = False
    overturned: bool = False
    served: bool = True
    positives: int = 0
    weight: float = 1.0


def at(days: float) -> int:
    """Days after the start, in milliseconds."""
    return START + int(days * DAY)


SCENARIOS: dict[str, tuple[dict[str, Any], list[Row]]] = {
    "the third strike escalates for ever": (
        THREE,
        [
            Row(message("m", at(0))),
            Row(sanction("s1", at(1))),
            Row(sanction("s2", at(300))),
            Row(sanction("s3", at(301)), escalated=True, served=False, positives=1),
            Row(message("n", at(650)), served=False),
        ],
    ),
    "only what lies within the horizon is a positive": (
        {"when": [{"event": "sanction"}], "horizon": "2d"},
        [
            Row(message("too early", at(0))),
            Row(message("just within", at(1))),
            Row(message("b", at(2))),
            Row(sanction("s", at(3)), escalated=True, served=False, positives=2),
        ],
    ),
    "a mild sanction does not count": (
        {"when": [{"event": "sanction", "min_severity": 3}], "horizon": "7d"},
        [
            Row(sanction("s1", at(0), severity=2)),
            Row(sanction("s2", at(1), severity=3), escalated=True, served=False, positives=1),
        ],
    ),
    "strikes too far apart do not count together": (
        {"when": [{"event": "sanction", "count": 2, "within": "1d"}], "horizon": "7d"},
        [
            Row(sanction("s1", at(0))),
            Row(sanction("s2", at(1.5))),
            Row(sanction("s3", at(2.5)), escalated=True, served=False, positives=2),
        ],
    ),
    "a strike heard of late completes the burst it belongs to": (
        {"when": [{"event": "sanction", "count": 2, "within": "1h"}], "horizon": "7d"},
        [
            Row(sanction("s1", at(0))),
            Row(sanction("s3", at(0.9))),
            Row(sanction("s2", at(0) + HOUR // 2), escalated=True, served=False, positives=1),
        ],
    ),
    "a report does not complete what only sanctions make": (
        {
            "when": [{"event": "sanction"}, {"event": "report", "count": 3}],
            "horizon": "7d",
            "recurring": True,
        },
        [
            Row(sanction("s", at(0)), escalated=True),
            Row(report("r1", at(0), "bob")),
            Row(report("r2", at(2), "cyd")),
            Row(report("r3", at(3), "dan"), escalated=True, positives=3),
        ],
    ),
    "any counts reports and severe sanctions together": (
        {"when": [{"event": "any", "min_severity": 4, "count": 2}], "horizon": "7d"},
        [
            Row(sanction("s1", at(0), severity=3)),
            Row(report("r", at(0.1))),
            Row(sanction("s2", at(0.2), severity=4), escalated=True, served=False, positives=2),
        ],
    ),
    "a user is forgiven after a while, and starts anew": (
        {"when": [{"event": "sanction", "count": 2}], "horizon": "7d", "reset_after": "10d"},
        [
            Row(sanction("s1", at(0))),
            Row(sanction("s2", at(1)), escalated=True, served=False, positives=1),
            Row(message("out", at(10.9)), served=False),
            Row(message("back", at(11))),
            Row(sanction("s3", at(12))),
            Row(sanction("s4", at(13)), escalated=True, served=False, positives=2),
        ],
    ),
    "a recurring target keeps the user at risk": (
        {"when": [{"event": "sanction", "count": 2}], "horizon": "7d", "recurring": True},
        [
            Row(sanction("s1", at(0))),
            Row(sanction("s2", at(1)), escalated=True, positives=1),
            Row(message("m", at(2))),
            Row(sanction("s3", at(3)), escalated=True, positives=2),
        ],
    ),
    "an overturned strike puts the user back at risk and takes its positives back": (
        THREE,
        [
            Row(message("m", at(0))),
            Row(sanction("s1", at(1))),
            Row(sanction("s2", at(2))),
            Row(sanction("s3", at(3)), escalated=True, served=False, positives=3),
            Row(reversal("r", at(4), "s1"), overturned=True, positives=3, weight=-1.0),
            Row(sanction("s4", at(5)), escalated=True, served=False, positives=1),
        ],
    ),
    "a reversal that leaves enough strikes changes nothing": (
        THREE,
        [
            Row(sanction("s1", at(1))),
            Row(sanction("s2", at(2))),
            Row(sanction("s3", at(3)), escalated=True, served=False, positives=2),
            Row(sanction("s4", at(4)), served=False),
            Row(reversal("r", at(5), "s2"), served=False),
            Row(reversal("q", at(6), "s3"), overturned=True, positives=2, weight=-1.0),
        ],
    ),
    "a burst still stands when something after it is overturned": (
        {"when": [{"event": "sanction", "count": 2, "within": "1h"}], "horizon": "7d"},
        [
            Row(sanction("s1", at(0))),
            Row(sanction("s2", at(0) + HOUR), escalated=True, served=False, positives=1),
            Row(sanction("s3", at(2)), served=False),
            Row(sanction("s4", at(4)), served=False),
            Row(reversal("r", at(5), "s4"), served=False),
        ],
    ),
    "a reversal heard before its sanction keeps it from counting": (
        {"when": [{"event": "sanction"}], "horizon": "7d"},
        [Row(reversal("r", at(0), "s")), Row(sanction("s", at(0))), Row(reversal("again", at(1), "s"))],
    ),
    "a reversal of something unknown, or of the same twice, changes nothing": (
        {"when": [{"event": "sanction"}], "horizon": "7d"},
        [
            Row(message("m", at(0))),
            Row(reversal("r", at(0), "nothing")),
            Row(sanction("s", at(1)), escalated=True, served=False, positives=2),
            Row(reversal("q", at(2), "s"), overturned=True, positives=2, weight=-1.0),
            Row(reversal("p", at(3), "s")),
        ],
    ),
}


@pytest.mark.parametrize(("target", "rows"), SCENARIOS.values(), ids=SCENARIOS)
def test_a_golden_scenario_of_labels(target: dict[str, Any], rows: list[Row]) -> None:
    """Each row: an event, whether it escalates or takes back, whether it is served, and how many positives it gives."""
    user = User(CompiledPolicy(policy(target=target)))
    for number, row in enumerate(rows):
        step = user.step(row.event, place(number))
        positives = [example for example in step.examples if example.label]
        got = (step.escalated, step.overturned, step.point is not None, len(positives))
        assert got == (row.escalated, row.overturned, row.served, row.positives), row.event.event_id
        assert {example.weight for example in positives} <= {row.weight}
        assert {example.known_at for example in step.examples} <= {row.event.event_time}
        assert len(step.examples) == len(positives) + (step.point is not None)


def test_positives_carry_the_vectors_as_they_were_served() -> None:
    """The very vector of the point, not one recomputed at the time of the sanction; and so does what is taken back."""
    user = User(CompiledPolicy(policy(target={"when": [{"event": "sanction"}], "horizon": "7d"})))
    events = [
        message("a", at(0)),
        message("b", at(0.5)),
        report("c", at(1)),
        sanction("s", at(2)),
        reversal("r", at(3), "s"),
    ]
    steps = [user.step(event, place(number)) for number, event in enumerate(events)]
    served = [repr(step.point.vector) for step in steps[:3] if step.point is not None]
    assert [repr(example.vector) for example in steps[3].examples] == served
    taken_back = [example for example in steps[4].examples if example.label]
    assert [repr(example.vector) for example in taken_back] == served
    assert [example.weight for example in taken_back] == [-example.weight for example in steps[3].examples]


def test_the_reservoir_keeps_the_points_with_the_lowest_hashes() -> None:
    """A uniform sample without random numbers, and each kept point stands for the ones that were not kept."""
    user = User(
        CompiledPolicy(policy(target={"when": [{"event": "sanction"}], "horizon": "7d"}, learning={"pending": 8}))
    )
    for number in range(24):
        user.step(message(f"m{number}", START + number), place(number))
        lowest = sorted(point_key("ann", seen + 1) for seen in range(number + 1))[:8]
        assert sorted(waiting.priority for waiting in user.history.pending) == lowest
    step = user.step(sanction("s", START + 30), place(30))
    assert [example.weight for example in step.examples] == [3.0] * 8


def test_a_kept_point_stands_for_four_at_most() -> None:
    """One example must not move a model far, however many points it stands for."""
    user = User(
        CompiledPolicy(policy(target={"when": [{"event": "sanction"}], "horizon": "7d"}, learning={"pending": 1}))
    )
    for number in range(40):
        user.step(message(f"m{number}", START + number), place(number))
    step = user.step(sanction("s", START + 50), place(50))
    assert [example.weight for example in step.examples] == [4.0]


@pytest.mark.parametrize("sample", [0.1, 0.5])
def test_only_the_sampled_share_of_points_is_learnt_as_negative(sample: float) -> None:
    """Chosen by hash, so that every replay learns the same ones; positives are not thinned out."""
    user = User(CompiledPolicy(policy(target={"when": [{"event": "sanction"}]}, learning={"sample": sample})))
    events = [message(f"m{number}", START + number) for number in range(2_000)]
    learnt = sum(len(user.step(event, place(number)).examples) for number, event in enumerate(events))
    assert learnt / 2_000 == pytest.approx(sample, abs=0.04)
    assert len(user.step(sanction("s", START + 3_000), place(0)).examples) == 8


def test_a_sanction_delivered_again_after_its_id_was_forgotten_is_no_second_strike() -> None:
    """Beyond the ids a profile remembers, the target and the ledger still know their own sanctions."""
    user = User(CompiledPolicy(policy(target=THREE)))
    events = [
        sanction("s", at(0)),
        *(message(f"m{n}", at(0) + n) for n in range(99)),
        sanction("s", at(0)),
        sanction("s", at(0)),
    ]
    steps = [user.step(event, place(number)) for number, event in enumerate(events)]
    assert [step.outcome for step in steps[-2:]] == ["seen", "duplicate"]
    assert steps[-2].point is not None
    assert steps[-2].point.vector[User(CompiledPolicy(policy())).rules.plan.names.index("strike_count")] == 1
    more = [user.step(sanction(f"t{n}", at(1)), place(n)).escalated for n in range(2)]
    assert more == [False, True]


def test_facts_are_bounded_and_the_latest_are_kept() -> None:
    """Of very many reports only the last few can still make a burst."""
    user = User(CompiledPolicy(policy(target={"when": [{"event": "report", "count": 32, "within": "31s"}]})))
    for number in range(200):
        user.step(report(f"r{number}", START + number * 1_001, f"p{number}"), place(number))
    assert len(user.history.facts) == FACTS_CAP
    burst = [
        user.step(report(f"b{number}", START + 201 * 1_001 + number, f"q{number}"), place(number)).escalated
        for number in range(32)
    ]
    assert burst.index(True) > 0


BAN = {"when": [{"event": "sanction", "min_severity": 5}], "horizon": "1d"}


def history_of(target: dict[str, Any], *events: Event) -> tuple[User, list[list[tuple[str, int]]], float]:
    """The user, each event's turns with the time of the escalation they are about, and the weight of positives left."""
    user = User(CompiledPolicy(policy(target=target)))
    turns, weight = [], 0.0
    for number, event in enumerate(events):
        user = User.load(user.dump(), user.rules)
        step = user.step(event, place(number))
        turns.append([(turn.kind, turn.time) for turn in step.turns])
        weight += sum(example.weight for example in step.examples if example.label)
    return user, turns, weight


@pytest.mark.parametrize("named", ["b1", "b2", "b3"])
def test_any_escalation_that_is_kept_can_be_overturned_and_takes_back_what_it_taught(named: str) -> None:
    """The first as well as the latest, once, and nothing of the others."""
    bans = [event for n in range(1, 4) for event in (message(f"m{n}", at(n)), sanction(f"b{n}", at(n + 0.5), 5))]
    target = {**BAN, "recurring": True}
    _, _, before = history_of(target, *bans)
    number = int(named[1])
    back = [reversal("r", at(5), named), sanction(named, at(number + 0.5), 5), reversal("q", at(5), named)]
    user, turns, after = history_of(target, *bans, *back)
    assert turns[-3:] == [[("overturned", at(number + 0.5))], [], []]
    taught = {"b1": 1, "b2": 2, "b3": 2}[named]  # with the point of the ban before, which is within the horizon
    assert before - after == taught
    assert [one.time for one in user.history.escalations] == [at(n + 0.5) for n in (1, 2, 3) if n != number]


def test_of_two_sanctions_in_one_moment_the_one_that_is_named_is_overturned() -> None:
    """A mute and a ban of one decision have one time; they are told apart by their ids."""
    both = [message("m", at(1)), sanction("mute", at(2), 5), sanction("ban", at(2), 5)]
    user, turns, _ = history_of({**BAN, "recurring": True}, *both, reversal("r", at(3), "mute"))
    assert turns[-1] == [("overturned", at(2))]
    assert [one.cause for one in user.history.escalations] == [stable_hash("ban")]


def test_a_reversal_after_the_reset_takes_back_what_was_learnt_before_it() -> None:
    """A user who was forgiven meanwhile is as little a positive as any other who did nothing."""
    target = {**BAN, "reset_after": "7d"}
    events = [message("m", at(0)), sanction("b", at(0.5), 5), message("n", at(8)), reversal("r", at(8.5), "b")]
    user, turns, weight = history_of(target, *events)
    assert turns == [[], [("escalated", at(0.5))], [], [("overturned", at(0.5))]]
    assert weight == 0.0
    assert user.history.escalated_at == -1
    strikes = [sanction(f"s{n}", at(n)) for n in range(3)]
    forgiven = [*strikes, message("n", at(40)), sanction("s3", at(41)), reversal("r", at(42), "s0")]
    _, turns, weight = history_of({**THREE, "reset_after": "30d"}, message("m", at(0)), *forgiven)
    assert turns[-1] == [("overturned", at(2))]  # what came after the reset does not hold it up
    assert weight == 0.0


def test_who_would_have_escalated_all_the_same_has_escalated_by_what_is_left() -> None:
    """Their escalation is that of the sanction that stands, and the positives are those within the horizon of that."""
    near = [message("m", at(0)), message("n", at(1)), sanction("b1", at(1.1), 5), sanction("b2", at(1.5), 5)]
    user, turns, weight = history_of(BAN, *near, reversal("r", at(3), "b1"), message("o", at(4)))
    assert turns[-2:] == [[("overturned", at(1.1)), ("escalated", at(1.5))], []]
    assert weight == 1.0
    assert user.history.escalated_at == at(1.5)
    _, turns, weight = history_of(
        BAN, *near, reversal("r", at(3), "b1"), reversal("q", at(4), "b2"), sanction("b1", at(1.1), 5)
    )
    assert turns[-2:] == [[("overturned", at(1.5))], []]
    assert weight == 0.0
    far = [message("m", at(0)), sanction("b1", at(0.1), 5), sanction("b2", at(10), 5), reversal("r", at(11), "b1")]
    _, turns, weight = history_of(BAN, *far)
    assert turns[-1] == [("overturned", at(0.1)), ("escalated", at(10))]
    assert weight == 0.0


def test_a_reversal_of_a_report_s_id_overturns_nothing() -> None:
    """Reports are not taken back: a reversal names a sanction."""
    target = {"when": [{"event": "report"}], "horizon": "1d"}
    _, turns, weight = history_of(target, message("m", at(0)), report("x", at(0.5)), reversal("r", at(1), "x"))
    assert turns == [[], [("escalated", at(0.5))], []]
    assert weight == 1.0


def test_what_can_be_taken_back_is_bounded_and_the_latest_is_kept() -> None:
    """Of very many escalations the oldest stand for good, and older ones take back no positives."""
    target = {**BAN, "horizon": "9d", "recurring": True}
    user = User(CompiledPolicy(policy(target=target, learning={"pending": 16})))
    for number in range(400):
        event = sanction(f"b{number}", at(number), 5) if number % 10 == 9 else message(f"m{number}", at(number - 0.5))
        user.step(event, place(number))
    kept = user.history.escalations
    assert [one.time for one in kept] == [at(10 * n + 9) for n in range(40 - ESCALATIONS_CAP, 40)]
    assert sum(len(one.taught) for one in kept) <= TAUGHT_CAP
    assert kept[-1].taught
    step = user.step(reversal("r", at(400), "b9"), place(400))
    assert not step.turns


@pytest.mark.parametrize("event", ["report", "any"])
def test_two_reports_by_one_person_are_one(event: str) -> None:
    """Somebody who reports twice does not make a label; a second person does, and so do two who are not named."""
    target = {"when": [{"event": event, "count": 2, "within": "1d"}], "horizon": "1d"}
    for reporters, escalates in ((("bob", "bob"), False), (("bob", "cyd"), True), ((None, None), True)):
        events = [report(f"r{n}", at(n / 10), reporter) for n, reporter in enumerate(reporters)]
        _, turns, _ = history_of(target, *events)
        assert bool(turns[-1]) == escalates, reporters
    late = [report("r0", at(0), "bob"), report("r1", at(0.9), "bob"), report("r2", at(1.5), "cyd")]
    assert history_of(target, *late)[1][-1] == [("escalated", at(1.5))]


def test_who_reports_again_makes_no_further_escalation() -> None:
    """With a recurring target a third person does."""
    target = {"when": [{"event": "report", "count": 2, "within": "1d"}], "horizon": "1d", "recurring": True}
    by = ["bob", "cyd", "bob", "cyd", "dan"]
    _, turns, _ = history_of(target, *(report(f"r{n}", at(n / 10), who) for n, who in enumerate(by)))
    assert [bool(turn) for turn in turns] == [False, True, False, False, True]


def test_a_message_and_a_moderation_event_of_one_id_are_two_events() -> None:
    """Ids of two topics need not differ: neither is a duplicate of the other, and each makes a point of its own."""
    user = User(CompiledPolicy(policy(target=BAN)))
    steps = [user.step(event, place(n)) for n, event in enumerate([message("7", at(0)), sanction("7", at(1), 5)])]
    assert [step.outcome for step in steps] == ["seen", "seen"]
    assert steps[1].escalated
    again = [user.step(event, place(2)).outcome for event in (message("7", at(1)), sanction("7", at(1), 5))]
    assert again == ["duplicate", "duplicate"]


@pytest.mark.parametrize("sample", [0.1, 0.5])
def test_the_sample_is_uniform_where_ids_are_unique_per_user_only(sample: float) -> None:
    """Of everybody's first points such a share is learnt, and of everybody's second ones; and of each user's."""
    rules = CompiledPolicy(policy(target={"when": [{"event": "sanction"}]}, learning={"sample": sample}))
    learnt = []
    for number in range(200):
        user = User(rules)
        events = [message(str(n), START + n, user=f"user-{number}") for n in range(50)]
        learnt.append([len(user.step(event, place(n)).examples) for n, event in enumerate(events)])
    by_place = [sum(column) / 200 for column in zip(*learnt, strict=True)]
    by_user = [sum(row) / 50 for row in learnt]
    for shares, most in ((by_place, 0.17), (by_user, 0.33)):
        assert sum(shares) / len(shares) == pytest.approx(sample, abs=0.02)
        assert all(abs(share - sample) < most for share in shares)


def test_what_is_learnt_does_not_depend_on_what_ids_are_made_of() -> None:
    """The same log with ids that are unique per user, and with ids that are unique, teaches the same."""

    def taught(name: str) -> list[tuple[bool, float, bytes]]:
        user = User(CompiledPolicy(policy(target=BAN, learning={"sample": 0.3, "pending": 2})))
        events = [*(message(name.format(n), START + n * HOUR) for n in range(20)), sanction("b", START + DAY, 5)]
        steps = [user.step(event, place(n)) for n, event in enumerate(events)]
        return [(one.label, one.weight, one.vector.tobytes()) for step in steps for one in step.examples]

    assert taught("{}") == taught("user-00:{}")


def test_a_user_as_version_6_kept_them_goes_on_with_their_latest_escalation() -> None:
    """It knew of no reporter, and of an escalation when it was and what it taught: that can still be taken back."""
    events = [message("m", at(0)), sanction("b", at(0.5), 5)]
    user, _, _ = history_of(BAN, *events)
    history, writer = user.history, BytesWriter()
    [one] = history.escalations
    write_whole(writer, len(history.facts))
    for fact in history.facts:
        write_key(writer, fact.key)
        write_time(writer, fact.time, user.profile.clock)
        write_whole(writer, fact.severity)
    write_whole(writer, 0)
    write_whole(writer, 0)
    write_time(writer, history.escalated_at, user.profile.clock)
    write_time(writer, history.reset_at, user.profile.clock)
    write_whole(writer, len(one.taught))
    for _, vector, weight in one.taught:
        write_number(writer, weight)
        write_whole(writer, len(vector))
        writer.write(vector)
    now = BytesWriter()
    history.write(now, user.profile.clock)
    state = user.dump()
    assert state.endswith(now.getvalue())
    old = bytes([6]) + state[1 : -len(now.getvalue())] + writer.getvalue()
    loaded = User.load(old, user.rules)
    assert [fact[:3] for fact in loaded.history.facts] == [fact[:3] for fact in history.facts]
    step = loaded.step(reversal("r", at(1), "b"), place(9))
    assert step.overturned
    assert [example.weight for example in step.examples if example.label] == [-1.0]
