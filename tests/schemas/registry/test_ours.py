"""What we ask of a registry ourselves: settings, credentials, and an id for our schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from schemas.codec.inputs import Codec, Encoder, RegistryError, RegistrySettings, RegistryUnavailable
from schemas.records.base import CHAT
from schemas.registry.settings import RegistryUnusable
from tests.kit.records import MESSAGE, raw
from tests.kit.scripted_registry import NAME, TEXT, CodecOf, Scripted, by_id


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


def test_a_registry_that_may_only_be_read_is_never_written_to(registry: Scripted) -> None:
    """With `auto_register` off a schema that is missing there is told, and nothing is registered."""
    settings = registry.settings.model_copy(update={"auto_register": False})
    registry.put(f"POST /subjects/{NAME}", 404, {"error_code": 40403, "message": "Schema not found"})
    encoder = Encoder(CHAT, settings, registered_as=NAME)
    with pytest.raises(RegistryError, match=rf"does not have our schema under {NAME}, and registry.auto_register is"):
        encoder.prefix()
    registry.put(f"POST /subjects/{NAME}", 200, {"id": 5, "version": 1, "subject": NAME, "schema": TEXT})
    assert encoder.prefix() == b"\x00\x00\x00\x00\x05"
    assert registry.asked == [f"POST /subjects/{NAME}"] * 2
    encoder.close()


def test_a_schema_is_looked_up_and_registered_in_its_normal_form(registry: Scripted) -> None:
    """Some registries compare texts, and whoever registered ours before may have used other white space."""
    registry.put(f"POST /subjects/{NAME}", 404, {"error_code": 40403, "message": "Schema not found"})
    registry.put(f"POST /subjects/{NAME}/versions", 200, {"id": 3})
    encoder = Encoder(CHAT, registry.settings, registered_as=NAME)
    encoder.prefix()
    assert [query.lower().split("&")[0] for query in registry.queries] == ["normalize=true"] * 2
    encoder.close()


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_registry_that_will_not_have_us_is_told_from_one_that_is_away(
    registry: Scripted, status: int, codec_of: CodecOf
) -> None:
    """Wrong credentials or a wrong url are to be mended; the flow stops all the same, because nothing is known."""
    registry.put("GET /schemas/ids/7", status, {"error_code": status, "message": "no"})
    registry.put("GET /schemas/types", status, {"error_code": status, "message": "no"})
    with pytest.raises(RegistryUnusable):
        codec_of(registry.settings).decode(raw(by_id(7)))
    registry.put("GET /schemas/ids/8", 503, {"error_code": 503, "message": "busy"})
    with pytest.raises(RegistryUnavailable) as caught:
        codec_of(registry.settings).decode(raw(by_id(8)))
    assert not isinstance(caught.value, RegistryUnusable)
