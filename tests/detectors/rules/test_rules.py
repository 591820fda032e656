"""Rules: each one's golden hits and misses, and what every rule owes whoever receives its warning."""

from __future__ import annotations

import random
from math import nan

import numpy as np
import pytest

from detectors.features.catalogue import NAMES, NUMBERS
from detectors.models.catalogue import freeze
from detectors.rules.catalogue import RULES, active_rules
from detectors.scoring.explain import explain
from schemas.records.decisions import Tier
from tests.kit.community import point_of, taught, vector_of
from tests.kit.streams import policy

HITS = {
    "velocity": [{"message_count_5m": 30}, {"message_count_5m": 31}],
    "report_burst": [{"reporter_distinct_24h": 3, "report_count_24h": 3}, {"reporter_distinct_24h": 4}],
    "repeated_text": [{"repeat_count_1h": 5, "message_count_1h": 10}, {"repeat_count_1h": 9, "message_count_1h": 9}],
    "many_strangers": [{"recipient_distinct_1h": 20, "recipient_distinct_24h": 20}],
}
MISSES = {
    "velocity": [{"message_count_5m": 29}, {"message_count_1h": 500}],
    "report_burst": [{"reporter_distinct_24h": 2, "report_count_24h": 50}, {"reporter_distinct_7d": 9}],
    "repeated_text": [{"repeat_count_1h": 5, "message_count_1h": 11}, {"repeat_count_1h": 4, "message_count_1h": 4}],
    "many_strangers": [{"recipient_distinct_1h": 19, "recipient_distinct_24h": 64}],
}


@pytest.mark.parametrize(("name", "features"), [(name, hit) for name in HITS for hit in HITS[name]])
def test_a_rule_fires_on_what_it_is_for(name: str, features: dict[str, float]) -> None:
    """Score 1, with every feature it looked at as a reason and the raw counter beside it."""
    score = RULES[name]().score_one(point_of(vector_of(**features)))
    assert (score.detector, score.probability) == (name, 1.0)
    assert [reason.feature for reason in score.reasons] == list(RULES[name].features)
    assert [reason.value for reason in score.reasons] == [features.get(f, 0.0) for f in RULES[name].features]
    assert {(reason.detector, reason.contribution) for reason in score.reasons} == {(name, None)}


@pytest.mark.parametrize(("name", "features"), [(name, miss) for name in MISSES for miss in MISSES[name]])
def test_a_rule_does_not_fire_just_below_its_limit(name: str, features: dict[str, float]) -> None:
    """Score 0, which is not None, and no reasons."""
    score = RULES[name]().score_one(point_of(vector_of(**features)))
    assert (score.probability, score.reasons) == (0.0, ())


@pytest.mark.parametrize("name", RULES)
def test_a_rule_cannot_tell_where_a_feature_it_needs_is_absent(name: str) -> None:
    """None, which is not 0, for each of its features alone; and absent features of others do not matter to it."""
    hit = HITS[name][0]
    for feature in RULES[name].features:
        assert RULES[name]().score_one(point_of(vector_of(**(hit | {feature: nan})))).probability is None
    needed = dict.fromkeys(RULES[name].features, 0.0) | hit
    assert RULES[name]().score_one(point_of(vector_of(absent=nan, **needed))).probability == 1.0


@pytest.mark.parametrize("name", RULES)
def test_a_rule_fires_on_the_rows_of_a_batch_on_which_it_fires_alone(name: str) -> None:
    """The batch a lane asks about, absent features among it, against one point at a time."""
    rng = random.Random(12)
    values = (nan, 0.0, 2.0, 5.0, 10.0, 40.0)
    vectors = [vector_of(**{feature: rng.choice(values) for feature in RULES[name].features}) for _ in range(200)]
    alone = [RULES[name]().score_one(point_of(vector)).probability == 1.0 for vector in vectors]
    assert RULES[name]().fires_on(np.array(vectors)).tolist() == alone
    assert 0 < sum(alone) < 200


@pytest.mark.parametrize("name", RULES)
def test_a_policys_limit_takes_the_place_of_a_rules_own(name: str) -> None:
    """Raised beyond what was seen the rule is quiet; lowered, a miss becomes a hit."""
    assert RULES[name](limit=1_000).score_one(point_of(vector_of(**HITS[name][0]))).probability == 0.0
    rich = vector_of(**dict.fromkeys(RULES[name].features, 2.0))
    assert RULES[name]().score_one(point_of(rich)).probability == 0.0
    assert RULES[name](limit=2).score_one(point_of(rich)).probability == 1.0


@pytest.mark.parametrize("name", RULES)
def test_every_rule_says_what_to_do_and_what_it_cannot_see(name: str) -> None:
    """A runbook and known gaps in whole sentences, a docstring, declared features, and its own name."""
    rule = RULES[name]
    for text in (rule.runbook, rule.known_gaps, rule.__doc__ or ""):
        assert len(text.split()) >= 8
        assert text.strip().endswith(".")
    assert rule.name == name
    assert set(rule.features) <= set(NUMBERS)
    assert rule.default_limit > 0


def test_a_policy_switches_rules_on_and_off_and_sets_their_tier() -> None:
    """By name in rising order, with the limit and the tier the policy gives."""
    asked = {"velocity": {"tier": "high", "limit": 12}, "report_burst": {}, "repeated_text": {"enabled": False}}
    active = active_rules(policy(rules=asked).rules)
    assert [(item.rule.name, item.tier, item.rule.limit) for item in active] == [
        ("report_burst", Tier.WATCH, 3),
        ("velocity", Tier.HIGH, 12),
    ]


def test_an_explanation_gives_the_rules_first_and_then_what_moved_the_model() -> None:
    """All reasons of all fired rules, at most so many of the model's, none where the model had no say."""
    point = point_of(vector_of(message_count_5m=40, report_count_24h=9, repeat_count_1h=7))
    fired = [
        item
        for item in active_rules(policy(rules={"velocity": {}, "report_burst": {}}).rules)
        if item.rule.score_one(point).probability
    ]
    model = freeze(taught("logistic").version())
    reasons = explain(point, model, fired, 3)
    assert [reason.detector for reason in reasons] == ["velocity", "logistic", "logistic", "logistic"]
    assert reasons[1:] == model.explain(point, 3)
    for reason in reasons:
        assert reason.value == point.vector[NAMES.index(reason.feature)]
    assert [reason.detector for reason in explain(point, None, fired, 3)] == ["velocity"]
    assert explain(point, None, [], 3) == ()


def test_a_model_explains_with_present_features_only() -> None:
    """What was absent did not move the score, and is not shown as a reason."""
    model = freeze(taught("bayes").version())
    reasons = model.explain(point_of(vector_of(absent=nan, report_count_24h=9.0)), 16)
    assert [(reason.feature, reason.value) for reason in reasons] == [("report_count_24h", 9.0)]
    assert model.explain(point_of(vector_of(absent=nan)), 16) == ()


@pytest.mark.parametrize("name", RULES)
def test_a_rule_fires_on_many_rows_as_on_each(name: str) -> None:
    """Lanes ask for whole batches: every row is judged as if it stood alone, and an absent feature never fires."""
    rule = RULES[name]()
    vectors = [vector_of(**hit) for hit in HITS[name]] + [vector_of(), vector_of(absent=nan)]
    vectors += [vector_of(**(HITS[name][0] | {feature: nan})) for feature in rule.features]
    together = rule.fires_on(np.array(vectors, dtype=np.float64)).tolist()
    assert together == [rule.score_one(point_of(vector)).probability == 1.0 for vector in vectors]
