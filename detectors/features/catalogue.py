"""The declared features as a table, in the order of a feature vector."""

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
    # message volume and its trend
    Window("message", "count", "5m"),
    Window("message", "count", "1h"),
    Window("message", "count", "24h"),
    Decay("message", "10m"),
    Decay("message", "7d"),
    Trend("message", "1h", "24h"),
    Since("message"),
    Since("first"),
    # message length, repetition and toxicity
    Window("length", "mean", "1h"),
    Window("length", "mean", "24h"),
    Window("repeat", "count", "1h"),
    Ratio("repeat", "24h"),
    Window("toxicity", "mean", "1h"),
    Window("toxicity", "max", "24h"),
    Decay("toxicity", "7d"),
    # channels used and users addressed
    Window("channel", "distinct", "1h"),
    Window("channel", "distinct", "24h"),
    Window("recipient", "distinct", "1h"),
    Window("recipient", "distinct", "24h"),
    # reports about the user
    Window("report", "count", "24h"),
    Window("report", "count", "7d"),
    Window("reporter", "distinct", "24h"),
    Window("reporter", "distinct", "7d"),
    Decay("report", "7d"),
    Since("report"),
    # sanctions, net of reversals
    Window("sanction", "count", "30d"),
    Window("sanction_severity", "sum", "30d"),
    Decay("sanction", "7d"),
    Since("sanction"),
    StrikeCount(),
    # lessons already shown
    Window("exposure", "count", "7d"),
    Since("exposure"),
    # reversals of sanctions
    Window("reversal", "count", "30d"),
    # number of sessions, and events in the first one
    Session("number"),
    Session("first"),
    # the channel and the user's part in it; absent unless the policy sets `channels.remembered`
    ChannelFeature("rate"),
    ChannelFeature("share"),
    ChannelFeature("sanctions"),
    Window("excess", "mean", "24h"),
    Ratio("quick_answer", "24h"),
    # the latest events, in order
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
"""Features that did not help on the real logs, and are not served: see docs/lab-book/datasets.md."""

NAMES: tuple[str, ...] = tuple(feature.name for feature in CATALOGUE)
"""Column names of a feature vector, in order."""
CODES: tuple[str, ...] = tuple(feature.name for feature in CATALOGUE if isinstance(feature, TokenNgram))
"""The columns that hold categories; they come last."""
NUMBERS: tuple[str, ...] = tuple(name for name in NAMES if name not in CODES)
"""The columns that hold quantities; all models but `sequence` read them."""
