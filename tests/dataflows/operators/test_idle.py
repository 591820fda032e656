"""Users who fall silent are dropped from memory, and nothing that leaves the flow shows it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from dataflows.operators.profile import Bundle, ProfileLogic
from dataflows.testing import START, DriverResult, FlowDriver, hand_made_model, small_policy
from detectors.base.log_clock import LogClock
from detectors.profiles.idle import DAY, MARGIN, USERS
from detectors.profiles.user import CompiledPolicy
from detectors.profiles.users import BatchResult

pytestmark = pytest.mark.slow

POLICY = small_policy(
    strike_expiry="30d",
    profile_ttl="30d",
    allowed_lateness="1h",
    rules={"report_burst": {"tier": "high", "limit": 2}},
)
RULES = CompiledPolicy(POLICY)
KEPT = RULES.ttl + RULES.lateness + MARGIN
"""How long a user is kept who says nothing more (ms)."""
KEPT_DAYS = KEPT // DAY + 2
"""The days that may be in memory at once: today's and the one that is being dropped come on top."""
EACH_DAY = 4
"""New users a day."""
MODEL = hand_made_model(0.25, {"message_count_24h": 0.5, "report_count_7d": 1.0})


class Alive:
    """The users that the lanes keep, counted after every batch."""

    def __init__(self) -> None:
        self.peak = 0


@pytest.fixture
def alive(monkeypatch: pytest.MonkeyPatch) -> Alive:
    counted, take = Alive(), ProfileLogic.on_batch

    def taken(self: ProfileLogic, values: list[Bundle]) -> tuple[list[BatchResult], bool]:
        result = take(self, values)
        counted.peak = max(counted.peak, len(self.users))
        return result

    monkeypatch.setattr(ProfileLogic, "on_batch", taken)
    return counted


def live(day: int, driver: FlowDriver, rng: random.Random) -> None:
    """A day of a platform whose users come, stay for a while, and now and then return long after."""
    for number in range(EACH_DAY):
        driver.advance("5h")
        user = f"u{day}-{number}"
        driver.chat(user, text="hello")
        if rng.random() < 0.05:
            driver.chat(user, text="sent long ago", event_time=driver.now - 7_200_000)
        gap = rng.choice((1, 8, 25, 29, 30, 31, 45, 59, 62, 90, 170))
        if gap <= day:
            returning = f"u{day - gap}-{rng.randrange(EACH_DAY)}"
            back = rng.choice((0, 0, 600_000, 7_200_000))
            driver.chat(returning, text="hello again", event_time=driver.now - back)
            driver.report(returning, f"w{rng.randrange(3)}")
            if rng.random() < 0.1:
                driver.sanction(returning, severity=5)
            if rng.random() < 0.05:
                driver.erase(returning)
    driver.advance("4h")


def community(days: int = 160, **options: Any) -> FlowDriver:
    driver, rng = FlowDriver(POLICY, **options), random.Random(3)
    for day in range(days):
        live(day, driver, rng)
    return driver


def told(result: DriverResult) -> list[str]:
    """Everything that left the flow, as text, so that NaN equals NaN."""
    streams: tuple[list[Any], ...] = (
        result.risk,
        result.served,
        result.published,
        result.rejects,
        result.late,
        result.outcomes,
    )
    assert not result.rejects
    return [repr(item) for stream in streams for item in stream]


def in_memory(result: DriverResult) -> float:
    value = result.telemetry.registry.get_sample_value("forewarn_profiles")
    assert value is not None
    return value


def dropped(result: DriverResult) -> int:
    return result.telemetry.counts("dropped").get("silence", 0)


@pytest.fixture(scope="module")
def whole() -> DriverResult:
    """The whole log in one batch: nobody is dropped before everything is counted."""
    result = community().run(batch_size=100_000)
    assert len({row.tier for row in result.served}) > 1, "nobody was warned of, so there is nothing to compare"
    assert result.outcomes
    assert result.late
    return result


@pytest.mark.parametrize(("batch", "workers"), [(1, 1), (7, 1), (40, 1), (7, 2)])
def test_dropping_the_silent_changes_nothing_that_leaves_the_flow(
    whole: DriverResult, batch: int, workers: int
) -> None:
    """In small batches hundreds of users are dropped, many of whom come back; the result is that of dropping nobody."""
    result = community().run(batch_size=batch, workers=workers)
    assert dropped(result) > 200
    assert told(result) == told(whole)


@pytest.mark.parametrize("batch", [1, 40])
def test_memory_is_bounded_by_the_ttl_however_many_users_come(batch: int, alive: Alive) -> None:
    """A lane never keeps more users than those of the days that count; twice as many days need no more."""
    bound, peaks = EACH_DAY * KEPT_DAYS * 2, []
    for days in (200, 400):
        alive.peak = 0
        result = community(days).run(model=MODEL, batch_size=batch, lanes=1)
        users = {row.point.user_id for row in result.served}
        assert len(users) == EACH_DAY * days
        assert alive.peak < bound < len(users)
        assert in_memory(result) < bound
        peaks.append(alive.peak)
    assert peaks[1] < 1.1 * peaks[0]


@pytest.mark.parametrize("crashing", [False, True])
def test_users_who_were_loaded_after_a_restart_are_dropped_too(tmp_path: Path, crashing: bool) -> None:
    """Whoever fell silent before a process ended is on the list of the next."""
    driver, rng = FlowDriver(POLICY), random.Random(3)
    for day in range(180):
        if day == 50:
            driver.crash() if crashing else driver.restart()
        live(day, driver, rng)
    straight = community(180).run(model=MODEL, batch_size=5, lanes=4)
    result = driver.run(model=MODEL, batch_size=5, recovery=tmp_path, lanes=4)
    # a crash loses no user either, but what was under way is told twice
    assert sorted(set(told(result))) == sorted(set(told(straight)))
    assert in_memory(result) == in_memory(straight)
    assert dropped(result) >= dropped(straight) > 200


def test_a_few_wrong_clocks_drop_nobody() -> None:
    """Nor do a few who are years ahead; only when a quarter of all users are do the others count as silent."""
    for many, expected in (1, 0), (5, 0), (14, 40):
        poisoned = [f"ahead-{number}" for number in range(many)]
        driver = FlowDriver(POLICY)
        for number in range(40):
            driver.chat(f"u{number}")
        for user in poisoned:
            driver.chat(user, event_time=START + 2_000 * DAY)
        for number in range(40):
            driver.chat(f"late-comer-{number}")
        assert dropped(driver.run(model=MODEL, batch_size=1, lanes=1)) == expected


def test_a_partition_that_lags_behind_another_loses_nobody() -> None:
    """Read together with a neighbour's next year, a partition's users are judged by their own partition's clock."""

    def on(partition: int, name: str) -> str:
        return next(user for n in range(99) if crc32((user := f"{name}-{n}").encode()) % 2 == partition)

    driver, ahead = FlowDriver(POLICY, partitions=2), 315
    for day in range(365):
        driver.now = START + day * DAY
        driver.chat(on(0, f"ahead-{day}"))
        behind = day - ahead
        driver.now -= ahead * DAY
        if behind >= 0:
            driver.chat(on(1, f"behind-{behind}"))
        if behind >= 25:  # who was there before, and is well within the TTL
            driver.report(on(1, f"behind-{behind - 25}"), "witness")
    result = driver.run(model=MODEL, batch_size=1, lanes=1)
    assert told(result) == told(driver.run(model=MODEL, batch_size=100_000))
    clock = LogClock(USERS)  # the law of which is tested by itself
    for day in range(365):
        clock.advance(on(0, f"ahead-{day}"), START + day * DAY)
    assert dropped(result) == (clock.now - START - KEPT) // DAY
