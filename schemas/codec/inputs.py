"""Decoding of a raw record into an Event or a Reject, without raising on bad input.

`schemas.codec.framing` reads bytes; a log row arrives as a mapping. pydantic validates both into the same records. An
optional part that fails validation is repaired or left out, and the record is kept (`schemas.records.mending`).

An invalid event time is rejected. It is invalid if it lies further ahead of the record's arrival than the allowed skew,
because one wrong clock would push its user's window forward. It is also invalid if it lies decades behind the arrival,
because it is then in a unit other than milliseconds.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

from pydantic import ValidationError

from schemas.codec.framing import Framing, json_fault
from schemas.codec.outputs import Decoder, Encoder, encode_json
from schemas.records.base import CHAT, MODERATION, Raw
from schemas.records.events import ChatMessage, ModerationEvent
from schemas.records.mending import mend
from schemas.records.refusal import UnreadableError, classify
from schemas.records.rejects import Reject, RejectReason
from schemas.registry import connect
from schemas.registry.settings import RegistryError, RegistrySettings, RegistryUnavailable
from schemas.released.catalogue import MODELS, Catalogue, released

__all__ = [
    "EARLIEST_TIME",
    "Codec",
    "Decoder",
    "Encoder",
    "RegistryError",
    "RegistrySettings",
    "RegistryUnavailable",
    "UnreadableError",
    "encode_json",
]

EARLIEST_TIME = 315_532_800_000
"""1980-01-01T00:00:00Z. No platform's log is older. Times in seconds since 1970 that are read as milliseconds lie
before it until the year 11968. So do present times in days, minutes or hundredths of a second."""
OLDEST_MS = 20 * 365 * 86_400_000
"""Largest age of an event at its record's arrival: twenty years (ms). Older logs are sent with the event time as the
record's timestamp, as `produce` does."""

_MAX_DETAIL = 256


class Codec:
    """A decoder of the records of both input topics.

    `max_bytes` is the largest value that is decoded. `allowed_skew_ms` bounds how far an event time may lie ahead of
    `received`. `earliest_ms` is the first event time accepted, whether `received` is known or not; dataflows pass
    `EARLIEST_TIME`.
    """

    def __init__(
        self,
        registry: RegistrySettings | None = None,
        *,
        max_bytes: int = 1_048_576,
        allowed_skew_ms: int = 300_000,
        earliest_ms: int = 0,
        catalogue: Catalogue | None = None,
    ) -> None:
        self._max_bytes = max_bytes
        self._allowed_skew_ms = allowed_skew_ms
        self._earliest_ms = earliest_ms
        self._mended = Counter[str]()
        self._lock = Lock()
        schemas = released() if catalogue is None else catalogue
        self._registry = None if registry is None else connect(registry)
        self._framing = {subject: Framing(subject, schemas, self._registry).read for subject in (CHAT, MODERATION)}
        # Calling pydantic's validator directly saves a Python frame of `model_validate`: a tenth of the time.
        self._validate: dict[str, Callable[[Any], ChatMessage | ModerationEvent]] = {
            subject: MODELS[subject].__pydantic_validator__.validate_python for subject in (CHAT, MODERATION)
        }

    def decode(self, raw: Raw) -> ChatMessage | ModerationEvent | Reject:
        """Return the Event in a raw record, or a Reject with the reason and the original bytes.

        The mended parts of an Event are counted until `take_mended` is called.

        No content of a record makes this raise. `RegistryUnavailable` is the one exception let through: nothing is
        known about the record then, so rejecting it would lose it. Let it stop the flow, and resume later.

        Raises:
            RegistryUnavailable: if the registry gives no useful answer about the writer's schema.
        """
        value = raw.value
        try:
            if type(value) is bytes and raw.schema_header is None and len(value) <= self._max_bytes:
                value = self._framing[raw.subject](value)  # the common case, without another call
            elif type(value) is not dict:
                value = self._opened(raw)
            parts: frozenset[str] = frozenset()
            try:
                event = self._validate[raw.subject](value)
            except ValidationError as error:
                value, parts = mend(raw.subject, value, error)
                event = self._validate[raw.subject](value)
            time, received = event.event_time, raw.received
            if time < self._earliest_ms:
                return _reject(raw, RejectReason.PAST_TIMESTAMP, "event_time: before 1980, so hardly in milliseconds")
            if received is not None:
                if time - received > self._allowed_skew_ms:
                    return _reject(raw, RejectReason.FUTURE_TIMESTAMP, "event_time: ahead of the record's arrival")
                if received - time > OLDEST_MS and not raw.redriven:
                    return _reject(raw, RejectReason.PAST_TIMESTAMP, "event_time: decades before the record's arrival")
            if parts:
                with self._lock:
                    self._mended.update(f"{raw.subject}.{part}" for part in parts)
        except ValidationError as error:
            fault = json_fault(raw.value) if isinstance(raw.value, bytes) else None
            return _reject(raw, *(fault or classify(error)))
        except UnreadableError as error:
            return _reject(raw, error.reason, error.detail)
        except RegistryUnavailable:
            raise
        except Exception as error:
            return _reject(raw, RejectReason.INTERNAL_ERROR, type(error).__name__)
        return event

    def take_mended(self) -> Counter[str]:
        """Return the number of Events mended since the last call, by part, such as `chat_message.text`.

        Threads that share the codec share the count.
        """
        if not self._mended:
            return Counter()
        with self._lock:
            taken, self._mended = self._mended, Counter()
        return taken

    def close(self) -> None:
        """Close the connection to the registry, if there is one."""
        if self._registry is not None:
            self._registry.close()

    def _opened(self, raw: Raw) -> Any:
        value: Any = raw.value
        if isinstance(value, bytes):
            if len(value) > self._max_bytes:
                raise UnreadableError(RejectReason.TOO_LARGE, f"more than {self._max_bytes} bytes")
            return self._framing[raw.subject](value, raw.schema_header)
        if value is None:
            raise UnreadableError(RejectReason.EMPTY_VALUE, "no value")
        if not isinstance(value, Mapping):
            raise UnreadableError(RejectReason.UNKNOWN_FRAMING, "neither bytes nor a mapping")
        return dict(value)


def _reject(raw: Raw, reason: RejectReason, detail: str) -> Reject:
    # Not validated: a Reject must be created for any record.
    return Reject.model_construct(
        reason=reason,
        stage="decode",
        detail=detail[:_MAX_DETAIL],
        subject=raw.subject,
        topic=raw.at.topic,
        partition=raw.at.partition,
        offset=raw.at.offset,
        seq=raw.at.seq,
        received=raw.received,
        key=raw.key,
        value=_original(raw.value),
        schema_header=raw.schema_header,
    )


def _original(value: Any) -> bytes | None:
    """Return the bytes that a Reject keeps: the original ones, or a log row as JSON, as faithfully as JSON allows.

    orjson is not used, because it turns a NaN into null. The row must show its error.
    """
    if value is None or isinstance(value, bytes):
        return value
    try:
        text = json.dumps(dict(value), ensure_ascii=False, separators=(",", ":"), default=repr)
    except Exception:
        try:
            text = repr(value)
        except Exception:
            text = f"a {type(value).__name__} that cannot be shown"
    return text.encode("utf-8", "backslashreplace")
