"""Tiers that promise a precision and a budget of warnings: decided by what a model has shown, the same every time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from dataflows.config.policy import load_policy
from dataflows.replay.replay import ReplayError, load_model, replay
from dataflows.reports.evaluation_page import render
from dataflows.reports.terminal import kept, within
from dataflows.sources.files.log import LogSource
from detectors.models.catalogue import freeze
from evaluation.evaluate import Protocol, evaluate
from evaluation.runs import read_outputs
from schemas.records.decisions import ModelVersion
from tests.kit.simulated import POLICY, Replays, Simulated
from tests.kit.streams import decider_of

pytestmark = pytest.mark.slow

HOUR = 3_600_000
TIERS = """[tiers]
watch = { precision = 0.1 }
high = { precision = 0.4 }
[warnings]
budget = 4
"""


class Promised:
    """Replays of the simulated log under promises."""

    def __init__(self, log: Path, folder: Path) -> None:
        self.log, self.folder = log, folder
        text = POLICY[: POLICY.index("[tiers]")] + TIERS
        (folder / "policy.toml").write_text(text)
        self.policy = load_policy(folder / "policy.toml")

    def replay(self, name: str, *, batch: int = 3_000, workers: int = 1, model: ModelVersion | None = None) -> Path:
        """Where the outputs of such a replay are."""
        out = self.folder / name
        if not out.exists():
            out.mkdir()
            source = LogSource(self.log, batch_size=batch)
            replay(source, self.policy, out, log_name="log.jsonl", model=model, workers=workers, report=False)
        return out


@pytest.fixture(scope="module")
def promised(simulated: Simulated, tmp_path_factory: pytest.TempPathFactory) -> Promised:
    """The simulated log, and a policy of promises."""
    return Promised(simulated.log, tmp_path_factory.mktemp("promised"))


def lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def raised(out: Path) -> list[dict[str, Any]]:
    ranks = ("none", "watch", "elevated", "high")
    events = [event for event in lines(out / "risk-events.jsonl") if not event.get("tombstone")]
    return [event for event in events if ranks.index(event["tier"]) > ranks.index(event["previous_tier"])]


@pytest.mark.parametrize(("batch", "workers"), [(50, 1), (3_000, 2)])
def test_promises_give_the_same_bytes_for_any_batching(promised: Promised, batch: int, workers: int) -> None:
    """Thresholds come with the version that scores, so they are as reproducible as scores are."""
    other = promised.replay(f"{batch} {workers}", batch=batch, workers=workers)
    assert files(other) == files(promised.replay("straight"))


def test_every_warning_is_at_or_above_the_threshold_that_the_version_it_names_has_shown(promised: Promised) -> None:
    """A risk event can be derived anew from its model version and the policy."""
    versions = {
        line["version"]: freeze(ModelVersion.model_validate(line))
        for line in lines(promised.replay("straight") / "models" / "versions.jsonl")
        if line["name"] == "logistic"
    }
    decider, warnings = decider_of(promised.policy), raised(promised.replay("straight"))
    entered = Counter()
    for event in warnings:
        thresholds = decider.thresholds(versions[event["model_version"]].track)
        enter = {str(tier): enter for tier, enter, _ in thresholds.tiers}
        assert event["probability"] >= enter[event["tier"]]
        entered[event["tier"]] += 1
    assert entered["watch"] > 20


def test_a_pinned_model_brings_its_track_record_along(promised: Promised) -> None:
    """One threshold for the whole replay, whatever the batches and workers."""
    model = load_model(promised.replay("straight") / "models" / "logistic.json", promised.policy)
    one = promised.replay("pinned", model=model)
    assert raised(one)
    assert files(promised.replay("pinned 2", batch=70, workers=2, model=model)) == files(one)


def test_a_pinned_model_without_a_record_is_refused(promised: Promised, replays: Replays) -> None:
    """It could never warn of anybody."""
    with pytest.raises(ReplayError, match="has no track record, which policy simulated decides by"):
        load_model(replays() / "models" / "logistic.json", promised.policy)


def test_an_evaluation_says_how_promises_and_budget_were_kept(promised: Promised) -> None:
    """Counted again here from the risk events and outcomes, in windows of as many as make thirty right."""
    out = promised.replay("straight")
    document = evaluate(read_outputs(out), Protocol(boosting=False))
    found = document["promises"]
    ends = sorted(line["as_of"] for line in lines(out / "outcomes.jsonl"))
    warnings = raised(out)
    escalated: dict[str, list[int]] = {}
    for line in lines(out / "outcomes.jsonl"):
        if line["kind"] == "escalated":
            escalated.setdefault(line["user_id"], []).append(line["as_of"])
    watch = found["tiers"]["watch"]
    assert watch["warnings"] == sum(event["previous_tier"] == "none" for event in warnings)
    early = [e for e in warnings if e["previous_tier"] == "none" and e["as_of"] + 24 * HOUR <= ends[-1] - HOUR]
    right = sum(any(0 <= t - e["as_of"] <= 24 * HOUR for t in escalated.get(e["user_id"], [])) for e in early)
    assert right / len(early) == pytest.approx(watch["precision"], abs=0.1)
    assert watch["window"] == 300
    assert len(watch["windows"]) == watch["matured"] // 300
    hours = Counter(event["as_of"] // HOUR for event in warnings if event["previous_tier"] == "none")
    assert found["budget"]["most"] == max(hours.values())
    assert found["budget"]["hours_above"] == sum(count > 4 for count in hours.values())
    summary = orjson.loads((out / "summary.json").read_bytes())
    assert found["budget"]["held_back"] == summary["held_back"] > 0
    page = render(document)
    assert kept(watch) in page
    assert within(found["budget"])[1:] in page
