"""Trouble that a run waits out, or that ends it with a sentence: never a loss, never a double, never more memory.

Every figure of memory was measured first; beside each bound stands what was seen and what it would be without a bound.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import orjson
import pytest

from dataflows.recovery.errors import errors_explained
from dataflows.recovery.manifest import StoreError
from dataflows.runtime.exit_codes import ExitCode
from tests.conftest import REQUIRE_VARIABLE
from tests.kit.deployment import Deployment, Life
from tests.kit.kafka.base import NoBrokerError
from tests.kit.kafka.broker import Broker
from tests.kit.kafka.logs import Written, write
from tests.kit.thorough import THOROUGH
from tests.kit.trouble import MIB, TwoDisks, find_two_disks, frozen, killed, let_no_file_grow, memory, watch
from tests.recovery.chaos import Reference

EVENTS = 6_000
BATCH_SIZE = 20
"""Small batches: a run that has served a tenth of the log is far from its end."""
MIDDLE = 600
"""Decision points served when trouble begins, of more than 6,000."""
STEP_SECONDS = 0.1
"""Time that a run continues between two counts of its output; it is stopped while it is counted."""
AWAY_SECONDS = 60.0 if THOROUGH else 20.0
"""Time without a broker."""
LIFT_SECONDS = 120.0
"""How long a run may take to its end, when what was in its way is gone."""

WAITING_MOST = 32 * MIB
"""Growth of a run that waits. Seen: 2 MiB; what may come is what the clients' queues still take in, 16 MiB."""

CHAT_RECORDS, CHAT_BYTES = 5_000, 30_000
AHEAD_KBYTES = 1_024
AHEAD_MOST = 48 * MIB
"""Growth over a run without a backlog. Seen: 10 MiB, and 156 MiB where the queues hold all. Four partitions may hold
twice 1 MiB read ahead, 2 MiB on their way, and a batch of 20 records undecoded and decoded: 22 MiB."""

Trouble = Callable[[Broker], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """A log, a model learnt from it, and what an uninterrupted run says."""
    return Reference(tmp_path_factory.mktemp("trouble") / "reference", EVENTS)


@pytest.fixture
def deploy(reference: Reference, tmp_path: Path) -> Iterator[Callable[[str], Deployment]]:
    """Make a deployment at a broker, with small batches and the pinned model."""
    made: list[Deployment] = []

    def make(address: str) -> Deployment:
        name = tmp_path / str(len(made))
        made.append(Deployment(address, name, reference.policy, reference.model, batch_size=BATCH_SIZE))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def two_disks() -> Iterator[TwoDisks]:
    """A broker whose disks can be filled; skipped where none can be had, or failed where one is demanded."""
    try:
        broker = find_two_disks()
    except NoBrokerError as error:
        if os.environ.get(REQUIRE_VARIABLE) == "1":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    with broker:
        yield broker


def ours(broker: Broker) -> Broker:
    if not broker.can_restart:
        pytest.skip("the broker is not ours to stop")
    return broker


def to_the_middle(deployment: Deployment, log: Path, *extra: str) -> Life:
    """Send a log, start a run to its end, and stop it as it stands where it has served some and is behind.

    Whoever stopped it lets it go on with `life.go_on()`, once the trouble has begun.
    """
    deployment.produce(log)
    life = deployment.start("--until-end", *extra)
    while True:
        life.stand_still()
        if (served := deployment.served()) >= MIDDLE:
            assert served < EVENTS, "it has nothing left to serve"
            return life
        life.go_on()
        with contextlib.suppress(subprocess.TimeoutExpired):
            life.process.wait(STEP_SECONDS)
        assert life.process.poll() is None, life.said()


def last_line(life: Life) -> str:
    return life.said().rstrip().rpartition("\n")[2]


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("trouble", "seconds"),
    [pytest.param(killed, AWAY_SECONDS, id="no broker"), pytest.param(frozen, 10.0, id="frozen for ten seconds")],
)
def test_a_broker_that_does_not_answer_is_waited_for_in_the_memory_there_is(
    broker: Broker, deploy: Callable[[str], Deployment], reference: Reference, trouble: Trouble, seconds: float
) -> None:
    """Behind a backlog: the same process goes on, each warning is there once, and no attempt has a line of its own."""
    deployment = deploy(ours(broker).address)
    life = to_the_middle(deployment, reference.log)
    before = memory(life)
    with trouble(broker):
        life.go_on()
        assert watch(life, seconds) - before < WAITING_MOST
    assert deployment.served() < len(reference.points)  # or there was nothing left to wait with
    assert life.wait(LIFT_SECONDS) == 0, life.said()
    assert deployment.risk_ids() == Counter(reference.ids)
    assert life.said().count("Kafka is not answering") <= 1, life.said()


@pytest.mark.kafka
def test_a_broker_away_for_longer_than_a_delivery_may_take_ends_the_run_with_a_sentence(
    broker: Broker, deploy: Callable[[str], Deployment], reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not zero, and the sentence says what to do; the next start loses and doubles nothing."""
    monkeypatch.setenv("FOREWARN_KAFKA__DELIVERY_TIMEOUT_MS", "5000")
    deployment = deploy(ours(broker).address)
    life = to_the_middle(deployment, reference.log)
    with killed(broker):
        life.go_on()
        assert life.wait(60) == ExitCode.TRY_AGAIN, life.said()
    said = last_line(life)
    assert said.startswith("Error: Topic "), said
    assert f"check that Kafka runs at {broker.address}" in said
    assert said.endswith("then start again; nothing is skipped.")
    deployment.finish()
    assert deployment.risk_ids() == Counter(reference.ids)


@pytest.mark.kafka
def test_a_broker_whose_disk_is_full_is_waited_for_until_it_has_room(
    two_disks: TwoDisks, deploy: Callable[[str], Deployment], reference: Reference
) -> None:
    """Its refusal of a write is no loss: started again with room, it gets what it had refused, once."""
    deployment = deploy(two_disks.address)
    life = to_the_middle(deployment, reference.log)
    before = memory(life)
    two_disks.fill(deployment.settings.topics.risk_features)
    life.go_on()
    while not two_disks.refused():
        assert life.process.poll() is None, life.said()
    assert watch(life, 5) - before < WAITING_MOST
    two_disks.stop()
    two_disks.start()
    assert life.wait(LIFT_SECONDS) == 0, life.said()
    assert deployment.risk_ids() == Counter(reference.ids)


@pytest.mark.kafka
@pytest.mark.parametrize("processes", [pytest.param("1", id="one process"), pytest.param("2", id="two processes")])
def test_a_recovery_store_whose_disk_is_full_ends_the_run_with_a_sentence(
    kafka: str, deploy: Callable[[str], Deployment], reference: Reference, processes: str
) -> None:
    """It names the directory and what to do; the next start, with room, goes on as if nothing had been."""
    deployment = deploy(kafka)
    life = to_the_middle(deployment, reference.log, "--processes", processes)
    for pid in life.alive("--place") or [life.process.pid]:
        let_no_file_grow(pid)
    life.go_on()
    assert life.wait(60) == ExitCode.MEND, life.said()
    sentences = re.findall(r"^(?:process-\d: )?Error: (.*)$", life.said(), re.MULTILINE)
    assert set(sentences) <= {
        f"Recovery directory {deployment.folder / 'recovery'} took no further snapshot ({why}): make room on its disk, "
        "or repair it, then start again; nothing is lost, the next start goes on from the last snapshot."
        for why in ("disk I/O error", "File too large")
    }
    assert sentences
    assert deployment.served() < len(reference.points)
    deployment.finish("--processes", processes)
    assert deployment.risk_ids() == Counter(reference.ids)


PANIC = "(src/run.rs:1:1) called `Result::unwrap()` on an `Err` value: SqliteFailure(Error { code: %s }, Some(%s))"
FULL = PANIC % ("DiskFull, extended_code: 13", '"database or disk is full"')
DAMAGED = PANIC % ("DatabaseCorrupt, extended_code: 11", '"database disk image is malformed"')


def test_what_the_engine_says_of_a_full_disk_becomes_a_sentence(tmp_path: Path) -> None:
    """SQLite has a word of its own for a disk without room."""
    took_none = r"took no further snapshot \(database or disk is full\): make room"
    with pytest.raises(StoreError, match=took_none), errors_explained(tmp_path):
        raise RuntimeError(FULL)


@pytest.mark.parametrize("said", [pytest.param(DAMAGED, id="damage"), pytest.param("a bug", id="a bug")])
def test_what_room_on_the_disk_does_not_cure_is_not_called_a_full_disk(tmp_path: Path, said: str) -> None:
    """It is passed on as it came."""
    with pytest.raises(RuntimeError) as caught, errors_explained(tmp_path):
        raise RuntimeError(said)
    assert str(caught.value) == said


def chat(records: int) -> Iterator[Written]:
    """Long messages that nothing can compress, a day after the reports."""
    rng, begin = random.Random(1), 1_700_086_400_000
    for number in range(records):
        body = {
            "event_id": f"c{number}",
            "event_time": begin + number,
            "user_id": f"u{number % 200}",
            "channel": "lobby",
            "text": rng.randbytes(CHAT_BYTES // 2).hex(),
        }
        yield Written(str(body["user_id"]), begin + number, orjson.dumps(body))


def reports(records: int) -> Iterator[Written]:
    """A report each second, of 200 users in turn."""
    begin = 1_700_000_000_000
    for number in range(records):
        time, user = begin + number * 1_000, f"u{number % 200}"
        body = {"event_id": f"r{number}", "event_time": time, "user_id": user, "kind": "report", "report": {}}
        yield Written(user, time, orjson.dumps(body))


def most_memory(deployment: Deployment) -> int:
    """Run to the end of the inputs; the most memory that took, in KiB."""
    life, most = deployment.start("--until-end"), 0
    while life.process.poll() is None:
        most = max(most, memory(life, "VmHWM"))
    assert life.wait(0) == 0, life.said()
    return most


@pytest.mark.kafka
def test_a_topic_far_ahead_of_the_other_waits_on_the_broker_and_not_in_memory(
    kafka: str, deploy: Callable[[str], Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    """150 MB of chat behind a day of reports: all of it is read, and little of it at a time."""
    monkeypatch.setenv("FOREWARN_KAFKA__QUEUED_MAX_KBYTES", str(AHEAD_KBYTES))
    grown = []
    for records in (CHAT_RECORDS // 1_000, CHAT_RECORDS):
        deployment = deploy(kafka)
        write(kafka, deployment.settings.topics.moderation_events, reports(20_000))
        write(kafka, deployment.settings.topics.chat_messages, chat(records))
        grown.append(most_memory(deployment))
        assert deployment.lives[-1].events() == 20_000 + records
    few, many = grown
    assert many - few < AHEAD_MOST, (few, many)
