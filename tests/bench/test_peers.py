"""The hand-written job that forewarn is measured beside does the same as forewarn."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from dataflows.simulate.platform import SimulationConfig, write_log
from tests.bench.peers.agreement import DisagreementError, agree, events_of
from tests.bench.peers.job import Job, User
from tests.bench.peers.run import PEERS, check_answers
from tests.bench.peers.state import dump, load

pytestmark = pytest.mark.slow


def simulated(folder: Path) -> Path:
    path = folder / "log.jsonl"
    often = {"late": 0.01, "disordered": 0.03, "duplicated": 0.02, "overturned": 0.4, "erased": 0.05}
    write_log(SimulationConfig(events=6_000, users=120, seed=5, **often), path)
    return path


def test_the_jobs_features_and_weights_are_those_of_a_replay(tmp_path: Path) -> None:
    """With late and doubled events, reversals and erasures: every feature of every point, and every version."""
    agreed = agree(simulated(tmp_path), tmp_path / "out")
    assert agreed.points > 5_000
    assert agreed.versions > 100
    assert agreed.positives > 100
    assert any(answer.get("tombstone") for answer in agreed.answers)
    assert any(answer.get("tier") == "watch" for answer in agreed.answers)


def test_a_user_who_went_through_json_answers_alike(tmp_path: Path) -> None:
    """Stored and loaded between any two events, as a state store would."""
    plain, stored = Job(), Job()
    states: dict[str, tuple[bytes, dict[str, bytes]]] = {}
    for subject, event in list(events_of(simulated(tmp_path)))[:2_000]:
        user_id, expected = event["user_id"], plain.handle(subject, event)
        if event.get("kind") == "erasure":
            states.pop(user_id, None)
            continue
        state, vectors = states.get(user_id, (None, {}))
        read = {int(number): orjson.loads(vector) for number, vector in vectors.items()}
        user = User(read) if state is None else load(orjson.loads(state), read)
        assert stored.step(user, subject, event) == expected
        assert stored.x == plain.x
        states[user_id] = orjson.dumps(dump(user)), {str(n): orjson.dumps(z) for n, z in read.items()}


def test_answers_that_differ_are_told(tmp_path: Path) -> None:
    """Another tier, another order, another number of examples: each ends the run."""
    agreed = agree(simulated(tmp_path), tmp_path / "out")
    peer = PEERS[0]
    counts = {"examples": agreed.examples, "positives": agreed.positives}
    check_answers(peer, agreed, agreed.answers, counts)
    risk = [answer for answer in agreed.answers if "tier" in answer]
    for answers, learnt in (
        (agreed.answers[:-1], counts),
        (agreed.answers[::-1], counts),
        ([{**answer, "tier": "high"} for answer in risk], counts),
        (agreed.answers, {**counts, "examples": agreed.examples + 1}),
    ):
        with pytest.raises(DisagreementError):
            check_answers(peer, agreed, answers, learnt)
