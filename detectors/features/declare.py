"""How features are declared, and how their names derive from the declaration."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

HOPS = {"5m": "15s", "1h": "5m", "24h": "1h", "7d": "6h", "30d": "1d"}
"""Every window span a feature may have, and the hop its tail advances in."""

Aggregate = Literal["count", "sum", "mean", "spread", "max", "distinct"]
Happening = Literal["count", "since", "number", "first"]
Surrounding = Literal["age", "rate", "newcomers", "sanctions", "toxicity", "share", "answered"]


def duration_ms(text: str) -> int:
    """Milliseconds in a duration such as `90s`, `5m`, `24h` or `7d`.

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

    The spread is the coefficient of variation of the amounts, their standard deviation over their mean: near 0 where
    all are alike, 1 where they are as irregular as chance. It is absent for fewer than two amounts, or a mean of zero.

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
        """The column this feature is."""
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
        """The column this feature is."""
        return f"{self.signal}_decay_{self.half_life}"


@dataclass(frozen=True, slots=True)
class Since:
    """Seconds from the signal's latest occurrence before the triggering event; absent if there was none.

    The signal `first` is the user's first event of any kind, so `first_since` is how long we know the user.
    """

    signal: str

    @property
    def name(self) -> str:
        """The column this feature is."""
        return f"{self.signal}_since"


@dataclass(frozen=True, slots=True)
class Ratio:
    """Occurrences of a signal per message, in one window; absent without messages.

    >>> Ratio("repeat", "24h").name
    'repeat_ratio_24h'
    """

    signal: str
    span: str
    per: str = "message"

    @property
    def name(self) -> str:
        """The column this feature is."""
        return f"{self.signal}_ratio_{self.span}"


@dataclass(frozen=True, slots=True)
class Trend:
    """A short window's rate over a long window's: an hour against its day. 1 is steady, above 1 is speeding up.

    >>> Trend("message", "1h", "24h").name
    'message_trend_1h_24h'
    """

    signal: str
    short: str
    long: str

    @property
    def name(self) -> str:
        """The column this feature is."""
        return f"{self.signal}_trend_{self.short}_{self.long}"


@dataclass(frozen=True, slots=True)
class Shift:
    """The signal's mean over a short window less its mean over a long one: the user against their own past.

    >>> Shift("toxicity", "1h", "24h").name
    'toxicity_shift_1h_24h'
    """

    signal: str
    short: str
    long: str

    @property
    def name(self) -> str:
        """The column this feature is."""
        return f"{self.signal}_shift_{self.short}_{self.long}"


@dataclass(frozen=True, slots=True)
class Session:
    """The session the user is in: events without a pause longer than `detectors.features.profile.PAUSE`.

    `count` is how many of its events there were, `since` how long ago it began (s), `number` how many sessions there
    have been, this one included, and `first` how many events the user's first session had, as far as it has gone.

    >>> Session("count").name, Session("first").name
    ('session_count', 'first_session_count')
    """

    happening: Happening

    @property
    def name(self) -> str:
        """The column this feature is."""
        return "first_session_count" if self.happening == "first" else f"session_{self.happening}"


@dataclass(frozen=True, slots=True)
class ChannelFeature:
    """What the channel of the user's latest message was like when it came; see `detectors.features.context.Context`.

    >>> Here("age").name
    'channel_age'
    """

    surrounding: Surrounding

    @property
    def name(self) -> str:
        """The column this feature is."""
        return f"channel_{self.surrounding}"


@dataclass(frozen=True, slots=True)
class StrikeCount:
    """How many upheld sanctions have not expired."""

    @property
    def name(self) -> str:
        """The column this feature is."""
        return "strike_count"


@dataclass(frozen=True, slots=True)
class TokenNgram:
    """The code of the user's latest tokens, up to `length` of them and the triggering event's among them.

    A code is a category: it can be looked up, and neither added nor compared. See `detectors.features.tokens`.

    >>> Recent(3).name
    'sequence_3'
    """

    length: int

    @property
    def name(self) -> str:
        """The column this feature is."""
        return f"sequence_{self.length}"


Feature = Window | Decay | Since | Ratio | Trend | Shift | Session | ChannelFeature | StrikeCount | TokenNgram
