"""Telling a Kafka that does not let us in from one that does not answer, so that the operator knows what to mend."""

from __future__ import annotations

from confluent_kafka import KafkaError

from dataflows.config.kafka import KafkaSettings, withhold

TLS = "check ssl_ca_file, that the broker's certificate is for this address, and ssl_cert_file if it asks for ours"
PASSWORD = "check sasl_mechanism, username and password"  # noqa: S105 - it is advice
TOKEN = "check oauth_token_url, username, password, oauth_scope, and for a private authority https.ca.location"  # noqa: S105


ALERT = "tls alert"
"""What an error says that came of the broker ending a handshake after we took it for done: it wants a certificate."""

HANDSHAKE = "state SSL_HANDSHAKE"
"""What an error says where the connection ended before TLS stood: by a reset or an end, as it happens."""


class Login:
    """Listens to one client's errors, as its `error_cb`: what was said, and whether waiting can still help.

    It cannot when every broker was tried and a login or a handshake failed, or when there is no token to log in with.
    A single broker that refuses is the client's own business: it goes on with the others.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._refusal: KafkaError | None = None
        self._heard: KafkaError | None = None
        self._all_down = False

    def on_error(self, error: KafkaError) -> None:
        """What the client calls with every error that it does not answer a request with."""
        match error.code():
            case KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - so is the public constant named
                self._all_down = True
            case KafkaError._SSL | KafkaError._AUTHENTICATION:  # noqa: SLF001
                self._refusal = error
            case _ if ALERT in error.str():
                self._refusal = error
            case _:
                self._heard = error

    @property
    def heard(self) -> str | None:
        """The last thing that was said, without what is secret."""
        error = self._refusal or self._heard
        return None if error is None else withhold(error.str(), self._kafka)

    @property
    def check(self) -> str:
        """What an operator should look at when no answer came: the address, and what speaks there if it is not TLS."""
        spoke = ", that its listener there speaks TLS (security_protocol)" if HANDSHAKE in (self.heard or "") else ""
        return f"check that Kafka runs at {self._kafka.bootstrap_servers}{spoke} and that this user is allowed to."

    @property
    def refused(self) -> str | None:
        """The sentence for a login that has failed for good; None as long as it has not."""
        if self._refusal is None:
            return None
        tls = self._refusal.code() != KafkaError._AUTHENTICATION  # noqa: SLF001
        token = self._kafka.sasl_mechanism == "OAUTHBEARER" and not tls
        if not (self._all_down or token):
            return None
        advice = TLS if tls else TOKEN if token else PASSWORD
        return f"Kafka at {self._kafka.bootstrap_servers} does not let forewarn in ({self.heard}): {advice}."
