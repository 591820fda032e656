"""The command `train-text`: train and test a text scorer."""

from __future__ import annotations

from pathlib import Path

import click

from dataflows.cli.common import FILE
from dataflows.model_registry.text_model import save_text_model
from dataflows.reports.numbers import figure
from dataflows.runtime.console import say
from dataflows.training.text import Source, train


@click.command("train-text")
@click.argument("messages", type=FILE)
@click.option("--text", required=True, help="The column with the message.")
@click.option("--label", required=True, help="The column with its label; rows without one are left out.")
@click.option("--positive", "positive", multiple=True, required=True, help="A label that means toxic; may be repeated.")
@click.option("--group", help="Rows of equal value here stay together, such as those of a match.")
@click.option(
    "--test-share",
    type=click.IntRange(5, 60),
    default=20,
    show_default=True,
    help="Of a hundred groups, how many it is tested on.",
)
@click.option("--out", type=FILE, required=True, help="Where the model is written (JSON).")
def train_text_command(
    messages: Path, text: str, label: str, positive: tuple[str, ...], group: str | None, test_share: int, out: Path
) -> None:
    """Train a toxicity scorer on labelled messages (CSV, JSONL or Parquet), and measure it on messages it never saw.

    The same file gives the same model. No part of a message is printed or stored in the model.
    """
    found = train(Source(messages, text, label, frozenset(positive), group), test_share)
    save_text_model(found.scorer, out)
    auc, average = (figure(one._asdict(), 4) for one in (found.roc_auc, found.average_precision))
    distance = "not defined" if found.calibration_error is None else f"{found.calibration_error:.4f}"
    say(f"trained on {found.trained:,} messages, tested on {found.tested:,}, {found.positives:,} of them toxic")
    say(f"ROC-AUC {auc}, average precision {average}, calibration error {distance}")
    say(f"model {found.scorer.version}: {out}")
