"""The public test kit does what it says."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

import dataflows.testing
from dataflows.testing import START, FlowDriver, hand_made_model, small_policy
from detectors.policy.policy import Policy
from schemas.codec.outputs import Encoder
from schemas.records.base import CHAT
from schemas.records.events import ChatMessage
from tests.kit.essence import everything
from tests.kit.small_platform import POLICY, life


def test_the_example_in_the_kit_is_true() -> None:
    """The doctest at the top of the module runs and gives what it shows."""
    done = doctest.testmod(dataflows.testing)
    assert done.attempted > 10
    assert done.failed == 0


def test_events_are_dated_by_the_clock_and_named_in_order() -> None:
    """Only `advance` moves the clock; ids count up; a field given by name wins."""
    driver = FlowDriver(small_policy())
    driver.chat("ann")
    driver.advance("90s")
    driver.report("ann", "bob")
    driver.chat("ann", event_id="mine", event_time=driver.now - 1)
    points = [row.point for row in driver.run().served]
    assert [(point.event_id, point.as_of - START) for point in points] == [
        ("event-0", 0),
        ("event-1", 90_000),
        ("mine", 90_000),
    ]


def test_bytes_are_decoded_as_a_topic_would_hold_them() -> None:
    """The codec is the real one: what it cannot read is a reject."""
    driver = FlowDriver(small_policy())
    message = ChatMessage(event_id="a", event_time=START, user_id="ann", channel="lobby")
    driver.send(CHAT, Encoder("chat_message").encode(message))
    driver.send(CHAT, message.model_dump_json().encode())
    driver.send(CHAT, b"neither")
    result = driver.run()
    assert result.telemetry.counts("outcomes") == {"duplicate": 1, "seen": 1}
    assert [reject.value for reject in result.rejects] == [b"neither"]


def test_a_driver_may_run_again_and_may_be_fed_more() -> None:
    """Each run is a new flow over everything fed so far."""
    driver = FlowDriver(small_policy())
    driver.chat("ann")
    assert everything(driver.run()) == everything(driver.run())
    driver.chat("ann")
    assert [row.point.events for row in driver.run().served] == [1, 2]


def test_a_hand_made_model_multiplies_what_it_was_told_to() -> None:
    """Its probability is the base times one plus each weighted feature, at most one."""
    driver = FlowDriver(small_policy())
    for reporter in ("bob", "cid", "dan"):
        driver.report("ann", reporter)
    model = hand_made_model(0.1, {"report_count_24h": 1.0, "reporter_distinct_24h": 0.5})
    scores = [row.probability for row in driver.run(model=model).served]
    assert scores == pytest.approx([0.1 * 2 * 2**0.5, 0.1 * 3 * 3**0.5, 0.1 * 4 * 4**0.5])
    certain = hand_made_model(0.9, {"report_count_24h": 3.0})
    assert [row.probability for row in driver.run(model=certain).served] == [1.0, 1.0, 1.0]


def test_a_hand_made_model_that_has_seen_the_future_is_said_to_be_ahead() -> None:
    """`learned_until` is what the version says of itself, and risk events tell."""
    driver = FlowDriver(small_policy())
    driver.chat("ann")
    (before,) = driver.run(model=hand_made_model(0.9, learned_until=START - 1)).risk_events
    (ahead,) = driver.run(model=hand_made_model(0.9, learned_until=START)).risk_events
    assert (before.model_note, ahead.model_note) == ("ok", "ahead")


def test_features_and_tiers_are_those_of_the_user_asked_for() -> None:
    """The last features served, and every tier the user was moved to."""
    driver = FlowDriver(small_policy())
    driver.chat("ann")
    driver.chat("bob")
    driver.report("ann", "bob")
    result = driver.run(model=hand_made_model(0.35, {"report_count_24h": 1.0}))
    assert result.features("ann")["report_count_24h"] == 1
    assert result.features("bob")["report_count_24h"] == 0
    assert result.tiers("ann") == ["watch", "high"]
    assert result.tiers("bob") == ["watch"]


def test_changes_to_the_small_policy_replace_whole_sections() -> None:
    """And a wrong one is refused as in a file."""
    policy = small_policy(tiers={"elevated": {"enter": 0.5, "leave": 0.5}})
    assert isinstance(policy, Policy)
    assert [str(tier) for tier in policy.tiers] == ["elevated"]
    with pytest.raises(ValueError, match="unknown rule 'noise'"):
        small_policy(rules={"noise": {}})


def test_a_restart_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    """Drained and started anew, the flow gives each item once."""
    driver = FlowDriver(POLICY)
    for number, happen in enumerate(life(driver)):
        happen()
        if number == 30:
            driver.restart()
    straight = FlowDriver(POLICY)
    for happen in life(straight):
        happen()
    restarted = driver.run(recovery=tmp_path, batch_size=7)
    assert len(restarted.served) == len(straight.run().served)
    assert everything(restarted) == everything(straight.run())


def test_a_crash_repeats_what_came_after_the_last_snapshot(tmp_path: Path) -> None:
    """Output is at least once: with snapshots at restarts only, everything since the restart is there twice."""
    driver = FlowDriver(small_policy())
    driver.chat("ann", event_id="before")
    driver.restart()
    driver.chat("ann", event_id="between")
    driver.crash()
    driver.chat("ann", event_id="after")
    result = driver.run(recovery=tmp_path, snapshot_each_batch=False, model=hand_made_model(0.5))
    assert [row.point.event_id for row in result.served] == ["before", "between", "between", "after"]
    assert [row.point.events for row in result.served] == [1, 2, 2, 3]


def test_what_the_engine_cannot_do_is_said_before_it_is_tried(tmp_path: Path) -> None:
    """A stop needs somewhere to go on from, and the engine crashes on purpose with one worker only."""
    driver = FlowDriver(small_policy())
    driver.crash()
    with pytest.raises(ValueError, match="needs a recovery directory"):
        driver.run()
    with pytest.raises(ValueError, match="with one worker only"):
        driver.run(recovery=tmp_path, workers=2)
