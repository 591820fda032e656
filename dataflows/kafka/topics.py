"""Topics: query, creation and check of their configuration, with the retention that each one needs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicCollection, Uuid
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)  # the public names are not exported to checkers
from confluent_kafka.cimpl import NewTopic

from dataflows.config.settings import KafkaSettings, Settings, kafka_client_config
from dataflows.kafka.auth_errors import Login
from dataflows.kafka.broker_errors import AccessRefused, BrokerAway, BrokerError, TopicError, away_or_denied
from dataflows.runtime.clock import monotonic_ms

__all__ = [
    "BrokerError",
    "TopicError",
    "check_outputs",
    "create_topics",
    "existing_partitions",
    "partition_counts",
]

log = logging.getLogger(__name__)

ANSWER_SECONDS = 15.0
"""Maximum time for Kafka to answer a request about topics."""

LISTEN_SECONDS = 0.1
"""Interval at which a pending request is checked for a failed login."""

DAY_MS = 86_400_000
KAFKA_LIMIT = 1_048_588
"""Size of the largest record that Kafka accepts by default, in bytes."""
LIMIT, CLEANUP = "max.message.bytes", "cleanup.policy"
CHECKED = frozenset({LIMIT, CLEANUP})
"""Topic settings that a run requires; other differences are logged as warnings."""
ENVELOPE_BYTES = 65_536
"""Bytes reserved for the fields of a reject or late event around the original record."""


class Found(NamedTuple):
    """A topic as described by Kafka; `id` distinguishes topics of the same name, None if the brokers report no ids."""

    partitions: int
    id: str | None


class _Topic(NamedTuple):
    name: str
    partitions: int
    config: dict[str, str]


NO_ID = str(Uuid(0, 0))
"""Topic id reported by brokers before Kafka 2.8."""


def found_topics(kafka: KafkaSettings, names: Iterable[str]) -> dict[str, Found]:
    """Return the description of each topic that exists; missing topics are left out and not created.

    Raises:
        BrokerError: if Kafka does not answer or does not permit access.
    """
    return _found(_Admin(kafka), list(names))


def partition_counts(kafka: KafkaSettings, names: Iterable[str]) -> dict[str, int]:
    """Return the partition count of each topic that exists; missing topics are left out and not created.

    Raises:
        BrokerError: if Kafka does not answer or does not permit access.
    """
    return _counts(_Admin(kafka), list(names))


def existing_partitions(
    kafka: KafkaSettings, names: Iterable[str], error: type[BrokerError] = TopicError
) -> dict[str, int]:
    """Return the partition count of each topic.

    Raises:
        BrokerError: if a topic does not exist (then of class `error`), or Kafka does not answer or does not permit
            access.
    """
    wanted = list(names)
    counts = partition_counts(kafka, wanted)
    for name in wanted:
        if name not in counts:
            raise error(f"Topic {name} does not exist at {kafka.bootstrap_servers}: run `forewarn topics create`.")
    return counts


def create_topics(
    settings: Settings,
    partitions: int,
    replication: int,
    *,
    input_retention_ms: int | None = None,
    alter: bool = False,
) -> list[str]:
    """Create the topics that do not exist yet, and return the lines of a report on all topics.

    The inputs, and every output keyed by user, get the same number of partitions; `risk.models` has one, so that its
    readers see versions in the order of creation. Retention depends on record timestamps, which on the inputs are event
    times: a log of past years needs `input_retention_ms=-1` (keep all); None keeps the broker's default. Differences in
    the configuration of an existing topic are reported, and corrected if `alter` is set.

    Raises:
        BrokerError: if a topic exists with another number of partitions (then nothing is created), or Kafka refuses.
    """
    admin = _Admin(settings.kafka)
    existing = _counts(admin, list(settings.topics.model_dump().values()))
    found = _configs(admin, list(existing))
    wanted = wanted_topics(settings, partitions, input_retention_ms, _largest_input(settings, found))
    for topic in wanted:
        count = existing.get(topic.name, topic.partitions)
        if count != topic.partitions:
            raise TopicError(
                f"Topic {topic.name} exists with {count} partitions where {topic.partitions} are asked for: "
                f"ask for {count}, or give the topic another name in the settings."
            )
    new = [
        NewTopic(topic.name, num_partitions=topic.partitions, replication_factor=replication, config=topic.config)
        for topic in wanted
        if topic.name not in existing
    ]
    for name, future in (admin.client.create_topics(new, operation_timeout=ANSWER_SECONDS) if new else {}).items():
        admin.answer(future, f"Topic {name} could not be created")
    _wait_until_known(admin, [topic.name for topic in wanted])
    lines = [line for topic in wanted for line in _told(admin, topic, found.get(topic.name), alter=alter)]
    if alter:
        _wait_until_altered(admin, [topic for topic in wanted if topic.name in found])
    return lines


def check_outputs(settings: Settings) -> None:
    """Raise if an output topic is not usable for this deployment; warn of other differences.

    Raises:
        TopicError: with a sentence for each topic that is missing, has the wrong cleanup policy, or is too small for
            the records of an input.
        BrokerError: if Kafka does not answer.
    """
    admin = _Admin(settings.kafka)
    names = list(settings.topics.model_dump().values())
    existing = _counts(admin, names)
    try:
        found = _configs(admin, list(existing))
    except AccessRefused as error:
        found = {}
        log.warning("The topics' configuration is not checked, because this user may not read it. %s", error)
    problems, address = [], settings.kafka.bootstrap_servers
    for topic in wanted_topics(settings, 1, None, _largest_input(settings, found)):
        if topic.name not in existing:
            problems.append(f"Topic {topic.name} does not exist at {address}: run `forewarn topics create`.")
        for differs in _differences(topic, found.get(topic.name)):
            sentence = f"Topic {topic.name} has {differs}: run `forewarn topics create --alter`, or set it there."
            if differs.name in CHECKED and not differs.harmless:
                problems.append(sentence)
            else:
                log.warning(sentence)
    if problems:
        raise TopicError(*problems)


class _Difference(NamedTuple):
    """A topic's setting that differs from the value that `topics create` sets."""

    name: str
    is_now: str
    wanted: str

    def __str__(self) -> str:
        return f"{self.name} {self.is_now or 'unset'} where {self.wanted} is needed"

    @property
    def harmless(self) -> bool:
        """Return whether the topic is compacted as required, though it also deletes by retention."""
        return self.name == CLEANUP and self.wanted in self.is_now.split(",") and self.wanted == "compact"


def _differences(topic: _Topic, found: dict[str, str] | None) -> list[_Difference]:
    """Return the differences in a topic's configuration; a size limit counts only if too small."""
    if found is None:
        return []
    pairs = [(name, found.get(name, ""), wanted) for name, wanted in topic.config.items()]
    return [
        _Difference(name, is_now, wanted)
        for name, is_now, wanted in pairs
        if is_now != wanted and not (name == LIMIT and is_now.isdigit() and int(is_now) >= int(wanted))
    ]


def _told(admin: _Admin, topic: _Topic, found: dict[str, str] | None, *, alter: bool) -> Iterator[str]:
    """Yield the lines of `topics create` for a topic; with `alter`, correct the differences before reporting them."""
    plural = "s" if topic.partitions > 1 else ""
    yield f"{topic.name}: {'created' if found is None else 'exists'}, {topic.partitions} partition{plural}"
    differences = _differences(topic, found)
    if differences and alter:
        entries = [
            ConfigEntry(one.name, one.wanted, incremental_operation=AlterConfigOpType.SET) for one in differences
        ]
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic.name, incremental_configs=entries)
        for future in admin.client.incremental_alter_configs([resource], request_timeout=ANSWER_SECONDS).values():
            admin.answer(future, f"Topic {topic.name} could not be altered")
    for one in differences:
        yield (
            f"{topic.name}: {one.name} was {one.is_now}, is {one.wanted}"
            if alter
            else (f"{topic.name}: {one}; --alter sets it")
        )


def wanted_topics(settings: Settings, partitions: int, input_retention_ms: int | None, largest: int) -> list[_Topic]:
    names = settings.topics
    inputs = {} if input_retention_ms is None else {"retention.ms": str(input_retention_ms)}
    stream = {CLEANUP: "delete"}  # compaction would drop all but a key's latest record, and the markers of redrive
    # A reject contains its whole original record, so these topics need a higher limit than the inputs.
    carriers = {**stream, LIMIT: str(largest + ENVELOPE_BYTES)}
    # A user's latest risk event is kept for ever, every risk event for at least a week (long enough to read back those
    # written since a snapshot). Risk events erased by a tombstone are removed within two weeks.
    verdicts = {
        CLEANUP: "compact",
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
        # The newest version of every model is kept. Older versions are kept for a month, to re-derive risk events, and
        # removed within five weeks, with the exemplars of erased users in them.
        _Topic(names.risk_models, 1, versions),
        _Topic(names.risk_features, partitions, stream),
        _Topic(names.dead_letters, partitions, carriers),
        _Topic(names.late, partitions, carriers),
    ]


def _largest_input(settings: Settings, found: dict[str, dict[str, str]]) -> int:
    """Return the size in bytes of the largest record that an input accepts, by its configuration or Kafka's default."""
    names = (settings.topics.chat_messages, settings.topics.moderation_events)
    return max(int(found[name][LIMIT]) if name in found else KAFKA_LIMIT for name in names)


def _configs(admin: _Admin, names: list[str]) -> dict[str, dict[str, str]]:
    """Return the configuration of topics that exist, by topic."""
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    asked = admin.client.describe_configs(resources, request_timeout=ANSWER_SECONDS) if resources else {}
    answers = {
        resource.name: admin.answer(future, f"The configuration of topic {resource.name} could not be read")
        for resource, future in asked.items()
    }
    return {name: {key: entry.value or "" for key, entry in entries.items()} for name, entries in answers.items()}


def _wait_until_known(admin: _Admin, names: list[str]) -> None:
    """Wait until new topics are visible: the controller lists them at once, other brokers a little later."""
    deadline = monotonic_ms() + ANSWER_SECONDS * 1_000
    while len(_counts(admin, names)) < len(names):
        if monotonic_ms() > deadline:
            raise BrokerAway("The topics were created but are not visible yet: wait a moment and ask again.")


def _wait_until_altered(admin: _Admin, topics: list[_Topic]) -> None:
    """Wait until altered settings are visible, since the next command would still read the old value."""
    deadline = monotonic_ms() + ANSWER_SECONDS * 1_000
    while True:
        found = _configs(admin, [topic.name for topic in topics])
        if not any(_differences(topic, found[topic.name]) for topic in topics):
            return
        if monotonic_ms() > deadline:
            raise BrokerAway("The topics were altered but do not show it yet: wait a moment and ask again.")


def _counts(admin: _Admin, names: list[str]) -> dict[str, int]:
    return {name: topic.partitions for name, topic in _found(admin, names).items()}


def _found(admin: _Admin, names: list[str]) -> dict[str, Found]:
    found = {}
    asked = admin.client.describe_topics(TopicCollection(names), request_timeout=ANSWER_SECONDS)
    for name, future in asked.items():
        description = admin.answer(future, f"Topic {name} could not be looked at", KafkaError.UNKNOWN_TOPIC_OR_PART)
        if description is not None:
            topic_id = str(description.topic_id)
            found[name] = Found(len(description.partitions), None if topic_id == NO_ID else topic_id)
    return found


UNFIT = frozenset(
    {
        KafkaError.INVALID_PARTITIONS,
        KafkaError.INVALID_REPLICATION_FACTOR,
        KafkaError.INVALID_CONFIG,
        KafkaError.POLICY_VIOLATION,
        KafkaError.TOPIC_EXCEPTION,
    }
)
"""Error codes of requests that are rejected permanently."""


def _failure_of(error: KafkaError) -> type[BrokerError]:
    return TopicError if error.code() in UNFIT else away_or_denied(error)


class _Admin:
    """An admin client with explanations for failed requests."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._login = Login(kafka)
        config: dict[str, Any] = {**kafka_client_config(kafka), "error_cb": self._login.on_error}
        self.client = AdminClient(config)

    def answer(self, future: Future[Any], what: str, none: int | None = None) -> Any:
        """Return the result of a request; None if Kafka answers with the error code `none`.

        Raises:
            BrokerError: as soon as it is clear that the login is rejected, or if Kafka rejects the request or does not
                answer.
        """
        while True:
            try:
                return future.result(LISTEN_SECONDS)
            except TimeoutError:
                self.client.poll(0)
                if sentence := self._login.refused:
                    raise AccessRefused(sentence) from None
            except KafkaException as error:
                if error.args[0].code() == none:
                    return None
                self.client.poll(0)
                if sentence := self._login.refused:
                    raise AccessRefused(sentence) from None
                raise _failure_of(error.args[0])(self._unanswered(what, error.args[0])) from None

    def _unanswered(self, what: str, error: KafkaError) -> str:
        heard = f"; {self._login.heard}" if self._login.heard and error.code() == KafkaError._TIMED_OUT else ""  # noqa: SLF001
        return f"{what} ({error.str()}{heard}): {self._login.check}"
