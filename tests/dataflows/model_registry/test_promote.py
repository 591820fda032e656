"""A challenger becomes the champion on evidence, or not at all, and one command takes that back."""

from __future__ import annotations

import re
import stat
import tomllib
from copy import deepcopy
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import dataflows.model_registry.promote
from dataflows.cli.main import main
from dataflows.config.policy import load_policy
from dataflows.model_registry.promote import changed_champion, changes, edited, promote, roll_back
from dataflows.model_registry.promotion_check import PromotionError
from dataflows.runtime.atomic import write_whole
from dataflows.simulate.platform import SimulationConfig, write_log
from dataflows.testing import DriverResult, FlowDriver
from detectors.models.catalogue import READS
from detectors.policy.parse import parse_policy
from detectors.policy.policy import Policy
from detectors.rules.catalogue import RULES
from detectors.scoring.tiers import CLEAR
from tests.kit import small_platform
from tests.kit.simulated import POLICY

pytestmark = pytest.mark.slow

BEFORE = POLICY.replace(
    "[learning]\n",
    '[learning]  # who decides\nchampion = "bayes"   # since the beginning\nchallengers = ["logistic"]\n',
)


def said(*arguments: object, status: int = 0) -> str:
    """What a command printed."""
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == status, done.output
    return done.output


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A comparison of a log long enough, replayed with naive Bayes and with logistic regression as champion."""
    folder = tmp_path_factory.mktemp("evidence")
    log, policy = folder / "log.jsonl", folder / "policy.toml"
    write_log(SimulationConfig(events=20_000, users=300, days=14, seed=7, drifting=0.4), log)
    policy.write_text(BEFORE)
    replayed = ("replay", log, "--policy", policy, "--top", 0, "--no-report", "--out")
    said(*replayed, folder / "a")
    said(*replayed, folder / "b", "--champion", "logistic")
    document: dict[str, Any] = orjson.loads(said("compare", folder / "a", folder / "b", "--json"))
    return document


class Place:
    """A policy file and the evidence beside it."""

    def __init__(self, folder: Path, evidence: dict[str, Any]) -> None:
        self.policy, self.evidence = folder / "policy.toml", folder / "compared.json"
        self.policy.write_text(BEFORE)
        self.weigh(evidence)

    def weigh(self, evidence: dict[str, Any]) -> None:
        """Take other evidence."""
        self.evidence.write_bytes(orjson.dumps(evidence))

    def refused(self, name: str = "logistic") -> str:
        """Why a promotion is refused; the policy is then as it was."""
        text = self.policy.read_text()
        with pytest.raises(PromotionError) as caught:
            promote(self.policy, name, self.evidence)
        assert self.policy.read_text() == text
        assert changes(self.policy) == []
        return str(caught.value)


@pytest.fixture
def place(tmp_path: Path, evidence: dict[str, Any]) -> Place:
    """The policy before the promotion, with the evidence for it."""
    return Place(tmp_path, deepcopy(evidence))


def test_a_challenger_that_is_shown_to_be_better_becomes_the_champion(place: Place) -> None:
    """Two lines of the file change, its comments stay, and the old champion goes on learning."""
    place.policy.chmod(0o640)
    before = load_policy(place.policy)
    out = said("models", "promote", "logistic", "--policy", place.policy, "--evidence", place.evidence)
    assert "the champion was bayes and is logistic by average precision, +0." in out
    after = load_policy(place.policy)
    assert after == changed_champion(before, "logistic")
    assert (after.learning.champion, after.learning.challengers) == ("logistic", ("bayes",))
    old, new = BEFORE.splitlines(), place.policy.read_text().splitlines()
    assert [line for line in new if line not in old] == [
        'champion = "logistic"   # since the beginning',
        'challengers = ["bayes"]',
    ]
    assert len(new) == len(old)
    assert stat.S_IMODE(place.policy.stat().st_mode) == 0o640
    (change,) = changes(place.policy)
    assert (change.what, change.policy_before, change.policy_after) == ("promoted", before.version, after.version)
    assert change.evidence is not None
    assert change.evidence["lead"]["low"] > 0
    assert "promoted: bayes -> logistic" in said("models", "show", "--policy", place.policy)


def test_it_may_be_better_by_one_figure_and_not_by_another(place: Place) -> None:
    """On this log the areas under the curves cannot be told apart."""
    out = said(
        *("models", "promote", "logistic", "--policy", place.policy, "--evidence", place.evidence, "--by", "roc_auc"),
        status=1,
    )
    assert "not shown to be better than bayes by the area under the ROC curve" in out
    assert place.policy.read_text() == BEFORE


def test_a_promotion_is_rolled_back_by_one_command(place: Place) -> None:
    """To the very policy it was, and not twice."""
    promote(place.policy, "logistic", place.evidence)
    assert "was logistic and is bayes" in said("models", "rollback", "--policy", place.policy)
    assert place.policy.read_text() == BEFORE
    assert [change.what for change in changes(place.policy)] == ["promoted", "rolled back"]
    assert "no promotion is left to roll back" in said("models", "rollback", "--policy", place.policy, status=1)


def test_a_rollback_keeps_what_was_changed_besides(place: Place) -> None:
    """Thresholds tuned since are no reason to keep a bad champion."""
    promote(place.policy, "logistic", place.evidence)
    place.policy.write_text(place.policy.read_text().replace("enter = 0.05", "enter = 0.06"))
    roll_back(place.policy)
    assert place.policy.read_text() == BEFORE.replace("enter = 0.05", "enter = 0.06")


def test_a_champion_changed_by_hand_is_not_rolled_back(place: Place) -> None:
    """Nobody knows what was meant."""
    promote(place.policy, "logistic", place.evidence)
    by_hand = BEFORE.replace('"bayes"', '"sequence"')
    place.policy.write_text(by_hand)
    with pytest.raises(PromotionError, match="but the latest promotion made it logistic: somebody changed it by hand"):
        roll_back(place.policy)
    assert place.policy.read_text() == by_hand


def test_a_promotion_undone_by_hand_is_none_to_roll_back(place: Place) -> None:
    """It is over, and shown so; the next one is rolled back to where it began, once."""
    promote(place.policy, "logistic", place.evidence)
    place.policy.write_text(BEFORE)
    assert "no promotion is left to roll back" in said("models", "rollback", "--policy", place.policy, status=1)
    assert said("models", "show", "--policy", place.policy).count("not carried out, or undone by hand") == 1
    promote(place.policy, "logistic", place.evidence)
    assert said("models", "show", "--policy", place.policy).count("not carried out, or undone by hand") == 1
    roll_back(place.policy)
    assert place.policy.read_text() == BEFORE
    with pytest.raises(PromotionError, match="no promotion is left"):
        roll_back(place.policy)


def test_rolling_back_twice_goes_further_back_and_never_forward(place: Place) -> None:
    """Each promotion is taken back once, the latest first."""
    text = BEFORE.replace('["logistic"]', '["logistic", "sequence"]')
    place.policy.write_text(text)
    seen = [text]
    for name in ("logistic", "sequence"):
        before = load_policy(place.policy)
        document = orjson.loads(place.evidence.read_bytes())
        document["runs"]["before"]["policy"]["version"] = before.version
        document["runs"]["after"]["policy"]["version"] = changed_champion(before, name).version
        place.weigh(document)
        promote(place.policy, name, place.evidence)
        seen.append(place.policy.read_text())
    assert [roll_back(place.policy).after for _ in range(2)] == ["logistic", "bayes"]
    assert place.policy.read_text() == seen[0]
    with pytest.raises(PromotionError, match="no promotion is left"):
        roll_back(place.policy)


def test_a_champion_that_is_no_challenger_any_more_is_not_brought_back(place: Place) -> None:
    """It has learnt nothing since."""
    promote(place.policy, "logistic", place.evidence)
    place.policy.write_text(place.policy.read_text().replace('["bayes"]', "[]"))
    with pytest.raises(PromotionError, match="bayes, the champion before, is no challenger any more"):
        roll_back(place.policy)


@pytest.mark.parametrize("cut_short", [1, 2], ids=["before the record", "before the policy"])
def test_a_promotion_cut_short_is_none_and_can_be_made_again(
    place: Place, monkeypatch: pytest.MonkeyPatch, cut_short: int
) -> None:
    """Whichever of the two files could not be written, the champion is the old one, and a rollback afterwards works."""
    writes: list[Path] = []

    def full(path: Path, data: bytes) -> None:
        writes.append(path)
        if len(writes) == cut_short:
            raise OSError(28, "No space left on device", str(path))
        write_whole(path, data)

    with monkeypatch.context() as broken:
        broken.setattr(dataflows.model_registry.promote, "write_whole", full)
        with pytest.raises(
            PromotionError, match=r"cannot be written \(No space left on device\), and the champion stays"
        ):
            promote(place.policy, "logistic", place.evidence)
    assert place.policy.read_text() == BEFORE
    with pytest.raises(PromotionError, match="no promotion is left"):
        roll_back(place.policy)
    promote(place.policy, "logistic", place.evidence)
    roll_back(place.policy)
    assert place.policy.read_text() == BEFORE
    with pytest.raises(PromotionError, match="no promotion is left"):
        roll_back(place.policy)


def test_a_rollback_cut_short_can_be_made_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The promotion still stands then."""
    promote(place.policy, "logistic", place.evidence)

    def no_policy(path: Path, data: bytes) -> None:
        if path == place.policy:
            raise OSError(28, "No space left on device", str(path))
        write_whole(path, data)

    with monkeypatch.context() as broken:
        broken.setattr(dataflows.model_registry.promote, "write_whole", no_policy)
        with pytest.raises(PromotionError, match="the champion stays"):
            roll_back(place.policy)
    assert roll_back(place.policy).after == "bayes"
    assert place.policy.read_text() == BEFORE


def test_a_link_to_a_policy_stays_a_link(place: Place) -> None:
    """What is changed, and recorded beside, is the policy it leads to."""
    link = place.policy.parent / "links" / "current.toml"
    link.parent.mkdir()
    link.symlink_to(place.policy)
    promote(link, "logistic", place.evidence)
    assert link.is_symlink()
    assert load_policy(place.policy).learning.champion == "logistic"
    assert changes(place.policy) == changes(link) != []


REST = """[target]
horizon = "1d"
when = [{ event = "sanction", count = 2 }]
# about the tiers
[tiers]
watch = { enter = 0.05, leave = 0.03 }  # low
"""
CHAMPIONS = ("", 'champion = "logistic"', "champion='logistic'   # decides", '"champion" = "logistic"')
CHALLENGERS = (
    "",
    'challengers = ["bayes"]',
    "challengers=[ 'bayes', ] # in shadow",
    "challengers = [\n  # old\n  'sequence',\n  'bayes',  # new\n]",
)


@given(
    st.permutations(["champion", "challengers", "sample"]),
    st.sampled_from(CHAMPIONS),
    st.sampled_from(CHALLENGERS),
    st.sampled_from(["", "sample = 0.5 # half"]),
    st.sampled_from(["[learning]", " [ learning ] # how", "learning.", "{}", ""]),
    st.booleans(),
    st.sampled_from(["\n", "\r\n"]),
)
def test_of_a_policy_file_only_the_models_change(
    order: list[str], champion: str, challengers: str, sample: str, form: str, last: bool, end: str
) -> None:
    """However it is written: what it says besides, comments, order and line ends stay, and the way back leads there."""
    lines = {"champion": champion, "challengers": challengers, "sample": sample}
    entries = [lines[key] for key in order if lines[key]]
    if form == "{}":
        bare = [line.partition("#")[0].strip() for line in entries if "\n" not in line]
        written = "learning = { " + ", ".join(bare) + " }\n" if bare else ""
    elif form == "learning.":
        written = "".join(f"learning.{line}\n" for line in entries)
    else:
        written = "\n".join([form, *entries, ""]) if form else ""
    sections = [REST, written] if last and form not in {"learning.", "{}"} else [written, REST]
    text = f"# a policy\nname = 'p'\n{''.join(sections)}".replace("\n", end)
    policy = parse_policy(tomllib.loads(text), RULES, READS)
    wanted = changed_champion(policy, "bayes")
    new = edited(text, policy, wanted)
    assert parse_policy(tomllib.loads(new), RULES, READS) == wanted
    words = re.compile(r"#[^\r\n]*")
    assert words.findall(new) == words.findall(text)
    kept = [line for line in text.split(end) if "champion" not in line and "bayes" not in line and "{ " not in line]
    rest = iter(new.split(end))
    assert all(line in rest for line in kept)
    assert "\n" not in new.replace(end, "")
    back = edited(new, wanted, policy)
    assert parse_policy(tomllib.loads(back), RULES, READS) == policy
    if 'champion = "logistic"' in text and 'challengers = ["bayes"]' in text:
        assert back == text


def test_a_policy_without_a_word_about_models_gets_its_words(place: Place) -> None:
    """Its champion and challengers were the defaults."""
    place.policy.write_text(POLICY)
    changed = load_policy(place.policy)
    document = orjson.loads(place.evidence.read_bytes())
    document["runs"]["before"]["policy"]["version"] = changed.version
    document["runs"]["after"]["policy"]["version"] = changed_champion(changed, "bayes").version
    document["runs"]["after"]["calibration_error"] = 0.01
    place.weigh(document)
    promote(place.policy, "bayes", place.evidence)
    assert load_policy(place.policy) == changed_champion(changed, "bayes")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another policy before": ({"runs.before.policy.version": "0"}, "the first run is of policy 0 and not of "),
    "another policy after": ({"runs.after.policy.version": "0"}, "the second run is of policy 0 and not of "),
    "a pinned model before": (
        {"runs.before.pinned": True},
        "the first run was scored by a pinned bayes, which may have learnt from the very log",
    ),
    "a pinned model after": ({"runs.after.pinned": True}, "the second run was scored by a pinned logistic, which may"),
    "other points or features": ({"same_points": False}, "the runs differ in more than the champion"),
    "another question": ({"protocol.question": "next"}, "compare without --question"),
    "few who escalate": ({"runs.after.positive_users": 29}, "29 users who escalate decide nothing, it takes 30"),
    "a lead that may be none": (
        {"after_above_before.average_precision": {"value": 0.01, "low": -0.002, "high": 0.03}},
        "not shown to be better than bayes by average precision: its lead is +0.0100, between -0.0020 and +0.0300, and",
    ),
    "no interval": (
        {"after_above_before.average_precision": {"value": 0.01, "low": None, "high": None}},
        "its lead is not defined, and the whole",
    ),
    "bad probabilities": (
        {"runs.after.calibration_error": 0.21, "runs.before.calibration_error": 0.2},
        "the calibration error of logistic is 0.2100, above 0.02 and that of bayes, 0.2000",
    ),
    "other targets": ({"after_above_before": None}, "the targets differ"),
    "nothing of the kind": ({"runs": []}, "not what `forewarn compare RUN_A RUN_B --json` prints"),
    "no figures": ({"after_above_before": {}}, "not what `forewarn compare RUN_A RUN_B --json` prints"),
    "figures that are none": ({"runs.after.calibration_error": "low"}, "not what `forewarn compare RUN_A RUN_B"),
}


@pytest.mark.parametrize(("change", "sentence"), WRONG.values(), ids=WRONG)
def test_evidence_that_does_not_suffice_is_refused(place: Place, change: dict[str, Any], sentence: str) -> None:
    """In a sentence that says what would."""
    document = orjson.loads(place.evidence.read_bytes())
    for path, value in change.items():
        *parents, last = path.split(".")
        at = document
        for parent in parents:
            at = at[parent]
        at[last] = value
    place.weigh(document)
    assert sentence in place.refused()


def test_a_calibration_error_may_be_large_if_it_was_larger(place: Place) -> None:
    """A promotion that makes things better is not held up by what is not good yet."""
    document = orjson.loads(place.evidence.read_bytes())
    document["runs"]["after"]["calibration_error"], document["runs"]["before"]["calibration_error"] = 0.1, 0.2
    place.weigh(document)
    assert promote(place.policy, "logistic", place.evidence).after == "logistic"


def test_only_a_challenger_has_learnt_to_be_champion(place: Place) -> None:
    """The champion is it already, and anything else would start untaught."""
    assert place.refused("bayes") == "bayes is the champion of policy simulated already."
    assert place.refused("forest") == (
        "forest is no challenger of policy simulated, so it has learnt nothing: name one of logistic."
    )
    place.evidence.unlink()
    assert "compared.json: cannot be read (No such file or directory)." in place.refused()


def test_a_record_that_is_none_is_refused(place: Place) -> None:
    """It is not overwritten."""
    place.policy.with_name("policy.toml.promotions.jsonl").write_text("[]\n")
    with pytest.raises(PromotionError, match="not a record of promotions"):
        promote(place.policy, "logistic", place.evidence)
    assert place.policy.read_text() == BEFORE


def challenged_by(*names: str) -> Policy:
    """The small platform's policy with these challengers."""
    learning = small_platform.POLICY.learning.model_copy(update={"challengers": names})
    return small_platform.POLICY.model_copy(update={"learning": learning})


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("before", [(), ("bayes",)], ids=["joins", "comes back"])
def test_a_challenger_that_joins_a_deployment_learns_from_then_on(
    tmp_path: Path, before: tuple[str, ...], workers: int
) -> None:
    """Also one that was there before, and one whose first process is killed; what it missed holds up nothing."""

    def versions(folder: Path, crash_at: int | None) -> list[tuple[int, int]]:
        driver = FlowDriver(challenged_by(*before))
        for number, happen in enumerate(small_platform.life(driver, 120)):
            happen()
            if number == 36:
                driver.restart(challenged_by())
            if number == 60:
                driver.restart(challenged_by("bayes"))
            if number == crash_at:
                driver.crash()
        result = driver.run(recovery=folder, batch_size=4, workers=workers)
        return sorted({(item.seq, item.version.examples) for item in result.published if item.version.name == "bayes"})

    straight = versions(tmp_path / "straight", None)
    joined = [one for one in straight if one[0] > 60]
    assert len(joined) > 15
    assert joined[-1][1] > joined[0][1] + 40
    assert (straight[0][0] < 36) == bool(before)
    if workers == 1:
        assert versions(tmp_path / "crashed", 61) == straight


def test_a_promoted_challenger_decides_at_once_by_what_it_has_learnt(tmp_path: Path) -> None:
    """Its scores after the restart are those it would have given in shadow, and what it warns of is its own.

    Nobody who stands in a tier at that moment is warned of anew: each risk event goes on from the one before.
    """
    policy = challenged_by("bayes")

    def lived(recovery: Path, *, promoted: bool) -> DriverResult:
        driver = FlowDriver(policy)
        for number, happen in enumerate(small_platform.life(driver, 96)):
            happen()
            if number == 42:
                driver.restart(changed_champion(policy, "bayes") if promoted else None)
        recovery.mkdir()
        return driver.run(recovery=recovery, batch_size=4)

    straight, after = lived(tmp_path / "straight", promoted=False), lived(tmp_path / "promoted", promoted=True)
    seen = 0
    for old, new in zip(straight.served, after.served, strict=True):
        if new.point.at.offset < 43:
            assert new.probability == old.probability
            continue
        (shadow,) = old.shadow
        assert new.probability in (shadow, None)
        seen += new.probability is not None
    assert seen > 20
    decided = {(event.trigger.offset >= 43, event.model) for event in after.risk_events}
    assert decided == {(False, "logistic"), (True, "bayes")}
    standing = 0
    for user in small_platform.USERS:
        before, change = CLEAR.tier, False
        expires_at = 0
        for event in (event for event in after.risk_events if event.user_id == user):
            holds = event.as_of < expires_at
            assert event.previous_tier is (before if holds else CLEAR.tier)
            assert event.tier is not event.previous_tier
            standing += holds and not change and event.trigger.offset >= 43
            change = event.trigger.offset >= 43
            before, expires_at = event.tier, event.expires_at
    assert standing >= 2
