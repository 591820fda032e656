"""A few hostile users, whatever they send: what everybody else is scored by is what they themselves did.

The generator is made of tables, one for each kind of thing a user chooses: `CLOCKS`, `IDS`, `TEXTS`, `KINDS`. A row
more in one of them is tried by all the laws below.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflows.testing import START, DriverResult, FlowDriver, hand_made_model, small_policy
from detectors.features.catalogue import NAMES
from detectors.learning.learner import slack_of
from detectors.policy.policy import Policy
from schemas.records.base import CHAT, MODERATION, Subject
from schemas.records.decisions import ModelVersion
from tests.kit.streams import DAY, HOUR, LAWFUL, MINUTE
from tests.kit.thorough import examples

USERS = 80
EVENTS = 480
MOST = USERS // 20
"""Hostile users: a twentieth of all."""
WARM = 160
"""Events after which every honest user was heard of."""
OUTNUMBERED = 5 * MOST
"""Events after which fewer than a quarter of all who were heard of are hostile: until then they are the log."""
ROOMS = ("lobby", "quiet")
"""Hostile users talk in the first, half of the others in the second."""
MODEL = hand_made_model(0.1, {"message_count_24h": 0.3, "report_count_7d": 1.0})
TOLD = small_policy(
    learning={"publish_every": "2m", "min_positives": 2, "challengers": []}, channels={"remembered": 50}
)
UNTOLD = small_policy(learning={"publish_every": "2m", "min_positives": 2, "challengers": []}, channels={})

CLOCKS: dict[str, Callable[[random.Random, int, int], int]] = {
    "right": lambda _rng, now, _number: now,
    "years ahead": lambda _rng, now, _number: now + 700 * DAY,
    "years behind": lambda _rng, now, _number: now - 9_000 * DAY,
    "rising in steps": lambda _rng, now, number: now + number * 9 * MINUTE,
    "a little ahead": lambda rng, now, _number: now + rng.randrange(20 * MINUTE),
    "any": lambda rng, now, _number: max(0, now + rng.choice((-1, 1)) * rng.choice((1, HOUR, DAY, 400 * DAY))),
    "falling": lambda _rng, now, number: now - number * 9 * MINUTE,
    "standing still": lambda _rng, _now, _number: START,
    "the last there is": lambda _rng, _now, _number: 253_402_300_799_999,
    "none there is": lambda rng, _now, _number: rng.choice((-1, 10**18)),
}
IDS: dict[str, Callable[[random.Random, int], str]] = {
    "its own": lambda _rng, number: f"hostile-{number}",
    "those of others": lambda rng, _number: f"e{rng.randrange(EVENTS)}",
    "one": lambda _rng, _number: " ",
    "huge": lambda _rng, number: f"{number}" + "x" * 250,
    "made of others": lambda rng, _number: f"e{rng.randrange(EVENTS)} ",
    "not ours alone": lambda rng, number: f"e{number}" if rng.random() < 0.5 else "e0",
    "control characters": lambda _rng, number: f"\x00\x1b]0;{number}\x07",
}
TEXTS: dict[str, Callable[[random.Random], str | None]] = {
    "none": lambda _rng: None,
    "words": lambda rng: " ".join(rng.choices(("hello", "you", "fool", "gold"), k=6)),
    "digits": lambda rng: str(rng.randrange(10)) * 3_000,
    "half a surrogate pair": lambda _rng: "so \ud83d it ends",
    "marks upon marks": lambda rng: "o" + rng.choice(("\u0301", "\u20dd", "\u200d", "\u202e")) * 3_000,
    "too long": lambda _rng: "x" * 70_000,
    "as long as can be": lambda _rng: "a b" * 21_845,
}
KINDS: dict[str, Callable[[random.Random], tuple[Subject, dict[str, Any]]]] = {
    "message": lambda rng: (CHAT, {"channel": ROOMS[0], "recipients": [f"u{rng.randrange(USERS)}"]}),
    "report": lambda rng: (MODERATION, {"kind": "report", "report": {"reporter_id": f"u{rng.randrange(USERS)}"}}),
    "sanction": lambda rng: (
        MODERATION,
        {"kind": "sanction", "sanction": {"action": "ban", "severity": rng.randint(1, 5), "policy": "conduct"}},
    ),
    "reversal": lambda rng: (
        MODERATION,
        {"kind": "reversal", "reversal": {"sanction_id": f"hostile-{rng.randrange(99)}"}},
    ),
    "reversal of another's": lambda rng: (
        MODERATION,
        {"kind": "reversal", "reversal": {"sanction_id": f"e{rng.randrange(EVENTS)}"}},
    ),
    "exposure": lambda rng: (
        MODERATION,
        {"kind": "exposure", "exposure": {"intervention": "lesson", "arm": "shown", "probability": rng.random()}},
    ),
    "crowd": lambda rng: (
        CHAT,
        {"channel": ROOMS[0], "recipients": [f"u{one % USERS}" for one in range(rng.choice((100, 5_000)))]},
    ),
    "odd parts": lambda rng: (
        MODERATION,
        {"kind": "report", "report": rng.choice(({}, None, [], "so", {"reporter_id": 7}, {"category": "x" * 900}))},
    ),
    "erasure": lambda _rng: (MODERATION, {"kind": "erasure"}),
}


class Record(NamedTuple):
    """What is fed: a subject, a value, and of whom."""

    subject: Subject
    value: dict[str, Any]
    user: str


def honest() -> list[Record]:
    """Everybody else's log, a minute apart: half of them talk in each room, some are reported and sanctioned."""
    rng, records = random.Random(17), []
    for number in range(EVENTS):
        user = number % USERS if number < WARM else rng.randrange(USERS)
        value: dict[str, Any] = {
            "event_id": f"e{number}",
            "event_time": START + number * MINUTE,
            "user_id": f"u{user}",
        }
        bad = user % 10 < 3
        draw = rng.random()
        if bad and draw < 0.3:
            detail = {"kind": "report", "report": {"reporter_id": f"w{rng.randrange(9)}"}}
            records.append(Record(MODERATION, value | detail, f"u{user}"))
        elif bad and draw < 0.45:
            detail = {"kind": "sanction", "sanction": {"action": "ban", "severity": 5, "policy": "conduct"}}
            records.append(Record(MODERATION, value | detail, f"u{user}"))
        else:
            said = {"channel": ROOMS[user % 2], "text": rng.choice(("hello", "well met", "buy gold"))}
            records.append(Record(CHAT, value | said, f"u{user}"))
    return records


HONEST = honest()


class Attack(NamedTuple):
    """What hostile users send, by the place in the honest log before which they send it."""

    sent: dict[int, list[Record]]

    def told(self) -> Attack:
        """Return the reports about others in the attack, which anybody may make, without the rest."""
        return Attack({at: [one for one in sent if one.user.startswith("u")] for at, sent in self.sent.items()})


@st.composite
def attacks(draw: st.DrawFn, first: int = 0) -> Attack:
    """Up to a twentieth of the users, flooding or not, from a place in the log on."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    clock, identify = draw(st.sampled_from(list(CLOCKS.values()))), draw(st.sampled_from(list(IDS.values())))
    write, flood = draw(st.sampled_from(list(TEXTS.values()))), draw(st.sampled_from((1, 4)))
    kinds = draw(st.lists(st.sampled_from(list(KINDS.values())), min_size=1, max_size=3))
    sent: dict[int, list[Record]] = {}
    for number, user in enumerate(f"hostile-{one}" for one in range(draw(st.integers(1, MOST)))):
        for at in sorted(rng.sample(range(first, EVENTS), 8)) if number else range(first, EVENTS, 40):
            for each in range(flood):
                now = HONEST[at].value["event_time"]
                subject, body = rng.choice(kinds)(rng)
                about = user
                if body.get("kind") == "report" and rng.random() < 0.5:
                    about = f"u{rng.randrange(USERS)}"  # which they may
                value = {
                    "event_id": identify(rng, at * flood + each) if about == user else f"report-{at}-{user}-{each}",
                    "event_time": clock(rng, now, at) if about == user else now,
                    "user_id": about,
                    **body,
                }
                if subject == CHAT and (text := write(rng)) is not None:
                    value["text"] = text
                sent.setdefault(at, []).append(Record(subject, value, about))
    return Attack(sent)


def run(
    policy: Policy, attack: Attack | None, *, model: ModelVersion | None = None, batch: int = 1_000
) -> DriverResult:
    """The flow over the honest log with an attack in it; hostile records come as bytes of a topic would."""
    driver = FlowDriver(policy)
    for number, record in enumerate(HONEST):
        for one in attack.sent.get(number, ()) if attack is not None else ():
            driver.send(one.subject, json.dumps(one.value).encode(), key=one.user.encode())
        driver.send(record.subject, record.value)
    return driver.run(batch_size=batch, model=model)


def served(result: DriverResult) -> list[tuple[Any, ...]]:
    """Return the rows served for all other users, comparable to the last bit, in the order of the log."""
    return [
        (p.user_id, p.as_of, p.event_id, p.events, p.vector.tobytes(), repr(row.probability), row.tier)
        for row in result.served
        for p in [row.point]
        if p.user_id.startswith("u")
    ]


@settings(LAWFUL, max_examples=examples(25))
@given(attacks(), st.sampled_from((1_000, 37)))
def test_where_nothing_is_shared_nothing_changes(attack: Attack, batch: int) -> None:
    """With a pinned model and no channels: features, scores and tiers of everybody else, to the last bit.

    Whoever was reported is served what those reports alone would have made of it.
    """
    assert served(run(UNTOLD, attack, model=MODEL, batch=batch)) == served(run(UNTOLD, attack.told(), model=MODEL))


@settings(LAWFUL, max_examples=examples(25))
@given(attacks())
def test_everybody_else_stays_scored_by_models_that_learn_from_all(attack: Attack) -> None:
    """Their features are the same to the last bit, and no version has learnt from a time that only few have reached."""
    result, without = run(UNTOLD, attack), run(UNTOLD, attack.told())
    assert [row[:5] for row in served(result)] == [row[:5] for row in served(without)]
    slack = slack_of(UNTOLD.learning)
    latest, at = START, {}
    for number, record in enumerate(HONEST):
        latest = record.value["event_time"]
        at[number] = latest
    position, reached = 0, {}
    for number in range(EVENTS):
        position += len(attack.sent.get(number, ()))
        reached[position] = at[number]
        position += 1
    times = sorted(reached.items())
    late_enough = times[OUTNUMBERED][0]
    for item in result.published:
        known = [time for seq, time in times if seq <= item.seq]
        assert item.seq < late_enough or item.version.learned_until <= known[-1] + slack
    expected = {(r.point.user_id, r.point.event_id) for r in without.served if r.probability is not None}
    scored = {(r.point.user_id, r.point.event_id) for r in result.served if r.probability is not None}
    second_half = {f"e{number}" for number in range(EVENTS // 2, EVENTS)}
    missing = {one for one in expected - scored if one[1] in second_half and one[0].startswith("u")}
    assert not missing
    assert len(expected) > EVENTS // 3


@settings(LAWFUL, max_examples=examples(20))
@given(attacks(first=WARM))
def test_with_channels_only_what_is_said_of_shared_ones_changes(attack: Attack) -> None:
    """Users in another room are served the same to the last bit; in the shared room only its features change.

    A model that gives those no weight scores everybody the same, too.
    """
    result, without = run(TOLD, attack, model=MODEL), run(TOLD, attack.told(), model=MODEL)
    shared = [
        place for place, name in enumerate(NAMES) if name.startswith(("channel_", "answer", "quick_answer", "excess"))
    ]
    for before, after in zip(served(without), served(result), strict=True):
        if int(before[0][1:]) % 2:
            assert after == before
        else:
            assert after[:4] + after[5:] == before[:4] + before[5:]
            assert own_part(after[4], shared) == own_part(before[4], shared)


def own_part(vector: bytes, shared: list[int]) -> list[bytes]:
    """A vector without the features of the channel, and without the trail of tokens, each as bytes."""
    values = [vector[place : place + 8] for place in range(0, len(vector), 8)]
    return [value for place, value in enumerate(values) if place not in shared]


@pytest.mark.parametrize("clock", CLOCKS)
def test_each_kind_of_clock_leaves_everybody_else_scored(clock: str) -> None:
    """One message every few minutes by as many users as may be hostile, from the first event on."""
    rng = random.Random(3)
    sent = {
        at: [
            Record(
                CHAT,
                {
                    "event_id": f"hostile-{at}",
                    "event_time": CLOCKS[clock](rng, HONEST[at].value["event_time"], at),
                    "user_id": f"hostile-{at % MOST}",
                    "channel": ROOMS[0],
                },
                f"hostile-{at % MOST}",
            )
        ]
        for at in range(0, EVENTS, 2)
    }
    result = run(UNTOLD, Attack(sent))
    tail = [row for row in result.served if row.point.user_id.startswith("u")][-60:]
    assert sum(row.probability is not None for row in tail) == 60
