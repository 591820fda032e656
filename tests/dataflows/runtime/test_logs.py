"""What a run logs, as text and as JSON, and what other commands say instead; an outage is said once."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from threading import Event

import orjson
import pytest
from confluent_kafka import KafkaError

from dataflows.config.settings import KafkaSettings, LogSettings, Settings
from dataflows.kafka.connection import ECHO_SECONDS, SETTLED_SECONDS, Connection
from dataflows.live.monitor import REJECTS_TICKS, Monitor
from dataflows.live.supervision import LOG
from dataflows.runtime.health import Health
from dataflows.runtime.logs import configure, configure_plain
from dataflows.runtime.telemetry import Telemetry

log = logging.getLogger("dataflows.some.module")


@pytest.fixture(autouse=True)
def _logging_is_put_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, levels = list(root.handlers), {name: logging.getLogger(name).level for name in ("", "dataflows")}
    yield
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(capture=False)


def test_a_line_of_text_has_time_level_logger_and_message(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, whatever the message holds."""
    configure(LogSettings())
    log.info("two\nlines of %d", 7)
    printed = capsys.readouterr()
    time, _, rest = printed.err.partition(" ")
    assert rest == "INFO dataflows.some.module two lines of 7\n"
    assert len(time) == len("2024-03-01T09:30:00.123Z")
    assert printed.out == ""


def test_a_line_of_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    """Also with an exception in it."""
    configure(LogSettings(format="json"))
    try:
        int("a bug")
    except ValueError:
        log.exception("it broke\nbadly")
    (line,) = capsys.readouterr().err.splitlines()
    told = orjson.loads(line)
    assert (told["level"], told["logger"], told["message"]) == ("error", "dataflows.some.module", "it broke\nbadly")
    assert "ValueError: invalid literal" in told["exception"]
    assert "process" not in told


def test_a_process_of_a_cluster_marks_its_lines_for_the_supervisor(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON says which process it is, because nothing may stand before it."""
    configure(LogSettings(format="json"), process=3)
    log.info("ready")
    line = capsys.readouterr().err
    assert line.startswith(f"{LOG}{{")
    assert orjson.loads(line.removeprefix(LOG))["process"] == "3"


def test_the_level_is_that_of_the_settings(capsys: pytest.CaptureFixture[str]) -> None:
    """What libraries say is not shown below a warning."""
    configure(LogSettings(level="warning"))
    log.info("unheard")
    log.warning("heard")
    configure(LogSettings(level="debug"))
    logging.getLogger("some.library").info("unheard")
    log.debug("heard too")
    assert [line.rpartition(" ")[2] for line in capsys.readouterr().err.splitlines()] == ["heard", "too"]


def test_other_commands_say_warnings_in_one_plain_form(capsys: pytest.CaptureFixture[str]) -> None:
    """Those of the log and Python's own alike, and nothing less."""
    configure_plain()
    log.info("unheard")
    log.warning("mind the gap")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("and this", UserWarning, stacklevel=1)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "Warning: mind the gap"
    assert second.startswith("Warning: ")
    assert "UserWarning: and this" in second


class Clock:
    """A clock moved by hand."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_an_outage_is_said_once_by_whichever_client_meets_it_first(caplog: pytest.LogCaptureFixture) -> None:
    """And its end once, when a client is answered and none has met an error for a moment."""
    clock = Clock()
    connection = Connection(clock)
    changes: list[bool] = []
    connection.on_change = changes.append
    with caplog.at_level(logging.WARNING):
        connection.heard()
        for _ in range(8):
            connection.on_error(KafkaError(KafkaError._ALL_BROKERS_DOWN))
        clock.now += 30
        connection.lost("_TRANSPORT")
        connection.heard()
        clock.now += SETTLED_SECONDS
        connection.heard()
        connection.heard()
        clock.now += ECHO_SECONDS - 1
        connection.on_error(KafkaError(KafkaError._ALL_BROKERS_DOWN))  # a client that has not tried again yet
        connection.lost("_TRANSPORT")
    assert [record.getMessage() for record in caplog.records] == [
        "Kafka is not answering (_ALL_BROKERS_DOWN): trying again until it does.",
        f"Kafka answers again, after {30 + SETTLED_SECONDS:.0f} s.",
        "Kafka is not answering (_TRANSPORT): trying again until it does.",
    ]
    assert changes == [True, False, True]
    clock.now += SETTLED_SECONDS
    connection.heard()
    clock.now += ECHO_SECONDS
    connection.on_error(KafkaError(KafkaError._ALL_BROKERS_DOWN))
    assert changes == [True, False, True, False, True]


def test_rejects_are_said_once_a_minute_by_reason(caplog: pytest.LogCaptureFixture) -> None:
    """What was said before is not said again, and where there were none nothing is."""
    telemetry, stop = Telemetry(), Event()
    health = Health(stuck_seconds=60, epoch_seconds=None)
    settings = Settings(kafka=KafkaSettings(bootstrap_servers="localhost:1"))
    monitor = Monitor(settings, telemetry, health, stop)

    def minute(**rejects: int) -> None:
        telemetry.add("rejects", Counter(rejects))
        for _ in range(REJECTS_TICKS):
            monitor.tick()

    with caplog.at_level(logging.INFO):
        minute(truncated=2, empty_value=1)
        minute()
        minute(truncated=1_000)
        health.built()
        health.answered(None)
        monitor.tick()
        monitor.tick()
        stop.set()
        monitor.tick()
        monitor.tick()
    assert [record.getMessage() for record in caplog.records] == [
        "Rejected since the last such line, to risk.dead-letters: 1 empty_value, 2 truncated.",
        "Rejected since the last such line, to risk.dead-letters: 1,000 truncated.",
        "Ready: the flow runs, and Kafka answers.",
        "Draining: what was read is finished, and a last snapshot is taken.",
    ]
