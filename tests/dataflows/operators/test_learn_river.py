"""River models in a flow that is stopped, killed and started anew: their state comes from the recovery store."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import orjson
import pytest

from dataflows.config.settings import Settings
from dataflows.live.run import RunError, prepare
from dataflows.recovery.guard import refuse_code
from dataflows.testing import DriverResult, FlowDriver, small_policy
from tests.kit.paths import ROOT
from tests.kit.small_platform import POLICY, life

pytestmark = pytest.mark.slow

CLASSES: dict[str, dict[str, Any]] = {
    "nb": {"river": "naive_bayes.GaussianNB"},
    "tree": {"river": "tree.HoeffdingAdaptiveTreeClassifier", "parameters": {"grace_period": 10}},
    "forest": {"river": "forest.AMFClassifier", "parameters": {"n_estimators": 2, "max_nodes": 30}},
    "scaled": {"river": "linear_model.LogisticRegression", "scale": True},
}
RIVER = small_policy(
    **POLICY.model_dump(mode="json", include={"channels", "target"}),
    learning={"publish_every": "1m", "min_positives": 3, "min_events": 2, "challengers": list(CLASSES)},
    models=CLASSES,
    warnings={"budget": 5},  # every model then keeps threshold statistics, by the scores of its version in force
)


def driver(partitions: int, stop: str = "") -> FlowDriver:
    """A small platform's life with River models as challengers; stopped or killed after every 23rd event."""
    made = FlowDriver(RIVER, partitions=partitions)
    for number, happen in enumerate(life(made, 96)):
        happen()
        if stop and number % 23 == 22:
            getattr(made, stop)()
    return made


def shadows(result: DriverResult) -> dict[int, str]:
    """The challengers' scores, by the offset of the point; of points served twice, the last."""
    return {served.point.at.offset: repr(served.shadow) for served in result.served}


@pytest.mark.parametrize(("stop", "partitions"), [("crash", 1), ("restart", 2)])
def test_a_stopped_flow_goes_on_to_the_same_scores(stop: str, partitions: int, tmp_path: Path) -> None:
    """In a replay and live; every point has the scores it would have had, to the last bit, and so has every version."""
    straight = driver(partitions).run(batch_size=1)
    stopped = driver(partitions, stop).run(batch_size=1, recovery=tmp_path)
    assert shadows(stopped) == shadows(straight)
    assert {version.version for version in stopped.versions} == {version.version for version in straight.versions}
    scored = [served.shadow for served in straight.served if served.shadow[0] == served.shadow[0]]
    assert len(scored) > 10
    assert all(len({scores[place] for scores in scored}) > 3 for place in range(1, len(CLASSES)))


def test_a_store_with_river_models_is_plain_data(tmp_path: Path) -> None:
    """The guard of the recovery directory finds nothing in it that could run."""
    driver(1).run(batch_size=5, recovery=tmp_path)
    refuse_code(tmp_path)
    stored = 0
    for part in tmp_path.glob("part-*.sqlite3"):
        with sqlite3.connect(part) as database:
            stored += database.execute("SELECT count(*) FROM snaps WHERE ser_change IS NOT NULL").fetchone()[0]
    assert stored


def test_nothing_published_holds_the_state_of_a_river_model() -> None:
    """Records of versions are small and name what was trained; what lanes score with stays in the flow."""
    result = driver(1).run()
    own = [version for version in result.versions if version.family == "river"]
    assert {version.name for version in own} == {*CLASSES}
    assert max(len(orjson.dumps(orjson.loads(version.state)["model"])) for version in own) < 500


def test_an_erased_user_is_forgotten_by_a_learner_of_river() -> None:
    """The examples that wait, and those kept while few users are known; what was learnt stays, without a name."""
    made = driver(1)
    made.erase("ann")
    made.chat("bob")
    result = made.run()
    assert result.served[-1].point.user_id == "bob"
    assert len(result.risk) > 0


def test_a_live_run_that_a_river_model_cannot_join_does_not_start() -> None:
    """It says so before it looks for Kafka."""
    window = {"river": "neighbors.LazySearch", "parameters": {"window_size": 50}}
    models = {"near": {"river": "neighbors.KNNClassifier", "parameters": {"engine": window}}, "nb": CLASSES["nb"]}
    policy = small_policy(learning={"champion": "nb", "challengers": ["near"]}, models=models)
    settings = Settings.load(ROOT / "deploy" / "settings.example.toml")
    settings = settings.model_copy(update={"recovery": settings.recovery.model_copy(update={"directory": None})})
    with pytest.raises(RunError) as caught:
        prepare(settings, policy, None)
    near, champion = str(caught.value).splitlines()
    assert near.startswith("models.near: river.neighbors.KNNClassifier keeps examples of users")
    assert champion.startswith("nb runs in River, and no River model decides in a live run")
