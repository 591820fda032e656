"""Other thresholds without a replay: exactly what a replay with them would have warned of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from dataflows.cli.main import main
from dataflows.replay.replay import replay
from dataflows.simulate.platform import SimulationConfig, write_log
from dataflows.sources.files.log import LogSource
from dataflows.testing import small_policy
from evaluation.compare import compare_warnings
from evaluation.runs import read_outputs
from evaluation.whatif import changed_keys

pytestmark = pytest.mark.slow

HEAD = """
name = "small"
[target]
horizon = "24h"
when = [{ event = "sanction", min_severity = 1 }]
reset_after = "1h"
[channels]
remembered = 100
[learning]
publish_every = "1h"
min_positives = 8
[rules.report_burst]
tier = "elevated"
limit = 2
"""
TIERS = {
    "before": "[tiers]\nwatch = { enter = 0.2, leave = 0.1 }\nhigh = { enter = 0.6, leave = 0.5 }\n",
    "after": "[tiers]\nwatch = { enter = 0.1, leave = 0.05 }\nelevated = { enter = 0.3, leave = 0.2 }\n"
    "high = { enter = 0.5, leave = 0.25 }\n",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Replays of one log under two policies that differ in tiers; some users are erased."""
    made = tmp_path_factory.mktemp("whatif")
    config = SimulationConfig(events=2_500, users=60, days=10, seed=5, drifting=0.5, erased=0.2, sanctioned=0.6)
    write_log(config, made / "log.jsonl")
    for which, tiers in TIERS.items():
        (made / f"{which}.toml").write_text(HEAD + tiers)
        done = CliRunner().invoke(
            main,
            [
                *("replay", str(made / "log.jsonl"), "--policy", str(made / f"{which}.toml")),
                *("--out", str(made / which), "--no-report"),
            ],
        )
        assert done.exit_code == 0, done.output
    return made


def what_if(folder: Path, policy: str, *arguments: str) -> Result:
    return CliRunner().invoke(
        main, ["whatif", "--run", str(folder / "before"), "--policy", str(folder / policy), *arguments]
    )


def test_other_thresholds_warn_as_a_replay_with_them_does(folder: Path) -> None:
    """Each warning, its verdict and its lead time; and thresholds that are the same change nothing."""
    found: dict[str, Any] = orjson.loads(what_if(folder, "after.toml", "--json").stdout)
    replayed = compare_warnings(read_outputs(folder / "before"), read_outputs(folder / "after"))
    replayed = orjson.loads(orjson.dumps(replayed, option=orjson.OPT_NON_STR_KEYS))
    for key in ("published", "users", "warnings", "tiers"):
        assert found[key] == replayed[key], key
    assert found["warnings"]["gained"] > 10
    assert found["warnings"]["lost"] > 1
    assert read_outputs(folder / "before").erased
    same: dict[str, Any] = orjson.loads(what_if(folder, "before.toml", "--json").stdout)
    assert same["published"]["before"] == same["published"]["after"]
    assert (same["warnings"]["gained"], same["users"]["lost"]) == (0, 0)


def test_the_result_is_told_in_lines(folder: Path) -> None:
    """Thresholds, shares and lead times of both, and who was gained or lost."""
    text = what_if(folder, "after.toml").stdout
    assert text.startswith("log.jsonl: policy small with other tiers; the scores are those of the replay\n")
    assert "\nelevated: no thresholds before, entered from 30 % and left below 20 % after\n" in text
    for line in ("before: ", "after: ", "users warned of: ", "warnings: ", "wrong warnings that are new:"):
        assert f"\n{line}" in text


def test_what_other_thresholds_cannot_answer_is_refused_in_a_sentence(folder: Path) -> None:
    """Another horizon, and thresholds that only a replay can find; a changed run."""
    (folder / "horizon.toml").write_text((HEAD + TIERS["after"]).replace('"24h"', '"48h"'))
    (folder / "promise.toml").write_text(f"{HEAD}[tiers.watch]\nprecision = 0.5\n")
    sentences = {name: what_if(folder, f"{name}.toml").stderr for name in ("horizon", "promise")}
    assert sentences == {
        "horizon": "Error: The policies differ in target.horizon, not only in tiers: replay the log with the changed "
        "one, and compare.\n",
        "promise": "Error: The changed policy has a precision guarantee or a budget, whose thresholds the replay has "
        "to find: replay the log, and compare.\n",
    }


def test_a_policy_that_the_tiers_do_not_come_from_is_refused(tmp_path: Path, folder: Path) -> None:
    """The file of a run must be the policy that decided."""
    out = tmp_path / "out"
    policy = small_policy()
    replay(LogSource(folder / "log.jsonl"), policy, out, log_name="log.jsonl", report=False)
    (out / "policy.json").unlink()
    result = CliRunner().invoke(main, ["whatif", "--run", str(out), "--policy", str(folder / "before.toml")])
    assert "has no policy.json" in result.stderr


def test_every_key_but_tiers_and_name_counts_as_a_change() -> None:
    """Nested keys by their path."""
    before = small_policy()
    assert changed_keys(before, small_policy(name="other", tiers={"watch": {"enter": 0.9, "leave": 0.1}})) == []
    after = small_policy(strike_expiry="80d", rules={"velocity": {}}, warnings={"expiry": "1h"})
    assert changed_keys(before, after) == ["rules.velocity", "strike_expiry", "warnings.expiry"]
