"""Signals read from one event, each a name and an amount; and keys, for distinct counts."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from zlib import crc32

from detectors.text.normalise import READ, meant, visible
from schemas.records.events import ChatMessage, ModerationEvent

SIGNALS = (
    "message",  # 1 for every message
    "length",  # characters of the text, if there is one
    "repeat",  # 1 when the text equals one of the user's recent texts, both in plain form
    "toxicity",  # the highest external scorer result, if there is one
    "channel",  # key: the channel of the message
    "recipient",  # key, once for each user addressed
    "report",  # 1 for every report about the user
    "reporter",  # key: the reporter, if known
    "sanction",  # 1 for every upheld sanction (read from the ledger)
    "sanction_severity",  # severity of every upheld sanction (read from the ledger)
    "exposure",  # 1 for every intervention the user was shown
    "reversal",  # 1 for every sanction that was taken back
    "gap",  # whole seconds between a message and the user's previous message
    "burst",  # number of messages in one burst so far, from the second on
    "answer",  # 1 when others have written in the channel since the user's previous message there
    "quick_answer",  # 1 when the first of them wrote within `QUICK` of that message
    "excess",  # toxicity minus the channel's mean toxicity at that time
)
DISTINCT_SIGNALS = frozenset({"channel", "recipient", "reporter"})
LEDGER_SIGNALS = frozenset({"sanction", "sanction_severity"})
PACED = frozenset({"gap", "burst"})
"""Signals that derive from the time of a message relative to the user's other messages."""

RECENT_TEXTS = 8
"""Number of a user's latest texts that a new one is compared with."""
SHORTEST_REPEAT = 8
"""Texts shorter than this (in visible characters) are never repeats, because everybody writes "ok" twice."""

Signal = tuple[str, float]
Key = tuple[str, int]
"""A signal whose distinct values are counted, and the hash of this value."""
_BLAKE2B = blake2b(digest_size=8)


def stable_hash(text: str) -> int:
    """Return a 63-bit hash of `text` that is the same in every process (8-byte blake2b, shifted right by one bit)."""
    hashing = _BLAKE2B.copy()  # faster than a new hash object
    hashing.update(text.encode("utf-8", "surrogatepass"))
    return int.from_bytes(hashing.digest(), "big") >> 1


key_of = lru_cache(maxsize=65_536)(stable_hash)
"""Cached `stable_hash`, for values that recur, such as users and channels."""


def event_key(event_id: str, *, moderation: bool) -> int:
    """Return the hash that identifies an event of a user; ids of messages and of moderation events do not collide."""
    return stable_hash(f"moderation\0{event_id}" if moderation else event_id)


def point_key(user_id: str, number: int) -> int:
    """Return the hash of a user's decision point at their `number`-th event, from 1.

    Points are sampled by this hash. It contains no event id, so the samples of a log do not depend on its event ids.

    >>> f"{point_key('ann', 1):016x}"
    '31b82982bcd755b7'
    """
    return stable_hash(f"{user_id}\0{number}")


def toxicity_of(message: ChatMessage) -> float | None:
    """Return the highest external scorer result of a message; None if it has none."""
    return max([score.value for score in message.scores]) if message.scores else None


def read_message(event: ChatMessage, texts: list[int]) -> tuple[list[Signal], list[Key]]:
    """Return the signals and keys of a message; update `texts`, the checksums of the user's recent texts."""
    signals: list[Signal] = [("message", 1.0)]
    keys: list[Key] = [("channel", key_of(event.channel))]
    text = event.text
    if text is not None:
        signals.append(("length", float(len(text))))
        shown = visible(text if len(text) <= READ else text[:READ])
        if len(shown) >= SHORTEST_REPEAT:
            data = (meant(shown) + text[READ:]).encode("utf-8", "surrogatepass")
            key = len(data) << 32 | crc32(data)  # fast, and distinctive enough among a few texts
            if key in texts:
                texts.remove(key)
                signals.append(("repeat", 1.0))
            elif len(texts) >= RECENT_TEXTS:
                del texts[0]
            texts.append(key)
    toxicity = toxicity_of(event)
    if toxicity is not None:
        signals.append(("toxicity", toxicity))
    if event.recipients:
        keys.extend([("recipient", key_of(recipient)) for recipient in event.recipients])
    return signals, keys


def read_moderation(event: ModerationEvent) -> tuple[list[Signal], list[Key]]:
    """Return the signals and keys of a moderation event.

    A sanction gives none: it is stored in the ledger, so that a reversal can overturn it.
    """
    report = event.report
    if report is not None:
        reporter = report.reporter_id
        return [("report", 1.0)], [] if reporter is None else [("reporter", key_of(reporter))]
    if event.exposure is not None:
        return [("exposure", 1.0)], []
    return [] if event.reversal is None else [("reversal", 1.0)], []
