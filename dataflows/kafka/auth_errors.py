"""Distinguishes a Kafka that rejects the login from one that does not answer, because the operator's remedy differs."""

from __future__ import annotations

from confluent_kafka import KafkaError

from dataflows.config.kafka import KafkaSettings, withhold

TLS = "check ssl_ca_file, that the broker's certificate is for this address, and ssl_cert_file if it asks for ours"
PASSWORD = "check sasl_mechanism, username and password"  # noqa: S105 - advice, not a password
TOKEN = "check oauth_token_url, username, password, oauth_scope, and for a private authority https.ca.location"  # noqa: S105


ALERT = "tls alert"
"""Error text if the broker ends a handshake that the client considers complete: it requires a certificate."""

HANDSHAKE = "state SSL_HANDSHAKE"
"""Error text if the connection ends before TLS is established, by a reset or a regular close."""


class Login:
    """Collects one client's errors, as its `error_cb`: the last error text, and whether waiting can still help.

    Waiting cannot help if every broker was tried and a login or handshake failed, or if no token to log in with was
    issued. A single broker that rejects the login is left to the client, which continues with the others.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._refusal: KafkaError | None = None
        self._heard: KafkaError | None = None
        self._all_down = False

    def on_error(self, error: KafkaError) -> None:
        """Store an error that the client reports outside of a request."""
        match error.code():
            case KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - the public constant's name
                self._all_down = True
            case KafkaError._SSL | KafkaError._AUTHENTICATION:  # noqa: SLF001
                self._refusal = error
            case _ if ALERT in error.str():
                self._refusal = error
            case _:
                self._heard = error

    @property
    def heard(self) -> str | None:
        """Return the last error text, without secrets."""
        error = self._refusal or self._heard
        return None if error is None else withhold(error.str(), self._kafka)

    @property
    def check(self) -> str:
        """Return what to check if no answer came: the address, and whether the listener there speaks TLS."""
        spoke = ", that its listener there speaks TLS (security_protocol)" if HANDSHAKE in (self.heard or "") else ""
        return f"check that Kafka runs at {self._kafka.bootstrap_servers}{spoke} and that this user is allowed to."

    @property
    def refused(self) -> str | None:
        """Return the sentence for a login that has failed for good, or None."""
        if self._refusal is None:
            return None
        tls = self._refusal.code() != KafkaError._AUTHENTICATION  # noqa: SLF001
        token = self._kafka.sasl_mechanism == "OAUTHBEARER" and not tls
        if not (self._all_down or token):
            return None
        advice = TLS if tls else TOKEN if token else PASSWORD
        return f"Kafka at {self._kafka.bootstrap_servers} does not let forewarn in ({self.heard}): {advice}."
