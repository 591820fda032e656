"""Report burst: several different people report one user within a day."""

from detectors.rules.base import Columns, Fired, Rule


class ReportBurst(Rule):
    """Fires when `limit` or more distinct reporters reported the user within 24 hours."""

    name = "report_burst"
    features = ("reporter_distinct_24h", "report_count_24h")
    default_limit = 3
    runbook = (
        "Read the reported messages, then look whether the reporters belong together: friends who report in concert "
        "(a brigade) are a reason to lift the warning, not to act on it."
    )
    known_gaps = "Reports without a reporter's id are not counted as people. A brigade of distinct accounts fires it."

    def fires(self, values: Columns) -> Fired:
        """Return whether the number of distinct reporters is at or above the limit."""
        fired: Fired = values[0] >= self.limit
        return fired
