"""A small platform's life, told to a test kit's driver event by event."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dataflows.testing import FlowDriver, small_policy

USERS = ("ann", "bob", "cid", "dan", "eve", "fay")

POLICY = small_policy(
    channels={},  # in a channel, what others do is seen; what is told of a user here is to be that user's own
    target={"horizon": "24h", "when": [{"event": "sanction", "min_severity": 5}], "reset_after": "5m"},
    learning={"publish_every": "1m", "min_positives": 3, "min_events": 2},
    tiers={"watch": {"enter": 0.1, "leave": 0.05}, "high": {"enter": 0.3, "leave": 0.2}},
    rules={"report_burst": {"tier": "high", "limit": 3}},
)


def whom(number: int) -> str:
    """Whom an event is about: everybody has a share, of no pattern."""
    return USERS[(number * number + number // 7) % 6]


def life(driver: FlowDriver, events: int = 72) -> Iterator[Callable[[], None]]:
    """What happens, one event a call: talk, reports in bursts, bans of those reported, reversals, an event out of time.

    Every event has an id of its own, so that a platform on which more happens is still the same platform.
    """
    for number in range(events):
        overturns = number % 24 == 20
        user, name = whom(number - 9 if overturns else number), f"good-{number}"

        def happen(number: int = number, user: str = user, name: str = name, overturns: bool = overturns) -> None:
            driver.advance("20s")
            if number % 12 == 11:
                driver.sanction(user, 5, event_id=name)
            elif overturns:
                driver.reverse(user, f"good-{number - 9}", event_id=name)
            elif number % 4 == 1:
                driver.report(user, USERS[number % 6], event_id=name)
            elif number % 30 == 28:
                driver.chat(user, event_id=name, event_time=driver.now - 2 * 3_600_000)
            else:
                driver.chat(user, event_id=name, text=f"line {number % 7}", recipients=[USERS[number % 6]])

        yield happen
