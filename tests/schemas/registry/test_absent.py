"""A schema the registry does not give: a record at fault, or a registry at fault."""

from __future__ import annotations

import pytest
from confluent_kafka.schema_registry import Schema

from schemas.codec.inputs import Codec, Encoder, RegistrySettings, RegistryUnavailable
from schemas.records.base import CHAT
from schemas.records.rejects import RejectReason
from schemas.registry.client import MAX_ID, client
from tests.kit.records import CHAT_ROW, MESSAGE, raw, rejected
from tests.kit.scripted_registry import DATUM, NAME, TEXT, CodecOf, Scripted, by_id


def test_a_schema_registered_later_is_not_hidden_for_long() -> None:
    """An unknown id is asked for again, ever more rarely, but at least every 256 records."""
    settings = RegistrySettings(url="mock://later")
    codec = Codec(settings)
    for _ in range(5_000):
        assert rejected(codec.decode(raw(by_id(1)))).reason is RejectReason.UNKNOWN_SCHEMA
    assert client(settings).register_schema(NAME, Schema(TEXT, "AVRO")) == 1
    events = [codec.decode(raw(by_id(1))) for _ in range(257)]
    assert events[-1] == MESSAGE


def test_unknown_ids_cost_few_requests_and_bounded_memory(registry: Scripted, codec_of: CodecOf) -> None:
    """Poison that names one unknown id a thousand times is asked about a dozen times; old ids are forgotten."""
    registry.put("GET /schemas/ids/7", 404, {"error_code": 40403, "message": "Schema not found"})
    codec = codec_of(registry.settings)
    for _ in range(1_000):
        assert rejected(codec.decode(raw(by_id(7)))).detail == "the registry does not have schema id 7"
    assert len(registry.asked) == 11
    mock = Codec(RegistrySettings(url="mock://many"))
    for number in range(1, 3_000):
        mock.decode(raw(by_id(number)))
    lookups = mock._registry
    assert lookups is not None
    assert len(lookups._unknown) == 1_024


def test_an_id_beyond_31_bits_is_nobodys_and_not_asked_for(registry: Scripted, codec_of: CodecOf) -> None:
    """A registry would answer a 404 that cannot be told from a wrong address."""
    codec = codec_of(registry.settings)
    reject = rejected(codec.decode(raw(by_id(MAX_ID + 1))))
    assert (reject.reason, registry.asked) == (RejectReason.UNKNOWN_SCHEMA, [])


def test_a_registry_that_knows_no_guids_is_still_a_registry(registry: Scripted, codec_of: CodecOf) -> None:
    """Its plain 404 is the record's fault: one record with a GUID must not stop the flow."""
    reject = rejected(codec_of(registry.settings).decode(raw(b"\x01" + bytes(16) + DATUM)))
    assert reject.reason is RejectReason.UNKNOWN_SCHEMA
    assert registry.asked[-1] == "GET /schemas/types"


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (401, {"error_code": 401, "message": "Unauthorized"}, "answered HTTP 401: check its url, credentials"),
        (403, {"error_code": 403, "message": "Forbidden"}, "answered HTTP 403"),
        (500, {"error_code": 50001, "message": "store"}, "answered HTTP 500"),
        (503, "no json of a registry", "answered HTTP 503"),
        (200, {"hello": "world"}, "does not answer as a schema registry does"),
        (404, {"error_code": 404, "message": "HTTP 404 Not Found"}, "answered HTTP 404"),
    ],
)
def test_a_registry_that_gives_no_useful_answer_stops_the_flow(
    status: int, body: object, sentence: str, registry: Scripted, codec_of: CodecOf
) -> None:
    """Good records are not rejected because of it; the sentence says where to look."""
    registry.answers.clear()
    registry.put("GET /schemas/ids/7", status, body)
    codec = codec_of(registry.settings)
    for _ in range(3):
        with pytest.raises(RegistryUnavailable, match=sentence):
            codec.decode(raw(by_id(7)))
    registry.put("GET /schemas/ids/7", 200, {"schema": TEXT})
    assert codec.decode(raw(by_id(7))) == MESSAGE


def test_a_registry_that_does_not_answer_stops_the_flow_but_for_records_that_need_none(
    registry: Scripted, codec_of: CodecOf
) -> None:
    """Nobody listens at the address any more."""
    unreachable = registry.settings.model_copy(update={"url": "http://127.0.0.1:1"})
    codec = codec_of(unreachable)
    with pytest.raises(RegistryUnavailable, match=r"http://127\.0\.0\.1:1 did not answer \(ConnectError\)"):
        codec.decode(raw(by_id(7)))
    assert codec.decode(raw(CHAT_ROW)) == MESSAGE
    with pytest.raises(RegistryUnavailable):
        Encoder(CHAT, unreachable, registered_as=NAME).encode(MESSAGE)


def test_a_failure_in_passing_is_tried_again(registry: Scripted, codec_of: CodecOf) -> None:
    """The client asks once more by itself, here after at most a millisecond."""
    registry.put("GET /schemas/ids/7", 503, {})
    codec = codec_of(registry.settings.model_copy(update={"retries": 2, "backoff_ms": 1}))
    with pytest.raises(RegistryUnavailable):
        codec.decode(raw(by_id(7)))
    assert registry.asked == ["GET /schemas/ids/7"] * 3
