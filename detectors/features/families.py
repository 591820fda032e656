"""Families of features: features that count the same facts, such as one report in three windows, belong together."""

from __future__ import annotations

from fnmatch import fnmatchcase

FAMILIES: dict[str, tuple[str, ...]] = {
    "pace of messages": ("message_*", "gap_*", "burst_*"),
    "length and repetition": ("length_*", "repeat_*"),
    "toxicity": ("toxicity_*",),
    "toxicity beside the channel's": ("excess_*",),
    "channels and people addressed": ("channel_distinct_*", "recipient_*"),
    "the channel": (
        *("channel_rate", "channel_share", "channel_sanctions"),
        *("channel_age", "channel_newcomers", "channel_toxicity"),
    ),
    "answers": ("quick_answer_*", "answer_*", "channel_answered"),
    "sessions": ("session_*", "first_session_*"),
    "reports": ("report_*", "reporter_*"),
    "sanctions": ("sanction_*", "strike_count"),
    "sanctions taken back": ("reversal_*",),
    "interventions shown": ("exposure_*",),
    "time since first seen": ("first_since",),
    "order of the latest events": ("sequence_*",),
}
"""Shell patterns of the features of each family; every feature is in exactly one family."""


def family_of(feature: str) -> str:
    """Return the family of a feature.

    Raises:
        ValueError: if it is in none, or in several.

    >>> family_of("report_count_24h"), family_of("reporter_distinct_7d")
    ('reports', 'reports')
    """
    found = [name for name, patterns in FAMILIES.items() if any(fnmatchcase(feature, one) for one in patterns)]
    if len(found) != 1:
        raise ValueError(f"{feature} is in {', '.join(found) or 'no family'}: FAMILIES must have it once")
    return found[0]
