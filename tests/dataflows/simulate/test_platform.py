"""The simulated platform: repeatable, of the size asked for, valid, and as troubled as a real one."""

from __future__ import annotations

import gzip
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dataflows.simulate.platform import CHANNELS, SimulationConfig, simulate, write_log
from dataflows.simulate.text import MARKERS, NEUTRAL
from dataflows.sources.files.log import read_log
from schemas.codec.inputs import Codec
from schemas.records.base import CHAT, Raw
from schemas.records.events import ChatMessage, ModerationEvent
from schemas.records.rejects import Reject
from tests.kit.thorough import examples

HOUR = 3_600_000
CONFIG = SimulationConfig(events=20_000, users=300, days=20, seed=7, erased=0.05, brigades_per_week=3)


@pytest.fixture(scope="module")
def events() -> list[dict[str, Any]]:
    """One simulation for every test that only looks."""
    return list(simulate(CONFIG))


def _of(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The first deliveries of events of a kind."""
    found = {event["event_id"]: event for event in events if event.get("kind", "message") == kind}
    return list(found.values())


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    """Plain and gzipped, however often; another seed gives another log."""
    config = SimulationConfig(events=2_000, users=50, days=3)
    written = {write_log(config, tmp_path / name) for name in ("a.jsonl", "b.jsonl", "a.jsonl.gz", "b.jsonl.gz")}
    assert len(written) == 1
    plain, zipped = (tmp_path / "a.jsonl").read_bytes(), (tmp_path / "a.jsonl.gz").read_bytes()
    assert plain == (tmp_path / "b.jsonl").read_bytes() == gzip.decompress(zipped)
    assert zipped == (tmp_path / "b.jsonl.gz").read_bytes()
    assert zipped[3:8] == bytes(5)  # neither a file name nor a time in the gzip header
    assert plain.count(b"\n") == written.pop()
    write_log(config.model_copy(update={"seed": 2}), tmp_path / "c.jsonl")
    assert (tmp_path / "c.jsonl").read_bytes() != plain


def test_an_event_belongs_to_whoever_it_was_handed_to(events: list[dict[str, Any]]) -> None:
    """Taking events apart as they come changes nothing of those still to come."""
    taken = []
    for event in simulate(CONFIG):
        taken.append(dict(event))
        event.clear()
    assert taken == events


def test_a_log_is_jsonl(tmp_path: Path) -> None:
    """Another suffix is answered before anything is written."""
    with pytest.raises(ValueError, match=r"log\.csv: a simulated log is JSONL"):
        write_log(CONFIG, tmp_path / "log.csv")
    assert not list(tmp_path.iterdir())


@settings(max_examples=examples(15), deadline=None)
@given(
    st.builds(
        SimulationConfig,
        events=st.integers(1, 500),
        users=st.integers(20, 60),
        days=st.floats(1e-8, 40),
        seed=st.integers(0, 2**40),
        drifting=st.floats(0, 1),
        sanctioned=st.floats(0, 1),
        erased=st.floats(0, 1),
        late=st.floats(0, 0.5),
        duplicated=st.floats(0, 1),
    )
)
def test_whatever_is_asked_for_there_are_at_least_that_many_events(config: SimulationConfig) -> None:
    """Distinct ones, inside the span, even when everybody is banned or erased."""
    found = {event["event_id"]: event["event_time"] for event in simulate(config)}
    assert len(found) >= config.events
    assert min(found.values()) >= config.start_ms
    assert max(found.values()) <= config.start_ms + config.span_ms


def test_every_record_is_valid_and_read_back_without_a_mapping(tmp_path: Path) -> None:
    """The native log is what the source reads; nothing in it is a reject."""
    count = write_log(CONFIG, tmp_path / "log.jsonl.gz")
    items = list(read_log(tmp_path / "log.jsonl.gz"))
    assert len(items) == count
    codec = Codec()
    decoded = [codec.decode(item) for item in items if isinstance(item, Raw)]
    assert len(decoded) == count
    assert Counter(map(type, decoded)).keys() == {ChatMessage, ModerationEvent}
    assert not [event for event in decoded if isinstance(event, Reject)]


def test_there_is_every_kind_of_event(events: list[dict[str, Any]]) -> None:
    """Messages mostly, and each thing that moderation does."""
    kinds = Counter(event.get("kind", "message") for event in events)
    assert kinds.keys() == {"message", "report", "sanction", "reversal", "exposure", "erasure"}
    assert kinds["message"] > 0.9 * len(events)


def test_few_events_are_late_disordered_or_doubled(events: list[dict[str, Any]]) -> None:
    """All the others come in the order of event time; a doubled event is the same twice."""
    latest, behind = 0, []
    for event in events:
        behind.append(latest - event["event_time"])
        latest = max(latest, event["event_time"])
    assert 0 < sum(gap > 0 for gap in behind) < 0.03 * len(events)
    assert sum(gap > 5 * 60_000 for gap in behind) > 0
    copies = defaultdict(list)
    for event in events:
        copies[event["event_id"]].append(event)
    doubled = [found for found in copies.values() if len(found) > 1]
    assert 0 < len(doubled) < 0.01 * len(events)
    assert all(first == second for first, second in doubled)


def test_an_undisturbed_log_is_in_order_and_without_doubles() -> None:
    """The disorder is all in the three rates."""
    calm = list(simulate(CONFIG.model_copy(update={"late": 0.0, "disordered": 0.0, "duplicated": 0.0})))
    times = [event["event_time"] for event in calm]
    assert times == sorted(times)
    assert len({event["event_id"] for event in calm}) == len(calm)


def test_a_reversal_names_an_earlier_sanction_of_the_same_user(events: list[dict[str, Any]]) -> None:
    """An overturned sanction can be found by its id."""
    sanctions = {event["event_id"]: event for event in _of(events, "sanction")}
    for reversal in _of(events, "reversal"):
        sanction = sanctions[reversal["reversal"]["sanction_id"]]
        assert sanction["user_id"] == reversal["user_id"]
        assert sanction["event_time"] < reversal["event_time"]


def test_who_is_banned_or_erased_falls_silent_within_the_hour(events: list[dict[str, Any]]) -> None:
    """What moderation does has its effect on what is said."""
    reversed_ids = {event["reversal"]["sanction_id"] for event in _of(events, "reversal")}
    silenced = {e["user_id"]: e["event_time"] for e in _of(events, "erasure")}
    for sanction in _of(events, "sanction"):
        if sanction["sanction"]["action"] == "ban" and sanction["event_id"] not in reversed_ids:
            silenced.setdefault(sanction["user_id"], sanction["event_time"])
    assert len(silenced) > 5
    for message in _of(events, "message"):
        assert message["event_time"] < silenced.get(message["user_id"], message["event_time"]) + HOUR


def test_exposures_are_randomised_with_the_probability_they_state() -> None:
    """Each arm says the probability of its own choice."""
    arms = Counter(
        (event["exposure"]["arm"], event["exposure"]["probability"])
        for event in simulate(CONFIG.model_copy(update={"treated": 0.8, "exposed": 1.0}))
        if event.get("kind") == "exposure"
    )
    assert arms.keys() == {("educate", 0.8), ("control", 0.2)}
    assert 0.7 < arms["educate", 0.8] / arms.total() < 0.9


def test_nobody_who_drifts_means_fewer_violations() -> None:
    """The trajectories are what makes chronic users, and sanctions follow violations."""
    drifting = _of(list(simulate(CONFIG.model_copy(update={"drifting": 0.4, "erased": 0.0}))), "sanction")
    quiet = _of(
        list(simulate(CONFIG.model_copy(update={"drifting": 0.0, "reforming": 0.0, "contacting": 0.0}))), "sanction"
    )
    assert len(drifting) > 3 * len(quiet)


def test_contacting_users_write_to_many_strangers() -> None:
    """Ever more different recipients, where the others write to a few friends."""
    messages = _of(list(simulate(CONFIG.model_copy(update={"contacting": 0.1, "sanctioned": 0.0}))), "message")
    recipients = defaultdict(set)
    for message in messages:
        recipients[message["channel"] == "direct", message["user_id"]].update(message.get("recipients", ()))
    strangers = [len(found) for (direct, _), found in recipients.items() if direct]
    friends = [len(found) for (direct, _), found in recipients.items() if not direct]
    assert max(strangers) > 30
    assert max(friends) <= 6


def test_a_brigade_is_many_reporters_in_minutes() -> None:
    """Somebody is reported by a crowd without having said anything that moderation acts on."""
    alone = SimulationConfig(
        events=500, users=200, days=7, brigades_per_week=20, reported=0.0, falsely_reported=0.0, late=0.0
    )
    reporters = defaultdict(set)
    for report in _of(list(simulate(alone)), "report"):
        assert "message_id" not in report["report"]
        assert report["report"]["reporter_id"] != report["user_id"]
        reporters[report["user_id"]].add(report["report"]["reporter_id"])
    assert max(map(len, reporters.values())) >= 8


def test_nothing_is_said_but_neutral_and_invented_words(events: list[dict[str, Any]]) -> None:
    """Marker words go with high scores of the pretended scorer."""
    marked, unmarked = list[float](), list[float]()
    for message in _of(events, "message"):
        words = set(message["text"].split())
        assert words <= {*NEUTRAL, *MARKERS}
        assert message["channel"] in {*CHANNELS, "direct"}
        (score,) = message["scores"]
        assert (score["scorer"], score["version"]) == ("sim-toxicity", "1")
        (marked if words & set(MARKERS) else unmarked).append(score["value"])
    assert sum(marked) / len(marked) > 0.6
    assert sum(unmarked) / len(unmarked) < 0.15


def test_the_start_may_be_given_as_text_with_or_without_a_zone() -> None:
    """Without one it is UTC; the span is the days asked for."""
    zoned = SimulationConfig.model_validate({"start": "2024-03-01T01:00:00+01:00", "days": 2})
    assert zoned.start_ms == SimulationConfig.model_validate({"start": "2024-03-01T00:00:00"}).start_ms
    assert zoned.start_ms == datetime(2024, 3, 1, tzinfo=UTC).timestamp() * 1_000
    assert zoned.span_ms == timedelta(days=2).total_seconds() * 1_000


@pytest.mark.parametrize(
    "wrong", [{"events": 0}, {"users": 3}, {"days": 0}, {"late": 1.5}, {"seed": -1}, {"evnts": 10}, {"start": "soon"}]
)
def test_a_simulation_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    """Out of bounds, unknown or unreadable."""
    with pytest.raises(ValidationError):
        SimulationConfig.model_validate(wrong)


def test_messages_say_chat_and_everything_else_moderation(events: list[dict[str, Any]]) -> None:
    """The subject is what tells the two apart in the native format."""
    assert all((event["subject"] == CHAT) is ("kind" not in event) for event in events)
