"""The job as a PyFlink DataStream application: users in keyed state, with checkpoints on.

Flink reads the two topics in no common order, so an event waits in its user's state until the watermark has passed its
record's time. Timers fire in the order of time whatever the user, so the model, which is in process, sees the events
in the order of the log; a restart begins it anew. PyFlink's sink hands the whole record to the key's serializer, so
the answers have no key, and a tombstone is an answer that says so.
"""

from __future__ import annotations

import gc
import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
from pyflink.common import Configuration, Types, WatermarkStrategy
from pyflink.common.serialization import SimpleStringSchema
from pyflink.datastream import KeyedProcessFunction, RuntimeContext, StreamExecutionEnvironment
from pyflink.datastream.connectors.kafka import (
    KafkaOffsetsInitializer,
    KafkaRecordSerializationSchema,
    KafkaSink,
    KafkaSource,
)
from pyflink.datastream.state import MapStateDescriptor, ValueStateDescriptor

from tests.bench.peers.checks import CHAT, MODERATION, check
from tests.bench.peers.job import Job, User, tombstone
from tests.bench.peers.kafka import place, report

CHECKPOINT_MS = 10_000
BUNDLE, BUNDLE_MS, CACHED = 10_000, 200, 100_000
"""How many records go to Python at a time, for how long they are gathered, and how much state Python holds at hand."""


def user_of(value: str) -> str:
    """Whose event it is; whatever is none is nobody's."""
    try:
        return str(orjson.loads(value)["user_id"])
    except (LookupError, TypeError, ValueError):
        return ""


class Users(KeyedProcessFunction):
    """The job for the users of one worker."""

    def __init__(self, counts: str) -> None:
        self._counts = counts

    def open(self, runtime_context: RuntimeContext) -> None:
        """Make the job and its state."""
        gc.set_threshold(100_000, 20, 20)
        self._job = Job()
        self._user = runtime_context.get_state(ValueStateDescriptor("user", Types.PICKLED_BYTE_ARRAY()))
        self._waiting = runtime_context.get_map_state(MapStateDescriptor("waiting", Types.LONG(), Types.STRING()))

    def process_element(self, value: str, ctx: KeyedProcessFunction.Context) -> None:
        """Let an event wait for its time."""
        time = ctx.timestamp()
        self._waiting.put(time, value)
        ctx.timer_service().register_event_time_timer(time)

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> Iterator[str]:  # noqa: ARG002
        """Handle the event whose time has come."""
        value = self._waiting.get(timestamp)
        self._waiting.remove(timestamp)
        try:
            event = orjson.loads(value)
            subject = MODERATION if "kind" in event else CHAT  # a source says nothing of the topic
            check(subject, event, timestamp)
        except (TypeError, ValueError):
            self._job.counts["invalid"] += 1
            return
        if subject == MODERATION and event["kind"] == "erasure":
            self._user.clear()
            yield orjson.dumps(tombstone(event)).decode()
            return
        user: Any = self._user.value() or User()
        answer = self._job.step(user, subject, event)
        self._user.update(user)
        if answer is not None:
            yield orjson.dumps(answer).decode()

    def close(self) -> None:
        """Leave the counts where the application finds them."""
        learnt = {"examples": self._job.model.examples, "positives": self._job.model.positives}
        Path(self._counts).write_bytes(orjson.dumps({**self._job.counts, **learnt}))


def main() -> None:
    """Read both topics to their present end."""
    where = place()
    counts = Path(where.state + ".json")
    # the interpreter inside the JVM knows nothing of the environment
    os.environ["PYTHONPATH"] = os.pathsep.join((sysconfig.get_path("purelib"), os.environ.get("PYTHONPATH", "")))
    config = Configuration()
    for key, value in {
        "parallelism.default": 1,
        "restart-strategy.type": "none",
        "python.execution-mode": "thread",
        "python.fn-execution.bundle.size": BUNDLE,
        "python.fn-execution.bundle.time": BUNDLE_MS,
        "python.state.cache-size": CACHED,
        "python.map-state.read-cache-size": CACHED,
        "python.map-state.write-cache-size": CACHED,
        "execution.checkpointing.interval": f"{CHECKPOINT_MS} ms",
        "execution.checkpointing.dir": Path(where.state).absolute().as_uri(),
        "execution.checkpointing.storage": "filesystem",
        "pipeline.jars": ";".join(jar.as_uri() for jar in (Path(sys.prefix) / "jars").glob("*.jar")),
    }.items():
        config.set_string(key, str(value))
    env = StreamExecutionEnvironment.get_execution_environment(config)
    env.set_python_executable(sys.executable)
    source = (
        KafkaSource.builder()
        .set_bootstrap_servers(where.broker)
        .set_group_id(where.group)
        .set_topics(where.chat, where.moderation)
        .set_starting_offsets(KafkaOffsetsInitializer.earliest())
        .set_bounded(KafkaOffsetsInitializer.latest())
        .set_value_only_deserializer(SimpleStringSchema())
        .build()
    )
    serializer = (
        KafkaRecordSerializationSchema.builder()
        .set_topic(where.risk)
        .set_value_serialization_schema(SimpleStringSchema())
        .build()
    )
    sink = KafkaSink.builder().set_bootstrap_servers(where.broker).set_record_serializer(serializer).build()
    events = env.from_source(source, WatermarkStrategy.for_monotonous_timestamps(), "inputs")
    answers = events.key_by(user_of, Types.STRING()).process(Users(str(counts)), Types.STRING())
    answers.sink_to(sink)
    env.execute("peer")
    report(**orjson.loads(counts.read_bytes()))


if __name__ == "__main__":
    main()
