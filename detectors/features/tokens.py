"""Tokens: the kind of an event and its gap to the user's previous event, as one small number.

A user's recent tokens are one integer with one byte per token, the latest in the lowest byte. They are in the order in
which the events were counted, so an out-of-order event is where it arrived, with no gap. No token is removed: an
overturned sanction keeps its token, and its reversal adds its own. The recent tokens are served as a code: an exact
integer that is a category, not a quantity, and can be decoded. The n-gram of the latest n tokens is the n lowest bytes.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

from librt.vecs import vec
from mypy_extensions import i64

from detectors.features.declare import duration_ms
from detectors.features.signals import Signal
from schemas.records.events import ModerationEvent

LONGEST: Final = 4
"""Number of stored tokens, and so the longest n-gram that can be declared; six would still be exact as a double."""
TRAIL: Final = (1 << 8 * LONGEST) - 1
"""The largest code of the recent tokens."""
EARLIER: Final = TRAIL >> 8
"""The mask of the recent tokens that stay when a token is added."""

TOXICITY_BANDS = (0.3, 0.7)
"""A message's toxicity is low up to the first bound, high above the second; unscored messages have their own band."""
_TOXICITIES = ("", "of low toxicity", "of some toxicity", "of high toxicity")

MESSAGE_KINDS: tuple[str, ...] = tuple(
    " ".join(part for part in (repeat, "message", moved, toxicity) if part)
    for repeat in ("", "repeated")
    for moved in ("", "elsewhere")
    for toxicity in _TOXICITIES
)
"""Kinds of messages: by repetition of a recent text, by change of channel, and by toxicity."""
SANCTION_KINDS: tuple[str, ...] = tuple(f"sanction of severity {severity}" for severity in range(1, 6))
KINDS: tuple[str, ...] = (*MESSAGE_KINDS, *SANCTION_KINDS, "report", "reversal", "exposure")
"""The closed alphabet of event kinds; the index of a kind is its number."""
GAPS: tuple[str, ...] = ("10s", "1m", "10m", "1h", "1d", "7d")
"""Upper bounds, inclusive, of the bands of the gap to the user's previous event; longer gaps are in one more band."""
GAP_LIMITS: vec[i64] = vec[i64]([duration_ms(gap) for gap in GAPS])
"""The same bounds in ms."""
FIRST: Final = len(GAPS) + 1
"""The band of a user's first event, which has no gap."""

_MOVED: Final = len(_TOXICITIES)
_REPEATED: Final = 2 * _MOVED
_SANCTION: Final = len(MESSAGE_KINDS) - 1
_REPORT, _REVERSAL, _EXPOSURE = (KINDS.index(kind) for kind in ("report", "reversal", "exposure"))
_REPEAT: Final = 2  # index of the signal among a message's signals, if it is there


def gap_band(gap: i64) -> i64:
    """Return the band of a gap (ms) between two events."""
    band: i64 = 0
    for limit in GAP_LIMITS:
        if gap <= limit:
            break
        band += 1
    return band


def message_token(signals: list[Signal], *, moved: bool) -> int:
    """Return the token of a message, without the band of its gap.

    `signals` are those of `read_message` and no others. `moved` is true if the user's previous message was in another
    channel.
    """
    kind = 0
    last, amount = signals[-1]
    if last == "toxicity":
        kind = 1 + bisect_left(TOXICITY_BANDS, amount)
    if len(signals) > _REPEAT and signals[_REPEAT][0] == "repeat":
        kind += _REPEATED
    if moved:
        kind += _MOVED
    return 1 + (kind << 3)


def moderation_token(event: ModerationEvent) -> int:
    """Return the token of a report, sanction, reversal or exposure, without the band of its gap."""
    if event.sanction is not None:
        kind = _SANCTION + event.sanction.severity
    elif event.report is not None:
        kind = _REPORT
    else:
        kind = _EXPOSURE if event.reversal is None else _REVERSAL
    return 1 + (kind << 3)


def tokens(code: float) -> list[tuple[str, int]] | None:
    """Return the tokens of an n-gram's code, earliest first, as (kind, number of the gap band).

    Return None if the number is not a valid code.

    >>> tokens(0x08A9)
    [('message', 7), ('report', 0)]
    """
    if code != code or code < 1 or code > TRAIL or code != int(code):  # noqa: PLR0124 - a NaN differs from itself
        return None
    read, rest = [], int(code)
    while rest:
        rest, token = divmod(rest, 256)
        kind, gap = divmod(token - 1, 8)
        if not token or kind >= len(KINDS):
            return None
        read.append((KINDS[kind], gap))
    return read[::-1]
