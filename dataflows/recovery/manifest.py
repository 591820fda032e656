"""The manifest of a recovery store: a description of the run that wrote it.

The engine resumes from any store. It silently drops the state of a renamed step, and silently distributes users over
another number of lanes. Therefore every start compares the planned run with the store's manifest, refuses a run that
does not fit, and reports the differences and what to do. Changes that an upgrade may make are accepted.
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
from dataflows.recovery.engine_store import NEW, RESTORE, damages, listed, of_other_times, tidy, unused
from dataflows.recovery.lock import StoreError, StoreLock, unusable
from dataflows.recovery.users import damaged_users, make_users
from dataflows.runtime.atomic import write_whole
from dataflows.runtime.engine import open_recovery
from dataflows.runtime.text_files import MARK
from dataflows.runtime.validation import dotted
from dataflows.sinks.kafka.exactly_once import STATE_VERSION as SINK_VERSION
from dataflows.sources.kafka.partition import STATE_VERSION as SOURCE_VERSION
from dataflows.sources.kafka.watch import made_anew
from detectors.features.catalogue import NAMES
from detectors.learning import learner as learn
from detectors.models.catalogue import made_of
from detectors.policy.policy import Policy
from detectors.policy.sections import TargetPolicy
from detectors.profiles import channels, user
from detectors.profiles.shards import lane_names
from detectors.scoring import shard as lane

__all__ = ["Manifest", "StoreError", "StoreLock", "differences", "manifest_of", "open_store", "stateful_steps"]

log = logging.getLogger(__name__)

FILE_NAME = "manifest.json"
VERSION = 2
"""The newest version of the manifest that this code reads. Version 1 had no topic ids."""
STATE_VERSIONS = {
    "user": user.STATE_VERSION,
    "users": USERS_VERSION,
    "learner": learn.STATE_VERSION,
    "lane": lane.STATE_VERSION,
    "channels": channels.STATE_VERSION,
    "source": SOURCE_VERSION,
    "risk sink": SINK_VERSION,
}
"""The versions of the states in a snapshot, by component; older versions are read too, down to `OLDEST`."""
OLDEST = {"users": 2}
"""The oldest version that is read, by component, if it is not version 1."""
POSITIONED = ("chat_messages", "moderation_events", "risk_events")
"""The settings of the topics whose offsets a store contains."""
STATELESS = frozenset({"_noop", "branch", "flat_map_batch", "inspect_debug", "merge", "redistribute"})
"""The engine's operators without state. An operator that is not listed here counts as stateful."""
CHANNELS = f"{FLOW_ID}.context.channels"
"""The step that only some policies have. If its state is missing, channels start without history."""
ITS_WRITER = f"run the version of forewarn that wrote it, or {NEW}."

Count = Annotated[int, Field(gt=0)]


class Manifest(BaseModel):
    """Description of the run that wrote a store. `version` is the version of the manifest's format."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    version: Literal[1, 2] = 2
    steps: tuple[str, ...]
    """Ids under which the engine stores state."""
    state_versions: dict[str, int]
    target: dict[str, Any]
    """The policy's target; durations in ms."""
    models: tuple[str, ...]
    """Champion and challengers, or the pinned model."""
    made_of: dict[str, dict[str, Any]] = {}
    """The policy's definition of each variant that has ever run, because another definition learns another model."""
    lanes: Count
    input_partitions: Count
    topics: dict[str, str]
    """Names of the input topics and the risk topic, by setting."""
    topic_ids: dict[str, str] = {}
    """Ids of all topics, by setting, as far as Kafka returned them."""
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
    """Return the manifest of a run that is about to start.

    `pinned` names the model of a run that does not learn. `found` is Kafka's description of the topics, by name.
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
    """Return the ids under which the engine stores a flow's state, sorted."""
    return tuple(sorted(step.step_id for step in _walk(flow.substeps) if _keeps_state(step)))


def _walk(steps: Iterable[Operator]) -> Iterator[Operator]:
    for step in steps:
        yield step
        yield from _walk(step.substeps)


def _keeps_state(step: Operator) -> bool:
    if not getattr(step, "core", False):  # it is composed of other steps, which hold the state
        return False
    match type(step).__name__:
        case "input":
            return isinstance(getattr(step, "source", None), FixedPartitionedSource)
        case "output":
            return isinstance(getattr(step, "sink", None), FixedPartitionedSink)
        case name:
            return name not in STATELESS


def open_store(directory: Path, manifest: Manifest) -> None:
    """Check that the store in a directory fits the run that `manifest` describes, and write the manifest beside it.

    If nothing has run yet, the store is created. Snapshots that an interrupted execution left unfinished are deleted.
    The caller has to hold the `StoreLock`.

    Raises:
        StoreError: with a sentence for each mismatch; then nothing is changed.
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
    """Return the mismatches between a run and the store from which it would resume, a sentence each."""
    store = f"the recovery store in {directory}"
    problems = []
    gone = sorted({*stored.steps} - {*now.steps} - {CHANNELS})
    added = sorted({*now.steps} - {*stored.steps} - {CHANNELS})
    if gone or added:
        moved = [f"{what} {listed(steps)}" for what, steps in (("without", gone), ("with the new", added)) if steps]
        problems.append(
            f"The dataflow has other steps than {store} ({' and '.join(moved)}), so state would be missing: "
            f"{ITS_WRITER}"
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
        changed = [f"{key} was {_json(old.get(key))} and is {_json(new.get(key))}" for key in keys]
        problems.append(
            f"The policy's target is not the one {store} was written for ({'; '.join(changed)}; times in ms), and the "
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
    """Return the settings of topics whose offsets the store contains, and whose id has changed under the same name."""
    known = stored.topic_ids.keys() & now.topic_ids.keys()
    same = [name for name in POSITIONED if name in known and stored.topics.get(name) == now.topics.get(name)]
    return [name for name in same if stored.topic_ids[name] != now.topic_ids[name]]


def accept_topics(directory: Path, settings: Settings, found: Mapping[str, Found]) -> list[str]:
    """Make a store accept topics that were deleted and created again, and return a line on each.

    `found` is Kafka's description of the topics, by name. The caller has to hold the `StoreLock`.

    Raises:
        StoreError: if there is no store, or a topic does not exist, has another name or has too few partitions.
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
    """Return the ids, by topic name, of the topics whose offsets a store contains: as first recorded or as accepted."""
    stored = _read(directory / FILE_NAME)
    return {stored.topics[name]: topic_id for name, topic_id in stored.topic_ids.items() if name in stored.topics}


def _changes(stored: Manifest, now: Manifest) -> Iterator[str]:
    """Yield a line for each difference that the store accepts, from an upgrade or another policy."""
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
    """Return a stored target with the defaults of fields that did not exist when it was stored."""
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
        why = f"look at {listed([dotted(detail['loc']) or 'its form' for detail in error.errors()])}"
    raise StoreError(f"{path} is not the manifest of a recovery store ({why}): {RESTORE}")


def _write(path: Path, manifest: Manifest) -> None:
    write_whole(path, manifest.model_dump_json(indent=2).encode() + b"\n")


def _make(directory: Path, manifest: Manifest) -> None:
    """Create a store, replacing one whose first start was interrupted before it had written the manifest.

    Raises:
        StoreError: if a flow has written to a store without a manifest.
    """
    if not all(map(unused, directory.glob("*.sqlite3"))):
        raise StoreError(
            f"Recovery directory {directory} has no {FILE_NAME} beside its store to say what wrote it: {RESTORE}"
        )
    for file in directory.glob("part-*.sqlite3*"):  # including SQLite's auxiliary files
        file.unlink()
    open_recovery(directory, manifest.recovery_partitions)
    make_users(directory, lane_names(manifest.lanes))


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
