"""Headers of Kafka records that mean something to forewarn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

SCHEMA_ID = "__value_schema_id"
"""Where Confluent's header serialisers put the id or the GUID of a value's schema, its magic byte included."""
REDRIVEN_FROM = "redriven-from"
"""On a record that was sent again: `topic:partition:offset` of the original."""

Headers = Sequence[tuple[str, str | bytes | None]] | Mapping[str, str | bytes | None]
"""As the Kafka client gives them; it gives a list."""


def of_interest(headers: Headers | None) -> tuple[bytes | None, bool]:
    """Return the header that names the value's schema, if there is one, and whether a redrive sent the record.

    Of several headers that name a schema the last counts.
    """
    if not headers:
        return None, False
    found = dict(headers)
    named = found.get(SCHEMA_ID)
    return named if isinstance(named, bytes) else None, REDRIVEN_FROM in found
