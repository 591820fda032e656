"""Encoding and decoding of records for our own topics and files, and for tools that write our inputs.

Avro is written with the latest released schema: in Confluent wire format if a registry is configured, otherwise in Avro
single-object encoding. JSON is one line per record, with keys in the order of the record's fields and bytes as base64.
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
    """An Avro encoder of one subject's records.

    With a registry, `registered_as` names the registry's subject: by convention the topic's name followed by `-value`.
    Our schema is looked up there, and registered if it is missing, when the first record is written.
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
        """Return one framed Avro datum.

        Raises:
            TypeError: if the record is not of this encoder's subject.
            RegistryUnavailable: if the registry gives no useful answer.
            RegistryError: if the registry refuses our schema, or lacks it and `auto_register` is not set.
        """
        if not isinstance(record, self._model):
            raise TypeError(f"this encoder writes {self._model.__name__}, not {type(record).__name__}")
        stream = BytesIO()
        stream.write(self.prefix())
        # Without the flag fastavro reads a tuple inside a union as (branch, value).
        schemaless_writer(stream, self._schema, record.model_dump(), disable_tuple_notation=True)
        return stream.getvalue()

    def prefix(self) -> bytes:
        """Return the bytes that precede every datum; the first call may query the registry.

        The registry errors are those of `encode`.
        """
        if self._prefix is None and self._registry is not None:
            number = self._registry.register(self._registered_as, self._text)
            self._prefix = CONFLUENT_ID + number.to_bytes(4, "big")
        return self._prefix or b""

    def close(self) -> None:
        """Close the connection to the registry, if there is one."""
        if self._registry is not None:
            self._registry.close()


class Decoder:
    """A decoder of one subject's records, in any framing that `Codec` reads; for topics that only we write.

    Unlike `Codec` it raises: on our own topics an unreadable record is an error, not normal traffic.
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
        """Return the record in `value`.

        Raises:
            UnreadableError: if it holds none; the text gives the reason without quoting the value.
            RegistryUnavailable: if the registry gives no useful answer about the writer's schema.
        """
        data = self._framing.read(value)
        try:
            if self._bytes and value[0] not in FRAMED:  # JSON
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
    """Return the record as one canonical line of JSON, without the newline; equal records give equal bytes."""
    return orjson.dumps(record.model_dump(), default=_base64)


def _base64(value: Any) -> str:
    if isinstance(value, bytes):
        return b64encode(value).decode("ascii")
    raise TypeError(f"{type(value).__name__} has no JSON form")
