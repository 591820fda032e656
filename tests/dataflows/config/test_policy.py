"""A policy file is read, or each thing wrong with it is said in one sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dataflows.config.policy import PolicyError, load_policy
from detectors.rules.catalogue import RULES
from schemas.records.decisions import Tier
from tests.kit.paths import ROOT

POLICIES = ROOT / "deploy" / "policies"

GOOD = """
name = "mine"

[target]
horizon = "1d"

[[target.when]]
event = "sanction"

[tiers.watch]
enter = 0.5
leave = 0.4
"""

DURATION = "is not a duration: write a whole number and a unit, such as 90s, 5m, 24h or 7d."
TIERS = "is none of the choices: choose from watch, elevated, high."

WRONG = {
    # a name that is not there
    "foo = 1": "foo is not a setting: choose from allowed_lateness, channels, learning, models, name, profile_ttl, "
    "promises, rules, stack, strike_expiry, target, tiers, variants, warnings.",
    "[learning]\nchampoin = 'bayes'": "learning.champoin is not a setting: did you mean champion?",
    "[warnings]\nexpires = '1d'": "warnings.expires is not a setting: did you mean expiry?",
    "[rules.velocity]\nlimits = 3": "rules.velocity.limits is not a setting: did you mean limit?",
    "[rules.velocty]": f"unknown rule 'velocty': choose from {', '.join(sorted(RULES))}.",
    "[tiers.critical]\nenter = 0.9\nleave = 0.8": f"tiers.critical {TIERS}",
    "[tiers.none]\nenter = 0.9\nleave = 0.8": f"tiers.none {TIERS}",
    "[rules.velocity]\ntier = 'none'": f"rules.velocity.tier {TIERS}",
    "[learning]\nchampion = 'forest'": "unknown model 'forest': choose from additive, bayes, logistic, lookalike, "
    "sequence, stack.",
    "[learning]\nchampion = 'bayes'": "model 'bayes' is champion and challenger: name it once.",
    # a value that cannot be
    "[warnings]\nexpiry = '0s'": "warnings.expiry cannot be used: it must be greater than 0.",
    "[warnings]\ncooldown = 'soon'": f"warnings.cooldown: 'soon' {DURATION}",
    "[warnings]\ncooldown = 1.5": f"warnings.cooldown: 1.5 {DURATION}",
    "[warnings]\ncooldown = true": f"warnings.cooldown: True {DURATION}",
    "[warnings]\nreasons = 0": "warnings.reasons cannot be used: it must be greater than or equal to 1.",
    "[learning]\nsample = 0": "learning.sample cannot be used: it must be greater than 0.",
    "[learning]\nsample = nan": "learning.sample cannot be used: it must be less than or equal to 1.",
    "[learning]\nkeep_versions = 1000": "learning.keep_versions cannot be used: it must be less than or equal to 256.",
    "[learning]\nchallengers = 'bayes'": "learning.challengers must be a list: write it in [brackets].",
    "[rules.velocity]\nlimit = 0": "rules.velocity.limit cannot be used: it must be greater than 0.",
    "[rules.velocity]\nenabled = 'maybe'": "rules.velocity.enabled cannot be used: it must be a valid boolean.",
    "[tiers.high]\nenter = 0.9": "tiers.high: a tier needs both enter and leave, or the precision it promises.",
    "[tiers.high]\nenter = nan\nleave = 0.1": "tiers.high.enter cannot be used: it must be a finite number.",
    "[tiers.high]\nenter = 2\nleave = 0.1": "tiers.high.enter cannot be used: it must be less than or equal to 1.",
    # values that do not go together
    "[tiers.high]\nenter = 0.7\nleave = 0.8": "tiers.high: leave 0.8 lies above enter 0.7: a tier is left below where "
    "it is entered.",
    "[tiers.high]\nenter = 0.3\nleave = 0.2": "the policy: tier high has lower thresholds than watch: thresholds rise "
    "with the tier.",
}
"""What is added to a good policy, and what is said of it."""

NO_NAME = (
    "cannot be called that: use letters, digits and _, and none of as_of, challengers, champion, event_id, newness, "
    "pinned, seq, user_id."
)
WRONG_VARIANTS = {
    (
        "mine",
        "forest",
        "['report*']",
    ): "variants.mine: unknown model 'forest': choose from additive, bayes, logistic, lookalike, sequence, stack.",
    (
        "mine",
        "bayes",
        "['report*', 'repot*']",
    ): "variants.mine: 'repot*' matches no feature: docs/reference/features.md names them all.",
    ("mine", "bayes", "['*']"): "variants.mine leaves bayes nothing to read: ignore less.",
    ("mine", "sequence", "['sequence*']"): "variants.mine leaves sequence nothing to read: ignore less.",
    ("mine", "bayes", "[]"): "variants.mine is bayes itself: say what it is to ignore.",
    (
        "mine",
        "bayes",
        "[]\nmembers = ['bayes', 'logistic']",
    ): "variants.mine: bayes has no members: leave them out, or make it a stack.",
    ("mine", "stack", "[]\nmembers = ['bayes']"): "variants.mine.members has too few entries: give at least 2.",
    (
        "mine",
        "stack",
        "[]\nmembers = ['bayes', 'mine']",
    ): "variants.mine: unknown member 'mine': choose from additive, bayes, logistic, lookalike, sequence.",
    (
        "mine",
        "bayes",
        "['report*']\n[stack]\nmembers = ['mine', 'stack']",
    ): "stack: unknown member 'stack': choose from additive, bayes, logistic, lookalike, mine, sequence.",
    (
        "mine",
        "bayes",
        "['report*']\n[stack]\nmembers = ['mine', 'mine']",
    ): "stack names its member 'mine' twice: name it once.",
    (
        "mine",
        "stack",
        "['sequence*']\nmembers = ['bayes', 'sequence']",
    ): "variants.mine leaves sequence nothing to read: ignore less.",
    ("mine", "bayes", "['report*']\nignores = 1"): "variants.mine.ignores is not a setting: did you mean ignore?",
    ("bayes", "logistic", "['report*']"): "variants.bayes is named like a model or a rule: give it a name of its own.",
    (
        "velocity",
        "bayes",
        "['report*']",
    ): "variants.velocity is named like a model or a rule: give it a name of its own.",
    ("user_id", "bayes", "['report*']"): f"variants.user_id {NO_NAME}",
    ("'a/b'", "bayes", "['report*']"): f"variants.a/b {NO_NAME}",
    (
        "mine",
        "bayes",
        "['report*']\n[learning]\nchampion = 'yours'",
    ): "unknown model 'yours': choose from additive, bayes, logistic, lookalike, mine, sequence, stack.",
}
"""A variant's name, model and what it ignores, and what is said of it."""

TREE = "river = 'tree.HoeffdingTreeClassifier'"
WRONG_RIVER = {
    ("mine", ""): "models.mine.river is missing: set it.",
    (
        "mine",
        "river = 'HoeffdingTree'",
    ): "models.mine: 'HoeffdingTree' is no class of River's: write module.Class, such as tree.HoeffdingTreeClassifier.",
    ("mine", "river = 'os.path.Join'"): "models.mine: River has no module os.path: riverml.xyz lists its classes.",
    (
        "mine",
        "river = 'tree.HoeffdingTreeClassifer'",
    ): "models.mine: River has no class tree.HoeffdingTreeClassifer: did you mean tree.HoeffdingTreeClassifier.",
    ("mine", "river = 'linear_model.LinearRegression'"): "models.mine: river.linear_model.LinearRegression is no "
    "classifier: name a class such as tree.HoeffdingTreeClassifier.",
    (
        "mine",
        f"{TREE}\nparameters = {{ grace_perod = 5 }}",
    ): "models.mine: river.tree.HoeffdingTreeClassifier has no parameter grace_perod: did you mean grace_period.",
    ("mine", f"{TREE}\nparameters = {{ grace_period = 'long' }}"): "models.mine: river.tree.HoeffdingTreeClassifier: "
    "grace_period must be int, and is 'long'.",
    (
        "mine",
        f"{TREE}\nparameters = {{ splitter = {{ river = 'stream.Cache' }} }}",
    ): "models.mine: river.stream.Cache is no part of a model.",
    (
        "mine",
        f"{TREE}\nparameters = {{ splitter = {{ river = 'tree.splitter.QOSplitter', radius = 1 }} }}",
    ): "models.mine: river.tree.HoeffdingTreeClassifier: splitter has the key radius: it takes river and parameters.",
    (
        "mine",
        "river = 'ensemble.BaggingClassifier'",
    ): "models.mine: river.ensemble.BaggingClassifier needs model: give it among the parameters.",
    ("mine", f"{TREE}\nscales = true"): "models.mine.scales is not a setting: did you mean scale?",
    ("bayes", TREE): "models.bayes is named like a model or a rule: give it a name of its own.",
    ("velocity", TREE): "models.velocity is named like a model or a rule: give it a name of its own.",
    ("user_id", TREE): f"models.user_id {NO_NAME}",
    (
        "mine",
        f"{TREE}\n[variants.mine]\nmodel = 'bayes'\nignore = ['report*']",
    ): "models.mine is named like a model or a rule: give it a name of its own.",
    ("mine", f"{TREE}\n[learning]\nchallengers = ['mien']"): "unknown model 'mien': choose from additive, bayes, "
    "logistic, lookalike, mine, sequence, stack.",
    ("mine", f"{TREE}\n[stack]\nmembers = ['bayes', 'mine']"): "stack: unknown member 'mine': choose from additive, "
    "bayes, logistic, lookalike, sequence.",
}
"""A River model's name and section, and what is said of it."""

REPLACED = {
    ('name = "mine"', ""): "name is missing: set it.",
    ('"mine"', '""'): "name is empty: give at least one character.",
    ('"1d"', '"1 day"'): f"target.horizon: '1 day' {DURATION}",
    ('"1d"', "-5"): "target.horizon cannot be used: it must be greater than or equal to 0.",
    ('"sanction"', '"ban"'): "target.when.0.event is none of the choices: choose from sanction, report, any.",
    ('"sanction"', '"any"\nmin_severity = 9'): "target.when.0.min_severity cannot be used: it must be less than or "
    "equal to 5.",
    ('"sanction"', '"any"\nmin_severty = 3'): "target.when.0.min_severty is not a setting: did you mean min_severity?",
    ('"sanction"', '"any"\nwithin = "0s"'): "target.when.0.within cannot be used: it must be greater than 0.",
    ('[[target.when]]\nevent = "sanction"', ""): "target.when is missing: set it.",
    ('[[target.when]]\nevent = "sanction"', "when = []"): "target.when is empty: give at least one entry.",
    ('[target]\nhorizon = "1d"\n\n[[target.when]]\nevent = "sanction"', 'target = "ban"'): "target must be a table of "
    "settings, such as [target] begins.",
    ("[tiers.watch]\nenter = 0.5\nleave = 0.4", ""): "tiers is missing: set it.",
    ("[tiers.watch]\nenter = 0.5\nleave = 0.4", "[tiers]"): "the policy: no tier has thresholds: give [tiers.watch], "
    "[tiers.elevated] or [tiers.high].",
}
"""What of a good policy is replaced by what, and what is said of it."""


def said_of(text: str | bytes, folder: Path) -> list[str]:
    """What is said of a policy file, sentence by sentence, without the file's name, which each begins with."""
    path = folder / "policy.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(PolicyError) as caught:
        load_policy(path)
    sentences = str(caught.value).splitlines()
    assert all(sentence.startswith(f"{path}: ") for sentence in sentences)
    return [sentence.removeprefix(f"{path}: ") for sentence in sentences]


def test_the_policy_the_wrong_ones_are_made_of_is_good(tmp_path: Path) -> None:
    """So that each is refused for the one thing that is wrong with it."""
    path = tmp_path / "policy.toml"
    path.write_text(GOOD)
    policy = load_policy(path)
    assert policy.name == "mine"
    assert policy.target.horizon == 86_400_000
    assert list(policy.tiers) == [Tier.WATCH]


@pytest.mark.parametrize("path", sorted(POLICIES.rglob("*.toml")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_policy_we_hand_out_is_good(path: Path) -> None:
    """An example that is refused teaches nothing; each is named after its file."""
    assert load_policy(path).name == path.stem


def test_there_are_policies_to_hand_out() -> None:
    """One for each mapping, and the one that explains every section."""
    assert {path.stem for path in POLICIES.glob("*.toml")} >= {"example", "wikipedia_bans", "ubuntu_irc", "conda"}


@pytest.mark.parametrize(("added", "sentence"), WRONG.items(), ids=[text.replace("\n", " ") for text in WRONG])
def test_something_wrong_added_is_answered_in_one_sentence(added: str, sentence: str, tmp_path: Path) -> None:
    """Which file, which key, and what to write instead."""
    assert said_of(f"{added}\n{GOOD}" if "[" not in added else f"{GOOD}\n{added}", tmp_path) == [sentence]


@pytest.mark.parametrize(("variant", "sentence"), WRONG_VARIANTS.items(), ids=[f"{v}" for v in WRONG_VARIANTS])
def test_a_wrong_variant_is_answered_in_one_sentence(
    variant: tuple[str, str, str], sentence: str, tmp_path: Path
) -> None:
    """Its name, its model, and patterns that match nothing, or all that there was to read."""
    name, model, ignore = variant
    added = f"[variants.{name}]\nmodel = '{model}'\nignore = {ignore}"
    assert said_of(f"{GOOD}\n{added}", tmp_path) == [sentence]


@pytest.mark.parametrize(("model", "sentence"), WRONG_RIVER.items(), ids=[f"{one}" for one in WRONG_RIVER])
def test_a_wrong_river_model_is_answered_in_one_sentence(model: tuple[str, str], sentence: str, tmp_path: Path) -> None:
    """Its class and parameters are checked against River's own."""
    name, section = model
    assert said_of(f"{GOOD}\n[models.{name}]\n{section}", tmp_path) == [sentence]


@pytest.mark.slow
def test_a_policy_loads_river_only_if_it_names_one_of_its_classes() -> None:
    """Parsing takes nothing of it otherwise."""
    code = (
        "import sys, tomllib; from detectors.policy.parse import parse_policy\n"
        "parse_policy(tomllib.loads(sys.argv[1]), [], {'logistic': ['x'], 'bayes': ['x']})\n"
        "print('river' in sys.modules)"
    )
    found = [
        subprocess.run([sys.executable, "-c", code, text], capture_output=True, text=True, check=True, cwd=ROOT).stdout
        for text in (GOOD, f"{GOOD}\n[models.mine]\n{TREE}")
    ]
    assert found == ["False\n", "True\n"]


@pytest.mark.parametrize(("change", "sentence"), REPLACED.items(), ids=[f"{old} -> {new}" for old, new in REPLACED])
def test_something_good_replaced_is_answered_in_one_sentence(
    change: tuple[str, str], sentence: str, tmp_path: Path
) -> None:
    """A wrong entry of a list is told of once, not again as a list too short."""
    assert GOOD.count(change[0]) == 1
    assert said_of(GOOD.replace(*change), tmp_path) == [sentence]


def test_each_of_several_wrong_things_has_its_own_sentence(tmp_path: Path) -> None:
    """They can all be put right before the next try."""
    wrong = GOOD.replace('"1d"', '"1 day"').replace("enter = 0.5", "enter = 5") + "[warnings]\nexpires = '1d'\n"
    assert len(said_of(wrong, tmp_path)) == 3


def test_a_file_that_is_not_toml_is_said_where(tmp_path: Path) -> None:
    """With line and column, or the byte that no text has."""
    (sentence,) = said_of(f"{GOOD}[[[", tmp_path)
    assert sentence.startswith("not a TOML file (")
    assert "at line 13, column 3" in sentence
    (sentence,) = said_of(b"name = \xff", tmp_path)
    assert sentence.startswith("not a TOML file (")


def test_a_policy_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing, or a directory."""
    with pytest.raises(PolicyError, match="there is no such policy file; deploy/policies/ has examples"):
        load_policy(tmp_path / "nowhere.toml")
    with pytest.raises(PolicyError, match=r"cannot be read .*: name a policy file"):
        load_policy(tmp_path)


def test_the_version_of_a_policy_is_its_content(tmp_path: Path) -> None:
    """Comments and order change nothing, a threshold does: a risk event names the policy that decided."""
    same, other = tmp_path / "same.toml", tmp_path / "other.toml"
    path = tmp_path / "policy.toml"
    path.write_text(GOOD)
    same.write_text(f"# the same\n{GOOD.replace('1d', '24h')}")
    other.write_text(GOOD.replace("0.4", "0.3"))
    assert load_policy(same).version == load_policy(path).version
    assert load_policy(other).version != load_policy(path).version
