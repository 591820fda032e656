"""The policy: what it says where it is silent, and the sentence for every wrong value."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from detectors.features.catalogue import NAMES, NUMBERS
from detectors.policy.parse import parse_policy
from detectors.policy.policy import Policy

GOOD: dict[str, Any] = {
    "name": "test",
    "target": {"horizon": "7d", "when": [{"event": "sanction", "count": 3}]},
    "tiers": {"watch": {"enter": 0.2, "leave": 0.1}, "high": {"enter": 0.6, "leave": 0.5}},
    "rules": {"velocity": {}},
}


def parsed(document: dict[str, Any]) -> Policy:
    """The policy in a document, where one rule and two models are known."""
    return parse_policy(document, {"velocity"}, {"logistic": NUMBERS, "bayes": NUMBERS, "stack": NAMES})


def with_value(path: str, value: object) -> dict[str, Any]:
    """The good policy with one value changed, or added."""
    document = deepcopy(GOOD)
    section: Any = document
    *sections, last = path.split(".")
    for name in sections:
        section = section[int(name)] if isinstance(section, list) else section.setdefault(name, {})
    section[last] = value
    return document


WRONG: list[tuple[str, object, str]] = [
    ("name", "", "at least 1 character"),
    ("nonsense", 1, "Extra inputs are not permitted"),
    ("allowed_lateness", -1, "greater than or equal to 0"),
    (
        "allowed_lateness",
        "soon",
        "'soon' is not a duration: write a whole number and a unit, such as 90s, 5m, 24h or 7d",
    ),
    ("strike_expiry", "0s", "greater than 0"),
    ("profile_ttl", "0s", "greater than 0"),
    ("profile_ttl", "29d", "profile_ttl 29d is shorter than strike_expiry, 90d: make it 90d at least"),
    ("target.horizon", "0d", "greater than 0"),
    ("target.horizon", "1.5d", "is not a duration"),
    ("target.when", [], "at least 1 item"),
    ("target.when.0.event", "message", "Input should be 'sanction', 'report' or 'any'"),
    ("target.when.0.count", 0, "greater than or equal to 1"),
    ("target.when.0.count", 33, "less than or equal to 32"),
    ("target.when.0.min_severity", 6, "less than or equal to 5"),
    ("target.when.0.within", "0h", "greater than 0"),
    ("target.reset_after", 0, "greater than 0"),
    ("learning.sample", 0.0, "greater than 0"),
    ("learning.sample", 1.01, "less than or equal to 1"),
    ("learning.sample", float("nan"), "learning.sample"),
    ("learning.positive_weight", 0, "greater than 0"),
    ("learning.learning_rate", 0, "greater than 0"),
    ("learning.publish_every", "0s", "greater than 0"),
    ("learning.min_positives", 0, "greater than or equal to 1"),
    ("learning.pending", 65, "less than or equal to 64"),
    ("learning.keep_versions", 0, "greater than or equal to 1"),
    ("learning.champion", "oracle", "unknown model 'oracle': choose from bayes, logistic, stack"),
    ("learning.challengers", ["logistic"], "model 'logistic' is champion and challenger: name it once"),
    ("tiers", {}, "no tier has thresholds"),
    ("tiers.none", {"enter": 0.1, "leave": 0.1}, "Input should be"),
    ("tiers.watch.enter", 1.1, "less than or equal to 1"),
    ("tiers.watch.enter", float("nan"), "tiers.watch.enter"),
    ("tiers.watch.leave", 0.3, "leave 0.3 lies above enter 0.2: a tier is left below where it is entered"),
    ("tiers.high.enter", 0.15, "lies above enter"),
    ("tiers.high", {"enter": 0.15, "leave": 0.15}, "tier high has lower thresholds than watch"),
    ("warnings.expiry", "0s", "greater than 0"),
    ("warnings.reasons", 0, "greater than or equal to 1"),
    ("rules.velocity.tier", "none", "Input should be"),
    ("rules.velocity.limit", 0, "greater than 0"),
    ("rules.telepathy", {}, "unknown rule 'telepathy': choose from velocity"),
]


@pytest.mark.parametrize(("path", "value", "sentence"), WRONG, ids=[f"{path}={value}" for path, value, _ in WRONG])
def test_a_wrong_value_is_refused_with_a_sentence(path: str, value: object, sentence: str) -> None:
    """What is wrong is said, and it is a ValueError."""
    with pytest.raises(ValueError, match="(?s)" + sentence.replace("(", r"\(").replace(".", r"\.")):
        parsed(with_value(path, value))


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("strike_expiry", "1d", "shorter than the 30d window, 30d: make it 30d at least"),
        ("strike_expiry", "721h", "shorter than strike_expiry, 721h: make it 721h at least"),
        ("target.horizon", "31d", "shorter than target.horizon, 31d"),
        ("target.reset_after", "44640m", "shorter than target.reset_after, 31d"),
        ("target.when.0.within", "32d", r"shorter than target\.when\.0\.within, 32d"),
    ],
)
def test_a_profile_outlives_everything_it_holds(path: str, value: str, sentence: str) -> None:
    """A user cannot be forgotten while something of them still counts; as long as the longest is long enough."""
    document = with_value(path, value) | {"profile_ttl": "42524h"}
    document["strike_expiry"] = document.get("strike_expiry", "1d")
    assert parsed(document).profile_ttl == 42_524 * 3_600_000
    with pytest.raises(ValueError, match=f"profile_ttl 719h is {sentence}"):
        parsed(document | {"profile_ttl": "719h"})
    enough = sentence.split(", ")[1].split(":", maxsplit=1)[0]
    assert parsed(document | {"profile_ttl": enough}).profile_ttl >= 30 * 86_400_000


def test_profiles_are_kept_for_a_year_unless_the_policy_says_otherwise() -> None:
    """And a policy that needs longer has to say so."""
    assert parsed(GOOD).profile_ttl == 365 * 86_400_000
    with pytest.raises(ValueError, match=r"shorter than target\.reset_after, 400d: make it 400d at least"):
        parsed(with_value("target.reset_after", "400d"))


@pytest.mark.parametrize("missing", ["name", "target", "tiers"])
def test_what_has_no_sensible_default_must_be_given(missing: str) -> None:
    """A policy without a name, a target or a tier is none."""
    document = {name: value for name, value in GOOD.items() if name != missing}
    with pytest.raises(ValueError, match=f"{missing}\n  Field required"):
        parsed(document)


def test_durations_are_written_with_units_or_in_milliseconds() -> None:
    """90s, 5m, 24h and 7d; a number is milliseconds."""
    written = {"250ms": 250, "90s": 90_000, "5m": 300_000, "24h": 86_400_000, "7d": 604_800_000}
    for text, milliseconds in written.items():
        assert parsed(with_value("allowed_lateness", text)).allowed_lateness == milliseconds
    assert parsed(with_value("allowed_lateness", 1_500)).allowed_lateness == 1_500


def test_a_policys_version_is_its_content() -> None:
    """The same values give the same version however they were written; any other value gives another."""
    version = parsed(GOOD).version
    assert parsed(deepcopy(GOOD)).version == version
    assert parsed(with_value("target.horizon", 7 * 86_400_000)).version == version
    others = [
        ("name", "other"),
        ("tiers.watch.enter", 0.21),
        ("rules.velocity.limit", 31),
        ("warnings.cooldown", "2h"),
        ("learning.sample", 0.5),
        ("target.recurring", True),
    ]
    versions = {parsed(with_value(path, value)).version for path, value in others}
    assert len(versions | {version}) == len(others) + 1


def test_the_order_of_tables_in_the_file_is_no_part_of_the_version() -> None:
    """A policy with its tiers and rules written in another order is the same policy."""
    turned = GOOD | {"tiers": dict(reversed(GOOD["tiers"].items()))}
    assert parsed(turned).version == parsed(GOOD).version


def test_a_policy_cannot_be_changed() -> None:
    """Nothing that has read it can be surprised."""
    with pytest.raises(ValueError, match="frozen"):
        parsed(GOOD).name = "other"
