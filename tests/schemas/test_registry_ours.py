"""What we ask of a registry ourselves: settings, credentials, and an id for our schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from schemas.codec import Codec, Encoder, RegistryError, RegistrySettings, RegistryUnavailable
from schemas.records import CHAT
from tests.schemas.kit import MESSAGE, raw
from tests.schemas.scripted import NAME, TEXT, CodecOf, Scripted, by_id


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
