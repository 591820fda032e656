"""Training a text scorer: on made-up messages for what can be known, on real ones for what it is worth."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from dataflows.cli.main import main
from dataflows.model_registry.text_model import load_text_model
from dataflows.training.text import Source, TrainingError, train
from tests.kit.paths import ROOT
from tests.kit.thorough import THOROUGH

pytestmark = pytest.mark.slow

CONDA = ROOT / "../shared/datasets/conda/events.csv.gz"
GAMETOX = ROOT / "../shared/datasets/gametox/messages.csv.gz"
WORD = "xylophonist"
"""A word that stands in every message, and must stand nowhere else."""

NICE = (
    "well played",
    "good game",
    "push the lane",
    "need some help",
    "where is everybody",
    "thank you",
    "see you soon",
)
NASTY = ("uninstall the game", "worst player ever", "you are trash", "go away noob")


def write_messages(path: Path, many: int = 3_000) -> Path:
    """Messages of matches, some toxic, some without a label."""
    rng = random.Random(3)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["match", "said", "verdict"])
        for number in range(many):
            toxic = rng.random() < 0.3
            said = f"{rng.choice(NASTY if toxic else NICE)} {WORD}"
            verdict = "" if rng.random() < 0.1 else "bad" if toxic else "fine"
            writer.writerow([number // 10, f"{said} {rng.choice(NICE)} {rng.randrange(1_000)}", verdict])
    return path


def trained(log: Path, out: Path, *more: str) -> Result:
    words = ["train-text", str(log), "--text", "said", "--label", "verdict", "--positive", "bad", "--out", str(out)]
    return CliRunner().invoke(main, [*words, *more])


def test_the_same_messages_give_the_same_model_and_nothing_of_them_stands_in_it(tmp_path: Path) -> None:
    """Byte for byte; neither the output nor the file holds a word that was said."""
    log = write_messages(tmp_path / "messages.csv")
    results = [trained(log, tmp_path / f"{number}.json", "--group", "match") for number in range(2)]
    assert [result.exit_code for result in results] == [0, 0], results[0].output
    first, second = ((tmp_path / f"{number}.json").read_bytes() for number in range(2))
    assert first == second
    assert WORD.encode() not in first
    assert WORD not in results[0].output
    assert "ROC-AUC 1.0000" in results[0].output


def test_a_trained_scorer_sees_through_disguise(tmp_path: Path) -> None:
    """What was learnt from plain messages holds for disguised ones, and harmless ones stay harmless."""
    assert trained(write_messages(tmp_path / "messages.csv"), tmp_path / "model.json").exit_code == 0
    scorer = load_text_model(tmp_path / "model.json")
    nasty, nice = scorer.score_many([*NASTY, *NICE])[: len(NASTY)], scorer.score_many(list(NICE))
    disguised = ["u.n.i.n.s.t.a.l.l the game", "w0rst pl4yer 3ver", "yoooou are traaaaash", "GO AWAY N O O B"]
    assert scorer.score_many(disguised).min() > nice.max()
    assert nasty.min() > 0.5 > nice.max()


def test_rows_without_a_label_and_copies_are_left_out(tmp_path: Path) -> None:
    """Unknown is not clean; without groups a message that was copied counts once."""
    log = tmp_path / "messages.csv"
    with log.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["said", "verdict"])
        for number in range(600):
            writer.writerow([f"you are number {number} of the trash", "bad"])
            writer.writerow([f"well played {number} times", "fine"])
            writer.writerow([f"nobody knows {number}", ""])
            writer.writerow(["the same again", "fine"])
    found = train(Source(log, "said", "verdict", frozenset({"bad"})), 20)
    assert 0.85 * 1_201 * 0.7 < found.trained < 1.15 * 1_201 * 0.7
    assert 0.7 * 1_201 * 0.2 < found.tested < 1.3 * 1_201 * 0.2


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--text", "spoken"], "has no column 'spoken'"),
        (["--positive", "awful"], None),
        (["--test-share", "99"], "Invalid value for '--test-share'"),
    ],
)
def test_what_cannot_be_trained_on_is_answered_in_a_sentence(
    tmp_path: Path, more: list[str], sentence: str | None
) -> None:
    """A column that is not there, a share that leaves nothing; another positive label is simply none."""
    result = trained(write_messages(tmp_path / "messages.csv"), tmp_path / "model.json", *more)
    if sentence is None:
        assert result.exit_code == 0
    else:
        assert result.exit_code != 0
        assert sentence in result.output
        assert not (tmp_path / "model.json").exists()


def test_too_few_messages_are_no_training(tmp_path: Path) -> None:
    """It is said which part lacks them."""
    log = write_messages(tmp_path / "messages.csv", 60)
    with pytest.raises(TrainingError, match=r"training has .* messages of one label, and needs 50"):
        train(Source(log, "said", "verdict", frozenset({"bad"})), 20)


def test_messages_without_scores_are_scored_in_a_replay_and_others_left_alone(tmp_path: Path) -> None:
    """The signal `toxicity` comes of it; what another scorer said stands."""
    assert trained(write_messages(tmp_path / "messages.csv"), tmp_path / "model.json").exit_code == 0
    scorer = load_text_model(tmp_path / "model.json")
    rows = [
        {"text": "you are trash"},
        {"text": "you are trash", "scores": [{"scorer": "theirs", "version": "1", "value": 0.25}]},
        {"text": None},
    ]
    log = tmp_path / "log.jsonl"
    records = [
        {
            "subject": "chat_message",
            "event_id": f"event-{number}",
            "event_time": 1_700_000_000_000 + number,
            "user_id": f"user-{number}",
            "channel": "lobby",
            **row,
        }
        for number, row in enumerate(rows)
    ]
    log.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
    policy = str(ROOT / "deploy/policies/example.toml")
    words = ["replay", str(log), "--no-report", "--policy", policy, "--text-model", str(tmp_path / "model.json")]
    result = CliRunner().invoke(main, [*words, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    found = pq.read_table(tmp_path / "out/features.parquet")["toxicity_max_24h"].to_pylist()
    assert found == [pytest.approx(float(scorer.score_many(["you are trash"])[0])), 0.25, None]


@pytest.mark.skipif(not CONDA.exists(), reason="the CONDA log is not beside this checkout: docs/lab-book/datasets.md")
def test_on_matches_it_never_saw_it_tells_toxic_lines_from_the_rest() -> None:
    """CONDA, split by match; a batch tf-idf model reached a ROC-AUC of .964 and an average precision of .910."""
    found = train(Source(CONDA, "utterance", "intent", frozenset({"E", "I"}), "match_id"), 20)
    assert (found.roc_auc.value or 0) >= 0.965
    assert (found.average_precision.value or 0) >= 0.91
    assert (found.calibration_error or 1) < 0.02


@pytest.mark.skipif(not THOROUGH, reason="CONDA shows it in half the time: FOREWARN_THOROUGH=1 shows it here too")
@pytest.mark.skipif(
    not GAMETOX.exists(), reason="the GameTox messages are not beside this checkout: docs/lab-book/datasets.md"
)
def test_it_learns_from_messages_that_know_no_match() -> None:
    """GameTox, its duplicates dealt with as one."""
    found = train(Source(GAMETOX, "message", "label", frozenset({"1.0", "2.0", "3.0", "4.0", "5.0"})), 20)
    assert (found.roc_auc.value or 0) >= 0.915
    assert (found.calibration_error or 1) < 0.02
