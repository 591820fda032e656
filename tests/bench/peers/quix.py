"""The job as a Quix Streams application: one StreamingDataFrame of both topics, users in its RocksDB state.

The state is the truth: a user is read from it and written back for every event, as JSON-able data, with a changelog
topic behind it. The vectors of points that wait lie under keys of their own, so that they are read when an escalation
needs them and not for every event. The model is in process, and a restart begins it anew.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import orjson
from quixstreams import Application, State

from tests.bench.peers.checks import CHAT, MODERATION, InvalidError, decode
from tests.bench.peers.job import Answer, Job, User, tombstone
from tests.bench.peers.kafka import place, report
from tests.bench.peers.model import Features
from tests.bench.peers.state import dump, load

QUIET_SECONDS = 5.0
Event = dict[str, Any]


class Vectors:
    """The vectors of one user's points, as `Labels` asks for them, in the state store."""

    def __init__(self, state: State) -> None:
        self._state = state

    def __getitem__(self, number: int) -> Features:
        found: Features = self._state.get(f"v{number}")
        return found

    def __setitem__(self, number: int, vector: Features) -> None:
        self._state.set(f"v{number}", vector)

    def pop(self, number: int, default: Any) -> Any:
        """Drop one; what it was is not looked up."""
        self._state.delete(f"v{number}")
        return default


def main() -> None:
    """Read both topics until nothing more comes."""
    where = place()
    gc.set_threshold(100_000, 20, 20)
    app = Application(
        where.broker,
        consumer_group=where.group,
        auto_offset_reset="earliest",
        state_dir=where.state,
        loglevel="WARNING",
        auto_create_topics=True,  # its changelog
        consumer_poll_timeout=0.5,
    )
    job = Job()

    def opened(subject: str) -> Any:
        topic = app.topic(where.chat if subject == CHAT else where.moderation, value_deserializer="bytes")

        def checked(value: bytes | None, _key: Any, timestamp: int, _headers: Any) -> list[tuple[str, Event]]:
            try:
                return [(subject, decode(subject, value, timestamp))]
            except InvalidError:
                job.counts["invalid"] += 1
                return []

        return app.dataframe(topic).apply(checked, metadata=True, expand=True)

    def step(item: tuple[str, Event], state: State) -> Iterator[Answer]:
        subject, event = item
        stored = state.get("user")
        vectors = Vectors(state)
        user = User(vectors) if stored is None else load(stored, vectors)
        if subject == MODERATION and event["kind"] == "erasure":
            user.labels.clear()
            state.delete("user")
            yield tombstone(event)
            return
        answer = job.step(user, subject, event)
        state.set("user", dump(user))
        if answer is not None:
            yield answer

    def written(answer: Answer) -> bytes | None:
        return None if "tombstone" in answer else orjson.dumps(answer)

    risk = app.topic(where.risk, value_serializer="bytes")
    both = opened(CHAT).concat(opened(MODERATION))  # in the order of record times
    both.apply(step, stateful=True, expand=True).apply(written).to_topic(risk)
    app.run(timeout=QUIET_SECONDS, collect=False)
    report(**job.counts, examples=job.model.examples, positives=job.model.positives)


if __name__ == "__main__":
    main()
