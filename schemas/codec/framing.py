"""Framings of a record's bytes, and decoding of the framed value into a mapping.

| first bytes | framing | content |
|---|---|---|
| `{`, after any byte order mark and JSON white space | JSON | one object |
| `00` | Confluent wire format | schema id, 4 bytes big-endian; an Avro datum |
| `01` | Confluent wire format | schema GUID, 16 bytes; an Avro datum |
| `C3 01` | Avro single-object encoding | fingerprint, 8 bytes little-endian; an Avro datum |

Instead, a record may carry the Confluent id or GUID, including its magic byte, in the header `__value_schema_id`. The
value is then a bare Avro datum.
"""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from math import isinf
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from schemas.records.refusal import UnreadableError
from schemas.records.rejects import RejectReason
from schemas.released.catalogue import Catalogue
from schemas.released.datum import DatumReader

if TYPE_CHECKING:
    from schemas.registry.client import Registry

CONFLUENT_ID = b"\x00"
CONFLUENT_GUID = b"\x01"
SINGLE_OBJECT = b"\xc3\x01"
FRAMED = CONFLUENT_ID + CONFLUENT_GUID + SINGLE_OBJECT[:1]
"""Possible first bytes of values that are not JSON."""

_SPACE = b" \t\r\n"
_OPENING_BRACE = 0x7B
_ID_START = 5
_GUID_START = 17
_FINGERPRINT_START = 10
_REMEMBERED = 4_096


class Framing:
    """A reader of one subject's record bytes, in any of the framings, into mappings.

    Only the framing is validated. Without a registry, the Confluent wire format is rejected as `unknown_schema`.
    """

    def __init__(self, subject: str, catalogue: Catalogue, registry: Registry | None) -> None:
        self._subject = subject
        self._ours = catalogue.schema(subject)
        self._registry = registry
        self._by_fingerprint = {
            print_: DatumReader(subject, catalogue.schema(subject, version), self._ours, f"{subject} v{version}")
            for print_, version in catalogue.fingerprints(subject).items()
        }
        self._by_key: dict[int | UUID, DatumReader] = {}

    def read(self, value: bytes, schema_header: bytes | None = None) -> Any:
        """Return the mapping in `value`.

        Raises:
            UnreadableError: if the bytes are no record of the subject.
            RegistryUnavailable: if the registry gives no useful answer about the writer's schema.
        """
        if not value:
            raise UnreadableError(RejectReason.EMPTY_VALUE, "no bytes")
        if schema_header is not None:
            return self._headed(value, schema_header)
        first = value[0]
        if first == _OPENING_BRACE:
            return parse_json(value)
        if first == 0:
            return self._confluent(value, _ID_START)
        if first == 1:
            return self._confluent(value, _GUID_START)
        if first == SINGLE_OBJECT[0]:
            return self._single_object(value)
        rest = _json_part(value)
        if not rest:
            raise UnreadableError(RejectReason.EMPTY_VALUE, "white space only")
        if rest[0] == _OPENING_BRACE:
            return parse_json(rest)
        raise UnreadableError(RejectReason.UNKNOWN_FRAMING, "neither a JSON object nor Avro in a framing we read")

    def _headed(self, value: bytes, header: bytes) -> Any:
        """Read a value whose schema a header names.

        The value is a bare Avro datum. If the registry has no Avro schema for it and it starts like a JSON object, read
        it as JSON.
        """
        start = {0: _ID_START, 1: _GUID_START}.get(header[0] if header else -1)
        if start is None or len(header) != start:
            raise UnreadableError(RejectReason.UNKNOWN_FRAMING, "the header __value_schema_id holds no id and no GUID")
        json_part = _json_part(value)
        maybe_json = json_part[:1] == b"{"
        if self._registry is None and maybe_json:
            return parse_json(json_part)
        try:
            reader = self._reader(header)
        except UnreadableError:
            if maybe_json:
                return parse_json(json_part)
            raise
        return reader.read(value, 0)

    def _confluent(self, value: bytes, start: int) -> Any:
        if len(value) < start:
            raise UnreadableError(RejectReason.TRUNCATED, "the Confluent header ends early")
        return self._reader(value[:start]).read(value, start)

    def _reader(self, header: bytes) -> DatumReader:
        """Return the reader for the schema named by a magic byte with an id or a GUID."""
        key = int.from_bytes(header[1:]) if header[0] == 0 else UUID(bytes=header[1:])
        reader = self._by_key.get(key)
        return self._look_up(key) if reader is None else reader

    def _look_up(self, key: int | UUID) -> DatumReader:
        """Fetch a schema from the registry and cache its reader; the meaning of an id never changes."""
        if self._registry is None:
            raise UnreadableError(RejectReason.UNKNOWN_SCHEMA, "Confluent wire format, and no registry is configured")
        writer = self._registry.writer(key)
        if len(self._by_key) >= _REMEMBERED:
            self._by_key.clear()
        found = self._by_key[key] = DatumReader(self._subject, writer.schema, self._ours, writer.origin)
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


def parse_json(value: bytes, *, undecodable: str = "surrogateescape") -> Any:
    """Return the value of JSON bytes, parsed leniently if the strict parser refuses them.

    Half a surrogate pair and bytes that are not UTF-8 become lone surrogates in their strings; numbers that are not
    finite are kept. Validation later rejects or mends the fields that hold them. `undecodable` is the codec error
    handler for bytes that are not UTF-8; with `strict` they are refused here.

    Raises:
        UnreadableError: if it is not one JSON value.
    """
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return _leniently(value, undecodable)


def json_fault(value: bytes) -> tuple[RejectReason, str] | None:
    """Return the reason and detail for JSON that `parse_json` reads and the strict parser refuses; else None."""
    value = _json_part(value)
    if value[:1] != b"{":
        return None
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:
        return _cause(value)
    return None


def _leniently(value: bytes, undecodable: str) -> Any:
    """Parse JSON that the strict parser refused, with the lenient parser."""
    try:
        return json.loads(value.removeprefix(BOM_UTF8).decode("utf-8", undecodable))
    except (ValueError, RecursionError):
        raise UnreadableError(*_cause(value)) from None


class _NonFiniteError(Exception):
    pass


def _cause(value: bytes) -> tuple[RejectReason, str]:
    """Return why orjson refuses `value`, by testing likely causes in turn: orjson gives the cause only as prose."""
    try:
        text = value.decode("utf-8-sig")
    except UnicodeDecodeError:
        return RejectReason.INVALID_UTF8, "the JSON is not UTF-8"
    try:
        json.loads(text, parse_constant=_non_finite, parse_float=_finite)
    except _NonFiniteError:
        return RejectReason.NON_FINITE_NUMBER, "the JSON has a number that is not finite"
    except (ValueError, RecursionError):
        return RejectReason.MALFORMED_JSON, "not one JSON object"
    # JSON that only the lenient parser accepts, for example half of a surrogate pair.
    return RejectReason.MALFORMED_JSON, "not strict JSON"


def _non_finite(_: str) -> float:
    raise _NonFiniteError


def _finite(digits: str) -> float:
    number = float(digits)
    if isinf(number):
        raise _NonFiniteError
    return number


def _json_part(value: bytes) -> bytes:
    """Return the value without a leading byte order mark and white space."""
    return value.removeprefix(BOM_UTF8).lstrip(_SPACE)
