"""What waits for its label: the same labels as an evaluation that looks back, in bounded room, and fair."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.labels.target import ESCALATIONS_CAP
from detectors.monitoring.pending import KEYS, Item, Pending
from tests.kit.streams import LAWFUL
from tests.kit.thorough import examples

HORIZON, GRACE = 100, 10
rngs = st.integers(0, 2**32).map(random.Random)


class Did(NamedTuple):
    """Something that happened, at its place in the log."""

    what: str
    user: str
    time: int
    seq: int
    partition: int
    cause: int = -1


def happened(rng: random.Random, length: int) -> list[Did]:
    """A log of points, escalations, overturned ones and erasures, of users of two partitions, in rough order."""
    now, log, escalated = 0, list[Did](), dict[str, list[int]]()
    for seq in range(length):
        now += rng.choice((0, 1, 5, 40))
        user = rng.randrange(6)
        what = rng.choices(("point", "escalated", "overturned", "erased"), (12, 3, 2, 0.5))[0]
        known = escalated.setdefault(f"u{user}", [])
        cause = seq if what == "escalated" else rng.choice(known) if what == "overturned" and known else -1
        if what == "escalated":
            known.append(seq)
        log.append(Did(what, f"u{user}", now - rng.choice((0, 0, 3, 9)), seq, user % 2, cause))
    return log


def item(did: Did, key: int = 0) -> Item:
    return Item(did.user, did.time, did.partition, did.seq, key, "", 0.5)


def run(pending: Pending, log: list[Did], hop: random.Random | None = None) -> list[tuple[int, bool]]:
    """The place and label of each item, in the order in which they became mature; each partition has its own clock."""
    done, clocks = [], {0: -1, 1: -1}
    for did in log:
        if hop is not None and hop.random() < 0.2:
            state = pending.state()
            pending = Pending(HORIZON, GRACE, 1_000)
            pending.restore(state)
            assert pending.state() == state
        if did.what == "point":
            pending.offer(item(did))
        elif did.what == "escalated":
            pending.escalated(did.user, did.time, did.cause)
        elif did.what == "overturned":
            pending.overturned(did.user, did.cause)
        else:
            pending.erase(did.user)
        clocks[did.partition] = max(clocks[did.partition], did.time)
        done += [(one.seq, right) for one, right in pending.mature(did.partition, clocks[did.partition])]
    return done


def looked_back(log: list[Did]) -> set[tuple[int, bool]]:
    """The same by definition, point by point: what had happened by when its partition's clock was past its horizon."""
    labels = set()
    for point in log:
        if point.what != "point":
            continue
        clock, upheld, reachable = -1, dict[int, int](), True
        for did in log:
            if did.partition != point.partition:
                continue
            if did.user == point.user and did.seq > point.seq:
                if did.what == "erased":
                    reachable = False
                elif did.what == "escalated":
                    upheld[did.cause] = did.time
                elif did.what == "overturned":
                    upheld.pop(did.cause, None)
            clock = max(clock, did.time)
            if did.seq >= point.seq and clock >= point.time + HORIZON + GRACE:
                if reachable:
                    right = any(point.time <= t <= point.time + HORIZON for t in upheld.values())
                    labels.add((point.seq, right))
                break
    return labels


@settings(LAWFUL, max_examples=examples(150))
@given(rngs)
def test_labels_are_those_of_looking_back(rng: random.Random) -> None:
    """Whatever order events came in: before, not at; within the horizon; upheld when mature; never of the erased."""
    log = happened(rng, rng.randint(20, 160))
    done = run(Pending(HORIZON, GRACE, 1_000), log)
    assert len(done) == len(set(done))
    assert set(done) == looked_back(log)


def test_the_logs_of_that_law_hold_both_labels() -> None:
    """It would hold of a sample without positives as well."""
    done = run(Pending(HORIZON, GRACE, 1_000), happened(random.Random(5), 2_000))
    right = sum(label for _, label in done)
    assert 100 < right < len(done) - 100


@settings(LAWFUL, max_examples=examples(40))
@given(rngs)
def test_going_on_from_a_state_changes_nothing(rng: random.Random) -> None:
    """Dumped and restored anywhere on the way, the same items become mature in the same order with the same labels."""
    log = happened(rng, 120)
    assert run(Pending(HORIZON, GRACE, 1_000), log, hop=rng) == run(Pending(HORIZON, GRACE, 1_000), log)


def point(number: int, key: int, user: str = "ann") -> Item:
    return Item(user, number, 0, number, key, "", 0.5)


def waiting_in(pending: Pending) -> list[tuple[Item, int, list[int], list[int]]]:
    """What a state says of the items that wait: each, its hits, the causes told apart, and those of its own record."""
    unpacked = map(msgpack.unpackb, pending.state()["waiting"])
    return [(Item(*item), hits, causes, own) for item, hits, causes, own in unpacked]


@settings(LAWFUL, max_examples=examples(20))
@given(rngs)
def test_a_state_says_what_there_is_now_whatever_was_packed_before(rng: random.Random) -> None:
    """What waits is packed once and again when something came of it; what was not packed, as once, is read alike."""
    log, asked, never = happened(rng, 80), Pending(HORIZON, GRACE, 1_000), Pending(HORIZON, GRACE, 1_000)
    for entry in log:
        run(asked, [entry])
        asked.state()
        run(never, [entry])
    assert asked.state() == never.state()
    back = Pending(HORIZON, GRACE, 1_000)
    back.restore({**asked.state(), "waiting": waiting_in(asked)})
    assert back.state() == asked.state()


def test_more_items_than_room_leave_those_with_the_lowest_keys() -> None:
    """Never more than the cap; what is left is all below the limit, so what it holds is no matter of what came when."""
    rng, pending = random.Random(2), Pending(HORIZON, GRACE, 64)
    keys = [rng.randrange(KEYS) for _ in range(5_000)]
    for number, key in enumerate(keys):
        pending.offer(point(number, key, f"u{number % 7}"))
        assert len(pending) <= 64
    left = {item.seq for item, _, _, _ in waiting_in(pending)}
    assert left == {number for number, key in enumerate(keys) if key < pending.limit}
    assert len(left) >= 16
    assert 5_000 * pending.limit / KEYS == pytest.approx(len(left), rel=0.5)


def test_the_share_grows_again_when_there_is_room() -> None:
    """A rush that has passed does not thin the sample for good, and the share never passes what was allowed."""
    rng, pending = random.Random(3), Pending(HORIZON, GRACE, 64, KEYS // 4)
    for _ in range(2_000):
        pending.offer(point(0, rng.randrange(KEYS)))
    assert pending.limit < KEYS // 8
    limits = set()
    for number in range(1, 100):
        pending.offer(point(number * 1_000, 0))
        pending.mature(0, number * 1_000)
        limits.add(pending.limit)
    assert max(limits) == pending.limit == KEYS // 4


def test_users_who_come_and_are_erased_take_no_room() -> None:
    """What is left of them in the heap is cleared before anybody else has to go."""
    pending = Pending(HORIZON, GRACE, 64)
    pending.offer(point(0, KEYS - 1, "stays"))
    for number in range(1_000):
        pending.offer(point(number, 5, "goes"))
        pending.erase("goes")
        assert len(pending) <= 64
    assert pending.limit == KEYS
    assert [right for _, right in pending.mature(0, 10_000)] == [False]


def test_nothing_of_an_erased_user_is_kept() -> None:
    """Neither the id nor what waited, not even in a state."""
    pending = Pending(HORIZON, GRACE, 64)
    pending.offer(point(0, 5, "mallory"))
    pending.escalated("mallory", 1, 1)
    pending.erase("mallory")
    state: dict[str, Any] = pending.state()
    assert "mallory" not in repr(state)
    assert pending.mature(0, 10_000) == []


def test_escalations_are_remembered_no_longer_than_what_they_can_still_change() -> None:
    """A user with nothing that waits takes no room, and what waits remembers a bounded number of them."""
    pending = Pending(HORIZON, GRACE, 64)
    for number in range(100):
        pending.offer(point(number * 1_000, 5, f"u{number}"))
        pending.escalated(f"u{number}", number * 1_000, number)
        pending.escalated("nobody", number * 1_000, number)
        pending.mature(0, number * 1_000)
    assert [(item.user_id, causes) for item, _, causes, _ in waiting_in(pending)] == [("u99", [99])]
    for number in range(1_000):
        pending.escalated("u99", 99_000, number)
    [(_, hits, causes, _)] = waiting_in(pending)
    assert (len(causes), hits + len(causes)) == (ESCALATIONS_CAP, 1_001)


def test_what_its_own_record_brought_was_not_foretold() -> None:
    """A warning of the very row that bans is neither right nor wrong, unless another ban comes that it did foretell."""
    for later, labels in ((None, []), (50, [True]), (HORIZON + 1, [])):
        pending = Pending(HORIZON, GRACE, 64)
        pending.offer(point(0, 5)._replace(row=7))
        pending.escalated("ann", 0, 1, 7)
        if later is not None:
            pending.escalated("ann", later, 2, 8)
        assert [right for _, right in pending.mature(0, 10 * HORIZON)] == labels
    overturned = Pending(HORIZON, GRACE, 64)
    overturned.offer(point(0, 5)._replace(row=7))
    overturned.escalated("ann", 0, 1, 7)
    overturned.overturned("ann", 1)
    assert [right for _, right in overturned.mature(0, 10 * HORIZON)] == [False]


def test_the_other_partition_s_clock_matures_nothing() -> None:
    """A partition that is far ahead in time does not cut off the labels of one that catches up."""
    pending = Pending(HORIZON, GRACE, 64)
    pending.offer(point(0, 5))
    assert pending.mature(1, 10**9) == []
    assert pending.mature(0, HORIZON + GRACE - 1) == []
    assert len(pending.mature(0, HORIZON + GRACE)) == 1
