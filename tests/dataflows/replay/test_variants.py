"""A variant in the dataflow: a model of its own name in every output, which reads what its versions say."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest

from dataflows.model_registry.promote import changed_champion, edited
from dataflows.replay.replay import load_model, replay
from dataflows.sources.files.log import LogSource
from detectors.models.catalogue import READS
from detectors.policy.parse import parse_policy
from detectors.rules.catalogue import RULES
from evaluation.evaluate import Protocol, evaluate
from evaluation.runs import read_outputs
from tests.kit.simulated import POLICY, Simulated

pytestmark = pytest.mark.slow

MODELS = 'champion = "logistic"\nchallengers = ["bayes", "quiet"]\n'
TEXT = f"{POLICY}[variants.quiet]\nmodel = 'logistic'\nignore = ['sanction*', 'strike_count']\n"
TEXT = TEXT.replace("[learning]\n", f"[learning]\n{MODELS}")


@pytest.fixture(scope="module")
def run(simulated: Simulated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A replay with a variant in shadow."""
    out = tmp_path_factory.mktemp("variants")
    replay(
        LogSource(simulated.log),
        parse_policy(tomllib.loads(TEXT), RULES, READS),
        out,
        log_name="simulated",
        report=False,
    )
    return out


def test_a_variant_is_a_model_of_its_own_name_in_every_output(run: Path) -> None:
    """Versions, shadow scores, summary and evaluation."""
    version = orjson.loads((run / "models" / "quiet.json").read_bytes())
    assert (version["name"], version["family"]) == ("quiet", "logistic_regression")
    assert not any(name.startswith("sanction") for name in orjson.loads(version["state"])["model"]["features"])
    names = [orjson.loads(line)["name"] for line in (run / "models" / "versions.jsonl").read_bytes().splitlines()]
    assert names.count("quiet") == names.count("logistic") > 100
    shadow = pq.read_table(run / "shadow.parquet")["quiet"].to_numpy()
    served = pq.read_table(run / "features.parquet")["score"].to_numpy()
    assert np.isfinite(shadow).mean() > 0.5
    assert not np.array_equal(shadow, served, equal_nan=True)
    scores = evaluate(read_outputs(run), Protocol(boosting=False))["scores"]
    assert scores["quiet"]["kind"] == "model"
    assert 0.5 < scores["quiet"]["roc_auc"]["value"] < scores["logistic"]["roc_auc"]["value"]


def test_a_pinned_variant_scores_alike_under_a_policy_that_does_not_know_it(
    run: Path, simulated: Simulated, tmp_path: Path
) -> None:
    """What its last version said in shadow it says again, of the very points."""
    policy = parse_policy(tomllib.loads(POLICY), RULES, READS)
    pinned = load_model(run / "models" / "quiet.json", policy)
    replay(LogSource(simulated.log), policy, tmp_path, log_name="simulated", model=pinned, report=False)
    again = pq.read_table(tmp_path / "features.parquet")["score"].to_numpy()
    shadow = pq.read_table(run / "shadow.parquet")["quiet"].to_numpy()
    assert again[-1] == shadow[-1]


def test_a_variant_can_be_promoted(run: Path, simulated: Simulated, tmp_path: Path) -> None:
    """The policy file is rewritten, and as champion it says what it said in shadow."""
    policy = parse_policy(tomllib.loads(TEXT), RULES, READS)
    wanted = changed_champion(policy, "quiet")
    assert parse_policy(tomllib.loads(edited(TEXT, policy, wanted)), RULES, READS) == wanted
    replay(LogSource(simulated.log), wanted, tmp_path, log_name="simulated", report=False)
    served = pq.read_table(tmp_path / "features.parquet")["score"].to_numpy()
    shadow = pq.read_table(run / "shadow.parquet")["quiet"].to_numpy()
    assert np.array_equal(served, shadow, equal_nan=True)
