"""Feature declarations, from which the names of features derive."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

HOPS = {"5m": "15s", "1h": "5m", "24h": "1h", "7d": "6h", "30d": "1d"}
"""The window spans that features may have, each with the hop by which its tail advances."""

Aggregate = Literal["count", "sum", "mean", "spread", "max", "distinct"]
Happening = Literal["count", "since", "number", "first"]
Surrounding = Literal["age", "rate", "newcomers", "sanctions", "toxicity", "share", "answered"]


def duration_ms(text: str) -> int:
    """Return the milliseconds in a duration such as `90s`, `5m`, `24h` or `7d`.

    Raises:
        ValueError: if `text` is not a whole number followed by ms, s, m, h or d.

    >>> duration_ms("5m")
    300000
    """
    match = re.fullmatch(r"(\d+)(ms|s|m|h|d)", text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration: write a whole number and a unit, such as 90s, 5m, 24h or 7d")
    return int(match[1]) * _UNITS[match[2]]


@dataclass(frozen=True, slots=True)
class Window:
    """An aggregate of a signal over a sawtooth window.

    The spread is the coefficient of variation of the amounts, their standard deviation over their mean: near 0 if all
    are alike, 1 if they are as irregular as chance. It is absent for fewer than two amounts, or a mean of zero.

    >>> Window("report", "count", "24h").name
    'report_count_24h'
    """

    signal: str
    aggregate: Aggregate
    span: str

    def __post_init__(self) -> None:
        if self.span not in HOPS:
            raise ValueError(f"{self.name} has span {self.span}: choose one of {', '.join(HOPS)}")

    @property
    def name(self) -> str:
        """Return the name of the feature's column."""
        return f"{self.signal}_{self.aggregate}_{self.span}"


@dataclass(frozen=True, slots=True)
class Decay:
    """The exponentially decayed sum of a signal with a half-life.

    >>> Decay("message", "7d").name
    'message_decay_7d'
    """

    signal: str
    half_life: str

    @property
    def name(self) -> str:
        """Return the name of the feature's column."""
        return f"{self.signal}_decay_{self.half_life}"


@dataclass(frozen=True, slots=True)
class Since:
    """Seconds since the signal's latest occurrence before the triggering event; absent if there was none.

    The signal `first` is the user's first event of any kind, so `first_since` is the time since the user's first event.
    """

    signal: str

    @property
    def name(self) -> str:
        """Return the name of the feature's column."""
        return f"{self.signal}_since"


@dataclass(frozen=True, slots=True)
class Ratio:
    """Occurrences of a signal per occurrence of another, by default per message, in one window.

    The ratio is absent if the window has no occurrence of the other signal.

    >>> Ratio("repeat", "24h").name
    'repeat_ratio_24h'
    """

    signal: str
    span: str
    per: str = "message"

    @property
    def name(self) -> str:
        """Return the name of the feature's column."""
        return f"{self.signal}_ratio_{self.span}"


@dataclass(frozen=True, slots=True)
class Trend:
    """The rate in a short window divided by the rate in a long one, such as an hour and its day.

    1 is a steady rate, above 1 a rising one.

    >>> Trend("message", "1h", "24h").name
    'message_trend_1h_24h'
    """

    signal: str
    short: str
    long: str

    @property
    def name(self) -> str:
        """Return the name of the feature's column."""
        return f"{self.signal}_trend_{self.short}_{self.long}"


@dataclass(frozen=True, slots=True)
class Shift:
    """The signal's mean over a short window minus its mean over a long one, a comparison with the user's own past.

    >>> Shift("toxicity", "1h", "24h").name
    'toxicity_shift_1h_24h'
    """

    signal: str
    short: str
    long: str

    @property
    def name(self) -> str:
        """Return the name of the feature's column."""
        return f"{self.signal}_shift_{self.short}_{self.long}"


@dataclass(frozen=True, slots=True)
class Session:
    """The user's current session: events without a pause longer than `detectors.features.profile.PAUSE`.

    - `count`: number of its events so far
    - `since`: time since its start (s)
    - `number`: number of sessions so far, this one included
    - `first`: number of events in the user's first session, so far if that is the current one

    >>> Session("count").name, Session("first").name
    ('session_count', 'first_session_count')
    """

    happening: Happening

    @property
    def name(self) -> str:
        """Return the name of the feature's column."""
        return "first_session_count" if self.happening == "first" else f"session_{self.happening}"


@dataclass(frozen=True, slots=True)
class ChannelFeature:
    """The state of a channel when the user's latest message arrived there; see `detectors.features.context.Context`.

    >>> ChannelFeature("age").name
    'channel_age'
    """

    surrounding: Surrounding

    @property
    def name(self) -> str:
        """Return the name of the feature's column."""
        return f"channel_{self.surrounding}"


@dataclass(frozen=True, slots=True)
class StrikeCount:
    """The number of upheld sanctions that have not expired."""

    @property
    def name(self) -> str:
        """Return the name of the feature's column."""
        return "strike_count"


@dataclass(frozen=True, slots=True)
class TokenNgram:
    """The code of the user's latest tokens: up to `length` of them, including the triggering event's.

    A code is a category: it can be looked up, but not added or compared. See `detectors.features.tokens`.

    >>> TokenNgram(3).name
    'sequence_3'
    """

    length: int

    @property
    def name(self) -> str:
        """Return the name of the feature's column."""
        return f"sequence_{self.length}"


Feature = Window | Decay | Since | Ratio | Trend | Shift | Session | ChannelFeature | StrikeCount | TokenNgram
