"""Validation of feature declarations."""

from __future__ import annotations

from detectors.features.declare import (
    HOPS,
    ChannelFeature,
    Decay,
    Feature,
    Ratio,
    Session,
    Shift,
    Since,
    StrikeCount,
    TokenNgram,
    duration_ms,
)
from detectors.features.signals import DISTINCT_SIGNALS, LEDGER_SIGNALS, SIGNALS
from detectors.features.tokens import LONGEST


def check(feature: Feature) -> None:
    """Reject an invalid feature declaration.

    Raises:
        ValueError: if its signal or span is unknown, its aggregate does not fit its signal, its half-life is zero, or
            its n-gram has too few or too many tokens.
    """
    if isinstance(feature, TokenNgram):
        if not 1 <= feature.length <= LONGEST:
            raise ValueError(f"feature {feature.name} is over {feature.length} tokens: choose 1 to {LONGEST}")
        return
    if isinstance(feature, Session | ChannelFeature):
        return  # their types admit valid values only
    name, aggregate = feature.name, getattr(feature, "aggregate", "")
    signal = getattr(feature, "signal", "first")
    plain = isinstance(feature, Since | StrikeCount)
    if signal not in SIGNALS and not (plain and signal == "first"):
        raise ValueError(f"feature {name} is over an unknown signal: choose one of {', '.join(SIGNALS)}")
    if (aggregate == "distinct") != (signal in DISTINCT_SIGNALS and not plain):
        raise ValueError(f"feature {name}: distinct counts go with {', '.join(sorted(DISTINCT_SIGNALS))}")
    if signal in LEDGER_SIGNALS and (aggregate not in ("", "count", "sum") or isinstance(feature, Shift)):
        raise ValueError(f"feature {name}: sanctions are counted or summed, because they can be overturned")
    if signal == "sanction_severity" and aggregate != "sum":
        raise ValueError(f"feature {name}: severities are only summed; declare it over sanction")
    if isinstance(feature, Ratio) and feature.per not in SIGNALS:
        raise ValueError(f"feature {name} is per {feature.per}: choose one of {', '.join(SIGNALS)}")
    if isinstance(feature, Decay) and not duration_ms(feature.half_life):
        raise ValueError(f"feature {name} has no half-life: give one above zero")
    for part in ("span", "short", "long"):
        if getattr(feature, part, "1h") not in HOPS:
            raise ValueError(f"feature {name} has span {getattr(feature, part)}: choose one of {', '.join(HOPS)}")
