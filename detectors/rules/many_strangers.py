"""Many strangers: one user addresses many different people within an hour."""

from detectors.rules.base import Columns, Fired, Rule


class ManyStrangers(Rule):
    """Fires when a user addresses `limit` or more distinct recipients within one hour."""

    name = "many_strangers"
    features = ("recipient_distinct_1h", "recipient_distinct_24h")
    default_limit = 20
    runbook = (
        "Look at who was addressed: new and young accounts in a row are the pattern of grooming and of scams, and are "
        "handed to the child-safety team at once; a guild leader's invitations are not."
    )
    known_gaps = "Without recipients on messages it is blind. Distinct counts read at most 64, and friends count too."

    def fires(self, values: Columns) -> Fired:
        """Return whether the number of distinct recipients is at or above the limit."""
        fired: Fired = values[0] >= self.limit
        return fired
