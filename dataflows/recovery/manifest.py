"""The manifest beside a recovery store: what the store was written by and for.

The engine resumes whatever it finds. It drops the state of a step that was renamed, deals users over other lanes, and
says nothing. So every start compares what it would run with the manifest of the store, refuses what the store does not
fit, and says what changed and what to do. What an upgrade may change is let through.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from bytewax.dataflow import Dataflow, Operator
from bytewax.inputs import FixedPartitionedSource
from bytewax.outputs import FixedPartitionedSink
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dataflows.config.settings import Settings, TopicSettings
from dataflows.detect import FLOW_ID
from dataflows.kafka.topics import Found
from dataflows.operators.profile import STATE_VERSION as USERS_VERSION
from dataflows.operators.profile import lane_names
from dataflows.recovery.engine_store import NEW, RESTORE, damages, listed, of_other_times, tidy, unused
from dataflows.recovery.lock import StoreError, StoreLock, unusable
from dataflows.recovery.users import damaged_users, make_users
from dataflows.runtime.atomic import write_whole
from dataflows.runtime.engine import open_recovery
from dataflows.runtime.text_files import MARK
from dataflows.sinks.kafka.exactly_once import STATE_VERSION as SINK_VERSION
from dataflows.sources.kafka.partition import STATE_VERSION as SOURCE_VERSION
from dataflows.sources.kafka.watch import made_anew
from detectors.features.catalogue import NAMES
from detectors.learning import learner as learn
from detectors.models.catalogue import made_of
from detectors.policy.policy import Policy
from detectors.policy.sections import TargetPolicy
from detectors.profiles import channels, user
from detectors.scoring import shard as lane

__all__ = ["Manifest", "StoreError", "StoreLock", "differences", "manifest_of", "open_store", "stateful_steps"]

log = logging.getLogger(__name__)

FILE_NAME = "manifest.json"
VERSION = 2
"""The newest form of the manifest that is read. Version 1 had no topic ids."""
STATE_VERSIONS = {
    "user": user.STATE_VERSION,
    "users": USERS_VERSION,
    "learner": learn.STATE_VERSION,
    "lane": lane.STATE_VERSION,
    "channels": channels.STATE_VERSION,
    "source": SOURCE_VERSION,
    "risk sink": SINK_VERSION,
}
"""The versions of the states in a snapshot, by what they are of; each reads those before it, as far as `OLDEST`."""
OLDEST = {"users": 2}
"""The oldest version that is read, where that is not the first."""
POSITIONED = ("chat_messages", "moderation_events", "risk_events")
"""The topics, by their settings, of which a store holds offsets."""
STATELESS = frozenset({"_noop", "branch", "flat_map_batch", "inspect_debug", "merge", "redistribute"})
"""The engine's operators that keep nothing. One that is not known here counts as stateful."""
CHANNELS = f"{FLOW_ID}.context.channels"
"""The step that a policy may have or not: without its state, channels have no history yet."""
ITS_WRITER = f"run the version of forewarn that wrote it, or {NEW}."

Count = Annotated[int, Field(gt=0)]


class Manifest(BaseModel):
    """What a store was written by and for. `version` is that of the manifest's own form."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    version: Literal[1, 2] = 2
    steps: tuple[str, ...]
    """The ids under which the engine keeps state."""
    state_versions: dict[str, int]
    target: dict[str, Any]
    """The policy's target; durations in ms."""
    models: tuple[str, ...]
    """Champion and challengers, or the pinned one."""
    made_of: dict[str, dict[str, Any]] = {}
    """What the policy makes each variant of that has ever run: another one of the name has learnt something else."""
    lanes: Count
    input_partitions: Count
    topics: dict[str, str]
    """The inputs and the risk topic, by their settings."""
    topic_ids: dict[str, str] = {}
    """The ids of all topics, by their settings, as far as Kafka gave them."""
    features: tuple[str, ...]
    recovery_partitions: Count


def manifest_of(
    flow: Dataflow,
    settings: Settings,
    policy: Policy,
    input_partitions: int,
    pinned: str | None = None,
    found: Mapping[str, Found] | None = None,
) -> Manifest:
    """The manifest of a run that is about to start; `pinned` names the model where nothing is learnt.

    `found` is what Kafka says of the topics, by name.
    """
    topics, learning = settings.topics, policy.learning
    return Manifest(
        steps=stateful_steps(flow),
        state_versions=STATE_VERSIONS,
        target=policy.target.model_dump(mode="json"),
        models=(learning.champion, *learning.challengers) if pinned is None else (pinned,),
        made_of={} if pinned is not None else made_of(policy),
        lanes=settings.run.lanes,
        input_partitions=input_partitions,
        topics=topics.model_dump(include=set(POSITIONED)),
        topic_ids=_ids(topics, found or {}),
        features=tuple(NAMES),
        recovery_partitions=settings.recovery.partitions,
    )


def _ids(topics: TopicSettings, found: Mapping[str, Found]) -> dict[str, str]:
    named = {setting: found[topic].id for setting, topic in topics.model_dump().items() if topic in found}
    return {setting: topic_id for setting, topic_id in named.items() if topic_id is not None}


def stateful_steps(flow: Dataflow) -> tuple[str, ...]:
    """The ids under which the engine keeps a flow's state, sorted."""
    return tuple(sorted(step.step_id for step in _walk(flow.substeps) if _keeps_state(step)))


def _walk(steps: Iterable[Operator]) -> Iterator[Operator]:
    for step in steps:
        yield step
        yield from _walk(step.substeps)


def _keeps_state(step: Operator) -> bool:
    if not getattr(step, "core", False):  # it is made of others, and they keep it
        return False
    match type(step).__name__:
        case "input":
            return isinstance(getattr(step, "source", None), FixedPartitionedSource)
        case "output":
            return isinstance(getattr(step, "sink", None), FixedPartitionedSink)
        case name:
            return name not in STATELESS


def open_store(directory: Path, manifest: Manifest) -> None:
    """Check that the store in a directory fits the run that `manifest` describes, and note that run beside it.

    Where nothing has run yet, the store is made. What an execution that was cut short left unfinished is taken out.
    Only whoever holds its `StoreLock` may call this.

    Errors: `StoreError`, with a sentence for each thing that does not fit; nothing is changed then.
    """
    path = directory / FILE_NAME
    try:
        if path.exists():
            stored = _read(path)
        else:
            _make(directory, manifest)
            stored = manifest
        problems = damages(directory, stored.recovery_partitions) or of_other_times(directory)
        problems += differences(stored, manifest, directory)
        problems = problems or damaged_users(directory, lane_names(manifest.lanes))
        if problems:
            raise StoreError(*problems)
        tidy(directory)
        kept = {name: {**getattr(stored, name), **getattr(manifest, name)} for name in ("made_of", "topic_ids")}
        _write(path, manifest.model_copy(update=kept))
    except OSError as error:
        raise unusable(directory, error) from None
    for line in _changes(stored, manifest):
        log.info(line)


def differences(stored: Manifest, now: Manifest, directory: Path) -> list[str]:
    """What in a run does not fit the store it would go on from, a sentence each."""
    store = f"the recovery store in {directory}"
    problems = []
    gone = sorted({*stored.steps} - {*now.steps} - {CHANNELS})
    added = sorted({*now.steps} - {*stored.steps} - {CHANNELS})
    if gone or added:
        told = [f"{what} {listed(steps)}" for what, steps in (("without", gone), ("with the new", added)) if steps]
        problems.append(
            f"The dataflow has other steps than {store} ({' and '.join(told)}), so state would be missing: {ITS_WRITER}"
        )
    problems += [
        f"The {name} state in {directory} has version {version}, from a newer forewarn, and this one reads up to "
        f"{now.state_versions.get(name, 0)}: {ITS_WRITER}"
        for name, version in stored.state_versions.items()
        if version > now.state_versions.get(name, 0)
    ]
    problems += [
        f"The {name} state in {directory} has version {version}, from an older forewarn, and this one reads none "
        f"before {OLDEST[name]}: {ITS_WRITER}"
        for name, version in stored.state_versions.items()
        if version < OLDEST.get(name, 1)
    ]
    old, new = _filled(stored.target), now.target
    if old != new:
        keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        told = [f"{key} was {_json(old.get(key))} and is {_json(new.get(key))}" for key in keys]
        problems.append(
            f"The policy's target is not the one {store} was written for ({'; '.join(told)}; times in ms), and the "
            f"models have learnt the old one: put the target back, or {NEW}."
        )
    problems += [
        f"{name} was {_json(was)} in the policy and is {_json(now.made_of[name])}, and the model of that name has "
        f"learnt the old one: put it back, give the new one another name, or {NEW}."
        for name, was in stored.made_of.items()
        if now.made_of.get(name, was) != was
    ]
    problems += [
        f"{setting} is {value}, but {store} was written for {was}: set it back to {was}, or {NEW}."
        for setting, was, value in [
            *((f"topics.{name}", topic, now.topics.get(name)) for name, topic in stored.topics.items()),
            ("run.lanes", stored.lanes, now.lanes),
            ("recovery.partitions", stored.recovery_partitions, now.recovery_partitions),
        ]
        if was != value
    ]
    problems += [
        made_anew(now.topics[name], stored.topic_ids[name], now.topic_ids[name], stored=True)
        for name in _made_anew(stored, now)
    ]
    if stored.input_partitions > now.input_partitions:
        problems.append(
            f"The input topics have {now.input_partitions} partitions, but {store} was written for "
            f"{stored.input_partitions}, and holds positions in all of them: name the topics it was written for, give "
            f"these as many, or {NEW}."
        )
    return problems


def _made_anew(stored: Manifest, now: Manifest) -> list[str]:
    """Return the settings of the topics of which the store holds offsets, and which have another id now."""
    known = stored.topic_ids.keys() & now.topic_ids.keys()
    same = [name for name in POSITIONED if name in known and stored.topics.get(name) == now.topics.get(name)]
    return [name for name in same if stored.topic_ids[name] != now.topic_ids[name]]


def accept_topics(directory: Path, settings: Settings, found: Mapping[str, Found]) -> list[str]:
    """Make a store go on with topics that were made anew, and return a line on each; `found` is what Kafka says.

    Only whoever holds its `StoreLock` may call this.

    Errors: `StoreError` where there is no store, and where a topic is not there or has too few partitions.
    """
    path = directory / FILE_NAME
    if not path.exists():
        raise StoreError(f"Recovery directory {directory} has no {FILE_NAME}: there is nothing to accept topics for.")
    stored = _read(path)
    names = settings.topics.model_dump(include=set(POSITIONED))
    problems = [f"Topic {name} does not exist: make it first." for name in names.values() if name not in found]
    if problems:
        raise StoreError(*problems)
    inputs = min(found[names[name]].partitions for name in POSITIONED[:2])
    now = stored.model_copy(
        update={
            "version": VERSION,
            "topics": names,
            "topic_ids": {**stored.topic_ids, **_ids(settings.topics, found)},
            "input_partitions": inputs,
        }
    )
    if problems := differences(stored, now.model_copy(update={"topic_ids": {}}), directory):
        raise StoreError(*problems)
    _write(path, now)
    return [
        f"{names[name]}: made anew; "
        + ("read back from its beginning" if name == "risk_events" else "read from its beginning")
        for name in _made_anew(stored, now)
    ] or ["No topic of this store was made anew."]


def accepted_ids(directory: Path) -> dict[str, str]:
    """Return the ids of the topics, by name, of which a store holds offsets: those it was written for or accepted."""
    stored = _read(directory / FILE_NAME)
    return {stored.topics[name]: topic_id for name, topic_id in stored.topic_ids.items() if name in stored.topics}


def _changes(stored: Manifest, now: Manifest) -> Iterator[str]:
    """What an upgrade or another policy changed that the store can live with, a line each."""
    if {*stored.models} != {*now.models}:
        yield f"The models were {', '.join(stored.models)} and are {', '.join(now.models)}; a new one starts untaught."
    if stored.models[0] != now.models[0]:
        yield f"The champion was {stored.models[0]} and is {now.models[0]}."
    if stored.input_partitions < now.input_partitions:
        yield (
            f"The input topics had {stored.input_partitions} partitions and have {now.input_partitions}: the old ones "
            "go on where they were, the new ones are read from their beginning."
        )
    for name, was in stored.topic_ids.items():
        if name not in POSITIONED and now.topic_ids.get(name, was) != was:
            yield f"The topic of topics.{name} is another one than before: what that one held is not written again."
    if (CHANNELS in stored.steps) != (CHANNELS in now.steps):
        yield "Channels are remembered from here on." if CHANNELS in now.steps else "No channel is remembered any more."
    added = [name for name in now.features if name not in stored.features]
    removed = [name for name in stored.features if name not in now.features]
    if added or removed:
        yield f"Features new to the recovery store, which start empty: {listed(added)}; dropped: {listed(removed)}."


def _filled(target: Mapping[str, Any]) -> dict[str, Any]:
    """A stored target with the defaults of what policies could not say when it was stored."""
    try:
        return TargetPolicy.model_validate(target).model_dump(mode="json")
    except ValidationError:
        return dict(target)


def _read(path: Path) -> Manifest:
    try:
        data = orjson.loads(path.read_bytes().removeprefix(MARK))
        version = data.get("version") if isinstance(data, dict) else None
        if isinstance(version, int) and version > VERSION:
            raise StoreError(
                f"{path} has version {version}, from a newer forewarn, and this one reads {VERSION}: {ITS_WRITER}"
            )
        return Manifest.model_validate_json(orjson.dumps(data))
    except orjson.JSONDecodeError:
        why = "it is not JSON"
    except ValidationError as error:
        why = f"look at {listed(['.'.join(map(str, detail['loc'])) or 'its form' for detail in error.errors()])}"
    raise StoreError(f"{path} is not the manifest of a recovery store ({why}): {RESTORE}")


def _write(path: Path, manifest: Manifest) -> None:
    write_whole(path, manifest.model_dump_json(indent=2).encode() + b"\n")


def _make(directory: Path, manifest: Manifest) -> None:
    """Make a store, anew where a first start was cut short before it had written the manifest."""
    if not all(map(unused, directory.glob("*.sqlite3"))):
        raise StoreError(
            f"Recovery directory {directory} has no {FILE_NAME} beside its store to say what wrote it: {RESTORE}"
        )
    for file in directory.glob("part-*.sqlite3*"):  # with what SQLite keeps beside each
        file.unlink()
    open_recovery(directory, manifest.recovery_partitions)
    make_users(directory, lane_names(manifest.lanes))


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
