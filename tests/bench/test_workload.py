"""The made-up traffic is what its names say, and the other measures of the benchmark run on a little of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from schemas.codec.inputs import Codec
from schemas.records.base import Position, Raw
from schemas.records.events import ChatMessage, ModerationEvent
from tests.bench.epochs import ended, folded
from tests.bench.epochs import measured as epochs_measured
from tests.bench.growth import flow_of
from tests.bench.live import SHARES, measured
from tests.bench.workload import Workload, events
from tests.kit.kafka.broker import Broker

pytestmark = pytest.mark.slow


def test_a_workload_is_the_same_every_time_and_every_event_is_valid() -> None:
    """In the order of its times, with ids of their own; every kind that a platform sends, but erasures."""
    workload = Workload(300, 60_000)
    made = list(events(workload))
    assert made == list(events(workload)) != list(events(workload._replace(seed=8)))
    times = [event["event_time"] for event in made]
    assert times == sorted(times)
    assert len({event["event_id"] for event in made}) == workload.events == len(made)
    kinds = Counter[str]()
    codec = Codec()
    for seq, event in enumerate(made):
        found = codec.decode(Raw(event["subject"], event, None, Position("log", 0, seq, seq), None))
        assert isinstance(found, ChatMessage | ModerationEvent), found
        kinds["message" if isinstance(found, ChatMessage) else found.kind] += 1
    assert set(kinds) == {"message", "report", "sanction", "reversal", "exposure"}
    with pytest.raises(ValueError, match="ask for more"):
        next(events(Workload(10, 9)))


@pytest.mark.parametrize(("skew", "few", "share"), [("half", 10, 0.45), ("one", 1, 0.18)])
def test_skew_is_what_it_says(skew: str, few: int, share: float) -> None:
    """One in a hundred users makes nearly half of the events, or one user nearly a fifth; everybody has one besides."""
    counts = Counter(event["user_id"] for event in events(Workload(1_000, 20_000, skew=skew)))  # type: ignore[arg-type]
    assert share < sum(count for _, count in counts.most_common(few)) / 20_000 < share + 0.06
    assert len(counts) > 980


def test_growth_measures_a_flow_over_all_users_or_a_share_of_them() -> None:
    """Costs above zero; a share of the users has a share of the events."""
    workload = Workload(60, 600)
    assert min(flow_of(workload)[:2]) > 0
    assert min(flow_of(workload, 1, 2)[:2]) > 0


def test_the_end_of_an_epoch_is_measured_on_a_store_that_knows_everybody(tmp_path: Path) -> None:
    """Every figure takes time or room; that nobody is lost the benchmark looks at itself."""
    cost = epochs_measured(tmp_path, 500, 20)
    assert 0 < cost.stall < 10_000
    assert 0 < cost.cpu < 10_000
    assert 0 < cost.resume < 60
    assert cost.bytes > 300
    end = ended(tmp_path / "ended", 800, 400)
    assert 0 < end.worker < end.threads < 10_000
    assert 0 < end.wall < 10_000
    assert min(folded(tmp_path / "folded", 100, 20)) > 0


def test_a_live_run_is_measured_from_topic_to_topic(broker: Broker, tmp_path: Path) -> None:
    """Every figure is there and can be true; the latencies are those of risk events that came of what was sent."""
    found = dict(measured(broker, tmp_path, Workload(200, 20_000), 2.0, 1.0))
    assert found["users in memory"] == pytest.approx(200, abs=5)
    for name in ("events per CPU second", "events per second", "resident MB", "recovery store, bytes per user"):
        assert found[name] > 0, name
    assert 0 < found["resume, s from start to the first event"] < 120
    told = [found[f"fed at {share:.0%}"] for share in SHARES]
    assert all(0 < one["sent a second"] < 2 * one["rate"] for one in told)
    assert all(one["CPU us an event"]["run"] > 0 for one in told)
    assert any(one["latency, s"]["risk events"] for one in told)
    for one in told:
        whole, *parts = (one[name] for name in ("latency, s", "outside snapshots", "in snapshots"))
        assert all(0 < it["p50"] <= it["p99"] <= it["p99.9"] for it in (whole, *parts) if it["risk events"])
        assert whole["risk events"] == sum(part["risk events"] for part in parts)
        assert one["snapshots"] == 0 or 0 <= one["longest stall, s"] < 60
    assert any(one["snapshots"] for one in told)


def test_two_processes_are_measured_together_and_fed_at_the_rates_asked_for(broker: Broker, tmp_path: Path) -> None:
    """What both of them know and take is added up; shares of what they can do are not fed then."""
    found = dict(measured(broker, tmp_path, Workload(50, 500), 1.0, 0.5, [100.0], processes=2))
    assert found["users in memory"] == pytest.approx(50, abs=2)
    assert [name for name in found if name.startswith("fed at")] == ["fed at 100/s"]
    fed = found["fed at 100/s"]
    assert 0 < fed["sent a second"] < 200
    assert fed["CPU us an event"]["run"] > 0
