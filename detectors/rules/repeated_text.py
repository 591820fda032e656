"""Repeated text: the same line again and again."""

from detectors.rules.base import Columns, Fired, Rule


class RepeatedText(Rule):
    """Fires when a user repeats recent texts of their own `limit` times or more within an hour."""

    name = "repeated_text"
    features = ("repeat_count_1h", "message_count_1h")
    default_limit = 5
    runbook = (
        "Look whether the repeated line is an advertisement, a link or a game call. Trade channels repeat by nature: "
        "raise the limit there rather than teaching users that warnings mean nothing."
    )
    known_gaps = (
        "A line changed by a letter each time is a new line; changed by case, marks, invisible characters or letters "
        "that look alike it is not. Texts under eight characters are never repeats."
    )

    def fires(self, values: Columns) -> Fired:
        """Return whether repeats are at or above the limit, and at least half of the user's messages."""
        repeats, messages = values
        fired: Fired = (repeats >= self.limit) & (repeats * 2 >= messages)
        return fired
