"""Families of features: features that count the same facts, such as one report in three windows, belong together."""

from __future__ import annotations

OTHER = "other features"
_OWN = {
    "first_session_count": "sessions",
    "message_since": "pace of messages",
    "first_since": "time since first seen",
    "channel_distinct_1h": "channels and people addressed",
    "channel_distinct_24h": "channels and people addressed",
    "reversal_count_30d": "sanctions taken back",
}
_BY_SIGNAL = {
    "message": "pace of messages",
    "gap": "pace of messages",
    "burst": "pace of messages",
    "length": "length and repetition",
    "repeat": "length and repetition",
    "toxicity": "toxicity",
    "excess": "toxicity",
    "recipient": "channels and people addressed",
    "report": "reports",
    "reporter": "reports",
    "sanction": "sanctions",
    "strike": "sanctions",
    "exposure": "interventions shown",
    "session": "sessions",
    "channel": "the channel",
    "answer": "answers",
    "quick": "answers",
    "sequence": "order of the latest events",
}


def family_of(feature: str) -> str:
    """Return the family of a feature; `OTHER` if its name is of no known signal.

    >>> family_of("report_count_24h"), family_of("reporter_distinct_7d")
    ('reports', 'reports')
    """
    return _OWN.get(feature) or _BY_SIGNAL.get(feature.partition("_")[0], OTHER)
