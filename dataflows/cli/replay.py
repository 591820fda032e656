"""The command `replay`."""

from __future__ import annotations

from pathlib import Path

import click

from dataflows.cli.common import FILE, FOLDER, LOG, MAPPING, TEXT_MODEL
from dataflows.config.policy import load_policy
from dataflows.mapping.load import load_mapping
from dataflows.model_registry.promote import changed_champion
from dataflows.model_registry.text_model import load_text_model
from dataflows.replay.printing import print_replayed
from dataflows.replay.replay import load_model, replay
from dataflows.runtime.console import progress
from dataflows.sources.files.log import LogSource


@click.command("replay")
@click.argument("log", type=LOG)
@MAPPING
@click.option("--policy", "policy_file", type=FILE, required=True, help="Target, tiers, rules (TOML).")
@click.option("--out", type=FOLDER, required=True, help="Directory for everything the replay writes.")
@click.option("--model", type=FILE, help="Score with this model version and learn nothing.")
@click.option("--champion", help="Let this challenger of the policy decide, as if it had been promoted.")
@TEXT_MODEL
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Worker threads.")
@click.option(
    "--partitions",
    type=click.IntRange(1, 10_000),
    default=1,
    show_default=True,
    help="As a run over so many partitions.",
)
@click.option("--batch", type=click.IntRange(1), default=4_000, show_default=True, help="Records per source batch.")
@click.option("--top", type=click.IntRange(0), default=5, show_default=True, help="Strongest warnings to print.")
@click.option("--report/--no-report", default=True, show_default=True, help="Draw report.html, which takes a second.")
def replay_command(
    log: Path,
    mapping: Path | None,
    policy_file: Path,
    out: Path,
    model: Path | None,
    champion: str | None,
    text_model: Path | None,
    workers: int,
    partitions: int,
    batch: int,
    top: int,
    report: bool,
) -> None:
    """Replay a log (JSONL, CSV or Parquet, also gzipped) through the dataflow, on a laptop, without Kafka.

    LOG may be a directory if the mapping is SQL.

    Writes risk-events.jsonl, features.parquet (a row for each decision point), shadow.parquet (the challengers'
    probabilities), outcomes.jsonl, models/, policy.json, rejects.jsonl, late.jsonl, summary.json and report.html.
    Nothing written depends on the batch size or the number of workers.
    """
    if model is not None and champion is not None:
        raise click.UsageError("Give --model or --champion, not both: a pinned model decides by itself.")
    policy = load_policy(policy_file)
    if champion is not None:
        policy = changed_champion(policy, champion)
    version = None if model is None else load_model(model, policy)
    text = None if text_model is None else load_text_model(text_model)
    rules = None if mapping is None else load_mapping(mapping)
    with progress("replaying", total=1.0) as advance:
        source = LogSource(log, rules, batch_size=batch, on_progress=lambda _rows: advance(source.counts.fraction))
        done = replay(
            source,
            policy,
            out,
            log_name=log.name,
            model=version,
            text=text,
            workers=workers,
            partitions=partitions,
            report=report,
        )
    print_replayed(out, done, source.counts, top)
