"""Watch over the topics of a running flow: recreation, deletion and new partitions are reported in a sentence.

A topic that is deleted and recreated keeps its name, and its offsets start again: a consumer that continues at its old
offset skips records. Only the topic id shows the difference (KIP-516). New partitions are visible neither to a consumer
nor in the lag of its group. So a thread queries Kafka about every minute, and a source queries at once if its offsets
are invalid. A problem ends the flow before a snapshot can count the affected records as read.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import ClassVar, Self

from prometheus_client import Gauge

from dataflows.config.settings import KafkaSettings, TopicSettings
from dataflows.kafka.broker_errors import BrokerError
from dataflows.kafka.topics import Found, found_topics

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 60.0
"""Interval between two checks of the topics."""
ACCEPT = "forewarn recovery accept"
"""The command that makes a recovery store accept recreated topics."""


class InputError(BrokerError):
    """The topics cannot be read as this flow needs them; the sentence contains the remedy."""

    transient: ClassVar[bool] = False


class TopicWatch:
    """Detector of changes to the topics that a flow reads and writes.

    `stored` means that a recovery store holds positions in them. The inputs and the risk-event topic are checked;
    nothing is read back from the other outputs. `counts` and `unread` are gauges by topic: existing partitions, and
    partitions that are not read.

    Use as a context manager around the flow; a thread then checks every `interval` seconds (a minute by default).
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topics: TopicSettings,
        *,
        stored: bool = False,
        interval: float | None = None,
        counts: Gauge | None = None,
        unread: Gauge | None = None,
    ) -> None:
        self._kafka, self._stored = kafka, stored
        self._interval = INTERVAL_SECONDS if interval is None else interval
        self._inputs = (topics.chat_messages, topics.moderation_events)
        self._watched = (*self._inputs, topics.risk_events)
        self._counts, self._unread = counts, unread
        self._ids: dict[str, str] = {}
        self._accepted: dict[str, str] = {}
        self._read: int | None = None
        self._seen: set[str] = set()
        self._missing: set[str] = set()
        self._problem: str | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_looking, name="topics", daemon=True)

    def accept(self, ids: Mapping[str, str]) -> None:
        """Accept these topic ids (by topic), which come from the store's manifest, whatever a resume state contains."""
        self._ids.update(ids)
        self._accepted.update(ids)

    def accepted(self, topic: str) -> bool:
        """Return whether the topic's current id is the one in the manifest."""
        return self._accepted.get(topic, "") == self.id_of(topic) != ""

    def reads(self, partitions: int) -> None:
        """Store the number of partitions that the flow reads of each input."""
        self._read = partitions

    def partitions(self) -> int | None:
        """Return the number of partitions that the flow reads of each input, or None if not yet known."""
        return self._read

    def id_of(self, topic: str) -> str:
        """Return the stored id of a topic; empty if the brokers report none."""
        return self._ids.get(topic, "")

    def look(self) -> None:
        """Check the topics now.

        Raises:
            InputError: if a topic was recreated or deleted, or has partitions that are not read.
            BrokerError: if Kafka does not answer.
        """
        with self._lock:
            if self._problem is None:
                self._problem = self._judge(found_topics(self._kafka, self._watched))
        self.check()

    def check(self) -> None:
        """Raise the problem found so far, if any.

        Raises:
            InputError: for the reasons given in `look`.
        """
        if self._problem is not None:
            raise InputError(self._problem)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _keep_looking(self) -> None:
        while not self._ended.wait(self._interval):
            try:
                self.look()
            except InputError:
                return  # the sources raise it through `check`
            except BrokerError as error:
                log.debug("The topics could not be looked at: %s", error)  # the clients log an outage

    def _judge(self, found: Mapping[str, Found]) -> str | None:
        """Return the sentence for a problem with the topics, or None; update the gauges."""
        for topic in self._inputs:
            if topic in found and self._counts is not None and self._unread is not None:
                there = found[topic].partitions
                self._counts.labels(topic).set(there)
                self._unread.labels(topic).set(max(there - (self._read or there), 0))
        for topic in found:
            if (now := found[topic].id) is None:
                if topic not in self._seen:
                    log.warning(without_ids(topic))
            elif (was := self._ids.setdefault(topic, now)) != now:
                return made_anew(topic, was, now, stored=self._stored)
        # a broker that has just started may not list a topic yet: only one that is missing twice in a row is gone
        self._seen.update(found)
        gone = self._seen - {*found}
        twice, self._missing = sorted(gone & self._missing), gone
        if twice:
            back = f"restore it, or make it again and run `{ACCEPT}`" if self._stored else "make it again"
            return f"Topic {twice[0]} was deleted while this flow ran: {back}, then start again."
        for topic in self._inputs:
            if topic in found and self._read is not None and found[topic].partitions > self._read:
                return (
                    f"Topic {topic} has {found[topic].partitions} partitions by now, and this run reads {self._read} "
                    "of them: give both input topics the same number and start again. The old partitions go on where "
                    "they were, the new ones are read from their beginning, and nothing is lost."
                )
        return None


def without_ids(topic: str) -> str:
    """Return the log line for a broker that reports no topic ids."""
    return f"Kafka gives no id of topic {topic} (it does from 2.8 on): if it is made anew, only its offsets can tell."


def made_anew(topic: str, was: str, now: str, *, stored: bool) -> str:
    """Return the sentence for a topic that was deleted and recreated under the same name."""
    what = f"Topic {topic} was deleted and made anew (its id was {was} and is {now})"
    if not stored:
        return f"{what}, so nothing before is in it: start again, which begins with its first record."
    return (
        f"{what}, so the positions that the recovery store holds mean nothing in it: restore the topic, or run "
        f"`{ACCEPT}`, which keeps every profile and model and begins with the first record of the new topic."
    )
