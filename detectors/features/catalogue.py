"""The declared features: read this like a table."""

from __future__ import annotations

from detectors.features.declare import (
    ChannelFeature,
    Decay,
    Feature,
    Ratio,
    Session,
    Shift,
    Since,
    StrikeCount,
    TokenNgram,
    Trend,
    Window,
)

CATALOGUE: tuple[Feature, ...] = (
    # how much the user talks, and whether that is changing
    Window("message", "count", "5m"),
    Window("message", "count", "1h"),
    Window("message", "count", "24h"),
    Decay("message", "10m"),
    Decay("message", "7d"),
    Trend("message", "1h", "24h"),
    Since("message"),
    Since("first"),
    # how the user talks
    Window("length", "mean", "1h"),
    Window("length", "mean", "24h"),
    Window("repeat", "count", "1h"),
    Ratio("repeat", "24h"),
    Window("toxicity", "mean", "1h"),
    Window("toxicity", "max", "24h"),
    Decay("toxicity", "7d"),
    # whom and where
    Window("channel", "distinct", "1h"),
    Window("channel", "distinct", "24h"),
    Window("recipient", "distinct", "1h"),
    Window("recipient", "distinct", "24h"),
    # what others say of the user
    Window("report", "count", "24h"),
    Window("report", "count", "7d"),
    Window("reporter", "distinct", "24h"),
    Window("reporter", "distinct", "7d"),
    Decay("report", "7d"),
    Since("report"),
    # what moderation did, as it stands after reversals
    Window("sanction", "count", "30d"),
    Window("sanction_severity", "sum", "30d"),
    Decay("sanction", "7d"),
    Since("sanction"),
    StrikeCount(),
    # lessons already given
    Window("exposure", "count", "7d"),
    Since("exposure"),
    # what moderation took back
    Window("reversal", "count", "30d"),
    # sessions, and how the first one went
    Session("number"),
    Session("first"),
    # the channel, and the user in it; absent unless the policy has channels remembered
    ChannelFeature("rate"),
    ChannelFeature("share"),
    ChannelFeature("sanctions"),
    Window("excess", "mean", "24h"),
    Ratio("quick_answer", "24h"),
    # what happened last, in its order
    TokenNgram(4),
)

CANDIDATES: tuple[Feature, ...] = (
    Session("count"),
    Session("since"),
    Window("burst", "max", "1h"),
    Window("burst", "max", "24h"),
    Window("gap", "spread", "24h"),
    Shift("length", "1h", "24h"),
    Shift("toxicity", "1h", "24h"),
    ChannelFeature("age"),
    ChannelFeature("newcomers"),
    ChannelFeature("toxicity"),
    ChannelFeature("answered"),
    Window("answer", "count", "24h"),
    Decay("answer", "7d"),
    Ratio("answer", "24h"),
    Since("answer"),
)
"""Features that were tried on the real logs and are not served, since they did not help there: see docs/datasets.md."""

NAMES: tuple[str, ...] = tuple(feature.name for feature in CATALOGUE)
"""Column names of a feature vector, in order."""
CODES: tuple[str, ...] = tuple(feature.name for feature in CATALOGUE if isinstance(feature, TokenNgram))
"""The columns that hold categories. They come last."""
NUMBERS: tuple[str, ...] = tuple(name for name in NAMES if name not in CODES)
"""The columns that hold quantities, what all models but `sequence` read."""
