"""Velocity: more messages in five minutes than people type."""

from detectors.rules.base import Columns, Fired, Rule


class Velocity(Rule):
    """Fires when a user sends `limit` messages or more within five minutes."""

    name = "velocity"
    features = ("message_count_5m",)
    default_limit = 30
    runbook = (
        "Open the channel at the time of the warning. A pasted log or a game macro calls for a hint about pasting; "
        "the same line over and over calls for the repeated-text runbook."
    )
    known_gaps = "A flood spread over several accounts, or kept just under the limit, is not seen."

    def fires(self, values: Columns) -> Fired:
        """Return whether the number of messages is at or above the limit."""
        fired: Fired = values[0] >= self.limit
        return fired
