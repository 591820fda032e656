"""Writers' schemas from a schema registry, and the effect of each of its answers on a record.

A registry gives one of three answers: the schema; no such schema (the record is at fault); or nothing useful (the
registry is at fault). The last is `RegistryUnavailable`. It stops the flow, because rejecting would lose good records.

Imported only if a registry is configured: the client library takes a quarter of a second to import.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

import fastavro
import orjson
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError

from schemas.records.refusal import UnreadableError
from schemas.records.rejects import RejectReason
from schemas.registry.settings import RegistryError, RegistrySettings, RegistryUnavailable, RegistryUnusable
from schemas.released.catalogue import AvroSchema
from schemas.released.datum import bare, hazard

MAX_ID = 2**31 - 1
"""Registries number schemas with a signed 32-bit integer; no schema has a larger id."""

_NOT_THE_RECORDS_FAULT = frozenset({401, 403, 407, 408, 429})
_DENIED = frozenset({401, 403, 404, 407})
_NO_SUCH_SCHEMA = range(40_400, 40_500)
_REMEMBERED = 1_024
_PATIENCE = 256


class Writer(NamedTuple):
    """A writer's schema, parsed and safe to decode with, and its name in details."""

    schema: AvroSchema
    origin: str


class Registry:
    """A client that looks up writers' schemas by id or GUID and registers ours. It reads no clock.

    An unknown id is requested again after 1, 2, 4, ... and finally every 256 further records that carry it. Poison
    records therefore cost few requests, and a schema registered later is not hidden for long.
    """

    def __init__(self, settings: RegistrySettings) -> None:
        self._settings = settings
        self._where = settings.url
        self._client = client(settings)
        self._unknown: dict[int | UUID, _Unknown] = {}

    def writer(self, key: int | UUID) -> Writer:
        """Return the writer's schema of this id or GUID.

        Raises:
            UnreadableError: (`unknown_schema`) if there is no schema that records can be read with.
            RegistryUnavailable: if the registry gives no useful answer.
        """
        if isinstance(key, int) and key > MAX_ID:
            raise _unknown("the schema id is beyond 31 bits")
        known = self._unknown.get(key)
        if known is not None and known.skip():
            raise _unknown(known.detail)
        origin = f"schema id {key}" if isinstance(key, int) else "the schema of this GUID"
        try:
            writer = Writer(self._parsed(self._found(key, origin), origin), origin)
        except UnreadableError as error:
            self._remember(key, error.detail)
            raise
        self._unknown.pop(key, None)
        return writer

    def register(self, name: str, schema_text: str) -> int:
        """Return the id of a schema under a registry subject such as `risk.events-value`.

        A schema that is missing there is registered if `auto_register` is set. Both requests ask the registry to
        normalise, so that a schema registered by others with different white space is found (Apicurio compares texts).

        Raises:
            RegistryUnavailable: if the registry gives no useful answer.
            RegistryError: if the registry refuses the schema, or lacks it and `auto_register` is not set.
        """
        schema = Schema(schema_text, "AVRO")
        try:
            try:
                found = self._client.lookup_schema(name, schema, normalize_schemas=True).schema_id
            except SchemaRegistryError as error:
                if error.http_status_code != 404:
                    raise
                if not self._settings.auto_register:
                    raise RegistryError(
                        f"the schema registry at {self._where} does not have our schema under {name}, and "
                        "registry.auto_register is false: register it there, then start again"
                    ) from None
                found = self._client.register_schema(name, schema, normalize_schemas=True)
        except SchemaRegistryError as error:
            if error.http_status_code in (409, 422):
                raise RegistryError(
                    f"the schema registry refuses our schema under {name} (HTTP {error.http_status_code}): "
                    "compare its compatibility setting and its latest version with ours"
                ) from error
            raise self._unavailable(error) from error
        except RegistryError:
            raise
        except Exception as error:
            raise self._unavailable(error) from error
        if found is None:
            raise RegistryUnavailable(f"the schema registry at {self._where} gave no id for {name}")
        return found

    def close(self) -> None:
        """Close the connection; a `mock://` registry has none and stays open for its other users."""
        if not self._where.startswith("mock://"):
            self._client.close()

    def _found(self, key: int | UUID, origin: str) -> Schema:
        try:
            if isinstance(key, int):
                return self._client.get_schema(key)
            return self._client.get_schema_by_guid(str(key))
        except Exception as error:
            self._raise_if_unavailable(error)
            raise _unknown(f"the registry does not have {origin}") from None

    def _parsed(self, schema: Schema, origin: str) -> AvroSchema:
        if schema.schema_str is None:
            self.close()
            self._client = client(self._settings)  # the old client would return this answer for ever
            raise RegistryUnusable(f"{self._where} does not answer as a schema registry does: check its url")
        if schema.schema_type not in (None, "AVRO"):
            raise _unknown(f"{origin} is not Avro")
        texts = self._with_references(schema, origin, set())
        names: dict[str, dict[Any, Any]] = {}
        parsed: Any = None
        try:
            for text in texts:
                parsed = fastavro.parse_schema(bare(orjson.loads(text)), names)
            danger = hazard(parsed, names)
        except Exception:
            raise _unknown(f"{origin} is not a readable Avro schema") from None
        if danger is not None:
            raise _unknown(f"{origin} is not safe to decode: {danger}")
        if not isinstance(parsed, dict) or parsed["type"] != "record":
            raise _unknown(f"{origin} is not a record")
        return parsed

    def _with_references(self, schema: Schema, origin: str, seen: set[tuple[str, int]]) -> list[str]:
        """Return the schema's text after the texts it refers to, deepest first, each once."""
        texts: list[str] = []
        for reference in schema.references or ():
            name, version = reference.subject or "", reference.version or 1
            if (name, version) in seen:
                continue
            seen.add((name, version))
            try:
                found = self._client.get_version(name, version).schema
            except Exception as error:
                self._raise_if_unavailable(error)
                raise _unknown(f"{origin} refers to a schema that the registry does not have") from None
            texts.extend(self._with_references(found, origin, seen))
        return [*texts, schema.schema_str or ""]

    def _raise_if_unavailable(self, error: Exception) -> None:
        """Raise unless the error means *there is no such schema*; a 404 may also come from another kind of server."""
        if not isinstance(error, SchemaRegistryError):
            raise self._unavailable(error) from error
        status = error.http_status_code
        if not 400 <= status < 500 or status in _NOT_THE_RECORDS_FAULT:
            raise self._unavailable(error) from error
        if error.error_code in _NO_SUCH_SCHEMA:
            return
        # A server that is no registry, or a registry without GUIDs, gives no 404xx. Only a registry lists its types.
        try:
            self._client.get_schema_types()
        except Exception as probe:
            raise self._unavailable(probe) from probe

    def _unavailable(self, error: Exception) -> RegistryUnavailable:
        kind = RegistryUnavailable
        if isinstance(error, SchemaRegistryError):
            answer = f"answered HTTP {error.http_status_code}"
            kind = RegistryUnusable if error.http_status_code in _DENIED else RegistryUnavailable
        else:
            answer = f"did not answer ({type(error).__name__})"
        return kind(
            f"the schema registry at {self._where} {answer}: check its url, credentials and health, then start again"
        )

    def _remember(self, key: int | UUID, detail: str) -> None:
        known = self._unknown.pop(key, None)
        if known is None:
            if len(self._unknown) >= _REMEMBERED:
                del self._unknown[next(iter(self._unknown))]
            known = _Unknown(detail)
        else:
            known.wait_longer()
        self._unknown[key] = known


def _unknown(detail: str) -> UnreadableError:
    return UnreadableError(RejectReason.UNKNOWN_SCHEMA, detail)


class _Unknown:
    """An id the registry did not have, and the number of further records with it before the next request."""

    __slots__ = ("_left", "_patience", "detail")

    def __init__(self, detail: str) -> None:
        self.detail = detail
        self._patience = 1
        self._left = 1

    def skip(self) -> bool:
        self._left -= 1
        return self._left >= 0

    def wait_longer(self) -> None:
        self._patience = min(2 * self._patience, _PATIENCE)
        self._left = self._patience


def client(settings: RegistrySettings) -> SchemaRegistryClient:
    """Return a client of the registry; all users of one `mock://` url share a client.

    The `ca` file is read here.

    Raises:
        RegistryError: if the `ca` is not a file.
    """
    if settings.url.startswith("mock://"):
        return _mock_client(settings.url)
    conf: dict[str, Any] = {
        "url": settings.url,
        "timeout": settings.timeout_s,
        "max.retries": settings.retries,
        "retries.wait.ms": settings.backoff_ms,
    }
    if settings.username is not None and settings.password is not None:
        conf["basic.auth.user.info"] = f"{settings.username}:{settings.password.get_secret_value()}"
    if settings.ca is not None:
        if not settings.ca.is_file():
            raise RegistryError(f"the schema registry's ca {settings.ca} is not a file: name a PEM file")
        conf["ssl.ca.location"] = str(settings.ca)
    return SchemaRegistryClient.new_client(conf)


@cache
def _mock_client(url: str) -> SchemaRegistryClient:
    return SchemaRegistryClient.new_client({"url": url})
