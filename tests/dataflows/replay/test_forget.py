"""Whoever asks to be forgotten is in no file that a run leaves behind, nor in anything printed about it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from dataflows.testing import FlowDriver, small_policy
from detectors.features.signals import key_of, stable_hash
from schemas.records.decisions import ModelVersion, RiskEvent

pytestmark = pytest.mark.slow

GONE = "the-one-who-asked-to-be-forgotten"
FORMS = {
    "the id": GONE.encode(),
    "its hash, as packed in channels": key_of(GONE).to_bytes(8, "big"),
    "its hash, as written in a model version": str(key_of(GONE)).encode(),
    "its sanction's hash, as packed in channels": stable_hash("ban-of-the-one").to_bytes(8, "big"),
}
"""How a file may name the user."""
POLICY = small_policy(
    target={"horizon": "1h", "recurring": True, "when": [{"event": "sanction", "min_severity": 5}]},
    learning={
        "champion": "lookalike",
        "challengers": ["additive", "stack", "logistic"],
        "publish_every": "1m",
        "min_positives": 1,
        "exemplar_age": "30d",
    },
    tiers={"watch": {"precision": 0.05}, "high": {"precision": 0.4}},
    warnings={"budget": 50, "expiry": "1h", "cooldown": "1m"},
)


def platform(*, forgets: bool, stops: tuple[int, ...] = (), partitions: int = 1) -> FlowDriver:
    """A small platform on which one user escalates again and again and is then forgotten, while others go on.

    It is stopped and started anew at `stops`, in minutes.
    """
    driver, rng = FlowDriver(POLICY, partitions=partitions), random.Random(3)
    others = [f"user-{number}" for number in range(12)]
    for step in range(420):
        driver.advance("1m")
        driver.chat(rng.choice(others), channel=rng.choice(("lobby", "market")))
        if step < 300 and step % 2 == 0:
            driver.chat(GONE, channel="lobby")
        if step % 30 == 20 and step < 300:
            driver.report(GONE, rng.choice(others))
        if step % 60 == 40:
            ban = "ban-of-the-one" if step == 220 else f"ban-{step}"
            driver.sanction(GONE if step < 300 else rng.choice(others), 5, event_id=ban)
        if step % 60 == 50:
            driver.sanction(rng.choice(others), 5, event_id=f"other-ban-{step}")
        if step == 300 and forgets:
            driver.chat(GONE, channel="lobby")  # the last who spoke there
            driver.erase(GONE)
        if step in stops:
            driver.restart()
    return driver


def named_in(folder: Path) -> dict[str, set[str]]:
    """Which files below a folder hold which form of the user's name."""
    found: dict[str, set[str]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        for form, name in FORMS.items():
            if name in data:
                found.setdefault(form, set()).add(path.name)
    return found


@pytest.mark.parametrize("partitions", [1, 2])
def test_a_forgotten_user_is_in_no_file_of_a_recovery_directory(tmp_path: Path, partitions: int) -> None:
    """Profiles, learners with their records, lanes with the versions they keep, and channels: none names them.

    The users' files say for some epochs that the user is gone, or until the run was started anew.
    """
    kept, left = tmp_path / "kept", tmp_path / "left"
    for folder, forgets in ((kept, False), (left, True)):
        folder.mkdir()
        driver = platform(forgets=forgets, partitions=partitions, stops=(310, 340, 370))
        driver.run(recovery=folder, snapshot_each_batch=False, batch_size=50)
    assert named_in(kept).keys() == FORMS.keys(), "a search that finds nobody finds nothing out"
    assert named_in(left) == {}


def test_nothing_that_leaves_the_flow_after_an_erasure_names_the_user() -> None:
    """Not a version that is published, not a risk event, not an exemplar; the tombstone alone, once, has the id."""
    result = platform(forgets=True).run()
    erased_at = next(event for event in result.risk if not isinstance(event, RiskEvent)).as_of
    after = [item for item in result.published if (item.version.learned_until or 0) > erased_at]
    assert {item.version.name for item in after} == {"lookalike", "additive", "stack", "logistic"}
    for version in [item.version for item in after]:
        assert not [form for form, name in FORMS.items() if name in version.state.encode()], version.name
    before = [item.version for item in result.published if item not in after and item.version.name == "lookalike"]
    assert any(str(key_of(GONE)) in version.state for version in before)
    later = [event for event in result.risk_events if event.as_of > erased_at]
    assert later
    assert not {exemplar.exemplar_id for event in later for exemplar in event.exemplars} & exemplars_of(before)


def exemplars_of(versions: list[ModelVersion]) -> set[str]:
    """The ids of the user's exemplars in versions."""
    return {f"{key:016x}" for version in versions for key, user in pools(version) if user == key_of(GONE)}


def pools(version: ModelVersion) -> Iterator[tuple[int, int]]:
    """The exemplars of a version of lookalike: key and user."""
    model: dict[str, Any] = orjson.loads(version.state)["model"]
    for pool in ("escalated", "ordinary", "waiting"):
        yield from zip(model[pool]["keys"], model[pool]["users"], strict=True)


def test_what_is_said_after_an_erasure_does_not_depend_on_batches_nor_on_restarts(tmp_path: Path) -> None:
    """A point behind it is scored without the user's exemplars, one before it with them, however they were batched."""
    whole = platform(forgets=True).run()
    scores = [(served.point.at.offset, served.probability, served.model_version) for served in whole.served]
    for batch_size, stops in ((7, ()), (64, (280, 330))):
        again = platform(forgets=True, stops=stops).run(batch_size=batch_size, recovery=tmp_path if stops else None)
        told = [(served.point.at.offset, served.probability, served.model_version) for served in again.served]
        assert told == scores
    erased_at = next(event for event in whole.risk if not isinstance(event, RiskEvent)).as_of
    behind = {
        (served.point.user_id, served.point.as_of): served.probability
        for served in whole.served
        if served.point.as_of > erased_at
    }
    unforgotten = [served for served in platform(forgets=False).run().served if served.point.user_id != GONE]
    assert any(
        behind[place] != served.probability
        for served in unforgotten
        if (place := (served.point.user_id, served.point.as_of)) in behind
    )
