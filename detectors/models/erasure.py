"""Removal of a user's exemplars from a published version."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any

import orjson

from schemas.records.decisions import ModelVersion

_EXEMPLARS = {"keys", "users", "known_at", "vectors"}
"""Keys that identify a table of exemplars in a version's state (`exemplars.dumped`)."""


def without_user(version: ModelVersion, user: int) -> ModelVersion:
    """Return a version without the exemplars of the user with this hash; the same object if it has none.

    The version keeps its name and hash: it is still the published version, minus the erased data.
    """
    if str(user) not in version.state:
        return version
    document = orjson.loads(version.state)
    if not _take_out(document, user):
        return version
    return version.model_copy(update={"state": orjson.dumps(document).decode()})


def _take_out(document: Any, user: int) -> bool:
    """Remove the user from every table of exemplars, at any depth; return whether one was removed."""
    if isinstance(document, list):
        return sum(_take_out(item, user) for item in document) > 0
    if not isinstance(document, dict):
        return False
    if "parts" in document and "waiting" in document:  # parallel lists
        told = zip(document["parts"], document["waiting"]["users"], strict=True)
        document["parts"] = [part for part, other in told if other != user]
    if not document.keys() >= _EXEMPLARS:
        return sum(_take_out(value, user) for value in document.values()) > 0
    kept = [place for place, other in enumerate(document["users"]) if other != user]
    many = len(document["users"])
    if len(kept) == many:
        return False
    vectors = b64decode(document["vectors"])
    size = len(vectors) // many
    rows = [vectors[place * size : (place + 1) * size] for place in kept]
    document["vectors"] = b64encode(b"".join(rows)).decode()
    for column in ("keys", "users", "known_at"):
        document[column] = [document[column][place] for place in kept]
    return True
