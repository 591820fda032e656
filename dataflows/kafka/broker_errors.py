"""Classify Kafka errors by the remedy: wait, or mend something."""

from __future__ import annotations

from typing import ClassVar

from confluent_kafka import KafkaError

from schemas.errors import ExpectedError


class BrokerError(ExpectedError):
    """Kafka, or what is in it, is not as this deployment needs it; the sentence says what to do."""

    transient: ClassVar[bool] = True


class BrokerAway(BrokerError):  # noqa: N818 - a state of the world, not a mistake
    """Kafka does not answer, or not now: a later try may find it."""


class AccessRefused(BrokerError):  # noqa: N818 - it is what happened
    """Kafka does not let this user in, or does not let it do what was asked."""

    transient: ClassVar[bool] = False


DENIED = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError._AUTHENTICATION,  # noqa: SLF001 - so is the public constant named
        KafkaError._SSL,  # noqa: SLF001
    }
)
"""Error codes of missing rights, which waiting does not cure."""


def away_or_denied(error: KafkaError) -> type[BrokerError]:
    """Return the class of error for a request that Kafka did not answer as asked."""
    return AccessRefused if error.code() in DENIED else BrokerAway


class TopicError(BrokerError):
    """A topic is missing, or is not as this deployment needs it; the sentence says what to do."""

    transient: ClassVar[bool] = False
