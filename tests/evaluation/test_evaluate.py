"""A real replay evaluated: what would fail if anything in it looked ahead, and what a reader may rely on."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from dataflows.cli.main import main
from dataflows.config.policy import load_policy
from dataflows.mapping.mapping import LogMapping
from dataflows.replay.attributes import by_attribute
from dataflows.replay.replay import replay
from dataflows.sources.files.log import LogSource
from dataflows.testing import small_policy
from evaluation.baselines import baselines
from evaluation.evaluate import Protocol, Where, evaluate, usable_rows
from evaluation.labels import label
from evaluation.runs import EvaluationError, Outputs, read_outputs
from schemas.records.base import CHAT, MODERATION
from tests.kit.outputs import HOUR, outputs, shuffled
from tests.kit.thorough import THOROUGH

pytestmark = pytest.mark.slow

Replays = Callable[..., Path]
Simulated = tuple[Path, Path]


@pytest.fixture(scope="module")
def run(replays: Replays) -> Outputs:
    """The outputs of a replay of the simulated log, learning on."""
    return read_outputs(replays())


def test_the_same_outputs_give_the_same_bytes(run: Outputs) -> None:
    """So that two evaluations can be laid side by side: no wall clock, no chance that is not seeded."""
    first, again = evaluate(run, Protocol()), evaluate(run, Protocol())
    assert orjson.dumps(first) == orjson.dumps(again)
    assert first["points"]["positives"] > 100


def test_the_figures_are_those_of_the_replays_own_summary(run: Outputs) -> None:
    """The same points, the same labels: two ways to count agree."""
    scores = evaluate(run, Protocol(boosting=False))["scores"]
    for name, score in scores.items():
        if score["kind"] == "model":
            progressive = run.summary["models"][name]["progressive"]
            assert score["roc_auc"]["value"] == pytest.approx(progressive["roc_auc"], abs=0.02)
    champion = run.summary["models"][run.champion]["progressive"]
    assert scores[run.champion]["roc_auc"]["value"] == pytest.approx(champion["roc_auc"], abs=1e-12)
    assert scores[run.champion]["average_precision"]["value"] == pytest.approx(champion["average_precision"], abs=1e-12)
    assert scores[run.champion]["brier"] == pytest.approx(champion["brier"], abs=1e-12)


def test_shuffled_labels_give_chance(run: Outputs) -> None:
    """Models and floors, the refitted one too, which would soon know the answers if it were shown them too early."""
    found = {name: [] for name in [*run.scores, "boosted trees"]}
    for seed in range(3 if THOROUGH else 2):
        scores = evaluate(shuffled(run, seed), Protocol())["scores"]
        for name, values in found.items():
            values.append(scores[name]["roc_auc"]["value"])
    means = {name: float(np.mean(values)) for name, values in found.items()}
    assert means == {name: pytest.approx(0.5, abs=0.1) for name in means}


def test_a_feature_that_leaks_the_future_is_caught(run: Outputs) -> None:
    """Also one that leaks by being absent; of the real features none is suspected."""
    labels = label("horizon", run.user, run.as_of, run.seq, run.escalations, run.horizon)
    noise = np.random.default_rng(1).normal(size=len(run)) * 0.1
    leaks = {"tomorrow": labels.positive + noise, "gap": np.where(labels.positive, np.nan, 1.0)}
    leaking = replace(run, features={**run.features, **leaks})
    assert evaluate(leaking, Protocol(boosting=False))["suspect_features"] == ["tomorrow", "gap"]
    assert evaluate(run, Protocol(boosting=False))["suspect_features"] == []


def test_what_was_served_does_not_depend_on_what_came_later(simulated: Simulated, tmp_path: Path) -> None:
    """The log cut off after two thirds gives the same features and scores up to there, to the last bit."""
    log, policy = simulated
    lines = log.read_bytes().splitlines(keepends=True)
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(b"".join(lines[: len(lines) * 2 // 3]))
    tables = []
    for number, path in enumerate((log, cut)):
        out = tmp_path / str(number)
        replay(LogSource(path), load_policy(policy), out, log_name="same", report=False)
        tables.append(pq.read_table(out / "features.parquet"))
    whole, part = tables
    assert part.num_rows > 5_000
    assert whole.slice(0, part.num_rows).equals(part)


def test_a_label_after_the_horizon_counts_for_nothing(run: Outputs) -> None:
    """With every escalation moved beyond the horizon no point is positive, and that is said."""
    later = {
        user: [one._replace(as_of=one.as_of + 100 * run.horizon) for one in suffered]
        for user, suffered in run.escalations.items()
    }
    with pytest.raises(EvaluationError, match="none of those is positive: choose a longer log"):
        evaluate(replace(run, escalations=later), Protocol(boosting=False))


def test_censored_points_are_left_out(run: Outputs) -> None:
    """What remains and what was left out add up, and the last of the log is among the left out."""
    points = evaluate(run, Protocol(boosting=False))["points"]
    assert points["all"] == points["censored"] + points["evaluated"] + points["unscored"]
    labels = label("horizon", run.user, run.as_of, run.seq, run.escalations, run.horizon)
    assert not labels.mature[run.as_of > run.as_of.max() - run.horizon].any()


def test_a_part_of_the_points_can_be_asked_for(run: Outputs) -> None:
    """From a quantile of their times on, and without users' first points."""
    late = evaluate(run, Protocol(boosting=False, question="next", from_quantile=0.5))["points"]
    assert late["evaluated"] == pytest.approx(len(run) / 2, rel=0.02)
    without = evaluate(run, Protocol(boosting=False, question="next", skip_first=True))["points"]
    assert without["evaluated"] + without["unscored"] == len(run) - len(run.users)


def test_only_what_comes_later_can_be_asked_for(run: Outputs) -> None:
    """Points that are too late are counted as such; an escalation is announced in time, or it is not."""
    ahead = HOUR
    document = evaluate(run, Protocol(boosting=False, ahead=ahead))
    points, labels = document["points"], Protocol(ahead=ahead).label(run)
    assert points["too_late"] == (labels.mature & labels.late).sum() > 0
    assert points["all"] == sum(points[part] for part in ("censored", "too_late", "evaluated", "unscored"))
    plain = evaluate(run, Protocol(boosting=False))
    assert document["published"]["recall"] < plain["published"]["recall"]
    assert document["published"]["lead"]["at_least"][str(ahead)] == 1.0
    assert document["promises"] == plain["promises"]


def test_what_cannot_be_asked_is_answered_in_a_sentence(run: Outputs) -> None:
    """The next step comes when it comes; and nothing within the horizon is beyond it."""
    with pytest.raises(EvaluationError, match="leave out either --ahead or --question"):
        Protocol("next", ahead=1)
    with pytest.raises(EvaluationError, match="Nothing within the horizon is further ahead"):
        evaluate(run, Protocol(ahead=run.horizon + 1))


def test_points_can_be_asked_for_by_what_is_known_at_them(run: Outputs) -> None:
    """At a value of a feature, and where another is absent; a feature that there is not is told."""
    labels = label("horizon", run.user, run.as_of, run.seq, run.escalations, run.horizon)
    first = (Where("report_count_7d", 1.0), Where("report_since", None))
    usable = usable_rows(run, labels, Protocol(where=first))
    wanted = (run.features["report_count_7d"] == 1) & np.isnan(run.features["report_since"])
    assert usable.tolist() == (labels.mature & wanted).tolist()
    assert 30 < usable.sum() < len(run) / 10
    document = evaluate(run, Protocol(boosting=False, where=(Where("strike_count", 1.0),)))
    assert document["protocol"]["where"] == [{"feature": "strike_count", "value": 1.0}]
    points = document["points"]
    assert points["evaluated"] + points["unscored"] == (labels.mature & (run.features["strike_count"] == 1)).sum()
    with pytest.raises(EvaluationError, match="There is no feature 'mood': choose from channel_distinct_1h"):
        evaluate(run, Protocol(boosting=False, where=(Where("mood", 1.0),)))


def test_floors_are_what_counting_the_log_gives(run: Outputs, simulated: Simulated) -> None:
    """Events, violations and the last severity recounted from the log, for users whose events all came in order."""
    found = baselines(run)
    rows = {event: row for row, event in enumerate(run.event_id)}
    events: dict[str, int] = {}
    violations: dict[str, int] = {}
    severity: dict[str, float] = {}
    reversed_users, checked = set(), 0
    seen = set()
    for line in simulated[0].read_bytes().splitlines():
        event = orjson.loads(line)
        user, kind = event.get("user_id"), event.get("kind", "message")
        if event.get("event_id") in seen or event.get("event_id") not in rows:
            if kind in {"reversal", "erasure"} or event.get("event_id") not in rows:
                reversed_users.add(user)
            continue
        seen.add(event["event_id"])
        row = rows[event["event_id"]]
        events[user] = events.get(user, 0) + 1
        if kind in {"reversal", "erasure"}:
            reversed_users.add(user)
        if kind in {"report", "sanction"}:
            violations[user] = violations.get(user, 0) + 1
        if kind == "sanction":
            severity[user] = event["sanction"]["severity"]
        if user in reversed_users:
            continue
        assert found["event count"][row] == events[user]
        assert found["violations so far"][row] == violations.get(user, 0)
        assert found["past violation rate"][row] == pytest.approx(violations.get(user, 0) / events[user])
        assert found["last severity"][row] == severity.get(user, 0)
        checked += 1
    assert checked > 3_000


def test_the_command_writes_the_document_and_says_what_decides(replays: Replays, tmp_path: Path) -> None:
    """Figures beside their floors in the terminal; the whole document with --json."""
    directory = shutil.copytree(replays(), tmp_path / "run")
    result = CliRunner().invoke(main, ["evaluate", str(directory), "--no-boosting"])
    assert result.exit_code == 0, result.output
    document = orjson.loads((directory / "evaluation.json").read_bytes())
    value = document["scores"]["logistic"]["roc_auc"]["value"]
    assert f"model logistic                {value:.3f} [" in result.output
    assert "floor newness" in result.output
    assert re.search(r"announced at a budget of 5 per 1,000 active users and day: .* \(the best floor\)", result.output)
    printed = CliRunner().invoke(main, ["evaluate", str(directory), "--no-boosting", "--json"])
    assert orjson.loads(printed.output[: printed.output.rindex("}") + 1]) == document


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda out: (out / "summary.json").unlink(), "not the outputs of a replay"),
        (lambda out: (out / "features.parquet").write_bytes(b"no"), "not the outputs of a replay"),
        (lambda out: (out / "outcomes.jsonl").write_bytes(b"{"), "not the outputs of a replay"),
    ],
)
def test_what_is_no_replay_is_answered_in_a_sentence(
    replays: Replays, tmp_path: Path, spoil: Callable[[Path], None], sentence: str
) -> None:
    """Missing files and damaged ones."""
    for file in replays().glob("*.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    spoil(tmp_path)
    result = CliRunner().invoke(main, ["evaluate", str(tmp_path)])
    assert result.exit_code == 1
    assert sentence in result.output


def test_a_slice_too_small_to_say_anything_shows_no_figure() -> None:
    """It is listed with its size."""
    points = [(user, float(hour), 0.1 * (user == 0)) for hour in range(100) for user in range(3)]
    decays = {name: [0.0] * 300 for name in ("report_decay_7d", "sanction_decay_7d", "message_decay_7d")}
    others = {name: [0.0] * 300 for name in ("strike_count", "sanction_severity_sum_30d")}
    features = {**decays, **others, "first_since": [hour * 3_600.0 for hour in range(100) for _ in range(3)]}
    run = outputs(points, {0: [(50, 301)]}, features=features)
    cells = evaluate(run, Protocol(boosting=False))["slices"]
    assert [(cell["slice"].split(" ")[0], cell["points"]) for cell in cells] == [("new", 72), ("old", 156)]
    assert all("roc_auc" not in cell for cell in cells)


def small_log(path: Path, event_id: str) -> Path:
    """A log of users who write at set times; every fourth is reported and then banned."""
    rows, start = list[dict[str, Any]](), 1_700_000_000_000
    for number in range(40):
        user, counts = f"user-{number:02d}", count(1)

        def event(hours: float, subject: str, user: str = user, counts: Iterator[int] = counts, **fields: Any) -> None:
            told = {"subject": subject, "event_id": event_id.format(user=user, n=next(counts)), "user_id": user}
            rows.append({**told, "event_time": start + int(hours * 3_600_000), **fields})

        for turn in range(14):
            event(number + 9 * turn + 0.1 * number, CHAT, channel="hall")
        if number % 4 == 0:
            event(number + 60, MODERATION, kind="report", report={"reporter_id": f"user-{(number + 1) % 40:02d}"})
            ban = {"action": "ban", "severity": 5, "policy": "conduct"}
            event(number + 66, MODERATION, kind="sanction", sanction=ban)
    rows.sort(key=lambda row: row["event_time"])
    path.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))
    return path


def test_ids_that_are_unique_for_each_user_only_give_the_evaluation_that_unique_ids_give(tmp_path: Path) -> None:
    """As the contract with producers has it: an event is told by its user and its id."""
    documents = []
    for name, event_id in (("each", "{n}"), ("all", "{user}:{n}")):
        (tmp_path / name).mkdir()
        log = small_log(tmp_path / name / "log.jsonl", event_id)
        policy = small_policy(learning={"publish_every": "1m", "min_positives": 2, "challengers": ["lookalike"]})
        replay(LogSource(log), policy, tmp_path / name, log_name="log", report=False)
        run = read_outputs(tmp_path / name)
        documents.append(evaluate(run, Protocol(boosting=False), by_attribute(run, log, None)))
        assert len(run.warnings) > 5
    assert documents[0] == documents[1]
    assert documents[0]["published"]["recall"] >= 0.5


def test_two_events_of_one_row_do_not_foretell_each_other(tmp_path: Path) -> None:
    """Random ratings that a mapping makes a report and a ban of: nothing in them tells what comes."""
    rng = random.Random(5)
    rows = ["rater,ratee,rating,time"]
    rows += [f"a{rng.randrange(60)},a{rng.randrange(60)},{rng.choice((1, -10))},{n * 900}" for n in range(1_500)]
    (tmp_path / "log.csv").write_text("\n".join(rows))
    log = tmp_path / "log.csv"
    policy = small_policy(
        target={"horizon": "24h", "recurring": True, "when": [{"event": "sanction", "min_severity": 5}]}
    )
    replay(
        LogSource(log, LogMapping.load(mapping_of_ratings(tmp_path))), policy, tmp_path, log_name="log", report=False
    )
    document = evaluate(read_outputs(tmp_path), Protocol(boosting=False))
    area = document["scores"]["logistic"]["roc_auc"]
    assert area["low"] < 0.55
    assert document["points"]["too_late"] > 0


def mapping_of_ratings(folder: Path) -> Path:
    path = folder / "mapping.toml"
    path.write_text(
        """name = "ratings"
[time]
column = "time"
unit = "s"
origin = "2023-01-01T00:00:00Z"
[[event]]
kind = "report"
when = [{ column = "rating", equals = -10 }]
user = { column = "ratee" }
reporter = { column = "rater" }
[[event]]
kind = "sanction"
when = [{ column = "rating", equals = -10 }]
user = { column = "ratee" }
action = "ban"
severity = 5
policy = "scam"
[[event]]
kind = "message"
user = { column = "rater" }
channel = "ratings"
"""
    )
    return path
