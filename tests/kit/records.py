"""Records and raw records that the codec's laws are told with."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from hypothesis import settings

import schemas
from schemas.records.base import CHAT, Position, Raw, Subject
from schemas.records.events import ChatMessage, ModerationEvent
from schemas.records.rejects import Reject
from schemas.released.catalogue import Catalogue
from tests.kit.thorough import examples

LAWFUL = settings(derandomize=True, deadline=None, database=None, max_examples=examples(200))
"""How the laws are tried: the same examples every time, however slow the machine."""

NOON = 1_767_268_800_000

CHAT_ROW: dict[str, Any] = {
    "event_id": "m-1",
    "event_time": NOON,
    "user_id": "u-1",
    "channel": "lobby",
    "text": "gg, naïve 🙂",
    "recipients": ["u-2", "u-3"],
    "locale": "en",
    "age_band": "13-15",
    "scores": [{"scorer": "toxicity", "version": "1", "value": 0.25}],
}
SANCTION_ROW: dict[str, Any] = {
    "event_id": "s-1",
    "event_time": NOON,
    "user_id": "u-1",
    "kind": "sanction",
    "sanction": {"action": "ban", "severity": 5, "policy": "harassment", "source": "human"},
}
MESSAGE = ChatMessage.model_validate(CHAT_ROW)
SANCTION = ModerationEvent.model_validate(SANCTION_ROW)


def raw(
    value: bytes | Mapping[str, Any] | None, subject: Subject = CHAT, *, received: int | None = None, seq: int = 0
) -> Raw:
    """A raw record at an offset of its own."""
    return Raw(subject, value, b"u-1", Position("chat.messages", 3, 40 + seq, seq), received)


def rejected(event: object) -> Reject:
    """The event, which must be a Reject."""
    assert isinstance(event, Reject), event
    return event


def copy_of_released(folder: Path) -> Path:
    """The released schemas, examples and lock, copied to where a test may change them."""
    source = Path(schemas.__file__).parent
    for name in ("avro", "examples"):
        shutil.copytree(source / name, folder / name)
    shutil.copy(source / "lock.json", folder)
    return folder


def release(folder: Path, subject: str, version: int, schema: dict[str, Any]) -> Catalogue:
    """Put a schema into a copy as if it were released (the lock aside), and read the copy afresh."""
    (folder / "avro" / f"{subject}.v{version}.avsc").write_bytes(orjson.dumps(schema))
    return Catalogue(folder)
