"""Records to bytes and back, for topics and files we write ourselves and for tools that write our inputs.

Avro is written with the latest released schema: in Confluent wire format where a registry is configured, in Avro
single-object encoding where none is. JSON is one line per record, keys in the order of the record's fields, bytes as
base64.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from io import BytesIO
from typing import TYPE_CHECKING, Any

import orjson
from fastavro import schemaless_writer
from pydantic import BaseModel, ValidationError

from schemas.codec.framing import CONFLUENT_ID, FRAMED, SINGLE_OBJECT, Framing
from schemas.records.base import Record
from schemas.records.refusal import UnreadableError, classify
from schemas.records.rejects import RejectReason
from schemas.registry import connect
from schemas.registry.settings import RegistryError, RegistrySettings
from schemas.released.catalogue import MODELS, Catalogue, released

if TYPE_CHECKING:
    from schemas.registry.client import Registry


class Encoder:
    """Writes one subject's records as Avro.

    With a registry, `registered_as` names the registry's subject, by convention the topic's name and `-value`. Our
    schema is looked up there, and registered if need be, when the first record is written.
    """

    def __init__(
        self, subject: str, registry: RegistrySettings | None = None, *, registered_as: str | None = None
    ) -> None:
        catalogue = released()
        version = catalogue.latest(subject)
        self._schema = catalogue.schema(subject, version)
        self._model = MODELS[subject]
        self._prefix: bytes | None = None
        self._registry: Registry | None = None
        if registry is None:
            self._prefix = SINGLE_OBJECT + catalogue.fingerprint(subject, version)
            return
        if not registered_as:
            raise RegistryError(f"say what {subject} is registered as: by convention the topic's name and -value")
        self._registry = connect(registry)
        self._registered_as = registered_as
        self._text = catalogue.text(subject, version)

    def encode(self, record: BaseModel) -> bytes:
        """One framed Avro datum. `RegistryUnavailable` or `RegistryError` when our schema has no id."""
        if not isinstance(record, self._model):
            raise TypeError(f"this encoder writes {self._model.__name__}, not {type(record).__name__}")
        stream = BytesIO()
        stream.write(self.prefix())
        # Without the flag fastavro reads a tuple inside a union as (branch, value).
        schemaless_writer(stream, self._schema, record.model_dump(), disable_tuple_notation=True)
        return stream.getvalue()

    def prefix(self) -> bytes:
        """What stands before every datum; asks the registry the first time. Errors: as `encode`."""
        if self._prefix is None and self._registry is not None:
            number = self._registry.register(self._registered_as, self._text)
            self._prefix = CONFLUENT_ID + number.to_bytes(4, "big")
        return self._prefix or b""

    def close(self) -> None:
        """Close the connection to the registry, if there is one."""
        if self._registry is not None:
            self._registry.close()


class Decoder:
    """Reads one subject's records back, in any framing the Codec knows; for topics that only we write to.

    Unlike the Codec it raises: on our own topics an unreadable record is a fault, not traffic.
    """

    def __init__(
        self, subject: str, registry: RegistrySettings | None = None, *, catalogue: Catalogue | None = None
    ) -> None:
        schemas = released() if catalogue is None else catalogue
        self._registry = None if registry is None else connect(registry)
        self._framing = Framing(subject, schemas, self._registry)
        self._model = MODELS[subject]
        self._bytes = [field["name"] for field in schemas.schema(subject)["fields"] if "bytes" in field["type"]]

    def decode(self, value: bytes) -> Record:
        """The record in `value`; `UnreadableError` says why there is none, without quoting it."""
        data = self._framing.read(value)
        try:
            if self._bytes and value[0] not in FRAMED:  # then it was JSON
                present = [name for name in self._bytes if data.get(name) is not None]
                data.update({name: b64decode(data[name], validate=True) for name in present})
            return self._model.model_validate(data)
        except ValidationError as error:
            raise UnreadableError(*classify(error)) from None
        except (TypeError, ValueError):
            raise UnreadableError(RejectReason.INVALID_FIELD, f"{' or '.join(self._bytes)}: not base64") from None

    def close(self) -> None:
        """Close the connection to the registry, if there is one."""
        if self._registry is not None:
            self._registry.close()


def encode_json(record: BaseModel) -> bytes:
    """The record as one canonical line of JSON, without the line's end: equal records give equal bytes."""
    return orjson.dumps(record.model_dump(), default=_base64)


def _base64(value: Any) -> str:
    if isinstance(value, bytes):
        return b64encode(value).decode("ascii")
    raise TypeError(f"{type(value).__name__} has no JSON form")
