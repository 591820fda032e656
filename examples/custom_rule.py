"""Add a rule and watch it fire, without a broker.

    python examples/custom_rule.py

In a change to forewarn itself, the class goes into a file of `detectors/rules` and its name into the catalogue there.
"""

from __future__ import annotations

from detectors.rules.base import Columns, Fired, Rule
from detectors.rules.catalogue import RULES
from forewarn import FlowDriver, small_policy


class RoomHopper(Rule):
    """Fires when a user writes in `limit` or more channels within one hour."""

    name = "room_hopper"
    features = ("channel_distinct_1h",)
    default_limit = 5
    runbook = "Compare the messages: the same text in every channel is advertising."
    known_gaps = "Several accounts that use one channel each are not seen. Distinct counts read at most 64."

    def fires(self, values: Columns) -> Fired:
        """Compare with the limit."""
        fired: Fired = values[0] >= self.limit
        return fired


def tiers_of_a_hopper() -> list[str]:
    """Return the tiers of a user who writes in four channels."""
    RULES[RoomHopper.name] = RoomHopper
    try:
        driver = FlowDriver(small_policy(rules={"room_hopper": {"tier": "elevated", "limit": 4}}))
        for channel in ("lobby", "trade", "raid", "help"):
            driver.chat("p001", channel=channel, text="cheap gold")
            driver.advance("1m")
        return driver.run().tiers("p001")
    finally:
        del RULES[RoomHopper.name]


if __name__ == "__main__":
    print(tiers_of_a_hopper())
