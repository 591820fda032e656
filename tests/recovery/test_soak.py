"""The verdict of a soak, and the soak itself in small: it sees a leak, and it sees profiles that nobody drops."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from detectors.profiles.idle import DAY
from tests.recovery.soak import Sample, judge, most_kept, renew, total

FLAT = [Sample(float(second), 100_000_000 + second % 7 * 100_000, 500, second * 400) for second in range(200)]


def test_flat_memory_is_kept_whatever_it_was_while_warming_up() -> None:
    """What the first half takes to fill windows and models is not growth."""
    warming = [one._replace(memory=50_000_000 + one.events * 500) for one in FLAT[:100]]
    assert judge([*warming, *FLAT[100:]], 500).kept


def test_a_leak_of_a_tenth_over_the_run_is_seen() -> None:
    """Two thirds of what leaks in the second half show in the medians of its slices."""
    leaking = [one._replace(memory=round(one.memory * (1 + 0.15 * one.at / 200))) for one in FLAT]
    verdict = judge(leaking, 500)
    assert verdict.growth == pytest.approx(0.055, abs=0.01)
    assert not verdict.kept


def test_one_profile_too_many_at_any_time_is_seen() -> None:
    """The bound holds always, not on average."""
    assert not judge([*FLAT[:50], FLAT[50]._replace(profiles=501), *FLAT[51:]], 500).kept


def test_the_most_kept_are_those_active_within_the_span(tmp_path: Path) -> None:
    """Users that come back count once; those silent for longer, no more."""
    log = tmp_path / "log.jsonl"
    seen = [(0, "ann"), (1, "bob"), (1, "ann"), (9, "cat"), (10, "cat"), (11, "dan"), (12, "eve")]
    log.write_bytes(b"".join(orjson.dumps({"event_time": day * DAY, "user_id": user}) + b"\n" for day, user in seen))
    assert most_kept(log, 1 * DAY) == 3  # cat, dan and eve; the span has two days to spare
    assert most_kept(log, 20 * DAY) == 5


def test_renewed_users_are_others_every_few_days(tmp_path: Path) -> None:
    """The same user within the days, another one after them."""
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"".join(orjson.dumps({"event_time": day * DAY, "user_id": "ann"}) + b"\n" for day in range(15)))
    renew(log)
    users = [orjson.loads(line)["user_id"] for line in log.read_bytes().splitlines()]
    assert len(set(users)) == 3
    assert users[:5] == [users[0]] * 5


def test_a_metric_is_summed_over_its_labels() -> None:
    """As Prometheus writes them; other names that begin alike are others."""
    text = '# HELP seen x\nseen_total{kind="a"} 2.0\nseen_total{kind="b"} 3.0\nseen_created{kind="a"} 9e9\nheld 7.0\n'
    assert (total(text, "seen_total"), total(text, "held")) == (5, 7)
