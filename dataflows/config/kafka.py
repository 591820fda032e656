"""The `kafka` section of the settings, and the librdkafka configuration that every client is built from."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, quote_plus, urlsplit

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from pydantic import BaseModel, ConfigDict, Field, FilePath, SecretStr, field_validator, model_validator

from dataflows.runtime.text_files import TextError, read_text

Option = str | int | float | bool
Positive = Annotated[int, Field(gt=0)]

OWN_SETTING = {
    "bootstrap.servers": "bootstrap_servers",
    "metadata.broker.list": "bootstrap_servers",
    "group.id": "group_id",
    "security.protocol": "security_protocol",
    "sasl.mechanism": "sasl_mechanism",
    "sasl.mechanisms": "sasl_mechanism",
    "sasl.username": "username",
    "sasl.oauthbearer.client.id": "username",
    "sasl.oauthbearer.token.endpoint.url": "oauth_token_url",
    "sasl.oauthbearer.scope": "oauth_scope",
    "ssl.ca.location": "ssl_ca_file",
    "ssl.certificate.location": "ssl_cert_file",
    "ssl.key.location": "ssl_key_file",
    "queued.max.messages.kbytes": "queued_max_kbytes",
    "delivery.timeout.ms": "delivery_timeout_ms",
    "message.timeout.ms": "delivery_timeout_ms",
}
"""librdkafka options that have a dedicated setting, with its name."""

FIXED = frozenset(
    {
        "acks",
        "auto.offset.reset",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "enable.partition.eof",
        "isolation.level",
        "max.in.flight",
        "max.in.flight.requests.per.connection",
        "partitioner",
        "request.required.acks",
        "transactional.id",
    }
)
"""librdkafka options that the delivery guarantees depend on."""


SECRET_WORDS = ("password", "passphrase", "secret", "pem")
"""Words in the name of a librdkafka option whose value may be a secret."""


class Section(BaseModel):
    """Base of every section: immutable, rejects unknown keys, never quotes values in errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class KafkaSettings(Section):
    """Connection to Kafka.

    `group_id` is the consumer group of the offsets committed for lag dashboards, and the prefix of transactional ids.
    Resuming never reads its offsets.
    """

    bootstrap_servers: Annotated[str, Field(min_length=1)]
    group_id: Annotated[str, Field(min_length=1)] = "forewarn"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = None
    username: str | None = None
    """The user name, or the client id for OAUTHBEARER."""
    password: SecretStr | None = None
    """The user's password, or the client secret for OAUTHBEARER."""
    password_file: Path | None = None
    oauth_token_url: str | None = None
    oauth_scope: str | None = None
    ssl_ca_file: FilePath | None = None
    ssl_cert_file: FilePath | None = None
    ssl_key_file: FilePath | None = None
    ssl_key_password: SecretStr | None = None
    ssl_key_password_file: Path | None = None
    queued_max_kbytes: Positive = 16_384
    """Maximum read-ahead of one source partition, in KiB; held twice at worst (librdkafka's queue and forewarn's)."""
    delivery_timeout_ms: Positive = 120_000
    """Maximum wait of a message for the broker; after it the flow stops, so that the message is not lost."""
    options: dict[str, Option] = {}
    """Further librdkafka options, by their own names."""

    @model_validator(mode="before")
    @classmethod
    def _read_secret_files(cls, data: Any) -> Any:
        return with_secret(with_secret(data, "password"), "ssl_key_password")

    @field_validator("options")
    @classmethod
    def _known_options(cls, options: dict[str, Option]) -> dict[str, Option]:
        for name, value in options.items():
            if own := OWN_SETTING.get(name):
                raise ValueError(f"{name} has a setting of its own, use kafka.{own} instead")
            if name in FIXED:
                raise ValueError(f"{name} may not be changed because delivery rests on it, remove it")
            if any(word in name for word in SECRET_WORDS):
                raise ValueError(f"{name} would hold a secret, use the password and key file settings instead")
            try:
                AdminClient({name: value, "log_level": 0})
            except KafkaException as error:
                raise ValueError(f"librdkafka refuses the option {name}, check its name and value") from error
        return options

    @field_validator("oauth_token_url")
    @classmethod
    def _bare_url(cls, url: str | None) -> str | None:
        if url is not None and "@" in urlsplit(url).netloc:
            raise ValueError("credentials do not belong in the url, set username and password")
        return url

    @model_validator(mode="after")
    def _whole_login(self) -> Self:
        sasl = self.security_protocol.startswith("SASL")
        if sasl and (self.sasl_mechanism is None or self.username is None or self.password is None):
            raise ValueError(
                f"{self.security_protocol} needs sasl_mechanism, username and a password (or password_file)"
            )
        if not sasl and self.sasl_mechanism is not None:
            raise ValueError("sasl_mechanism works only with SASL_PLAINTEXT or SASL_SSL, change security_protocol")
        if self.sasl_mechanism == "OAUTHBEARER" and self.oauth_token_url is None:
            raise ValueError("OAUTHBEARER needs oauth_token_url, the address that issues tokens")
        if (self.ssl_cert_file is None) != (self.ssl_key_file is None):
            raise ValueError("ssl_cert_file and ssl_key_file go together, set both or neither")
        if self.security_protocol.endswith("SSL"):
            self._try_tls()
        return self

    def _try_tls(self) -> None:
        """Let librdkafka read the certificates and the key now; otherwise every later client would fail on them."""
        config = kafka_client_config(self)
        tls = {name: value for name, value in config.items() if name.startswith("ssl.")}
        try:
            AdminClient({**tls, "security.protocol": "SSL", "log_level": 0})
        except KafkaException as error:
            said = withhold(error.args[0].str().rpartition("client: ")[2], self)
            raise ValueError(
                f"the TLS files do not open ({said}), check ssl_ca_file, ssl_cert_file, ssl_key_file and the key's "
                "password"
            ) from error


def kafka_client_config(kafka: KafkaSettings) -> dict[str, Option]:
    """Return the librdkafka configuration that every client shares; it contains secrets, so it is never logged."""
    config: dict[str, Option | None] = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "client.id": "forewarn",
        # The clients of forewarn log an outage once; librdkafka would log a line for every attempt.
        "log_level": 2,
        "security.protocol": kafka.security_protocol,
        "sasl.mechanism": kafka.sasl_mechanism,
        "ssl.ca.location": _text(kafka.ssl_ca_file),
        "ssl.certificate.location": _text(kafka.ssl_cert_file),
        "ssl.key.location": _text(kafka.ssl_key_file),
        "ssl.key.password": _reveal(kafka.ssl_key_password),
    }
    if kafka.sasl_mechanism == "OAUTHBEARER":
        config |= {
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.client.id": kafka.username,
            "sasl.oauthbearer.client.secret": _reveal(kafka.password),
            "sasl.oauthbearer.token.endpoint.url": kafka.oauth_token_url,
            "sasl.oauthbearer.scope": kafka.oauth_scope,
        }
    elif kafka.sasl_mechanism is not None:
        config |= {"sasl.username": kafka.username, "sasl.password": _reveal(kafka.password)}
    return {**{name: value for name, value in config.items() if value is not None}, **kafka.options}


def withhold(text: str, kafka: KafkaSettings) -> str:
    """Return the text with its secrets masked, also in the forms that an HTTP request may contain.

    A server that rejects a login may echo the whole request, and librdkafka passes its answer on.
    """
    for kept in (kafka.password, kafka.ssl_key_password):
        if secret := _reveal(kept):
            pair = base64.b64encode(f"{kafka.username}:{secret}".encode()).decode()
            for form in (secret, quote(secret, safe=""), quote_plus(secret), pair):
                text = text.replace(form, "***")
    return text


def with_secret(data: Any, name: str) -> Any:
    """Return the section with `name` read from the file that `<name>_file` names, if that is set.

    One trailing newline is dropped.

    Raises:
        ValueError: if both are set or the file cannot be read.
    """
    if not isinstance(data, Mapping) or data.get(f"{name}_file") is None:
        return data
    if data.get(name) is not None:
        raise ValueError(f"{name} and {name}_file are both set, keep one")
    try:
        secret = read_text(Path(data[f"{name}_file"]))
    except TextError as error:
        raise ValueError(f"{name}_file {error}") from error
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"{name}_file cannot be read, make it a readable text file that holds the secret") from error
    return {**data, name: secret.removesuffix("\n").removesuffix("\r")}


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _reveal(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
