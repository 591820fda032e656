"""What a registry's answers mean: a schema, a record at fault, or a registry at fault."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference
from pydantic import SecretStr, ValidationError

from schemas.catalogue import released
from schemas.codec import Codec, Decoder, Encoder, RegistryError, RegistrySettings, RegistryUnavailable
from schemas.records import CHAT, RejectReason
from schemas.writers import MAX_ID, client
from tests.schemas.kit import CHAT_ROW, MESSAGE, raw, rejected

TEXT = released().text(CHAT, 1)
DATUM = Encoder(CHAT).encode(MESSAGE)[10:]
NAME = "chat.messages-value"


def by_id(number: int, datum: bytes = DATUM) -> bytes:
    return b"\x00" + number.to_bytes(4, "big") + datum


class Scripted:
    """A registry that answers over HTTP what a test tells it to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.asked: list[str] = []
        self.authorization: str | None = None
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                path = self.path.partition("?")[0]
                scripted.asked.append(f"{self.command} {path}")
                scripted.authorization = self.headers["Authorization"]
                self.rfile.read(int(self.headers["Content-Length"] or 0))
                missing = (404, b'{"error_code": 404, "message": "HTTP 404 Not Found"}')
                status, body = scripted.answers.get(f"{self.command} {path}", missing)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = answer  # noqa: N815 - the base class names them so

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def settings(self) -> RegistrySettings:
        return RegistrySettings(url=f"http://127.0.0.1:{self.server.server_port}", retries=0)

    def put(self, request: str, status: int, body: object) -> None:
        self.answers[request] = (status, json.dumps(body).encode())


@pytest.fixture
def registry() -> Iterator[Scripted]:
    """A registry over HTTP that knows no schema but lists its types."""
    scripted = Scripted()
    scripted.put("GET /schemas/types", 200, ["AVRO"])
    scripted.thread.start()
    yield scripted
    scripted.server.shutdown()
    scripted.thread.join()
    scripted.server.server_close()


@pytest.fixture
def codec_of() -> Iterator[Callable[[RegistrySettings], Codec]]:
    """Codecs whose connections are closed when the test ends."""
    made: list[Codec] = []

    def make(settings: RegistrySettings) -> Codec:
        made.append(Codec(settings))
        return made[-1]

    yield make
    for codec in made:
        codec.close()


CodecOf = Callable[[RegistrySettings], Codec]


def test_what_one_process_writes_to_a_mock_registry_another_codec_reads() -> None:
    """`mock://name` is one registry for everyone who says that name."""
    settings = RegistrySettings(url="mock://shared")
    value = Encoder(CHAT, settings, registered_as=NAME).encode(MESSAGE)
    assert value[0] == 0
    assert Codec(settings).decode(raw(value)) == MESSAGE
    assert Decoder(CHAT, settings).decode(value) == MESSAGE
    other = rejected(Codec(RegistrySettings(url="mock://another")).decode(raw(value)))
    assert other.reason is RejectReason.UNKNOWN_SCHEMA


def test_a_schema_named_by_guid_is_read() -> None:
    """Magic byte 1, as newer clients write."""
    settings = RegistrySettings(url="mock://guid")
    guid = client(settings).register_schema_full_response(NAME, Schema(TEXT, "AVRO")).guid
    assert guid is not None
    assert Codec(settings).decode(raw(b"\x01" + UUID(guid).bytes + DATUM)) == MESSAGE


def test_a_schema_made_of_several_is_read() -> None:
    """The score's type lives in a registry subject of its own."""
    settings = RegistrySettings(url="mock://references")
    outer: dict[str, Any] = json.loads(TEXT)
    scores = next(field for field in outer["fields"] if field["name"] == "scores")
    inner = {**scores["type"]["items"], "namespace": "forewarn"}
    scores["type"]["items"] = "forewarn.ScorerResult"
    client(settings).register_schema("scorer-result", Schema(json.dumps(inner), "AVRO"))
    references = [SchemaReference("forewarn.ScorerResult", "scorer-result", 1)]
    number = client(settings).register_schema(NAME, Schema(json.dumps(outer), "AVRO", references))
    assert Codec(settings).decode(raw(by_id(number))) == MESSAGE
    lost = client(settings).register_schema(
        NAME, Schema(json.dumps(outer), "AVRO", [SchemaReference("forewarn.ScorerResult", "nowhere", 1)])
    )
    reject = rejected(Codec(settings).decode(raw(by_id(lost))))
    assert reject.detail == f"schema id {lost} refers to a schema that the registry does not have"


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


def test_a_known_id_is_asked_for_once(registry: Scripted, codec_of: CodecOf) -> None:
    """What an id means never changes."""
    registry.put("GET /schemas/ids/7", 200, {"schema": TEXT})
    codec = codec_of(registry.settings)
    assert {codec.decode(raw(by_id(7))) == MESSAGE for _ in range(10)} == {True}
    assert registry.asked == ["GET /schemas/ids/7"]


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


@pytest.mark.parametrize(
    ("schema", "kind", "detail"),
    [
        ('{"type": "object"}', "JSON", "is not Avro"),
        ("{", "AVRO", "is not a readable Avro schema"),
        ('"string"', "AVRO", "is not a record"),
        (
            '{"type":"record","name":"A","fields":[{"name":"a","type":["null","A"]}]}',
            "AVRO",
            "is not safe to decode: it contains itself",
        ),
        (
            '{"type":"record","name":"A","fields":[{"name":"a","type":{"type":"array","items":"null"}}]}',
            "AVRO",
            "is not safe to decode: it has an array whose items take no bytes",
        ),
    ],
)
def test_a_registered_schema_that_cannot_or_must_not_be_used_rejects(schema: str, kind: str, detail: str) -> None:
    """Decoding a type that contains itself can end the process, and an array of nothing eats its memory."""
    settings = RegistrySettings(url=f"mock://unusable-{detail}")
    number = client(settings).register_schema(NAME, Schema(schema, kind))
    codec = Codec(settings)
    for datum in (b"\x02" * 500_000, b"\x80" * 8 + b"\x01"):
        reject = rejected(codec.decode(raw(by_id(number, datum))))
        assert (reject.reason, reject.detail) == (RejectReason.UNKNOWN_SCHEMA, f"schema id {number} {detail}")


def test_a_schema_that_unfolds_without_end_rejects() -> None:
    """Twenty types of ten fields each, every one of the next type: 10**20 values from no bytes at all."""
    schema: dict[str, Any] = {"type": "record", "name": "T0", "fields": []}
    for depth in range(1, 21):
        fields = [{"name": "f0", "type": schema}]
        fields += [{"name": f"f{i}", "type": f"T{depth - 1}"} for i in range(1, 10)]
        schema = {"type": "record", "name": f"T{depth}", "fields": fields}
    settings = RegistrySettings(url="mock://unfolds")
    number = client(settings).register_schema(NAME, Schema(json.dumps(schema), "AVRO"))
    reject = rejected(Codec(settings).decode(raw(by_id(number, b""))))
    assert reject.detail == f"schema id {number} is not safe to decode: it unfolds into more than 10000 types"


def test_an_encoder_looks_its_schema_up_before_it_registers_it(registry: Scripted) -> None:
    """A registry that lets nobody register is served by an operator who has done so."""
    registry.put(f"POST /subjects/{NAME}", 200, {"id": 258, "version": 1, "subject": NAME, "schema": TEXT})
    encoder = Encoder(CHAT, registry.settings, registered_as=NAME)
    assert [encoder.encode(MESSAGE)[:5] for _ in range(2)] == [b"\x00\x00\x00\x01\x02"] * 2
    assert registry.asked == [f"POST /subjects/{NAME}"]
    encoder.close()


def test_an_encoder_registers_a_schema_that_is_new(registry: Scripted) -> None:
    """Under the name it was given."""
    registry.put(f"POST /subjects/{NAME}", 404, {"error_code": 40401, "message": "Subject not found"})
    registry.put(f"POST /subjects/{NAME}/versions", 200, {"id": 3})
    encoder = Encoder(CHAT, registry.settings, registered_as=NAME)
    assert encoder.encode(MESSAGE)[:5] == b"\x00\x00\x00\x00\x03"
    encoder.close()


def test_a_registry_that_refuses_our_schema_is_quoted_with_advice(registry: Scripted) -> None:
    """A refusal is not an outage: to start again would not help."""
    registry.put(f"POST /subjects/{NAME}", 404, {"error_code": 40403, "message": "Schema not found"})
    registry.put(f"POST /subjects/{NAME}/versions", 409, {"error_code": 409, "message": "incompatible"})
    encoder = Encoder(CHAT, registry.settings, registered_as=NAME)
    with pytest.raises(RegistryError, match=rf"refuses our schema under {NAME} \(HTTP 409\): compare") as caught:
        encoder.encode(MESSAGE)
    assert not isinstance(caught.value, RegistryUnavailable)
    encoder.close()


def test_an_encoder_with_a_registry_needs_a_name() -> None:
    """There is no good guess: the name follows the topic, which an encoder does not know."""
    with pytest.raises(RegistryError, match="say what chat_message is registered as"):
        Encoder(CHAT, RegistrySettings(url="mock://unnamed"))


def test_credentials_are_sent_and_never_shown(registry: Scripted, codec_of: CodecOf) -> None:
    """Basic authentication; neither the settings nor an error give the password away."""
    settings = RegistrySettings(url=registry.settings.url, username="reader", password=SecretStr("hunter2"), retries=0)
    registry.put("GET /schemas/ids/7", 401, {"error_code": 401, "message": "hunter2 is wrong"})
    with pytest.raises(RegistryUnavailable) as caught:
        codec_of(settings).decode(raw(by_id(7)))
    assert registry.authorization == "Basic cmVhZGVyOmh1bnRlcjI="
    assert "hunter2" not in f"{settings!r} {caught.value}"


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"url": "ftp://host"}, "starts with http://, https:// or mock://"),
        ({"url": "http://"}, "names a host"),
        ({"url": "http://reader:hunter2@host"}, "credentials do not belong in the url"),
        ({"url": "http://host", "username": "reader"}, "username and password go together"),
        ({"url": "http://host", "retries": -1}, "greater than or equal to 0"),
        ({"url": "http://host", "colour": "red"}, "Extra inputs are not permitted"),
    ],
)
def test_wrong_settings_are_answered_in_a_sentence(wrong: dict[str, Any], sentence: str) -> None:
    """Which quotes no value, because a url may hold a password."""
    with pytest.raises(ValidationError, match=sentence) as caught:
        RegistrySettings.model_validate(wrong)
    assert "hunter2" not in str(caught.value)


def test_a_ca_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Before any request is made."""
    missing = tmp_path / "ca.pem"
    with pytest.raises(RegistryError, match=r"ca\.pem is not a file: name a PEM file"):
        Codec(RegistrySettings(url="https://host", ca=missing))
