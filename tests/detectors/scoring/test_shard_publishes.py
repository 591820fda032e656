"""What a lane publishes and serves: risk events that say what they came from, tiers through restarts, erasures."""

from __future__ import annotations

from math import nan

import pytest

from detectors.base.state import pack, unpack
from detectors.base.vectors import Vector, matrix_from
from detectors.learning.learner import Published
from detectors.models.catalogue import freeze
from detectors.models.version import FrozenModel
from detectors.policy.policy import Policy
from detectors.profiles.results import Erasure
from detectors.scoring.shard import Lane, ModelUpdate
from schemas.records.decisions import RiskEvent, Tombstone
from tests.kit.community import DAY, HOUR, START, community, lessons_of, news_of, point_of, steps_of, taught, vector_of
from tests.kit.streams import policy

PINNED = freeze(news_of([lessons_of(steps_of(community(seed=3, length=400)))])["logistic"][-1].published[-1].version)
"""The last version of the champion that a small community taught."""


def test_a_pinned_model_that_has_seen_the_future_says_so() -> None:
    """`ahead` up to and including the time it has learnt until, `ok` after it."""
    rules = policy(tiers={"watch": {"enter": 0.0, "leave": 0.0}})
    until = PINNED.learned_until
    assert until is not None
    for as_of, note in ((until - 1, "ahead"), (until, "ahead"), (until + 1, "ok")):
        [publication], [row] = Lane(rules, pinned=PINNED).take([point_of(vector_of(), as_of=as_of)])
        assert isinstance(publication.event, RiskEvent)
        assert (publication.event.model_note, publication.event.learned_until) == (note, until)
        assert row.model_version == PINNED.version


def test_a_user_with_few_events_has_insufficient_history() -> None:
    """Below `min_events` the model may think what it likes: there is no score, but rules still speak."""
    rules = policy(
        learning={"min_events": 5},
        tiers={"watch": {"enter": 0.0, "leave": 0.0}},
        rules={"velocity": {"tier": "elevated"}},
    )
    lane = Lane(rules, pinned=PINNED)
    vector = vector_of(message_count_5m=40)
    [publication], [row] = lane.take([point_of(vector, events=4)])
    assert isinstance(publication.event, RiskEvent)
    assert (row.probability, row.tier) == (None, "elevated")
    assert (publication.event.probability, publication.event.model_note) == (None, "insufficient_history")
    assert [reason.detector for reason in publication.event.reasons] == ["velocity"]
    _, [row] = lane.take([point_of(vector, events=5, seq=1)])
    assert row.probability is not None


def test_a_risk_event_names_what_it_came_from() -> None:
    """Trigger, versions, horizon, expiry, reasons with raw counters; and the same point always gives the same id."""
    rules = policy(tiers={"watch": {"enter": 0.0, "leave": 0.0}}, rules={"velocity": {}}, warnings={"reasons": 2})
    point = point_of(vector_of(message_count_5m=31, report_count_24h=2), seq=7)
    [publication], _ = Lane(rules, pinned=PINNED).take([point])
    event = publication.event
    assert isinstance(event, RiskEvent)
    assert (event.user_id, event.as_of, event.expires_at) == ("ann", START, START + DAY)
    assert (event.tier, event.previous_tier, event.horizon_ms) == ("watch", "none", rules.target.horizon)
    assert (event.trigger.event_id, event.trigger.topic, event.trigger.offset) == (point.event_id, "events", 7)
    assert (event.model, event.model_version, event.policy_version) == ("logistic", PINNED.version, rules.version)
    assert event.reasons[0].model_dump() == {
        "detector": "velocity",
        "feature": "message_count_5m",
        "value": 31.0,
        "contribution": None,
    }
    assert {reason.detector for reason in event.reasons[1:]} == {"logistic"}
    assert len(event.reasons) == 3
    [again], _ = Lane(rules, pinned=PINNED).take([point])
    assert again == publication
    [other], _ = Lane(rules, pinned=PINNED).take([point._replace(event_id="another")])
    assert isinstance(other.event, RiskEvent)
    assert other.event.risk_event_id != event.risk_event_id


def test_a_risk_event_names_the_exemplars_of_its_model_and_only_where_that_scored() -> None:
    """Nearest first, never the user's own; none where a rule alone raised the tier, and none of a model without any."""
    model = freeze(taught("lookalike", examples=300).version())
    rules = policy(
        tiers={"watch": {"enter": 0.0, "leave": 0.0}},
        rules={"velocity": {"tier": "elevated"}},
        learning={"min_events": 5},
    )

    def published(user: str, events: int, pinned: FrozenModel = model) -> RiskEvent:
        point = point_of(vector_of(message_count_5m=40, report_count_24h=7), user=user, events=events)
        [publication], _ = Lane(rules, pinned=pinned).take([point])
        assert isinstance(publication.event, RiskEvent)
        return publication.event

    event = published("ann", 5)
    assert len(event.exemplars) == 3
    assert [near.distance for near in event.exemplars] == sorted(near.distance for near in event.exemplars)
    assert {reason.detector for reason in event.reasons} == {"velocity", "lookalike"}
    nearest = event.exemplars[0]
    assert [nearest in published(f"bad{number}", 5).exemplars for number in range(7)].count(False) == 1
    assert published("ann", 4).exemplars == ()
    assert published("ann", 5, PINNED).exemplars == ()


def test_an_erased_user_is_forgotten_and_announced() -> None:
    """A tombstone is published, and the next warning starts from none."""
    rules = policy(tiers={"watch": {"enter": 0.0, "leave": 0.0}})
    lane = Lane(rules, pinned=PINNED)
    first, again = point_of(vector_of()), point_of(vector_of(), as_of=START + HOUR, seq=2)
    gone = Erasure("ann", START + 1, again.at._replace(seq=1, offset=1))
    published, _ = lane.take([first, gone, again])
    assert [type(item.event).__name__ for item in published] == ["RiskEvent", "Tombstone", "RiskEvent"]
    assert published[1].event == Tombstone(user_id="ann", as_of=START + 1)
    assert published[2].event.previous_tier == "none"
    assert len(lane.take([again._replace(event_id="third", as_of=START + 2 * HOUR)])[0]) == 0


FLOODING = policy(
    learning={"min_events": 99},
    rules={"velocity": {"tier": "high"}, "report_burst": {"tier": "watch"}},
    warnings={"expiry": "1h", "cooldown": "2h"},
)
"""The model never has history enough: what happens is what the rules say."""


def restarted(rules: Policy, moments: list[tuple[int, Vector]]) -> list[tuple[str, str, list[str]]]:
    """What is published of one user whose lane is restarted between any two points: tiers and whose reasons."""
    lane, said = Lane(rules, pinned=PINNED), []
    for seq, (as_of, vector) in enumerate(moments):
        fresh = Lane(rules, pinned=PINNED)
        fresh.restore(unpack(pack(lane.state(), 1), 1, "lane")[1])
        lane = fresh
        for item in lane.take([point_of(vector, as_of=START + as_of, seq=seq)])[0]:
            assert isinstance(item.event, RiskEvent)
            speakers = sorted({reason.detector for reason in item.event.reasons})
            said.append((str(item.event.previous_tier), str(item.event.tier), speakers))
    return said


def flooding(*moments: tuple[int, dict[str, float]]) -> list[tuple[str, str, list[str]]]:
    """What is published of a user of whom only rules speak."""
    return restarted(FLOODING, [(as_of, vector_of(**features)) for as_of, features in moments])


FLOOD, REPORTS = {"message_count_5m": 99}, {"reporter_distinct_24h": 5}


def test_a_warning_that_lapsed_is_not_what_the_next_one_rises_from() -> None:
    """Nothing is published when a warning lapses, and the next one's previous tier is none."""
    assert flooding((0, FLOOD), (HOUR, {}), (2 * HOUR, FLOOD)) == [("none", "high", ["velocity"])] * 2


def test_the_cooldown_survives_a_restart() -> None:
    """Between its expiry and the end of the cooldown the same tier is not entered again."""
    assert flooding((0, FLOOD), (HOUR + 1, FLOOD), (HOUR + 2, REPORTS)) == [("none", "high", ["velocity"])]


def test_a_rule_below_the_tier_in_force_is_noted_and_not_published() -> None:
    """A second rule that asks for less gives no event of its own."""
    assert flooding((0, FLOOD), (1, REPORTS), (2, {})) == [("none", "high", ["velocity"])]


def test_all_rules_that_fire_are_named_and_the_highest_decides() -> None:
    """Two rules on one point: one event, the higher tier, reasons of both."""
    assert flooding((0, REPORTS), (1, FLOOD | REPORTS)) == [
        ("none", "watch", ["report_burst"]),
        ("watch", "high", ["report_burst", "velocity"]),
    ]


CALM, ALARMING = vector_of(absent=nan, message_count_24h=50), vector_of(absent=nan, report_count_24h=9)
LOW, HIGH = PINNED.probabilities(matrix_from([CALM, ALARMING])).tolist()


def test_a_warned_user_whose_score_falls_is_taken_out_of_the_tier() -> None:
    """However quiet the score: who stands in a tier is decided again at every point."""
    assert LOW < HIGH
    lane = Lane(policy(tiers={"watch": {"enter": HIGH, "leave": HIGH}}), pinned=PINNED)
    points = [point_of(vector, as_of=START + seq, seq=seq) for seq, vector in enumerate((CALM, ALARMING, CALM, CALM))]
    published, served = lane.take(points)
    said = [(item.at.seq, item.event.previous_tier, item.event.tier) for item in published]
    assert said == [(1, "none", "watch"), (2, "watch", "none")]
    assert [row.tier for row in served] == ["none", "watch", "none", "none"]
    assert [item.event.expires_at for item in published] == [START + 1 + DAY, START + 2]


def test_what_a_rule_asked_for_below_the_tier_in_force_holds_when_the_score_falls() -> None:
    """Noted without an event of its own, through a restart, and within the cooldown the model does not rise again."""
    flood = vector_of(absent=nan, report_count_24h=9, message_count_5m=99)
    [holding] = PINNED.probabilities(matrix_from([flood])).tolist()
    assert holding > LOW
    rules = policy(
        tiers={"high": {"enter": HIGH, "leave": min(holding, HIGH)}},
        rules={"velocity": {"tier": "watch"}},
        warnings={"cooldown": "1h"},
    )
    lane = Lane(rules, pinned=PINNED)
    assert [
        len(lane.take([point_of(vector, as_of=START + n, seq=n)])[0]) for n, vector in enumerate((ALARMING, flood))
    ] == [1, 0]
    moments = [(0, ALARMING), (1, flood), (2, CALM), (3, ALARMING), (HOUR, ALARMING)]
    said = [(previous, tier) for previous, tier, _ in restarted(rules, moments)]
    assert said == [("none", "high"), ("high", "watch"), ("watch", "high")]


def test_a_point_for_which_no_kept_version_is_old_enough_says_so() -> None:
    """A rule may speak where the model, all of whose kept versions know too much, has no say."""
    rules = policy(learning={"keep_versions": 1}, rules={"velocity": {}})
    lane, record = Lane(rules), taught("logistic").version()
    for until, note in ((None, "insufficient_history"), (START, "insufficient_history"), (START + 1, "no_version")):
        if until is not None:
            version = record.model_copy(update={"learned_until": until})
            lane.hear(ModelUpdate("logistic", [Published(version, 1, 0)], {1: 1}))
        [publication], [row] = lane.take([point_of(vector_of(message_count_5m=99), user=f"u{note}{until}")])
        assert isinstance(publication.event, RiskEvent)
        assert (row.probability, row.model_version, publication.event.model_note) == (None, "", note)


@pytest.mark.parametrize(("days", "kept"), [(29, {"ann", "bob", "eve"}), (31, {"bob", "eve"})])
def test_a_crowded_lane_forgets_only_standings_long_settled(days: int, kept: set[str]) -> None:
    """A month after neither warning nor cooldown matter any more; and the users after it go on as before."""
    lane = Lane(FLOODING, pinned=PINNED)
    lane._crowd = 2
    settled = 2 * HOUR  # the cooldown outlasts the expiry
    flood = point_of(vector_of(**FLOOD))
    moments = [
        ("ann", 0),
        ("bob", days * DAY + settled),
        ("eve", days * DAY + settled),
        ("bob", days * DAY + settled + 1),
    ]
    points = [
        flood._replace(user_id=user, as_of=START + after, event_id=str(seq))
        for seq, (user, after) in enumerate(moments)
    ]
    published, served = lane.take(points)
    assert [item.event.user_id for item in published] == ["ann", "bob", "eve"]
    assert [row.tier for row in served] == ["high"] * 4
    assert set(lane.state()["standings"]) == kept
