"""The spine as a whole: poison beside good events, erasure, ties in time, and processes that stop and start."""

from __future__ import annotations

import json
import pickletools
import sqlite3
from functools import cache
from math import nan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dataflows.testing import START, DriverResult, FlowDriver, hand_made_model, small_policy
from detectors.features.catalogue import NAMES
from detectors.policy.policy import Policy
from detectors.policy.sections import ChannelPolicy
from detectors.profiles.delta import unpack_changes
from schemas.codec.inputs import Codec
from schemas.codec.outputs import Encoder
from schemas.records.base import CHAT, MODERATION, Position, Raw, Subject
from schemas.records.decisions import Tombstone
from schemas.records.events import ChatMessage, Event
from schemas.records.rejects import Reject, RejectReason
from schemas.registry.settings import RegistrySettings
from tests.kit.essence import everything, told
from tests.kit.small_platform import POLICY, USERS, life
from tests.kit.thorough import examples

STRANGE: dict[str, Any] = {"event_id": "strange", "event_time": START, "user_id": "mallory", "channel": "lobby"}
MESSAGE = ChatMessage.model_validate({**STRANGE, "text": "half of this"})
AVRO = Encoder("chat_message").encode(MESSAGE)
MODEL = hand_made_model(0.12, {"report_count_24h": 1.0})
YEAR = 365 * 86_400_000

Poison = tuple[Subject, Any, int | None]


def as_json(**changes: Any) -> bytes:
    return orjson.dumps({**STRANGE, **changes})


POISON: dict[str, tuple[Poison, RejectReason]] = {
    "null": ((CHAT, None, None), RejectReason.EMPTY_VALUE),
    "no bytes": ((MODERATION, b"", None), RejectReason.EMPTY_VALUE),
    "white space": ((CHAT, b" \r\n\t ", None), RejectReason.EMPTY_VALUE),
    "half of JSON": ((CHAT, as_json()[:-9], None), RejectReason.MALFORMED_JSON),
    "two of JSON": ((CHAT, as_json() * 2, None), RejectReason.MALFORMED_JSON),
    "half of Avro": ((CHAT, AVRO[:-5], None), RejectReason.TRUNCATED),
    "half a header": ((CHAT, AVRO[:6], None), RejectReason.TRUNCATED),
    "half a Confluent header": ((MODERATION, b"\x00\x00\x00", None), RejectReason.TRUNCATED),
    "too much of Avro": ((CHAT, AVRO + b"!", None), RejectReason.MALFORMED_AVRO),
    "wrong magic": ((CHAT, b"\xc3\x02" + AVRO[2:], None), RejectReason.UNKNOWN_FRAMING),
    "no magic": ((MODERATION, b"hello", None), RejectReason.UNKNOWN_FRAMING),
    "an unknown fingerprint": ((CHAT, AVRO[:2] + bytes(8) + AVRO[10:], None), RejectReason.UNKNOWN_SCHEMA),
    "an unknown schema id": ((CHAT, b"\x00\x00\x0f\x42\x40" + AVRO[10:], None), RejectReason.UNKNOWN_SCHEMA),
    "an unknown schema guid": ((CHAT, b"\x01" + bytes(range(16)) + AVRO[10:], None), RejectReason.UNKNOWN_SCHEMA),
    "another topic's record": ((MODERATION, AVRO, None), RejectReason.UNKNOWN_SCHEMA),
    "huge": ((CHAT, as_json(text="x" * 2_000_000), None), RejectReason.TOO_LARGE),
    "invalid UTF-8": ((CHAT, as_json().replace(b"mallory", b"mal\xffry"), None), RejectReason.INVALID_UTF8),
    "NaN": ((CHAT, as_json().replace(b"1767225600000", b"NaN"), None), RejectReason.NON_FINITE_NUMBER),
    "NaN in a row": (
        (CHAT, {**STRANGE, "event_time": nan}, None),
        RejectReason.NON_FINITE_NUMBER,
    ),
    "a negative time": ((CHAT, as_json(event_time=-1), None), RejectReason.NEGATIVE_TIMESTAMP),
    "a future time": ((CHAT, as_json(event_time=START + YEAR), START), RejectReason.FUTURE_TIMESTAMP),
    "a time beyond all time": ((CHAT, as_json(event_time=10**16), None), RejectReason.FUTURE_TIMESTAMP),
    "a field missing": ((CHAT, b'{"event_id": "strange"}', None), RejectReason.MISSING_FIELD),
    "a field of another type": ((CHAT, as_json(user_id=7), None), RejectReason.INVALID_FIELD),
    "a list": ((MODERATION, b"[1, 2]", None), RejectReason.UNKNOWN_FRAMING),
}


def fed(poison: list[Poison], *, codec: Codec | None = None, policy: Policy = POLICY) -> FlowDriver:
    """The small platform's life with the poison dealt between its events, from before the first to after the last."""
    driver = FlowDriver(policy, codec=codec)
    good = list(life(driver))
    gaps: list[list[Poison]] = [[] for _ in range(len(good) + 1)]
    for number, item in enumerate(poison):
        gaps[number * len(good) // max(1, len(poison) - 1)].append(item)
    for gap, happen in zip(gaps, [*good, None], strict=True):
        for subject, value, received in gap:
            driver.send(subject, value, key=b"mallory", received=received)
        if happen is not None:
            happen()
    return driver


def original(value: Any) -> bytes | None:
    """What a reject keeps of a record: its bytes, or a row of a log as JSON."""
    return json.dumps(value, separators=(",", ":")).encode() if isinstance(value, dict) else value


def all_accounted_for(result: DriverResult, records: int) -> bool:
    """Whether every record became an Event or a Reject, and every Event came to something, a late one to a Late."""
    events, rejects, outcomes = (result.telemetry.counts(name) for name in ("events", "rejects", "outcomes"))
    assert sum(rejects.values()) == len(result.rejects)
    assert outcomes.get("late", 0) == len(result.late)
    assert sum(outcomes.values()) == sum(events.values())
    return sum(events.values()) + len(result.rejects) == records


@cache
def unpoisoned(*, pinned: bool = False) -> DriverResult:
    """What the small platform's life comes to, run straight."""
    return fed([]).run(model=MODEL if pinned else None)


@pytest.mark.parametrize("registry", [None, RegistrySettings(url="mock://poison")], ids=["no registry", "a registry"])
def test_every_known_poison_ends_as_a_reject_and_harms_nobody(registry: RegistrySettings | None) -> None:
    """Each has its reason and keeps its bytes; scores, risk events and versions are those of a log without them."""
    poison = [item for item, _ in POISON.values()]
    result = fed(poison, codec=Codec(registry)).run(batch_size=10)
    assert dict(zip(POISON, (reject.reason for reject in result.rejects), strict=True)) == {
        name: reason for name, (_, reason) in POISON.items()
    }
    assert [reject.value for reject in result.rejects] == [original(value) for _, value, _ in poison]
    assert {reject.key for reject in result.rejects} == {b"mallory"}
    assert told(result, USERS) == told(unpoisoned(), USERS)
    assert result.versions == unpoisoned().versions
    assert all_accounted_for(result, 72 + len(poison))


def test_what_is_no_event_leaves_every_channel_as_it_was() -> None:
    """Poison is not seen in a channel either: with channels remembered, everybody finds what they would have found."""
    remembering = POLICY.model_copy(update={"channels": ChannelPolicy(remembered=9)})
    clean, poisoned = ([], [item for item, _ in POISON.values()])
    results = [fed(poison, policy=remembering).run(batch_size=10) for poison in (clean, poisoned)]
    assert told(results[1], USERS) == told(results[0], USERS)
    assert any(row.point.vector[NAMES.index("channel_rate")] > 1 for row in results[0].served)


def test_the_platform_that_is_poisoned_is_a_lively_one() -> None:
    """Otherwise that nothing changed would prove nothing."""
    assert {user for user in USERS if unpoisoned().tiers(user)} > {"ann", "bob", "dan"}
    assert unpoisoned().telemetry.counts("outcomes") == {"late": 2, "seen": 70}
    assert len(unpoisoned().versions) > 40
    assert len(unpoisoned(pinned=True).risk_events) >= 9


damaged = st.builds(
    lambda record, at, byte, end: (record[:at] + bytes([byte]) + record[at + 1 :])[:end],
    st.sampled_from([AVRO, as_json(), as_json(scores=[{"scorer": "s", "version": "1", "value": 0.5}])]),
    st.integers(0, 90),
    st.integers(0, 255),
    st.integers(1, 200),
)
poisonous = st.tuples(
    st.sampled_from([CHAT, MODERATION]),
    st.binary(max_size=60) | damaged | st.binary(max_size=40).map(lambda tail: AVRO[:10] + tail),
    st.none() | st.just(START),
)


@settings(max_examples=examples(15), derandomize=True, deadline=None, database=None)
@given(st.lists(poisonous, min_size=30, max_size=60), st.sampled_from([1, 7, 1_000]))
def test_any_bytes_end_as_an_event_a_reject_or_a_late(poison: list[Poison], batch_size: int) -> None:
    """Whatever arrives is counted and, if it became no event, kept whole; users it is not about are not harmed."""
    driver = fed(poison)
    result = driver.run(batch_size=batch_size, model=MODEL)
    assert all_accounted_for(result, 72 + len(poison))
    codec, at = Codec(), Position("test", 0, 0, 0)
    decoded = [codec.decode(Raw(subject, value, None, at, received)) for subject, value, received in poison]
    assert [reject.value for reject in result.rejects] == [
        value for (_, value, _), event in zip(poison, decoded, strict=True) if isinstance(event, Reject)
    ]
    others = {event.user_id for event in decoded if not isinstance(event, Reject)}
    assert told(result, set(USERS) - others) == told(unpoisoned(pinned=True), set(USERS) - others)


@settings(max_examples=examples(10), derandomize=True, deadline=None, database=None)
@given(st.lists(st.binary(max_size=30).filter(lambda value: b"{" not in value), min_size=30, max_size=60))
def test_the_learner_goes_on_whatever_did_not_become_an_event(poison: list[bytes]) -> None:
    """A reject takes its place in the order and teaches nothing: the versions are those of a log without it."""
    result = fed([(CHAT, value, None) for value in poison]).run(batch_size=9)
    assert len(result.rejects) == len(poison)
    assert result.versions == unpoisoned().versions
    assert told(result, USERS) == told(unpoisoned(), USERS)


def test_a_user_whose_clock_is_poisoned_harms_nobody_else() -> None:
    """Where nobody knows when a record arrived, a time far ahead is an event; it moves the clock of its user alone."""
    ahead = [(CHAT, as_json(event_id=f"ahead-{n}", event_time=START + n * YEAR), None) for n in range(1, 200)]
    result = fed(ahead).run(model=MODEL)
    assert told(result, USERS) == told(unpoisoned(pinned=True), USERS)
    assert (
        result.telemetry.counts("events")["chat_message"]
        == unpoisoned(pinned=True).telemetry.counts("events")["chat_message"] + 199
    )
    learnt = fed(ahead).run()
    assert len(learnt.versions) > 40
    assert all(row.point.as_of > START + 300_000 for row in learnt.served if row.probability is not None)


class Fragile(str):
    """A text that whoever looks into it stumbles over."""

    __slots__ = ()

    def casefold(self) -> str:
        raise LookupError("a secret")


def test_an_event_that_breaks_a_step_is_a_reject_and_the_learner_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours costs the event it happened to, and nothing else stops."""
    decode = Codec.decode

    def fragile(self: Codec, raw: Raw) -> Event | Reject:
        event = decode(self, raw)
        if isinstance(event, ChatMessage) and event.user_id == "mallory":
            return event.model_copy(update={"text": Fragile("hello")})
        return event

    monkeypatch.setattr(Codec, "decode", fragile)
    result = fed([(CHAT, as_json(event_id=f"strange-{n}"), None) for n in range(20)]).run(batch_size=5)
    assert {(reject.stage, reject.reason, reject.detail) for reject in result.rejects} == {
        ("profile", RejectReason.INTERNAL_ERROR, "LookupError"),
    }
    assert len(result.rejects) == result.telemetry.counts("rejects")["internal_error"] == 20
    assert result.versions == unpoisoned().versions
    assert told(result, USERS) == told(unpoisoned(), USERS)


def warned(*, erase: bool, comes_back: bool = True) -> FlowDriver:
    """Annie talks, is reported until the warning, perhaps erased, and talks again; bob is reported all along."""
    driver = FlowDriver(POLICY)
    for number in range(3):
        driver.chat("annie", event_id=f"talk-{number}", text="the very same line")
        driver.report("annie", f"reporter-{number}", event_id=f"report-{number}")
        driver.report("bob", f"reporter-{number}", event_id=f"bob-{number}")
        driver.advance("1m")
    if erase:
        driver.erase("annie", event_id="erasure")
    driver.advance("1m")
    if comes_back:
        driver.chat("annie", event_id="again", text="the very same line")
    driver.chat("bob", event_id="bob-again")
    driver.advance("1m")
    return driver


def test_an_erased_user_starts_anew() -> None:
    """No counter, no gap, no repeated text, no tier remembers; the next message is the first."""
    kept, gone = (warned(erase=erase).run(model=MODEL) for erase in (False, True))
    assert kept.features("annie")["message_count_24h"] == 4
    assert kept.features("annie")["repeat_count_1h"] == 3
    assert kept.served[-2].tier == "high"
    fresh = FlowDriver(POLICY)
    fresh.chat("annie", text="the very same line")
    assert repr(gone.features("annie")) == repr(fresh.run(model=MODEL).features("annie"))
    assert gone.served[-2].point.events == 1
    assert gone.served[-2].tier == "none"


def test_an_erasure_is_published_as_a_tombstone_in_its_turn() -> None:
    """After the warnings of the user and before anything newer."""
    result = warned(erase=True).run(model=MODEL)
    about_annie = [event for event in result.risk if event.user_id == "annie"]
    assert [isinstance(event, Tombstone) for event in about_annie] == [False, False, True]
    assert about_annie[-1].as_of == START + 180_000
    assert result.telemetry.counts("published")["tombstone"] == 1


def test_an_erasure_leaves_everybody_else_alone() -> None:
    """Bob's points and warnings are the same, to the last bit."""
    kept, gone = (warned(erase=erase).run(model=MODEL) for erase in (False, True))
    assert told(gone, ["bob"]) == told(kept, ["bob"])
    assert kept.tiers("bob") == ["high"]


@pytest.mark.parametrize(("erase", "positives"), [(False, 7), (True, 1)])
def test_an_escalation_after_an_erasure_teaches_nothing_of_before(*, erase: bool, positives: int) -> None:
    """Only what waited since then becomes positive; erased points wait no longer."""
    driver = warned(erase=erase)
    driver.sanction("annie", 5)
    for _ in range(3):
        driver.advance("2m")
        driver.chat("bob")
        driver.chat("cid")
    assert [outcome.user_id for outcome in driver.run().outcomes] == ["annie"]
    assert driver.run().versions[-1].positives == positives


def test_a_warned_user_who_was_erased_is_warned_from_nothing() -> None:
    """The tier before the new warning is none, however high it had been."""
    driver = warned(erase=True)
    for number in range(3):
        driver.report("annie", f"reporter-{number}")
    result = driver.run(model=MODEL)
    last = [event for event in result.risk_events if event.user_id == "annie"][-2:]
    assert [(event.previous_tier, event.tier) for event in last] == [("none", "watch"), ("watch", "high")]


def snapshots(store: Path) -> list[tuple[str, str, bytes]]:
    """Step, key and snapshot of everything in a recovery store; of users, the step that keeps them."""
    found = []
    for path in store.glob("users/*.sqlite3"):
        connection = sqlite3.connect(path)
        kept = connection.execute("SELECT user_id, state FROM users")
        found += [("users", user_id.decode(), state) for user_id, state in kept]
        for (packed,) in connection.execute("SELECT packed FROM changes"):
            found += [("users", user_id, state) for user_id, state in unpack_changes(packed)]
        connection.close()
    for path in store.glob("part-*.sqlite3"):
        connection = sqlite3.connect(path)
        found += connection.execute("SELECT step_id, state_key, ser_change FROM snaps").fetchall()
        connection.close()
    return found


def test_no_snapshot_remembers_an_erased_user(tmp_path: Path) -> None:
    """Once others have been heard of and the process has stopped, no state holds the user's id."""
    driver = warned(erase=True, comes_back=False)
    for _ in range(2):
        driver.chat("bob")
        driver.chat("cid")
        driver.advance("10m")
    driver.restart()
    driver.run(recovery=tmp_path)
    found = snapshots(tmp_path)
    assert {"bob", "cid"} <= {key for step, key, _ in found if step == "users"}
    assert [(step, key) for step, key, state in found if key == "annie" or b"annie" in (state or b"")] == []


PLAIN = {"PROTO", "FRAME", "MEMOIZE", "STOP", "BININT", "BININT1", "BININT2", "BINBYTES", "SHORT_BINBYTES"}
"""What a pickle of a number or of bytes is made of; there is no way from here to a name."""


def test_snapshots_are_plain_data_without_a_class_or_a_text(tmp_path: Path) -> None:
    """What recovery pickles is bytes and numbers: no name of ours is in it, and nothing anybody wrote."""
    driver = fed([(CHAT, b"poison", None)] * 5)
    driver.run(recovery=tmp_path)
    kept = [item for item in snapshots(tmp_path) if item[2] is not None]
    assert [step for step, _, state in kept if b"line 3" in state] == []
    found = [item for item in kept if item[0] != "users"]  # which are bytes of ours that nobody pickles
    assert len(found) < len(kept)
    assert {step for step, _, _ in found} == {
        f"forewarn.{step}" for step in ("source", "profile.lanes", "learn.models", "judge.lanes")
    }
    for _, _, state in found:
        used = {opcode.name for opcode, _, _ in pickletools.genops(state)}
        assert used <= {
            "PROTO",
            "FRAME",
            "MEMOIZE",
            "STOP",
            "BININT",
            "BININT1",
            "BININT2",
            "BINBYTES",
            "SHORT_BINBYTES",
        }


def test_points_at_the_very_time_a_version_learnt_from_are_not_scored_by_it() -> None:
    """Strictly older: a tie goes to the version before."""
    driver = FlowDriver(small_policy(learning={"publish_every": "1m", "min_positives": 1, "challengers": []}))
    for user in ("ann", "bob"):
        driver.chat(user)
        driver.sanction(user, 5)
    driver.advance("1m")
    tie = driver.now
    for user in ("cid", "dan"):
        driver.chat(user)
    driver.advance("1m")
    for user in ("eve", "fay"):
        driver.chat(user)
    driver.chat("tied", event_time=tie)
    driver.chat("after", event_time=tie + 1)
    result = driver.run()
    assert [item.version.learned_until for item in result.published] == [START, tie, tie + 60_000]
    first, second, third = (item.version.version for item in result.published)
    used = {row.point.user_id: row.model_version for row in result.served}
    assert (used["tied"], used["after"], used["fay"]) == (first, second, second)
    tied = next(row.point for row in result.served if row.point.user_id == "tied")
    assert result.published[2].seq < tied.at.seq
    assert third not in used.values()


@pytest.mark.parametrize("batch_size", [1, 10, 1_000])
def test_no_peeking_where_partitions_race_each_other(batch_size: int) -> None:
    """Live, a version has learnt from every partition; a point of any of them is scored by an older one or by none."""
    driver = FlowDriver(POLICY, partitions=4)
    for happen in life(driver, 360):
        happen()
    result = driver.run(batch_size=batch_size)
    assert {row.point.at.partition for row in result.served} == {0, 2, 3}
    learned_until = {version.version: version.learned_until for version in result.versions} | {"": None}
    used = [(learned_until[row.model_version], row.point.as_of) for row in result.served]
    assert [pair for pair in used if pair[0] is not None and pair[0] >= pair[1]] == []
    assert sum(until is not None for until, _ in used) > len(used) // 2


def test_a_risk_event_says_where_no_version_kept_was_old_enough() -> None:
    """A partition that catches up long after another has taught the model is scored by rules alone, and told so."""
    driver = FlowDriver(
        small_policy(
            learning={"publish_every": "1m", "min_positives": 2, "keep_versions": 2},
            rules={"report_burst": {"tier": "high", "limit": 2}},
        ),
        partitions=2,
    )
    begin = driver.now
    for _ in range(6):
        for user in ("bob", "cid"):
            driver.chat(user)
            driver.sanction(user, 4)
        driver.advance("1m")
    for reporter in ("bob", "cid"):
        driver.report("ann", reporter, event_time=begin)
    (event,) = driver.run(batch_size=1).risk_events
    assert (event.user_id, event.tier, event.probability) == ("ann", "high", None)
    assert (event.model_note, event.model_version, event.learned_until) == ("no_version", "", None)


def test_a_version_says_up_to_which_time_it_has_learnt() -> None:
    """That is the time of the latest event before it came into force that gave an example or an escalation."""
    times: list[int] = []
    driver = FlowDriver(POLICY)
    for happen in life(driver):
        happen()
        times.append(driver.now)
    result = driver.run()
    teaching = {row.point.at.seq for row in result.served} | {outcome.at.seq for outcome in result.outcomes}
    for item in result.published:
        assert item.version.learned_until == max(times[before] for before in teaching if before < item.seq)


PLACES = st.lists(st.tuples(st.integers(0, 72), st.booleans()), min_size=1, max_size=4)


@pytest.mark.slow
@settings(max_examples=examples(6), derandomize=True, deadline=None, database=None)
@given(PLACES, st.booleans(), st.booleans(), st.sampled_from([4, 10, 100]))
@example([(0, True), (1, False), (72, True)], True, True, 1)
@example([(20, False), (40, True), (60, False)], False, False, 5)
def test_stopped_or_crashed_anywhere_and_resumed_the_sum_of_output_is_the_same(
    places: list[tuple[int, bool]], pinned: bool, each_batch: bool, batch_size: int
) -> None:
    """Drained or killed at any record, learning or pinned: nothing is lost, and what comes twice is identical."""
    driver = FlowDriver(POLICY)
    for number, happen in enumerate([*life(driver), lambda: None]):
        for _, crashing in sorted(place for place in places if place[0] == number):
            (driver.crash if crashing else driver.restart)()
        happen()
    model = MODEL if pinned else None
    with TemporaryDirectory() as store:
        result = driver.run(batch_size=batch_size, model=model, recovery=Path(store), snapshot_each_batch=each_batch)
    assert everything(result) == everything(unpoisoned(pinned=pinned))


@pytest.mark.slow
@pytest.mark.parametrize("pinned", [False, True])
def test_two_workers_stopped_and_resumed_give_what_one_gives(tmp_path: Path, *, pinned: bool) -> None:
    """Restarts, too, do not care which worker has which user."""
    driver = FlowDriver(POLICY)
    for number, happen in enumerate(life(driver)):
        if number in (17, 50):
            driver.restart()
        happen()
    result = driver.run(workers=2, batch_size=6, model=MODEL if pinned else None, recovery=tmp_path)
    assert everything(result) == everything(unpoisoned(pinned=pinned))


@pytest.mark.parametrize(("batch_size", "workers", "lanes"), [(1, 1, 1), (3, 2, 16), (1_000, 2, 3)])
@pytest.mark.parametrize("pinned", [False, True])
def test_batches_workers_and_lanes_change_nothing(batch_size: int, workers: int, lanes: int, *, pinned: bool) -> None:
    """How the flow is cut and spread is nobody's business."""
    model = MODEL if pinned else None
    result = fed([]).run(batch_size=batch_size, workers=workers, lanes=lanes, model=model)
    assert everything(result) == everything(unpoisoned(pinned=pinned))
