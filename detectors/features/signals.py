"""Signals: what is read off one event, as a name and an amount; and keys, for distinct counts."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from zlib import crc32

from detectors.text.normalise import READ, meant, visible
from schemas.records.events import ChatMessage, ModerationEvent

SIGNALS = (
    "message",  # 1 for every message
    "length",  # characters of the text, where there is one
    "repeat",  # 1 when the text equals one of the user's last few, as both were meant to be seen
    "toxicity",  # the highest external scorer result, where there is one
    "channel",  # key: where the message was sent
    "recipient",  # key, once for each user addressed
    "report",  # 1 for every report about the user
    "reporter",  # key: who reported, where known
    "sanction",  # 1 for every upheld sanction (read from the ledger)
    "sanction_severity",  # severity of every upheld sanction (read from the ledger)
    "exposure",  # 1 for every intervention the user was shown
    "reversal",  # 1 for every sanction that was taken back
    "gap",  # whole seconds between a message and the user's message before
    "burst",  # how many messages have come in one burst so far, from the second on
    "answer",  # 1 when the user comes back to a channel where others have spoken since
    "quick_answer",  # 1 when the first of them spoke within `QUICK` of the user
    "excess",  # toxicity less what is usual in that channel at that time
)
DISTINCT_SIGNALS = frozenset({"channel", "recipient", "reporter"})
LEDGER_SIGNALS = frozenset({"sanction", "sanction_severity"})
PACED = frozenset({"gap", "burst"})
"""Signals that a message's place between the others gives."""

RECENT_TEXTS = 8
"""How many of a user's latest texts a new one is compared with."""
SHORTEST_REPEAT = 8
"""Texts shorter than this (in characters that are seen) are never repeats: everybody says ok twice."""

Signal = tuple[str, float]
Key = tuple[str, int]
"""A signal that is counted by how many different ones there are, and which one it was."""
_BLAKE2B = blake2b(digest_size=8)


def stable_hash(text: str) -> int:
    """A 63-bit hash of `text` that is the same in every process (blake2b, first 8 bytes, top bit cleared)."""
    hashing = _BLAKE2B.copy()  # quicker than making one
    hashing.update(text.encode("utf-8", "surrogatepass"))
    return int.from_bytes(hashing.digest(), "big") >> 1


key_of = lru_cache(maxsize=65_536)(stable_hash)
"""The hash of something met again and again: a user, a channel."""


def event_key(event_id: str, *, moderation: bool) -> int:
    """Return what tells an event from its user's others: ids of messages and of moderation events do not meet."""
    return stable_hash(f"moderation\0{event_id}" if moderation else event_id)


def point_key(user_id: str, number: int) -> int:
    """Return the hash of a user's decision point at their `number`-th event, from 1.

    Samples of points go by it: it names no event id, so that a log gives the same whatever its ids are made of.

    >>> f"{point_key('ann', 1):016x}"
    '31b82982bcd755b7'
    """
    return stable_hash(f"{user_id}\0{number}")


def toxicity_of(message: ChatMessage) -> float | None:
    """The highest of what external scorers said of a message; None where none has seen it."""
    return max([score.value for score in message.scores]) if message.scores else None


def read_message(event: ChatMessage, texts: list[int]) -> tuple[list[Signal], list[Key]]:
    """The signals and keys of a message. `texts`, the hashes of the user's recent texts, is brought up to date."""
    signals: list[Signal] = [("message", 1.0)]
    keys: list[Key] = [("channel", key_of(event.channel))]
    text = event.text
    if text is not None:
        signals.append(("length", float(len(text))))
        shown = visible(text if len(text) <= READ else text[:READ])
        if len(shown) >= SHORTEST_REPEAT:
            data = (meant(shown) + text[READ:]).encode("utf-8", "surrogatepass")
            key = len(data) << 32 | crc32(data)  # among a handful of texts that is plenty, and it is quick
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
    """The signals and keys of a moderation event.

    Sanctions give none: they go to the ledger, from where reversals take them.
    """
    report = event.report
    if report is not None:
        reporter = report.reporter_id
        return [("report", 1.0)], [] if reporter is None else [("reporter", key_of(reporter))]
    if event.exposure is not None:
        return [("exposure", 1.0)], []
    return [] if event.reversal is None else [("reversal", 1.0)], []
