"""Every point of a replay explained, whatever model scored it: the sum is the score that was served."""

from __future__ import annotations

from math import isnan
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dataflows.explain.document import explain_user
from dataflows.replay.replay import replay
from dataflows.reports.explained import explained_lines
from dataflows.simulate.platform import SimulationConfig, write_log
from dataflows.sources.files.log import LogSource
from dataflows.testing import small_policy
from detectors.base.vectors import vector_from
from detectors.features.catalogue import NAMES
from detectors.models.catalogue import MODELS, freeze
from evaluation.runs import read_outputs
from schemas.records.decisions import ModelVersion

pytestmark = pytest.mark.slow

MADE_OF = {
    **{name: {} for name in MODELS},
    "quiet": {"variants": {"quiet": {"model": "logistic", "ignore": ["report*"]}}},
    "pile": {"variants": {"pile": {"model": "stack", "members": ["additive", "sequence", "lookalike"]}}},
}
"""Champions, and what the policy says of them."""


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log in which many escalate, and some are erased."""
    path = tmp_path_factory.mktemp("families") / "log.jsonl"
    config = SimulationConfig(events=3_000, users=60, days=10, seed=5, drifting=0.5, erased=0.1, sanctioned=0.6)
    write_log(config, path)
    return path


@pytest.mark.parametrize("champion", MADE_OF)
def test_start_and_contributions_are_the_log_odds_of_the_probability_served(
    champion: str, log: Path, tmp_path: Path
) -> None:
    """For each scored point; and the document of each user is the same score, its tiers those of the file."""
    policy = small_policy(
        target={"horizon": "24h", "when": [{"event": "sanction", "min_severity": 1}], "reset_after": "1h"},
        learning={
            "champion": champion,
            "challengers": [],
            "publish_every": "1h",
            "min_positives": 8,
            "neighbours": 2,
            "min_events": 3,
        },
        rules={"report_burst": {"tier": "watch", "limit": 2}, "velocity": {"tier": "high", "limit": 10}},
        **MADE_OF[champion],
    )
    replay(LogSource(log), policy, tmp_path, log_name="log", report=False)
    lines = (tmp_path / "models" / "versions.jsonl").read_bytes().splitlines()
    versions = {one.version: one for one in map(ModelVersion.model_validate_json, lines)}
    run = read_outputs(tmp_path)
    scored, sums = np.flatnonzero(~np.isnan(run.scores[run.champion])), 0
    matrix = np.stack([run.features[name] for name in NAMES], axis=1)
    by = pq.read_table(tmp_path / "features.parquet")["model_version"].to_pylist()
    for row in scored.tolist():
        model, user_id = freeze(versions[by[row]]), run.users[run.user[row]]
        found = model.decompose(vector_from(matrix[row].tolist()), user_id)
        assert found is not None
        assert found.start + sum(found.contributions.values()) == pytest.approx(found.log_odds, abs=1e-9)
        sums += model.probability_of(found.log_odds) == run.scores[run.champion][row]
    # versions with exemplars lose those of erased users before they score
    assert len(scored) >= sums > 100
    assert sums == len(scored) or champion in ("lookalike", "pile")
    explained, causes = 0, set[str]()
    for user in range(0, len(run.users), 4):
        if run.user.max() < user or user in run.erased:
            continue
        document = explain_user(tmp_path, run.users[user])
        assert document["reproduced"]
        causes |= {entry["point"]["unscored"] for entry in document["timeline"] if entry["point"]}
        point = document["point"]
        if point["score"] is not None:
            total = point["score"]["start"] + point["score"]["sum"]
            assert total == pytest.approx(point["score"]["log_odds"], abs=1e-9)
            model = freeze(versions[point["model"]["version"]])
            assert model.probability_of(point["score"]["log_odds"]) == point["probability"]
            named = {one["feature"] for family in point["score"]["families"] for one in family["features"]}
            assert named <= set(NAMES)
            assert "report_count_24h" not in named or champion != "quiet"
            explained += 1
        else:
            assert point["unscored"] is not None
    assert explained > 5
    assert causes <= {None, "no_version", "not_learnt", "few_events", "model_silent"}
    assert {None, "few_events"} <= causes


@pytest.mark.parametrize("champion", ["pile", "lookalike"])
def test_every_scored_point_is_verified_against_the_file(champion: str, log: Path, tmp_path: Path) -> None:
    """Also those scored by versions from which erased users were taken out."""
    policy = small_policy(
        target={"horizon": "24h", "when": [{"event": "sanction", "min_severity": 1}], "reset_after": "1h"},
        learning={"champion": champion, "challengers": [], "min_positives": 8, "neighbours": 2},
        **MADE_OF[champion],
    )
    replay(LogSource(log), policy, tmp_path, log_name="log", report=False)
    run = read_outputs(tmp_path)
    scores = run.scores[run.champion]
    asked = 0
    for user in range(0, len(run.users), 10):
        rows = [row for row in (run.user == user).nonzero()[0] if not isnan(scores[row])][::15]
        for row in rows if user not in run.erased else ():
            point = explain_user(tmp_path, run.users[user], run.event_id[row])["point"]
            assert point["score"] is not None
            asked += 1
    assert asked > 5


def test_thresholds_that_a_run_found_are_those_of_its_versions(log: Path, tmp_path: Path) -> None:
    """With a precision guarantee and a budget, each point has the threshold of the version that scored it."""
    policy = small_policy(
        target={"horizon": "24h", "when": [{"event": "sanction", "min_severity": 1}], "reset_after": "1h"},
        learning={"champion": "logistic", "challengers": [], "publish_every": "1h", "min_positives": 8},
        tiers={"watch": {"precision": 0.1}, "high": {"precision": 0.3}},
        promises={"confidence": 0.5},
        warnings={"budget": 3},
    )
    replay(LogSource(log), policy, tmp_path, log_name="log", report=False)
    run = read_outputs(tmp_path)
    assert run.warnings
    limits, texts = set[float | None](), []
    for user in range(0, len(run.users), 4):
        if user not in run.erased:
            document = explain_user(tmp_path, run.users[user])
            assert document["reproduced"]
            limits |= {entry["point"]["next_enter"] for entry in document["timeline"] if entry["point"]}
            texts.append("\n".join(explained_lines(document)))
    assert len(limits) > 3
    assert None in limits
    assert any("no score enters watch yet" in text for text in texts)
    assert max(len(line) for text in texts for line in text.splitlines()) <= 80


def test_a_model_of_rivers_is_explained_as_far_as_files_tell(log: Path, tmp_path: Path) -> None:
    """Its state is in no file: warnings, verdicts, thresholds and causes are shown, but no sum."""
    policy = small_policy(
        target={"horizon": "24h", "when": [{"event": "sanction", "min_severity": 1}], "reset_after": "1h"},
        learning={"champion": "theirs", "challengers": [], "publish_every": "1h", "min_positives": 8, "min_events": 3},
        models={"theirs": {"river": "naive_bayes.GaussianNB"}},
    )
    replay(LogSource(log), policy, tmp_path, log_name="log", report=False)
    run = read_outputs(tmp_path)
    warned = [one.user for one in run.warnings if one.user not in run.erased]
    document = explain_user(tmp_path, run.users[warned[0]])
    assert document["reproduced"]
    assert (document["point"]["model"]["kept"], document["point"]["score"]) == (False, None)
    assert document["point"]["threshold"]["probability"] in (0.3, 0.6)
    causes = {entry["point"]["unscored"] for entry in document["timeline"] if entry["point"]}
    assert causes <= {None, "no_version", "not_learnt", "not_told"}
    text = "\n".join(explained_lines(document))
    assert "The model runs in River" in text
    assert "in log-odds" not in text
