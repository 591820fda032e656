"""River models in a replay: in shadow beside the others, as champion, and the same bytes however it is run."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest

from dataflows.model_registry.promote import PromotionError, changed_champion, promote
from dataflows.replay.replay import ReplayError, load_model, replay
from dataflows.sources.files.log import LogSource
from detectors.models.catalogue import READS
from detectors.policy.parse import parse_policy
from detectors.policy.policy import Policy
from detectors.rules.catalogue import RULES
from evaluation.evaluate import Protocol, evaluate
from evaluation.runs import read_outputs
from tests.kit.simulated import POLICY, Simulated

pytestmark = pytest.mark.slow

NAMES = ("tree", "forest", "nb")
MODELS = """
[models.tree]
river = "tree.HoeffdingAdaptiveTreeClassifier"
parameters = { grace_period = 50 }
[models.forest]
river = "forest.AMFClassifier"
parameters = { n_estimators = 2, max_nodes = 40 }
publish_every = "1d"
[models.nb]
river = "naive_bayes.GaussianNB"
"""
LINES = 6_500


def policy_of(learning: str, models: str = "") -> Policy:
    """The policy of the simulated log with this learning."""
    settings = f"[learning]\nmin_positives = 5\n{learning}\n"
    text = POLICY.replace('[learning]\npublish_every = "30m"\n', f'{settings}publish_every = "6h"\n') + models
    return parse_policy(tomllib.loads(text), RULES, READS)


RIVER = policy_of('challengers = ["tree", "forest", "nb"]', MODELS)


@pytest.fixture(scope="module")
def log(simulated: Simulated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The beginning of the simulated log."""
    path = tmp_path_factory.mktemp("river") / "log.jsonl"
    path.write_bytes(b"".join(simulated.log.read_bytes().splitlines(keepends=True)[:LINES]))
    return path


@pytest.fixture(scope="module")
def run(log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A replay with three River models in shadow."""
    out = tmp_path_factory.mktemp("run")
    replay(LogSource(log), RIVER, out, log_name="simulated")
    return out


def files(folder: Path) -> dict[str, bytes]:
    """The content of every file of a run."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_river_models_are_evaluated_beside_the_others(run: Path) -> None:
    """Versions, shadow scores, summary and evaluation."""
    shadow = pq.read_table(run / "shadow.parquet")
    summary = orjson.loads((run / "summary.json").read_bytes())["models"]
    scores = evaluate(read_outputs(run), Protocol(boosting=False))["scores"]
    for name in NAMES:
        found = shadow[name].to_numpy()
        known = found[np.isfinite(found)]
        assert len(known) > 1_000
        assert len(np.unique(known)) > 5
        assert ((known >= 0) & (known <= 1)).all()
        assert summary[name]["examples"] > 100
        assert scores[name]["kind"] == "model"
        assert 0.0 < scores[name]["roc_auc"]["value"] < 1.0


def test_a_published_version_of_a_river_model_holds_no_state(run: Path) -> None:
    """It says what was trained, and cannot be pinned."""
    versions = [orjson.loads(line) for line in (run / "models" / "versions.jsonl").read_bytes().splitlines()]
    own = [version for version in versions if version["family"] == "river"]
    assert {version["name"] for version in own} == {*NAMES}
    assert max(len(version["state"]) for version in own) < 500
    assert len({version["version"] for version in own}) == len(own)
    for name in NAMES:
        with pytest.raises(ReplayError, match=r"its model runs in River, whose state no version holds"):
            load_model(run / "models" / f"{name}.json", RIVER)


def test_another_model_publishes_as_often_as_it_is_asked_to(run: Path) -> None:
    """A section's `publish_every` replaces that of learning."""
    names = [orjson.loads(line)["name"] for line in (run / "models" / "versions.jsonl").read_bytes().splitlines()]
    assert names.count("nb") > 2 * names.count("forest") > 4


@pytest.mark.parametrize(("batch", "workers"), [(97, 1), (1_000, 2)])
def test_nothing_written_depends_on_batches_or_workers(
    run: Path, log: Path, tmp_path: Path, batch: int, workers: int
) -> None:
    """To the byte, with models that draw random numbers."""
    replay(LogSource(log, batch_size=batch), RIVER, tmp_path, log_name="simulated", workers=workers)
    assert files(tmp_path) == files(run)


def test_a_challenger_of_rivers_changes_nothing_that_the_champion_says(run: Path, log: Path, tmp_path: Path) -> None:
    """The same scores and tiers as without it."""
    replay(LogSource(log), policy_of("challengers = []"), tmp_path, log_name="simulated")
    alone, beside = (pq.read_table(folder / "features.parquet") for folder in (tmp_path, run))
    assert alone.equals(beside)


def test_a_river_model_can_be_champion_of_a_replay(run: Path, log: Path, tmp_path: Path) -> None:
    """It says what it said in shadow, and gives reasons for its warnings."""
    replay(LogSource(log), changed_champion(RIVER, "tree"), tmp_path, log_name="simulated")
    served = pq.read_table(tmp_path / "features.parquet")["score"].to_numpy()
    assert np.array_equal(served, pq.read_table(run / "shadow.parquet")["tree"].to_numpy(), equal_nan=True)
    events = [orjson.loads(line) for line in (tmp_path / "risk-events.jsonl").read_bytes().splitlines()]
    reasons = [reason for event in events for reason in event.get("reasons", ()) if reason["detector"] == "tree"]
    assert reasons
    assert all(np.isfinite(reason["contribution"]) and reason["contribution"] for reason in reasons)


def test_a_river_model_is_not_promoted(tmp_path: Path) -> None:
    """A live run would refuse it as champion; the policy file stays what it was."""
    path = tmp_path / "policy.toml"
    path.write_text(POLICY.replace("[learning]\n", '[learning]\nchallengers = ["nb"]\n') + MODELS)
    before = path.read_bytes()
    with pytest.raises(PromotionError, match=r"nb runs in River, and no River model decides in a live run"):
        promote(path, "nb", tmp_path / "evidence.json")
    assert path.read_bytes() == before


def test_a_class_whose_scores_depend_on_earlier_ones_is_refused(log: Path, tmp_path: Path) -> None:
    """Its search draws random numbers, so a replay could not be repeated in other batches."""
    wrong = policy_of('challengers = ["near"]', '[models.near]\nriver = "neighbors.KNNClassifier"\n')
    with pytest.raises(ReplayError, match=r"models.near: river.neighbors.KNNClassifier changes when it scores"):
        replay(LogSource(log), wrong, tmp_path / "out", log_name="simulated")
    assert not (tmp_path / "out").exists()
