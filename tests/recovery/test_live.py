"""Live runs that are stopped, killed, resumed and rescaled on a real broker say what an unbroken run says."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from dataflows.config.policy import load_policy
from dataflows.model_registry.promote import changed_champion, edited
from dataflows.runtime.exit_codes import ExitCode
from schemas.codec.outputs import Decoder
from schemas.records.decisions import RiskEvent
from tests.kit.deployment import Deployment, Feeding
from tests.kit.thorough import THOROUGH
from tests.recovery.chaos import Reference

pytestmark = pytest.mark.kafka

MANY = 20 if THOROUGH else 6
"""Restarts under load."""
EXPECTED = Path(__file__).parent / "live.expected.jsonl"
"""Every risk event of the log, in order of the log: `python -m tests.recovery.live_expected` writes it anew."""
EVENTS = 3_000


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """A log, and a model learnt from it."""
    return Reference(tmp_path_factory.mktemp("live") / "reference", EVENTS)


@pytest.fixture
def deployment(kafka: str, reference: Reference, tmp_path: Path) -> Iterator[Deployment]:
    """A deployment whose topics hold nothing yet."""
    made = Deployment(kafka, tmp_path / "deployment", reference.policy, reference.model)
    yield made
    made.close()


def said(deployment: Deployment) -> list[str]:
    """Every risk event and tombstone on the topic as a line, without what names the deployment."""
    decoder = Decoder("risk_event")
    lines = []
    for message in deployment.messages("risk_events"):
        value, key = message.value(), message.key() or b""
        found = {"tombstone": key.decode()} if value is None else decoder.decode(value).model_dump(mode="json")
        if value is not None:
            found["trigger"]["topic"] = found["trigger"]["topic"].partition(".")[2]
        lines.append(orjson.dumps(found, option=orjson.OPT_SORT_KEYS).decode())
    return sorted(lines)


def expected() -> list[str]:
    return EXPECTED.read_text(encoding="utf-8").splitlines()


def test_run_straight_it_says_what_is_expected(deployment: Deployment, reference: Reference) -> None:
    """One process, never interrupted."""
    deployment.produce(reference.log)
    deployment.finish()
    assert said(deployment) == expected()
    assert len(expected()) > 50


def test_killed_and_resumed_it_says_the_same(deployment: Deployment, reference: Reference) -> None:
    """Killed as soon as it has said something, three times over."""
    deployment.produce(reference.log)
    heard = 0
    for _ in range(3):
        life = deployment.start()
        while len(said(deployment)) <= heard < len(expected()):
            assert life.process.poll() is None, life.said()
        life.end()
        heard = len(said(deployment))
    deployment.finish()
    assert said(deployment) == expected()


def test_rescaled_from_two_processes_to_one_and_to_three_it_says_the_same(
    deployment: Deployment, reference: Reference
) -> None:
    """Drained each time as soon as it has said something more."""
    deployment.produce(reference.log)
    heard = 0
    for processes in ("2", "1"):
        life = deployment.start("--processes", processes)
        while len(said(deployment)) <= heard < len(expected()):
            assert life.process.poll() is None, life.said()
        status, seconds = life.drain()
        assert status == 0, life.said()
        assert seconds < 10
        heard = len(said(deployment))
    deployment.finish("--processes", "3")
    assert said(deployment) == expected()


def test_a_second_run_on_the_same_store_is_refused_and_says_so(deployment: Deployment, reference: Reference) -> None:
    """The first goes on undisturbed."""
    deployment.produce(reference.log)
    first = deployment.start()
    while not said(deployment):
        assert first.process.poll() is None, first.said()
    second = deployment.start()
    assert second.wait(60) == ExitCode.MEND
    assert "is in use by another forewarn run" in second.said()
    assert first.drain()[0] == 0, first.said()
    deployment.finish()
    assert said(deployment) == expected()


def test_a_second_run_with_a_store_of_its_own_takes_over_and_doubles_nothing(
    deployment: Deployment, reference: Reference
) -> None:
    """As from another machine: the first is fenced out with a clear message, and each id is there once."""
    with Feeding(lambda: deployment.produce(reference.log, rate=150)):
        first = deployment.start()
        while not said(deployment):
            assert first.process.poll() is None, first.said()
        other = deployment.elsewhere()
        second = other.start()
        assert first.wait(60) == ExitCode.MEND
        assert "Another instance of this deployment" in first.said()
    assert second.drain()[0] == 0, second.said()
    other.finish()
    assert set(deployment.risk_ids().values()) == {1}
    # fed live, the order in which the two topics' records become visible may move a warning to another event
    assert len(deployment.risk_ids().keys() & reference.ids) > 0.9 * len(reference.ids)


def test_a_promoted_challenger_starts_on_the_old_champions_store(
    kafka: str, reference: Reference, tmp_path: Path
) -> None:
    """From there on it decides, with what it has learnt, and no risk event is there twice."""
    policy = tmp_path / "policy.toml"
    policy.write_text(reference.policy.read_text().replace("min_positives = 10", "min_positives = 3"))
    lines = reference.log.read_bytes().splitlines(keepends=True)
    halves = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    for half, part in zip(halves, (lines[: len(lines) // 2], lines[len(lines) // 2 :]), strict=True):
        half.write_bytes(b"".join(part))
    deployment = Deployment(kafka, tmp_path / "deployment", policy, None)
    try:
        deployment.produce(halves[0])
        deployment.finish()
        before = load_policy(policy)
        policy.write_text(edited(policy.read_text(), before, changed_champion(before, "bayes")))
        deployment.produce(halves[1])
        deployment.finish()
    finally:
        deployment.close()
    manifest = orjson.loads((deployment.folder / "recovery" / "manifest.json").read_bytes())
    assert manifest["models"] == ["bayes", "logistic"]
    decoder, told = Decoder("risk_event"), defaultdict[str, list[RiskEvent]](list)
    for message in deployment.messages("risk_events"):
        if (value := message.value()) is not None:
            event = RiskEvent.model_validate(decoder.decode(value).model_dump())
            told[event.user_id].append(event)
    assert {event.model for events in told.values() for event in events} == {"logistic", "bayes"}
    assert any(event.model == "bayes" and event.model_note == "ok" for events in told.values() for event in events)
    for events in told.values():
        models = [event.model for event in events]
        assert models == sorted(models, reverse=True)
    assert set(deployment.risk_ids().values()) == {1}


@pytest.mark.parametrize("restarts", [pytest.param((MANY, 1), id="many of one"), pytest.param((3, 2), id="3 of two")])
def test_restarts_under_load_read_no_record_twice(kafka: str, tmp_path: Path, restarts: tuple[int, int]) -> None:
    """SIGTERM again and again behind a backlog: each run exits 0 in 10 s, and together they read each record once."""
    times, processes = restarts
    reference = Reference(tmp_path / "reference", 2_500 * times)
    deployment = Deployment(kafka, tmp_path / "deployment", reference.policy, reference.model)
    deployment.produce(reference.log)
    read, longest = 0, 0.0
    try:
        for _ in range(times):
            before = deployment.served()
            life = deployment.start("--processes", str(processes))
            while deployment.served() == before < len(reference.points):
                assert life.process.poll() is None, life.said()
            status, seconds = life.drain()
            assert status == 0, life.said()
            read, longest = read + life.events(), max(longest, seconds)
        read += deployment.finish("--processes", str(processes)).events()
    finally:
        deployment.close()
    assert read == deployment.sent.chat_messages + deployment.sent.moderation_events
    assert longest < 10
    assert deployment.risk_ids() == Counter(reference.ids)
