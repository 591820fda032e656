"""A replay is the same every time, and no score in it has seen the future."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataflows.config.policy import load_policy
from dataflows.replay.replay import ReplayError, load_model, replay
from dataflows.sources.files.log import LogSource
from dataflows.testing import hand_made_model, small_policy
from detectors.base.state import content_hash
from detectors.features.catalogue import NAMES
from detectors.scoring.batch import Batch
from detectors.scoring.versions import Run, Versions
from evaluation.labels import label
from evaluation.metrics import roc_auc
from evaluation.runs import read_outputs
from schemas.codec.outputs import encode_json
from schemas.records.decisions import ModelVersion
from tests.kit.simulated import Replays, Simulated
from tests.kit.thorough import THOROUGH

pytestmark = pytest.mark.slow

BATCHES = (1, 100, 10_000)
COLUMNS = ("user_id", "as_of", "event_id", "seq", "score", "insufficient_history", "tier", "model_version")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def summary(out: Path) -> Any:
    return orjson.loads((out / "summary.json").read_bytes())


def ranking(out: Path) -> float:
    quality: float = summary(out)["models"]["logistic"]["progressive"]["roc_auc"]
    return quality


def peeks(out: Path) -> list[tuple[str, int, int]]:
    """Points served by a version that had learnt from their own time or later: event id, as-of, learned until."""
    learned_until = {line["version"]: line["learned_until"] for line in lines(out / "models" / "versions.jsonl")}
    table = pq.read_table(out / "features.parquet", columns=["event_id", "as_of", "model_version", "score"])
    found, scored = [], 0
    columns = (table[name].to_pylist() for name in ("event_id", "model_version", "score"))
    for event_id, version, score, as_of in zip(*columns, table["as_of"].cast(pa.int64()).to_pylist(), strict=True):
        assert version or score is None
        scored += score is not None
        if version and learned_until[version] is not None and learned_until[version] >= as_of:
            found.append((event_id, as_of, learned_until[version]))
    assert scored > len(table) // 2
    return found


AT_THE_END_OF_TIME = 2**62


def choose_the_newest(self: Versions, batch: Batch, *, one_partition: bool) -> list[Run]:
    """What `Versions.choose_all` must not be: the version heard of last, however much of the future it has learnt."""
    newest = self.choose(AT_THE_END_OF_TIME, 0, AT_THE_END_OF_TIME, one_partition=one_partition)
    return [Run(*newest, 0, len(batch))]


@pytest.mark.parametrize("batch", BATCHES)
def test_no_point_is_scored_by_a_version_that_learnt_from_its_time_or_later(replays: Replays, batch: int) -> None:
    """However many records arrive together, every version used is strictly older than the point it scored."""
    assert peeks(replays(batch=batch)) == []


def test_ranking_quality_does_not_rise_with_the_batch(replays: Replays) -> None:
    """Bigger batches bring no better scores; in fact the very same."""
    assert ranking(replays(batch=1)) == ranking(replays(batch=100)) == ranking(replays(batch=10_000)) > 0.7


@pytest.mark.parametrize("batch", [1, 10_000])
def test_learning_gives_the_same_bytes_for_every_batch_size(replays: Replays, batch: int) -> None:
    """Versions, scores, risk events, summary and report do not depend on how the log was cut into batches."""
    assert files(replays(batch=batch)) == files(replays())


def test_learning_gives_the_same_bytes_for_two_workers(replays: Replays) -> None:
    """Which worker had which user changes nothing that is written."""
    assert files(replays(workers=2)) == files(replays())


def test_a_lane_that_used_any_version_would_be_found_out(
    simulated: Simulated, replays: Replays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the choice of versions broken on purpose, points are scored by their future and the ranking improves."""
    monkeypatch.setattr(Versions, "choose_all", choose_the_newest)
    policy = load_policy(simulated.policy)
    replay(LogSource(simulated.log, batch_size=10_000), policy, tmp_path, log_name="log.jsonl", report=False)
    assert len(peeks(tmp_path)) > 1_000
    honest, peeking = read_outputs(replays()), read_outputs(tmp_path)
    known = label("horizon", honest.user, honest.as_of, honest.seq, honest.escalations, honest.horizon)
    for model in ("logistic", "bayes"):
        # the same points: who peeks scores earlier ones as well
        points = known.mature & ~np.isnan(honest.scores[model])
        assert points.sum() > 9_000
        rankings = [roc_auc(known.positive[points], run.scores[model][points]) for run in (honest, peeking)]
        assert (rankings[1] or 0.0) > (rankings[0] or 1.0)


def test_what_comes_later_in_the_log_changes_nothing_before_it(
    simulated: Simulated, replays: Replays, tmp_path: Path
) -> None:
    """A log cut in the middle gives the beginning of what the whole log gives: rows, risk events and versions."""
    log = tmp_path / "half.jsonl"
    kept = simulated.log.read_bytes().splitlines(keepends=True)[:8_000]
    log.write_bytes(b"".join(kept))
    replay(
        LogSource(log, batch_size=3_000), load_policy(simulated.policy), tmp_path, log_name="log.jsonl", report=False
    )
    half, whole = (pq.read_table(out / "features.parquet") for out in (tmp_path, replays()))
    assert half.equals(whole.slice(0, len(half)))
    assert len(half) > 7_000
    for name in ("risk-events.jsonl", "models/versions.jsonl", "outcomes.jsonl", "late.jsonl"):
        part, full = (lines(out / name) for out in (tmp_path, replays()))
        assert part == full[: len(part)]
        assert len(part) > 10


def test_another_process_with_another_hash_seed_gives_the_same_bytes(
    simulated: Simulated, replays: Replays, tmp_path: Path
) -> None:
    """Run twice, by the command this time: every file that is written is the same."""
    arguments = ["replay", simulated.log, "--policy", simulated.policy, "--out", tmp_path]
    command = [sys.executable, "-c", "from dataflows.cli.main import main; main()", *map(str, arguments)]
    environment = {**os.environ, "PYTHONHASHSEED": "4711"}
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert files(tmp_path) == files(replays())


PINNED = [(10_000, 1), (100, 2)]
if THOROUGH:
    PINNED += [(1, 1), (1, 2), (10_000, 2)]


@pytest.mark.parametrize(("batch", "workers"), PINNED)
def test_a_pinned_model_gives_the_same_bytes_for_any_batch_and_workers(
    replays: Replays, batch: int, workers: int
) -> None:
    """With the model pinned nothing is learnt, and nothing depends on how the log was read."""
    assert files(replays(batch=batch, workers=workers, pinned=True)) == files(replays(pinned=True))


def test_a_pinned_model_scores_everything_and_learns_nothing(replays: Replays) -> None:
    """The only version is the one given, its name is on every row, and risk events say where it had seen the future."""
    out = replays(pinned=True)
    given = (replays() / "models" / "logistic.json").read_bytes()
    assert (out / "models" / "versions.jsonl").read_bytes() == given
    assert sorted(path.name for path in (out / "models").iterdir()) == ["logistic.json", "versions.jsonl"]
    version = orjson.loads(given)
    assert set(pq.read_table(out / "features.parquet")["model_version"].to_pylist()) == {version["version"]}
    events = [line for line in lines(out / "risk-events.jsonl") if "tombstone" not in line]
    assert {event["model_version"] for event in events} == {version["version"]}
    for event in events:
        assert (event["model_note"] == "ahead") == (version["learned_until"] >= event["as_of"])


def test_the_log_holds_what_these_proofs_need(replays: Replays) -> None:
    """Rejects at both ends, late events, duplicates, erasures, escalations, warnings, and versions to choose from."""
    seen = summary(replays())
    for name in ("late", "duplicates", "erased", "escalations", "escalated_warned_before"):
        assert seen[name] >= 10, name
    assert seen["rejects"] == {"total": 2, "missing_field": 2}
    rejects = lines(replays() / "rejects.jsonl")
    assert rejects[0]["seq"] == 0
    assert rejects[1]["seq"] == sum(seen["events"].values()) + 1
    assert set(seen["risk_events"]["raised"]) == {"watch", "elevated", "high"}
    assert len(lines(replays() / "models" / "versions.jsonl")) > 500


def test_the_features_file_has_one_row_for_each_point_with_the_promised_columns(replays: Replays) -> None:
    """Who, when, by which event, score, tier, version, and then every feature as served; absent is null."""
    table = pq.read_table(replays() / "features.parquet")
    assert tuple(table.column_names) == (*COLUMNS, *NAMES)
    assert len(table) == summary(replays())["decision_points"]
    score, absent = table["score"], table["insufficient_history"].to_numpy()
    assert np.array_equal(score.is_null().to_numpy(), absent)
    assert 0 < absent.sum() < len(table)
    assert table["toxicity_mean_1h"].null_count < len(table)
    assert not np.isnan(table["message_count_1h"].to_numpy()).any()


def test_a_replay_into_the_directory_of_another_replaces_its_files(tmp_path: Path) -> None:
    """Nothing of the earlier replay is left to be mistaken for the later one's."""
    row = {"subject": "chat_message", "event_id": "a", "event_time": 1, "user_id": "ann", "channel": "lobby"}
    log = tmp_path / "log.jsonl"
    again, pinned = tmp_path / "again", hand_made_model(0.5)
    log.write_bytes(b"no event\n" + b"".join(orjson.dumps({**row, "event_id": str(n)}) + b"\n" for n in range(50)))
    replay(LogSource(log), small_policy(), again, log_name="first.jsonl")
    for stale in ("bayes", "a_variant"):
        (again / "models" / f"{stale}.json").write_bytes(b"{}")
    log.write_bytes(orjson.dumps(row))
    for out in (again, tmp_path / "fresh"):
        replay(LogSource(log), small_policy(), out, log_name="second.jsonl", model=pinned)
    assert files(again) == files(tmp_path / "fresh")
    assert b"second.jsonl" in (again / "summary.json").read_bytes()
    done = replay(LogSource(log), small_policy(), again, log_name="second.jsonl", model=pinned, report=False)
    assert done.report is None
    assert files(again) == {name: data for name, data in files(tmp_path / "fresh").items() if name != "report.html"}


def test_an_empty_log_is_replayed_to_empty_files(tmp_path: Path) -> None:
    """Nothing in, nothing out, and everything that is promised is there."""
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"")
    done = replay(LogSource(log), small_policy(), tmp_path / "out", log_name="log.jsonl")
    assert done.summary["events"] == {}
    assert done.report is not None
    assert done.report.exists()
    assert pq.read_table(tmp_path / "out" / "features.parquet").num_rows == 0


MODEL = hand_made_model(0.5, {"report_count_24h": 1.0})


def with_state(**changes: Any) -> ModelVersion:
    """The model with another state, and a content hash that says so."""
    document = {**orjson.loads(MODEL.state), **changes}
    record = {**MODEL.model_dump(exclude={"version"}), "state": orjson.dumps(document).decode()}
    return ModelVersion(version=content_hash(record), **record)


WRONG_MODELS = {
    "not JSON": b"weights: 1",
    "another document": b'{"name": "logistic"}',
    "an unknown family": encode_json(MODEL.model_copy(update={"family": "forest"})),
    "no state": encode_json(MODEL.model_copy(update={"state": ""})),
    "a list as state": encode_json(MODEL.model_copy(update={"state": "[]"})),
    "an empty state": encode_json(MODEL.model_copy(update={"state": "{}"})),
    "no weights": encode_json(with_state(model={"features": ["message_count_1h"]})),
    "weights of another shape": encode_json(with_state(model=3)),
    "words for numbers": encode_json(with_state(min_positives="many")),
    "nothing to divide by": encode_json(with_state(positive_weight=0)),
}


@pytest.mark.parametrize("content", WRONG_MODELS.values(), ids=WRONG_MODELS)
def test_a_file_that_holds_no_model_is_named_in_one_sentence(content: bytes, tmp_path: Path) -> None:
    """Whatever is in it, the answer is the file's name and where model files come from."""
    path = tmp_path / "model.json"
    path.write_bytes(content)
    with pytest.raises(ReplayError) as caught:
        load_model(path, small_policy())
    assert str(caught.value) == f"{path}: not a model version; a replay writes models/<name>.json."


def test_a_model_changed_by_hand_is_refused(tmp_path: Path) -> None:
    """A version is its content: a risk event that names it must be derivable from it."""
    path = tmp_path / "model.json"
    path.write_bytes(encode_json(MODEL.model_copy(update={"examples": 7})))
    with pytest.raises(ReplayError, match=f"changed since version {MODEL.version} was made"):
        load_model(path, small_policy())


def test_a_model_of_other_features_is_refused(tmp_path: Path) -> None:
    """Its weights would meet the wrong columns."""
    record = {**MODEL.model_dump(exclude={"version"}), "features": NAMES[:-1]}
    path = tmp_path / "model.json"
    path.write_bytes(encode_json(ModelVersion(version=content_hash(record), **record)))
    with pytest.raises(ReplayError, match="made for other features than this forewarn declares"):
        load_model(path, small_policy())


def test_a_model_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    """With its name and where to get one."""
    with pytest.raises(ReplayError, match=r"nowhere\.json: cannot be read"):
        load_model(tmp_path / "nowhere.json", small_policy())


def test_a_model_file_of_a_replay_is_read_back_as_it_was(replays: Replays) -> None:
    """What a replay wrote is the version it published last."""
    for name in ("logistic", "bayes"):
        version = load_model(replays() / "models" / f"{name}.json", small_policy())
        last = [line for line in lines(replays() / "models" / "versions.jsonl") if line["name"] == name][-1]
        assert orjson.loads(encode_json(version)) == last


@pytest.mark.parametrize(
    "name", ["../../../pwn/x", "/pwn/x", "..", "", "a\x00b", "x" * 65, "versions.jsonl", "a/b", "logistic\n", "zoë"]
)
def test_a_model_whose_name_is_a_path_is_refused(
    replays: Replays, simulated: Simulated, tmp_path: Path, name: str
) -> None:
    """Files are named by models, and a version's hash keeps nobody from choosing its name."""
    learnt = ModelVersion.model_validate_json((replays() / "models" / "logistic.json").read_bytes())
    record = learnt.model_dump(exclude={"version"}) | {"name": name}
    forged = tmp_path / "forged.json"
    forged.write_bytes(encode_json(learnt.model_copy(update={**record, "version": content_hash(record)})))
    with pytest.raises(ReplayError, match=r"forged\.json: (its model has a name|not a model version)"):
        load_model(forged, load_policy(simulated.policy))
