"""Only a run that a store fits may go on from it, and only one at a time: what is refused, and in which words."""

from __future__ import annotations

import logging
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import bytewax.operators as op
import orjson
import pytest
from bytewax.dataflow import Dataflow
from bytewax.inputs import DynamicSource
from bytewax.testing import TestingSink, TestingSource

from dataflows.config.settings import KafkaSettings, RecoverySettings, RunSettings, Settings, TopicSettings
from dataflows.detect import FlowOptions, Sinks, build_flow
from dataflows.kafka.topics import Found
from dataflows.live.run import accept
from dataflows.recovery.engine_store import resume_epoch
from dataflows.recovery.manifest import (
    STATE_VERSIONS,
    Manifest,
    StoreError,
    StoreLock,
    accept_topics,
    accepted_ids,
    differences,
    manifest_of,
    open_store,
    stateful_steps,
)
from dataflows.runtime.engine import open_recovery, run_flow
from dataflows.sinks.memory import MemorySink
from dataflows.testing import FlowDriver, small_policy
from detectors.features.catalogue import NAMES
from schemas.codec.inputs import Codec

PARTS = 3
RESTORE = "restore the backup, or start with a new recovery directory."
THE_WRITER = "run the version of forewarn that wrote it, or start with a new recovery directory."
OR_NEW = "or start with a new recovery directory."

WRITTEN = Manifest(
    steps=("forewarn.learn.models", "forewarn.source"),
    state_versions={"user": 2, "learner": 1},
    target={
        "name": "escalates",
        "horizon": 86_400_000,
        "when": [{"event": "sanction", "min_severity": 5, "count": 1, "within": None}],
        "reset_after": None,
        "recurring": False,
    },
    models=("logistic", "bayes"),
    made_of={"quiet": {"model": "bayes", "ignore": ["report*"]}},
    lanes=16,
    input_partitions=8,
    topics={"chat_messages": "chat", "moderation_events": "moderation", "risk_events": "risk"},
    topic_ids={"chat_messages": "C1", "moderation_events": "M1", "risk_events": "R1", "late": "L1"},
    features=("report_count_24h", "message_count_1h"),
    recovery_partitions=PARTS,
)


def changed(**fields: Any) -> Manifest:
    return Manifest.model_validate({**WRITTEN.model_dump(), **fields})


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store that was made for `WRITTEN`."""
    directory = tmp_path / "store"
    open_store(directory, WRITTEN)
    return directory


def stored(directory: Path) -> Manifest:
    return Manifest.model_validate_json((directory / "manifest.json").read_bytes())


def use(directory: Path) -> None:
    """Write to a part what the engine writes when a flow starts."""
    with closing(sqlite3.connect(directory / "part-0.sqlite3")) as database:
        database.execute("INSERT INTO exs (ex_num, worker_count, resume_epoch) VALUES (0, 1, 1)")
        database.commit()


def problems_of(directory: Path, manifest: Manifest = WRITTEN) -> tuple[str, ...]:
    """What a start says; a refused one leaves everything as it was."""
    before = {path.name: path.read_bytes() for path in directory.glob("manifest.*")}
    with pytest.raises(StoreError) as refused:
        open_store(directory, manifest)
    assert {path.name: path.read_bytes() for path in directory.glob("manifest.*")} == before
    assert str(refused.value) == "\n".join(refused.value.problems)
    return refused.value.problems


MISMATCHES: dict[str, tuple[dict[str, Any], str]] = {
    "a step renamed": (
        {"steps": ("forewarn.learn.learners", "forewarn.source")},
        (
            "The dataflow has other steps than the recovery store in {} (without forewarn.learn.models and with the "
            f"new forewarn.learn.learners), so state would be missing: {THE_WRITER}"
        ),
    ),
    "a step gone": (
        {"steps": ("forewarn.source",)},
        (
            "The dataflow has other steps than the recovery store in {} (without forewarn.learn.models), so state "
            f"would be missing: {THE_WRITER}"
        ),
    ),
    "an older version of forewarn": (
        {"state_versions": {"user": 1, "learner": 1}},
        f"The user state in {{}} has version 2, from a newer forewarn, and this one reads up to 1: {THE_WRITER}",
    ),
    "a version of forewarn without such a state": (
        {"state_versions": {"user": 2}},
        f"The learner state in {{}} has version 1, from a newer forewarn, and this one reads up to 0: {THE_WRITER}",
    ),
    "another target": (
        {"target": {**WRITTEN.target, "horizon": 3_600_000, "recurring": True}},
        (
            "The policy's target is not the one the recovery store in {} was written for (horizon was 86400000 and is "
            "3600000; recurring was false and is true; times in ms), and the models have learnt the old one: put the "
            f"target back, {OR_NEW}"
        ),
    ),
    "another variant of the same name": (
        {"made_of": {"quiet": {"model": "bayes", "ignore": ["strike*"]}}},
        (
            'quiet was {{"model":"bayes","ignore":["report*"]}} in the policy and is '
            '{{"model":"bayes","ignore":["strike*"]}}, and the model of that name has learnt the old one: put it back, '
            f"give the new one another name, {OR_NEW}"
        ),
    ),
    "fewer lanes": (
        {"lanes": 8},
        f"run.lanes is 8, but the recovery store in {{}} was written for 16: set it back to 16, {OR_NEW}",
    ),
    "another chat topic": (
        {"topics": {**WRITTEN.topics, "chat_messages": "chat2"}},
        (
            "topics.chat_messages is chat2, but the recovery store in {} was written for chat: set it back to chat, "
            f"{OR_NEW}"
        ),
    ),
    "another risk topic": (
        {"topics": {**WRITTEN.topics, "risk_events": "risk2"}},
        (
            "topics.risk_events is risk2, but the recovery store in {} was written for risk: set it back to risk, "
            f"{OR_NEW}"
        ),
    ),
    "fewer input partitions": (
        {"input_partitions": 4},
        (
            "The input topics have 4 partitions, but the recovery store in {} was written for 8, and holds positions "
            f"in all of them: name the topics it was written for, give these as many, {OR_NEW}"
        ),
    ),
    "an input topic made anew": (
        {"topic_ids": {**WRITTEN.topic_ids, "chat_messages": "C2"}},
        (
            "Topic chat was deleted and made anew (its id was C1 and is C2), so the positions that the recovery store "
            "holds mean nothing in it: restore the topic, or run `forewarn recovery accept`, which keeps every profile "
            "and model and begins with the first record of the new topic."
        ),
    ),
    "the risk topic made anew": (
        {"topic_ids": {**WRITTEN.topic_ids, "risk_events": "R2"}},
        (
            "Topic risk was deleted and made anew (its id was R1 and is R2), so the positions that the recovery store "
            "holds mean nothing in it: restore the topic, or run `forewarn recovery accept`, which keeps every profile "
            "and model and begins with the first record of the new topic."
        ),
    ),
    "more recovery partitions": (
        {"recovery_partitions": 16},
        f"recovery.partitions is 16, but the recovery store in {{}} was written for 3: set it back to 3, {OR_NEW}",
    ),
}


@pytest.mark.parametrize("name", MISMATCHES)
def test_a_run_that_the_store_does_not_fit_is_refused_with_a_sentence(store: Path, name: str) -> None:
    """The sentence says what is and what was, and which remedy applies; the store's manifest stays."""
    fields, sentence = MISMATCHES[name]
    assert problems_of(store, changed(**fields)) == (sentence.format(store),)
    assert stored(store) == WRITTEN


def test_everything_that_does_not_fit_is_told_at_once(store: Path) -> None:
    """Nobody should have to start five times to hear of five mistakes."""
    (store / "part-1.sqlite3").unlink()
    wrong = changed(lanes=8, input_partitions=4, steps=(), recovery_partitions=4, topics={})
    told = problems_of(store, wrong)
    starts = [
        "Recovery directory",
        "The dataflow",
        "topics.chat",
        "topics.mod",
        "topics.risk",
        "run.lanes",
        "recovery.",
    ]
    assert [line for line in told if not line.startswith((*starts, "The input topics"))] == []
    assert len(told) == len(starts) + 1


ALLOWED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "the same": ({}, []),
    "a newer state": ({"state_versions": {"user": 3, "learner": 1, "lane": 1}}, []),
    "channels remembered from now on": (
        {"steps": ("forewarn.context.channels", *WRITTEN.steps)},
        ["Channels are remembered from here on."],
    ),
    "features in another order": ({"features": ("message_count_1h", "report_count_24h")}, []),
    "features added and removed": (
        {"features": ("report_count_24h", "toxicity_mean_1h", "strikes")},
        [
            (
                "Features new to the recovery store, which start empty: toxicity_mean_1h, strikes; dropped: "
                "message_count_1h."
            )
        ],
    ),
    "a challenger promoted": (
        {"models": ("bayes", "logistic")},
        ["The champion was logistic and is bayes."],
    ),
    "partitions added": (
        {"input_partitions": 12},
        [
            (
                "The input topics had 8 partitions and have 12: the old ones go on where they were, the new ones are "
                "read from their beginning."
            )
        ],
    ),
    "an output topic made anew": (
        {"topic_ids": {**WRITTEN.topic_ids, "late": "L2"}},
        ["The topic of topics.late is another one than before: what that one held is not written again."],
    ),
    "a model pinned": (
        {"models": ("logistic",)},
        ["The models were logistic, bayes and are logistic; a new one starts untaught."],
    ),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_an_upgrade_changes_is_let_through_and_noted(
    store: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The new manifest takes the old one's place, and one line says what a reader of the log should know."""
    fields, lines = ALLOWED[name]
    with caplog.at_level(logging.INFO):
        open_store(store, changed(**fields))
    assert caplog.messages == lines
    assert stored(store) == changed(**fields)


def test_a_manifest_of_before_without_topic_ids_is_read_and_gets_them(store: Path) -> None:
    """An update must not look like topics made anew; and a broker that gives no ids for once takes none away."""
    before = WRITTEN.model_dump(exclude={"topic_ids"}) | {"version": 1}
    (store / "manifest.json").write_bytes(orjson.dumps(before))
    open_store(store, WRITTEN)
    open_store(store, changed(topic_ids={}))
    assert stored(store) == WRITTEN


def test_topics_made_anew_are_accepted_by_name_and_only_with_all_their_partitions(store: Path) -> None:
    """What is accepted is noted and told; what would leave positions without a partition is refused."""
    names = TopicSettings(chat_messages="chat", moderation_events="moderation", risk_events="risk")
    settings = Settings(kafka=KafkaSettings(bootstrap_servers="nowhere:9092"), topics=names)
    found = {"chat": Found(8, "C2"), "moderation": Found(8, "M1"), "risk": Found(4, "R2")}
    with pytest.raises(StoreError, match=r"have 4 partitions, but the recovery store in .* was written for 8"):
        accept_topics(store, settings, {**found, "chat": Found(4, "C2")})
    with pytest.raises(StoreError, match="Topic risk does not exist: make it first"):
        accept_topics(store, settings, {name: topic for name, topic in found.items() if name != "risk"})
    with pytest.raises(StoreError, match=r"has no manifest\.json"):
        accept_topics(store / "elsewhere", settings, found)
    assert stored(store) == WRITTEN
    assert accept_topics(store, settings, found) == [
        "chat: made anew; read from its beginning",
        "risk: made anew; read back from its beginning",
    ]
    now = changed(topic_ids={**WRITTEN.topic_ids, "chat_messages": "C2", "risk_events": "R2"})
    assert stored(store) == now
    assert accepted_ids(store) == {"chat": "C2", "moderation": "M1", "risk": "R2"}
    open_store(store, now)
    assert accept_topics(store, settings, found) == ["No topic of this store was made anew."]


def test_after_an_upgrade_the_older_version_is_refused(store: Path) -> None:
    """The store may hold states by then that only the newer version reads."""
    open_store(store, changed(state_versions={"user": 3, "learner": 1}))
    [problem] = problems_of(store, WRITTEN)
    assert problem.startswith(f"The user state in {store} has version 3,")


def test_users_as_they_were_kept_before_are_refused_with_what_to_do() -> None:
    """And not read half: their file has another layout, and their states another form."""
    before = changed(state_versions={**STATE_VERSIONS, "users": 1})
    [problem] = differences(before, changed(state_versions=STATE_VERSIONS), Path("store"))
    assert problem.startswith(
        "The users state in store has version 1, from an older forewarn, and this one reads none "
    )
    assert "run the version of forewarn that wrote it, or" in problem


def test_a_target_stored_before_a_key_existed_is_the_target_with_its_default() -> None:
    """An upgrade that gives the policy a new key must not read as another target; an unknown key must."""
    before = {key: value for key, value in WRITTEN.target.items() if key != "recurring"}
    assert differences(changed(target=before), WRITTEN, Path("store")) == []
    [problem] = differences(changed(target={**before, "vogue": 1}), WRITTEN, Path("store"))
    assert "(vogue was 1 and is null; recurring was null and is false; times in ms)" in problem


def test_the_first_start_makes_the_store_and_notes_the_run(tmp_path: Path) -> None:
    """A missing directory and one with only a lock in it are both a first start."""
    for directory in (tmp_path / "deep" / "er", tmp_path / "locked"):
        with StoreLock(directory):
            open_store(directory, WRITTEN)
        assert stored(directory) == WRITTEN
        assert sorted(path.name for path in directory.glob("*.sqlite3")) == [f"part-{n}.sqlite3" for n in range(PARTS)]
        open_store(directory, WRITTEN)


@pytest.mark.parametrize("cut", ["before the manifest", "between two parts", "within a part"])
def test_a_first_start_that_was_cut_short_is_made_good_by_the_next(store: Path, cut: str) -> None:
    """What no flow has written to holds nothing, so a kill at the first start needs nobody's help."""
    (store / "manifest.json").unlink()
    if cut != "before the manifest":
        (store / "part-2.sqlite3").unlink()
    if cut == "within a part":
        (store / "part-1.sqlite3").write_bytes(b"")
    open_store(store, WRITTEN)
    open_store(store, WRITTEN)
    assert stored(store) == WRITTEN


def test_a_used_store_without_its_manifest_is_refused(store: Path) -> None:
    """Nothing says what wrote it, and nothing of it is touched."""
    use(store)
    (store / "manifest.json").unlink()
    before = {path: path.read_bytes() for path in store.glob("*.sqlite3")}
    assert problems_of(store) == (
        f"Recovery directory {store} has no manifest.json beside its store to say what wrote it: {RESTORE}",
    )
    assert {path: path.read_bytes() for path in store.glob("*.sqlite3")} == before


def test_an_unreadable_part_without_a_manifest_is_not_taken_for_an_unused_one(store: Path) -> None:
    """It may hold everything."""
    (store / "manifest.json").unlink()
    (store / "part-0.sqlite3").write_bytes(b"no database" * 1_000)
    assert "has no manifest.json" in problems_of(store)[0]
    assert (store / "part-0.sqlite3").read_bytes() == b"no database" * 1_000


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is not JSON"),
        (WRITTEN.model_dump_json().encode()[:-30], "it is not JSON"),
        (b"\xff\xfe{}", "it is not JSON"),
        (b"[1]", "look at its form"),
        (WRITTEN.model_dump_json(exclude={"lanes", "topics"}).encode(), "look at lanes, topics"),
        (WRITTEN.model_dump_json().replace('"lanes":16', '"lanes":"16"').encode(), "look at lanes"),
        (WRITTEN.model_dump_json().replace('"lanes":16', '"lanes":16,"more":1').encode(), "look at more"),
        (WRITTEN.model_dump_json().replace('"version":2', '"version":0').encode(), "look at version"),
    ],
)
def test_a_manifest_that_is_none_is_refused(store: Path, content: bytes, why: str) -> None:
    """Empty, cut off, of another form, with fields missing or of the wrong type: where to look, and no traceback."""
    path = store / "manifest.json"
    path.write_bytes(content)
    assert problems_of(store) == (f"{path} is not the manifest of a recovery store ({why}): {RESTORE}",)


def test_a_manifest_of_a_newer_form_is_refused_as_such(store: Path) -> None:
    """Whatever else it says, the version that wrote it can read it."""
    path = store / "manifest.json"
    path.write_bytes(orjson.dumps({"version": 3, "anything": "else"}))
    assert problems_of(store) == (f"{path} has version 3, from a newer forewarn, and this one reads 2: {THE_WRITER}",)


def garbage(part: Path) -> None:
    part.write_bytes(random.Random(1).randbytes(20_000))


def truncate(part: Path) -> None:
    os.truncate(part, 8192)


def empty(part: Path) -> None:
    part.write_bytes(b"")


def spoil_header(part: Path) -> None:
    data = part.read_bytes()
    part.write_bytes(bytes(100) + data[100:])


def spoil_pages(part: Path) -> None:
    """Spoil the first page of every table of the engine's, and leave the header, the schema and `parts` as they are."""
    data = part.read_bytes()
    part.write_bytes(data[:8192] + b"\xff" * (len(data) - 8192))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (garbage, "file is not a database"),
        (truncate, "database disk image is malformed"),
        (empty, "no such table: parts"),
        (spoil_header, "file is not a database"),
        (spoil_pages, "database disk image is malformed"),
    ],
)
def test_a_part_that_is_not_a_database_is_refused(store: Path, spoil: Callable[[Path], None], why: str) -> None:
    """The engine would panic on it with a trace of its own."""
    part = store / "part-1.sqlite3"
    spoil(part)
    assert problems_of(store) == (f"{part} cannot be read as part of a recovery store ({why}): {RESTORE}",)


def test_missing_parts_are_named(store: Path) -> None:
    """A store without some of its parts has lost users."""
    (store / "part-0.sqlite3").unlink()
    (store / "part-2.sqlite3").unlink()
    assert problems_of(store) == (
        f"Recovery directory {store} lacks part-0.sqlite3, part-2.sqlite3 of 3 parts: {RESTORE}",
    )


def test_a_manifest_whose_parts_are_all_gone_is_no_first_start(store: Path) -> None:
    """Beginning anew in silence would publish everything again."""
    for part in store.glob("part-*"):
        part.unlink()
    [problem] = problems_of(store)
    assert problem.startswith(f"Recovery directory {store} lacks part-0.sqlite3, part-1.sqlite3, part-2.sqlite3 of 3")


def test_of_many_missing_parts_only_the_first_are_named(tmp_path: Path) -> None:
    """A sentence stays one."""
    open_store(tmp_path, changed(recovery_partitions=12))
    for part in tmp_path.glob("part-*"):
        part.unlink()
    [problem] = problems_of(tmp_path, changed(recovery_partitions=12))
    assert "part-7.sqlite3 and 4 more of 12 parts" in problem


@pytest.mark.parametrize("name", ["part-3.sqlite3", "copy of part-0.sqlite3"])
def test_a_file_too_many_is_refused(store: Path, name: str) -> None:
    """The engine reads whatever ends in .sqlite3, an old copy too."""
    shutil.copy(store / "part-0.sqlite3", store / name)
    assert problems_of(store) == (f"Recovery directory {store} holds {name} beside its own parts: {RESTORE}",)


def test_a_part_of_another_store_is_refused(store: Path, tmp_path: Path) -> None:
    """A part says which of how many it is, and is believed."""
    open_store(tmp_path / "other", changed(recovery_partitions=4))
    shutil.copy(tmp_path / "other" / "part-2.sqlite3", store / "part-2.sqlite3")
    shutil.copy(store / "part-0.sqlite3", store / "part-1.sqlite3")
    assert problems_of(store) == tuple(
        f"{store / f'part-{index}.sqlite3'} is not part {index} of 3 of this store: {RESTORE}" for index in (1, 2)
    )


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_crash_while_writing_leaves_the_old_manifest_whole(
    store: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the new manifest is in place the old one is; whatever is left lying about is no obstacle."""

    class Crashed(BaseException):
        pass

    def crash(*_: object) -> None:
        raise Crashed

    upgraded = changed(state_versions={"user": 3, "learner": 1})
    with monkeypatch.context() as patch:
        patch.setattr(os, moment, crash)
        with pytest.raises(Crashed):
            open_store(store, upgraded)
    assert stored(store) == WRITTEN
    assert (store / "manifest.json.new").exists()
    open_store(store, upgraded)
    assert stored(store) == upgraded
    assert not (store / "manifest.json.new").exists()


def test_the_manifest_is_on_the_disk_before_it_takes_the_old_ones_place(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rename may reach the disk before the bytes do: then the power goes, and the manifest is empty."""
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor: int) -> None:
        done.append("fsync " + os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))  # noqa: PTH115, PTH119
        fsync(descriptor)

    def note_replace(source: Path, target: Path) -> None:
        done.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    open_store(store, WRITTEN)
    assert done == ["fsync manifest.json.new", "replace", "fsync store"]


def test_a_full_disk_is_told_in_a_sentence(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run does not begin, and the old manifest stays."""

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StoreError, match=r"cannot be used \(No space left on device\): it takes a directory that"):
        open_store(store, WRITTEN)
    assert stored(store) == WRITTEN


def test_a_directory_that_is_none_is_told_in_a_sentence(tmp_path: Path) -> None:
    """By the lock as by the store."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot be used \(File exists\)"):
        open_store(tmp_path / "file", WRITTEN)
    with pytest.raises(StoreError, match=r"cannot be used \(File exists\)"), StoreLock(tmp_path / "file"):
        pass


def forewarn_flow(source: Any) -> Dataflow:
    return build_flow(source, Sinks(*(MemorySink[Any]() for _ in range(6))), small_policy(), Codec(), FlowOptions())


def test_the_steps_are_those_the_engine_keeps_state_under(tmp_path: Path) -> None:
    """Asked of the engine: the ids in a real store, after a flow that used every stateful step."""
    driver = FlowDriver(small_policy())
    driver.chat("casual")
    driver.sanction("casual", severity=5)
    driver.run(recovery=tmp_path)
    found = set()
    for part in tmp_path.glob("*.sqlite3"):
        with closing(sqlite3.connect(part)) as database:
            found |= {step for (step,) in database.execute("SELECT DISTINCT step_id FROM snaps")}
    assert found == set(stateful_steps(forewarn_flow(TestingSource([]))))
    assert len(found) >= 4  # the source, users, models and lanes


def test_a_source_that_keeps_no_position_is_no_stateful_step() -> None:
    """Its id may change freely."""

    class Nothing(DynamicSource[Any]):
        def build(self, step_id: str, worker_index: int, worker_count: int) -> Any:
            raise NotImplementedError

    steps, others = stateful_steps(forewarn_flow(TestingSource([]))), stateful_steps(forewarn_flow(Nothing()))
    assert set(steps) - set(others) == {"forewarn.source"}


def test_a_run_says_of_itself_what_its_settings_and_policy_say(tmp_path: Path) -> None:
    """Every field of the manifest comes from where a change of it would be made."""
    settings = Settings(
        kafka=KafkaSettings(bootstrap_servers="nowhere:9092"),
        topics=TopicSettings(chat_messages="chat", moderation_events="moderation", risk_events="risk"),
        recovery=RecoverySettings(directory=tmp_path, partitions=5),
        run=RunSettings(lanes=7),
    )
    flow, policy = forewarn_flow(TestingSource([])), small_policy()
    found = {"chat": Found(8, "C1"), "moderation": Found(8, "M1"), "risk": Found(4, None), "risk.late": Found(4, "L1")}
    manifest = manifest_of(flow, settings, policy, 8, found=found)
    assert manifest.model_dump() == {
        "version": 2,
        "steps": stateful_steps(flow),
        "state_versions": STATE_VERSIONS,
        "target": WRITTEN.target,
        "models": ("logistic", "bayes"),
        "made_of": {},
        "lanes": 7,
        "input_partitions": 8,
        "topics": WRITTEN.topics,
        "topic_ids": {"chat_messages": "C1", "moderation_events": "M1", "late": "L1"},
        "features": tuple(NAMES),
        "recovery_partitions": 5,
    }
    assert manifest_of(flow, settings, policy, 8, pinned="logistic").models == ("logistic",)
    open_store(tmp_path, manifest)
    assert stored(tmp_path) == manifest


CRASHING_RUN = """
import os, sys
from datetime import timedelta
from pathlib import Path
import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource
from dataflows.runtime.engine import open_recovery, run_flow

def die_late(item):
    if item == 20:
        os.kill(os.getpid(), 9)
    return item

flow = Dataflow("crashing")
items = op.map("die", op.input("in", flow, TestingSource(range(30), batch_size=1)), die_late)
op.output("out", items, TestingSink([]))
run_flow(flow, epoch=timedelta(0), recovery=open_recovery(Path(sys.argv[1]), int(sys.argv[2])))
"""


def test_a_store_that_was_written_to_when_its_process_was_killed_is_readable(store: Path) -> None:
    """SQLite's log beside each part is then not yet in it, and holds what counts."""
    script = [sys.executable, "-c", CRASHING_RUN, str(store), str(PARTS)]
    assert subprocess.run(script, check=False, timeout=60).returncode == -signal.SIGKILL
    assert any(path.stat().st_size for path in store.glob("*.sqlite3-wal"))
    before = {path: path.read_bytes() for path in store.glob("*.sqlite3*") if path.suffix != ".sqlite3-shm"}
    problems_of(store, changed(lanes=8))
    assert {path: path.read_bytes() for path in before} == before  # a check must not write
    start = resume_epoch(store)
    open_store(store, WRITTEN)
    assert resume_epoch(store) == start == 21  # the first epoch is 1, and items 0 to 19 had one each
    (store / "manifest.json").unlink()
    assert "has no manifest.json" in problems_of(store)[0]  # seen to be used, by the log alone


def test_the_engine_goes_on_from_a_store_that_was_made_and_checked(store: Path) -> None:
    """The lock and the manifest lie among the parts, and the engine minds neither."""
    for resumed in (False, True):
        with StoreLock(store):
            open_store(store, WRITTEN)
            seen: list[int] = []
            flow = Dataflow("counting")
            op.output("out", op.input("in", flow, TestingSource([1, 2, 3])), TestingSink(seen))
            run_flow(flow, recovery=open_recovery(store, PARTS))
        assert seen == ([] if resumed else [1, 2, 3])


HOLDER = """
import subprocess, sys
from pathlib import Path
from dataflows.recovery.manifest import StoreLock
with StoreLock(Path(sys.argv[1])) as lock:
    if sys.argv[2] == "shared":
        child = subprocess.Popen([sys.executable, "-c", "input()"], pass_fds=[lock.fileno()])
    print("held", flush=True)
    input()
"""


def holder(directory: Path, how: str = "alone") -> subprocess.Popen[str]:
    """A process that holds the lock until it is killed, or reads a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.slow
def test_a_second_run_on_the_same_store_is_kept_off_and_told_by_whom(tmp_path: Path) -> None:
    """Killed with SIGKILL, the first lets go; the file it leaves is no obstacle."""
    with holder(tmp_path) as first:
        with pytest.raises(StoreError) as refused, StoreLock(tmp_path):
            pass
        assert str(refused.value) == (
            f"Recovery directory {tmp_path} is in use by another forewarn run (process {first.pid}): stop that one "
            "first, or give this one a recovery directory of its own."
        )
        first.kill()
        first.wait(30)
        assert (tmp_path / "lock").read_text() == f"{first.pid}\n"
        with StoreLock(tmp_path):
            assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_the_lock_is_let_go_at_the_end_of_its_block(tmp_path: Path) -> None:
    """And held within it, even against the same process."""
    (tmp_path / "lock").write_text("a longer text than any number\n")
    lock = StoreLock(tmp_path)
    for _ in range(2):
        with lock, pytest.raises(StoreError, match=rf"process {os.getpid()}\)"), StoreLock(tmp_path):
            pass
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    with pytest.raises(ValueError, match="not held"):
        lock.fileno()


@pytest.mark.slow
def test_the_lock_lasts_as_long_as_a_child_it_was_passed_on_to(tmp_path: Path) -> None:
    """A supervisor may be killed while those it started go on writing."""
    with holder(tmp_path, "shared") as first:
        first.kill()
        first.wait(30)
        with pytest.raises(StoreError, match="in use"), StoreLock(tmp_path):
            pass
        assert first.stdin is not None
        assert first.stdout is not None
        first.stdin.close()  # the child reads its end from the same pipe, and ends
        assert first.stdout.read() == ""  # which is read to its end when the child has ended too
    with StoreLock(tmp_path):
        pass


def test_leaving_the_block_takes_nothing_from_who_shares_the_lock(tmp_path: Path) -> None:
    """The one that made the lock may end well while those it started go on writing."""
    with StoreLock(tmp_path) as lock:
        shared = os.dup(lock.fileno())
    with pytest.raises(StoreError, match="in use"), StoreLock(tmp_path):
        pass
    os.close(shared)
    with StoreLock(tmp_path):
        pass


def test_a_lock_file_without_a_number_still_keeps_others_off(tmp_path: Path) -> None:
    """The holder has the lock a moment before it has written who it is."""
    with StoreLock(tmp_path):
        (tmp_path / "lock").write_text("")
        with pytest.raises(StoreError, match="by another forewarn run: stop that one first"), StoreLock(tmp_path):
            pass


def test_what_a_variant_was_made_of_is_remembered_while_no_policy_names_it(store: Path) -> None:
    """Its learner's state stays in the store, and would go on under the name."""
    open_store(store, changed(made_of={}))
    assert stored(store) == WRITTEN
    [problem] = problems_of(store, changed(made_of={"quiet": {"model": "logistic", "ignore": ["report*"]}}))
    assert problem.startswith("quiet was ")


def test_accepting_topics_makes_no_directory_that_was_not_there(tmp_path: Path) -> None:
    """A path with a slip of the keyboard in it is answered, and Kafka is not asked."""
    absent = tmp_path / "recovrey"
    settings = Settings(
        kafka=KafkaSettings(bootstrap_servers="nowhere:9092"), recovery=RecoverySettings(directory=absent)
    )
    with pytest.raises(StoreError, match="does not exist: there is nothing to accept topics for"):
        accept(settings)
    assert not absent.exists()
