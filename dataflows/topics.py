"""The topics: what is there, and creating what is not, each with the retention its meaning asks for."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource  # the public name is not exported for type checkers
from confluent_kafka.cimpl import NewTopic

from dataflows.clock import now_ms
from dataflows.login import Login
from dataflows.settings import KafkaSettings, Settings, kafka_client_config

ANSWER_SECONDS = 15.0
"""How long Kafka may take to answer a question about topics."""

LISTEN_SECONDS = 0.1
"""How often, while an answer is waited for, it is looked whether there can be none."""

DAY_MS = 86_400_000
ENVELOPE_BYTES = 65_536
"""Room for what a reject or a late event says around the original bytes."""


class BrokerError(Exception):
    """Kafka, or what is in it, is not as this deployment needs it; the sentence says what to do."""


class _Topic(NamedTuple):
    name: str
    partitions: int
    config: dict[str, str]


def partition_counts(kafka: KafkaSettings, names: Iterable[str]) -> dict[str, int]:
    """How many partitions each of the topics has; a topic that does not exist is left out (and is not created).

    Errors: `BrokerError` when Kafka does not answer or does not let us look.
    """
    return _counts(_Admin(kafka), list(names))


def existing_partitions(
    kafka: KafkaSettings, names: Iterable[str], error: type[BrokerError] = BrokerError
) -> dict[str, int]:
    """How many partitions each of the topics has.

    Errors: `error` when one does not exist, `BrokerError` when Kafka does not answer or does not let us look.
    """
    wanted = list(names)
    counts = partition_counts(kafka, wanted)
    for name in wanted:
        if name not in counts:
            raise error(f"Topic {name} does not exist at {kafka.bootstrap_servers}: run `forewarn topics create`.")
    return counts


def create_topics(
    settings: Settings, partitions: int, replication: int, *, input_retention_ms: int | None = None
) -> list[str]:
    """Create the topics that do not exist yet, and return a line on each topic.

    The inputs, and every output keyed by user, get the same number of partitions; `risk.models` has one, so that its
    readers see versions in the order they were made. Retention goes by record timestamps, which on the inputs are event
    times: a log of past years needs `input_retention_ms=-1` (keep all); None leaves the broker's default.

    Errors: `BrokerError` when a topic exists with another number of partitions (then nothing is created), or Kafka
    refuses.
    """
    admin = _Admin(settings.kafka)
    existing = _counts(admin, list(settings.topics.model_dump().values()))
    largest = _largest_input(admin, settings, existing)
    wanted = _wanted(settings, partitions, input_retention_ms, largest)
    for topic in wanted:
        found = existing.get(topic.name, topic.partitions)
        if found != topic.partitions:
            raise BrokerError(
                f"Topic {topic.name} exists with {found} partitions where {topic.partitions} are asked for: "
                f"ask for {found}, or give the topic another name in the settings."
            )
    new = [
        NewTopic(topic.name, num_partitions=topic.partitions, replication_factor=replication, config=topic.config)
        for topic in wanted
        if topic.name not in existing
    ]
    for name, future in (admin.client.create_topics(new, operation_timeout=ANSWER_SECONDS) if new else {}).items():
        admin.answer(future, f"Topic {name} could not be created")
    _wait_until_known(admin, [topic.name for topic in wanted])
    return [
        f"{topic.name}: {'exists' if topic.name in existing else 'created'}, {topic.partitions} "
        f"partition{'s' if topic.partitions > 1 else ''}"
        for topic in wanted
    ]


def _wanted(settings: Settings, partitions: int, input_retention_ms: int | None, largest: int) -> list[_Topic]:
    names = settings.topics
    inputs = {} if input_retention_ms is None else {"retention.ms": str(input_retention_ms)}
    # A reject carries the record it was, whole: these topics take more than the inputs do.
    carriers = {"max.message.bytes": str(largest + ENVELOPE_BYTES)}
    # The latest risk event of a user stays for ever, every one for at least a week (long enough to read back what was
    # written since a snapshot), and what a tombstone erases is gone within a fortnight.
    verdicts = {
        "cleanup.policy": "compact",
        "min.compaction.lag.ms": str(7 * DAY_MS),
        "max.compaction.lag.ms": str(14 * DAY_MS),
    }
    versions = {
        "cleanup.policy": "compact",
        "min.compaction.lag.ms": str(30 * DAY_MS),
        "max.compaction.lag.ms": str(35 * DAY_MS),
    }
    return [
        _Topic(names.chat_messages, partitions, inputs),
        _Topic(names.moderation_events, partitions, inputs),
        _Topic(names.risk_events, partitions, verdicts),
        # The newest version of every model by name; older ones stay a month, to re-derive risk events with, and go
        # within five weeks, with the exemplars in them of whoever asked to be forgotten.
        _Topic(names.risk_models, 1, versions),
        _Topic(names.risk_features, partitions, {}),
        _Topic(names.dead_letters, partitions, carriers),
        _Topic(names.late, partitions, carriers),
    ]


def _largest_input(admin: _Admin, settings: Settings, existing: dict[str, int]) -> int:
    """The largest record either input accepts, in bytes: by its own configuration, or as the broker would have it."""
    names = [name for name in (settings.topics.chat_messages, settings.topics.moderation_events) if name in existing]
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    limits = [1_048_588]  # Kafka's own default
    for future in (
        admin.client.describe_configs(resources, request_timeout=ANSWER_SECONDS) if resources else {}
    ).values():
        entries = admin.answer(future, "The inputs' configuration could not be read")
        limits.append(int(entries["max.message.bytes"].value))
    return max(limits)


def _wait_until_known(admin: _Admin, names: list[str]) -> None:
    """The controller knows a new topic at once; the broker that the next command asks hears of it a little later."""
    deadline = now_ms() + ANSWER_SECONDS * 1_000
    while len(_counts(admin, names)) < len(names):
        if now_ms() > deadline:
            raise BrokerError("The topics were created but are not visible yet: wait a moment and ask again.")


def _counts(admin: _Admin, names: list[str]) -> dict[str, int]:
    found = {}
    asked = admin.client.describe_topics(TopicCollection(names), request_timeout=ANSWER_SECONDS)
    for name, future in asked.items():
        description = admin.answer(future, f"Topic {name} could not be looked at", KafkaError.UNKNOWN_TOPIC_OR_PART)
        if description is not None:
            found[name] = len(description.partitions)
    return found


class _Admin:
    """An admin client, and what is said when it gets no answer."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._login = Login(kafka)
        config: dict[str, Any] = {**kafka_client_config(kafka), "error_cb": self._login.on_error}
        self.client = AdminClient(config)

    def answer(self, future: Future[Any], what: str, none: int | None = None) -> Any:
        """What a request comes to; None if Kafka answers with the error code `none`.

        Errors: `BrokerError`, as soon as it is clear that Kafka does not let us in, or when it refuses or is silent.
        """
        while True:
            try:
                return future.result(LISTEN_SECONDS)
            except TimeoutError:
                self.client.poll(0)
                if sentence := self._login.refused:
                    raise BrokerError(sentence) from None
            except KafkaException as error:
                if error.args[0].code() == none:
                    return None
                self.client.poll(0)
                raise BrokerError(self._login.refused or self._unanswered(what, error.args[0])) from None

    def _unanswered(self, what: str, error: KafkaError) -> str:
        heard = f"; {self._login.heard}" if self._login.heard and error.code() == KafkaError._TIMED_OUT else ""  # noqa: SLF001
        return f"{what} ({error.str()}{heard}): {self._login.check}"
