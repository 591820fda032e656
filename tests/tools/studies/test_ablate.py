"""The ablation: every model, stack and family of features in one replay, and a table of what each is worth."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from dataflows.config.policy import load_policy
from dataflows.replay.replay import replay
from dataflows.simulate.platform import SimulationConfig, write_log
from dataflows.sources.files.log import LogSource
from detectors.features.catalogue import NAMES
from detectors.features.families import FAMILIES
from detectors.models.catalogue import new_model
from detectors.policy.policy import Policy
from detectors.policy.sections import ChannelPolicy
from evaluation.evaluate import evaluate
from evaluation.runs import Outputs, read_outputs
from tests.kit.simulated import Simulated
from tools.studies import ablate
from tools.studies.ablate import GROUPS, MEMBERS, WHOLE, ablated, lefts, table

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def policy(simulated: Simulated) -> Policy:
    """The policy of the simulated log, with channels remembered."""
    return load_policy(simulated.policy).model_copy(update={"channels": ChannelPolicy(remembered=99)})


@pytest.fixture(scope="module")
def run(policy: Policy, tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    """An ablation of a short simulated log."""
    folder = tmp_path_factory.mktemp("ablation")
    write_log(SimulationConfig(events=8_000, users=150, days=14, seed=7, drifting=0.3), folder / "log.jsonl")
    replay(LogSource(folder / "log.jsonl"), ablated(policy), folder / "out", log_name="simulated", report=False)
    return read_outputs(folder / "out")


def test_every_family_of_features_is_in_exactly_one_group() -> None:
    """And every feature with it."""
    assert sorted(family for group in GROUPS.values() for family in group.families) == sorted(FAMILIES)
    assert sorted(name for group in GROUPS.values() for name in group.features) == sorted(NAMES)


def test_the_policy_asks_for_all_there_is_to_compare(policy: Policy) -> None:
    """Each stack lacks one member, each variant of the champion one family; nothing else changes."""
    wider = ablated(policy)
    assert wider.learning.champion == policy.learning.champion == "logistic"
    assert {*wider.learning.challengers, "logistic"} == {WHOLE, *(left.name for left in lefts(policy))}
    assert wider.members(WHOLE) == MEMBERS
    for member in MEMBERS:
        assert set(MEMBERS) - set(wider.members(f"{WHOLE}_without_{member}")) == {member}
    read = set(new_model("logistic", wider).reads.names)
    missing = [read - set(new_model(name, wider).reads.names) for name in wider.variants if name.startswith("without_")]
    assert sorted(name for names in missing for name in names) == sorted(read)
    same = {"learning": policy.learning, "variants": policy.variants}
    assert wider.model_copy(update=same) == policy


def test_a_champion_that_is_a_variant_keeps_leaving_out_what_it_does(policy: Policy) -> None:
    """And families that it does not read at all are passed over."""
    quiet = ablated(policy).variants["without_reports"]
    learning = policy.learning.model_copy(update={"champion": "quiet"})
    asked = policy.model_copy(update={"variants": {"quiet": quiet}, "learning": learning})
    wider = ablated(asked)
    assert "without_reports" not in wider.learning.challengers
    assert wider.variants["without_age"].ignore == (*quiet.ignore, "first_since")


def test_the_table_holds_the_figures_of_evaluate(run: Outputs, policy: Policy) -> None:
    """On the points from the quantile on, each with what the full one has more; all that did not help is there too."""
    lines = table(run, policy)
    rows = {cells[0]: cells[1:] for line in lines[4:] for cells in [[cell.strip() for cell in line[1:-1].split("|")]]}
    assert [*rows] == [
        "**`logistic`**",
        *(left.words for left in lefts(policy) if left.full == "logistic"),
        "**stack of all**",
        *(left.words for left in lefts(policy) if left.full == WHOLE),
    ]
    document = evaluate(run, ablate.TEST)
    assert lines[0].startswith(
        f"{document['points']['evaluated']:,} points, {document['points']['positives']:,} positive"
    )
    for words, name in (
        ("**stack of all**", WHOLE),
        ("`bayes` alone", "bayes"),
        ("**`logistic`**", "logistic"),
    ):
        assert rows[words][0].startswith(f"{document['scores'][name]['roc_auc']['value']:.3f} [")
        assert rows[words][1].startswith(f"{document['scores'][name]['average_precision']['value']:.4f} [")
    left = "`logistic` without reports"
    above = document["scores"]["without_reports"]["champion_above"]["roc_auc"]
    assert rows[left][2] == f"{above['value']:+.3f} [{above['low']:+.3f}, {above['high']:+.3f}]"
    assert rows["**stack of all**"][2:] == ["", ""]
    assert all(re.fullmatch(r"[+-]\d\.\d+ \[.*\]", row[2]) for words, row in rows.items() if not words.startswith("**"))


def test_everything_compared_says_something_of_its_own(run: Outputs) -> None:
    """No two have the same scores, and all of them score."""
    scores = [values for name, values in run.scores.items() if name != "without_lessons"]  # nobody was given one
    assert len({values.tobytes() for values in scores}) == len(scores)
    assert all(np.isfinite(values).any() for values in scores)


def test_only_logs_that_are_asked_for_and_there_are_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any, it says so by its exit code."""
    monkeypatch.setattr("sys.argv", ["ablate", str(tmp_path), "--log", "conda"])
    assert ablate.main() == 1
