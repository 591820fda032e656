"""Classification of Kafka errors by the remedy: wait, or fix something."""

from __future__ import annotations

from typing import ClassVar

from confluent_kafka import KafkaError

from schemas.errors import ExpectedError


class BrokerError(ExpectedError):
    """Kafka, or its content, is not as this deployment needs it; the sentence contains the remedy."""

    transient: ClassVar[bool] = True


class BrokerAway(BrokerError):  # noqa: N818 - named for the state, not the mistake
    """Kafka does not answer now; a later attempt may succeed."""


class AccessRefused(BrokerError):  # noqa: N818 - named for the event
    """Kafka rejects this user's login, or does not permit the request."""

    transient: ClassVar[bool] = False


DENIED = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError._AUTHENTICATION,  # noqa: SLF001 - the public constant's name
        KafkaError._SSL,  # noqa: SLF001
    }
)
"""Error codes of missing rights, which waiting does not fix."""


def away_or_denied(error: KafkaError) -> type[BrokerError]:
    """Return the error class for a request that failed."""
    return AccessRefused if error.code() in DENIED else BrokerAway


class TopicError(BrokerError):
    """A topic is missing, or is not as this deployment needs it; the sentence contains the remedy."""

    transient: ClassVar[bool] = False
