"""The examples run, say what their pages say, and their log is the one that its script makes."""

from __future__ import annotations

import csv
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forewarn import Encoder, FlowDriver, hand_made_model, small_policy
from tests.kit.paths import ROOT

EXAMPLES = ROOT / "examples"


def load(name: str, folder: Path = EXAMPLES) -> ModuleType:
    """Load an example from its file, as it would be run."""
    spec = spec_from_file_location(f"examples_{Path(name).stem}", folder / name)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_subscriber_tells_warnings_their_end_and_tombstones_apart() -> None:
    """Messages as forewarn writes them without a registry come out as sentences."""
    driver = FlowDriver(small_policy())
    driver.chat("p001")
    driver.report("p001", "p002")
    events = driver.run(model=hand_made_model(0.35, {"report_count_24h": 1.0})).risk_events
    subscriber, encoder, said = load("subscriber.py"), Encoder("risk_event"), []
    ended = events[-1].model_copy(update={"tier": type(events[-1].tier)("none")})
    for event in (*events, ended):
        subscriber.handle(b"p001", encoder.encode(event), subscriber.Decoder("risk_event"), said.append)
    subscriber.handle(b"p001", None, subscriber.Decoder("risk_event"), said.append)
    assert said[-3:] == ["p001 is high because of report_count_24h=1", "p001 is no longer warned of", "forget p001"]
    assert said[0].startswith("p001 is watch")


def test_the_custom_rule_fires_and_leaves_the_catalogue_as_it_was() -> None:
    """Four channels in an hour are enough for the limit that the policy sets."""
    from detectors.rules.catalogue import RULES  # noqa: PLC0415 - as the example finds it

    before = dict(RULES)
    assert load("custom_rule.py").tiers_of_a_hopper() == ["elevated"]
    assert before == RULES


def test_the_custom_model_learns_that_reports_matter() -> None:
    """Its probability rises with a report, after others' escalations have taught it."""
    before, after = load("custom_model.py").probabilities_before_and_after_a_report()
    assert 0.0 < before < after < 1.0


def test_one_user_is_warned_of_before_the_escalation() -> None:
    """The story has a warning, then an escalation, then its reversal."""
    lines = "\n".join(load("one_user.py").story())
    assert lines.index("none -> watch") < lines.index("escalated") < lines.index("overturned")


def test_features_are_ranked_by_how_far_warned_points_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The feature that tells warned points apart comes first, one that does not vary is left out."""
    columns = {"tier": ["none", "none", "watch", "watch"], "calm": [1.0, 2.0, 1.0, 2.0], "flat": [3.0] * 4}
    path = tmp_path / "features.parquet"
    pq.write_table(pa.table({**columns, "loud": [0.0, None, 9.0, 8.0]}), path)
    features = load("features.py")
    assert [contrast.feature for contrast in features.contrasts(path)] == ["loud", "calm"]
    features.main(path)
    assert "loud" in capsys.readouterr().out.splitlines()[1]


def test_the_log_of_the_tutorial_is_the_one_its_script_makes(tmp_path: Path) -> None:
    """The same seed, the same bytes, and nobody's name but numbers."""
    (tmp_path / "make_log.py").write_bytes((EXAMPLES / "first-warning/make_log.py").read_bytes())
    load("make_log.py", tmp_path).main()
    made, kept = (tmp_path / "log.csv").read_bytes(), (EXAMPLES / "first-warning/log.csv").read_bytes()
    assert made == kept
    rows = list(csv.DictReader(kept.decode().splitlines()))
    assert all(row[column][:1] in {"p", "m", ""} for row in rows for column in ("who", "about"))
