"""Tokens: what kind of event it was and how long after the user's previous one, as one small number.

A user's latest tokens make a *trail*, one byte each, the latest lowest. The order is that in which the events were
counted, so an out-of-order event comes where it arrived, with no gap. What has happened stays: an overturned sanction
keeps its token, and its reversal follows with one of its own. A trail is served as a code: an exact integer that is a
category, not a quantity, and can be read back. The n-gram of the latest n tokens is its n lowest bytes.
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
"""Tokens a trail holds, and so the longest n-gram that can be declared; six would still be exact as a double."""
TRAIL: Final = (1 << 8 * LONGEST) - 1
"""The largest trail."""
EARLIER: Final = TRAIL >> 8
"""What of a trail is kept when a token is added."""

TOXICITY_BANDS = (0.3, 0.7)
"""A message's toxicity is low up to the first, high above the second; without a score it has a band of its own."""
_TOXICITIES = ("", "of low toxicity", "of some toxicity", "of high toxicity")

MESSAGE_KINDS: tuple[str, ...] = tuple(
    " ".join(part for part in (repeat, "message", moved, toxicity) if part)
    for repeat in ("", "repeated")
    for moved in ("", "elsewhere")
    for toxicity in _TOXICITIES
)
"""Kinds of messages: whether the text repeats a recent one, whether the channel changed, how toxic."""
SANCTION_KINDS: tuple[str, ...] = tuple(f"sanction of severity {severity}" for severity in range(1, 6))
KINDS: tuple[str, ...] = (*MESSAGE_KINDS, *SANCTION_KINDS, "report", "reversal", "exposure")
"""The closed alphabet of what happened, in the order of its numbers."""
GAPS: tuple[str, ...] = ("10s", "1m", "10m", "1h", "1d", "7d")
"""The gap to the user's previous event falls in the first of these that it does not pass, or in a last band beyond."""
GAP_LIMITS: vec[i64] = vec[i64]([duration_ms(gap) for gap in GAPS])
"""The longest gaps of all bands but the last (ms)."""
FIRST: Final = len(GAPS) + 1
"""The band of a user's first event, which has no gap."""

_MOVED: Final = len(_TOXICITIES)
_REPEATED: Final = 2 * _MOVED
_SANCTION: Final = len(MESSAGE_KINDS) - 1
_REPORT, _REVERSAL, _EXPOSURE = (KINDS.index(kind) for kind in ("report", "reversal", "exposure"))
_REPEAT: Final = 2  # where the signal stands among a message's, if it is there


def gap_band(gap: i64) -> i64:
    """The band of a gap (ms) between two events."""
    band: i64 = 0
    for limit in GAP_LIMITS:
        if gap <= limit:
            break
        band += 1
    return band


def message_token(signals: list[Signal], *, moved: bool) -> int:
    """The token of a message with these signals, those of `read_message` and no others, less its gap's band.

    `moved` says whether the user's previous message was in another channel.
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
    """The token of a report, sanction, reversal or exposure, less its gap's band."""
    if event.sanction is not None:
        kind = _SANCTION + event.sanction.severity
    elif event.report is not None:
        kind = _REPORT
    else:
        kind = _EXPOSURE if event.reversal is None else _REVERSAL
    return 1 + (kind << 3)


def tokens(code: float) -> list[tuple[str, int]] | None:
    """The tokens of an n-gram's code, the earliest first, as kind and number of the gap band; None if it is no code.

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
