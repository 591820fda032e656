"""Kafka record headers that forewarn uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

SCHEMA_ID = "__value_schema_id"
"""Header in which Confluent's serialisers put the id or GUID of a value's schema, including the magic byte."""
REDRIVEN_FROM = "redriven-from"
"""Header of a record that was sent again: `topic:partition:offset` of the original."""

Headers = Sequence[tuple[str, str | bytes | None]] | Mapping[str, str | bytes | None]
"""Types of a record's headers in the Kafka client, which returns a list."""


def of_interest(headers: Headers | None) -> tuple[bytes | None, bool]:
    """Return the header with the value's schema, if there is one, and whether the record was redriven.

    If several headers name a schema, the last one counts.
    """
    if not headers:
        return None, False
    found = dict(headers)
    named = found.get(SCHEMA_ID)
    return named if isinstance(named, bytes) else None, REDRIVEN_FROM in found
