"""How the bytes of a record say what they are, and the mapping read from them.

| first bytes | framing | what follows |
|---|---|---|
| `{`, after any JSON white space | JSON | one object |
| `00` | Confluent wire format | schema id, 4 bytes big-endian; an Avro datum |
| `01` | Confluent wire format | schema GUID, 16 bytes; an Avro datum |
| `C3 01` | Avro single-object encoding | fingerprint, 8 bytes little-endian; an Avro datum |
"""

from __future__ import annotations

import json
from math import isinf
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from schemas.catalogue import Catalogue
from schemas.datum import DatumReader
from schemas.records import RejectReason
from schemas.refusal import UnreadableError

if TYPE_CHECKING:
    from schemas.writers import Registry

CONFLUENT_ID = b"\x00"
CONFLUENT_GUID = b"\x01"
SINGLE_OBJECT = b"\xc3\x01"

_SPACE = b" \t\r\n"
_OPENING_BRACE = 0x7B
_ID_START = 5
_GUID_START = 17
_FINGERPRINT_START = 10
_REMEMBERED = 4_096


class Framing:
    """Reads the bytes of one subject's records into mappings, whichever of the framings they are in.

    Nothing is validated beyond the framing. Without a registry, the Confluent wire format is `unknown_schema`.
    """

    def __init__(self, subject: str, catalogue: Catalogue, registry: Registry | None) -> None:
        self._subject = subject
        self._ours = catalogue.schema(subject)
        self._registry = registry
        self._by_fingerprint = {
            print_: DatumReader(catalogue.schema(subject, version), self._ours, f"{subject} v{version}")
            for print_, version in catalogue.fingerprints(subject).items()
        }
        self._by_key: dict[int | UUID, DatumReader] = {}

    def read(self, value: bytes) -> Any:
        """The mapping in `value`; raises `UnreadableError`, or `RegistryUnavailable` where that is the matter."""
        if not value:
            raise UnreadableError(RejectReason.EMPTY_VALUE, "no bytes")
        first = value[0]
        if first == _OPENING_BRACE:
            return _json(value)
        if first == 0:
            return self._confluent(value, _ID_START)
        if first == 1:
            return self._confluent(value, _GUID_START)
        if first == SINGLE_OBJECT[0]:
            return self._single_object(value)
        rest = value.lstrip(_SPACE)
        if not rest:
            raise UnreadableError(RejectReason.EMPTY_VALUE, "white space only")
        if rest[0] == _OPENING_BRACE:
            return _json(value)
        raise UnreadableError(RejectReason.UNKNOWN_FRAMING, "neither a JSON object nor Avro in a framing we read")

    def _confluent(self, value: bytes, start: int) -> Any:
        if len(value) < start:
            raise UnreadableError(RejectReason.TRUNCATED, "the Confluent header ends early")
        key = int.from_bytes(value[1:start]) if start == _ID_START else UUID(bytes=value[1:start])
        reader = self._by_key.get(key)
        if reader is None:
            reader = self._look_up(key)
        return reader.read(value, start)

    def _look_up(self, key: int | UUID) -> DatumReader:
        """Ask the registry once per schema: what an id means never changes."""
        if self._registry is None:
            raise UnreadableError(RejectReason.UNKNOWN_SCHEMA, "Confluent wire format, and no registry is configured")
        writer = self._registry.writer(key)
        if len(self._by_key) >= _REMEMBERED:
            self._by_key.clear()
        found = self._by_key[key] = DatumReader(writer.schema, self._ours, writer.origin)
        return found

    def _single_object(self, value: bytes) -> Any:
        if value[:2] != SINGLE_OBJECT[: len(value)]:
            raise UnreadableError(RejectReason.UNKNOWN_FRAMING, "the byte after C3 is not 01")
        if len(value) < _FINGERPRINT_START:
            raise UnreadableError(RejectReason.TRUNCATED, "the single-object header ends early")
        reader = self._by_fingerprint.get(value[2:_FINGERPRINT_START])
        if reader is None:
            raise UnreadableError(RejectReason.UNKNOWN_SCHEMA, f"no released {self._subject} has this fingerprint")
        return reader.read(value, _FINGERPRINT_START)


def _json(value: bytes) -> Any:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        raise _not_json(value) from None


class _NonFiniteError(Exception):
    pass


def _not_json(value: bytes) -> UnreadableError:
    """Why orjson would not read `value`: it says so only in prose, so the likely causes are tried in turn."""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return UnreadableError(RejectReason.INVALID_UTF8, "the JSON is not UTF-8")
    try:
        json.loads(text, parse_constant=_non_finite, parse_float=_finite)
    except _NonFiniteError:
        return UnreadableError(RejectReason.NON_FINITE_NUMBER, "the JSON has a number that is not finite")
    except (ValueError, RecursionError):
        return UnreadableError(RejectReason.MALFORMED_JSON, "not one JSON object")
    # What only the more lenient parser accepts, such as half of a surrogate pair.
    return UnreadableError(RejectReason.MALFORMED_JSON, "not strict JSON")


def _non_finite(_: str) -> float:
    raise _NonFiniteError


def _finite(digits: str) -> float:
    number = float(digits)
    if isinf(number):
        raise _NonFiniteError
    return number
