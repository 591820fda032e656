"""The command `forewarn`: each subcommand reads its files, runs one thing, and says in a sentence what went wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from dataflows.cli_common import FILE, FOLDER, SETTINGS, TEXT_MODEL, TIME, Commands
from dataflows.cli_evaluate import compare_command, evaluate_command
from dataflows.cli_live import redrive_command, run_command
from dataflows.cli_models import models_group
from dataflows.cli_text import train_text_command
from dataflows.console import print_replayed
from dataflows.mapping import LogMapping
from dataflows.policy_file import load_policy
from dataflows.produce import Pace, produce
from dataflows.promote import changed_champion
from dataflows.replay import load_model, replay
from dataflows.settings import Settings, kafka_client_config
from dataflows.simulate import SimulationConfig, SimulationError, simulate, write_log
from dataflows.sources.log import Item, LogSource, read_log
from dataflows.text_model import load_text_model
from dataflows.topics import create_topics, partition_counts
from dataflows.topology import topology
from detectors.user import COMPILED
from schemas.check import check_all
from schemas.encoder import Encoder
from schemas.records import CHAT, MODERATION, Position, Raw, Subject


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="forewarn", message=f"%(prog)s %(version)s, {'' if COMPILED else 'not '}compiled")
def main() -> None:
    """Early warnings from chat and moderation events: who is heading for chronic violations, how sure, and why."""


@contextmanager
def _bar(label: str) -> Iterator[Progress]:
    columns = (TextColumn(label), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield bar


@main.command("simulate")
@click.option("--out", type=FILE, help="Write JSON lines here; gzip if the name ends in .gz.")
@click.option("--kafka", is_flag=True, help="Send to the input topics instead of a file.")
@click.option("--events", default=200_000, show_default=True, help="At least this many events.")
@click.option("--users", default=2_000, show_default=True, help="How many users there are.")
@click.option("--days", default=30.0, show_default=True, help="The span they fall into.")
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same bytes.")
@click.option("--start", type=TIME, default="2024-01-01", show_default=True, help="When it begins; UTC if not said.")
@SETTINGS
def simulate_command(
    out: Path | None,
    kafka: bool,
    settings_file: Path | None,
    start: datetime,
    **numbers: Any,
) -> None:
    """Make up a platform's log: users on the way from casual to chronic, reports, sanctions, reversals.

    For demos, load and tests of code only. Results on simulated data prove nothing about accuracy: the detector meets
    only what the simulation put in.
    """
    if (out is None) == (not kafka):
        raise click.UsageError("Say where to: either --out FILE or --kafka.")
    try:
        config = SimulationConfig(start=start, **numbers)
    except ValidationError as error:
        raise click.UsageError("\n".join(map(_simulation_sentence, error.errors()))) from None
    if out is not None:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            click.echo(f"{write_log(config, out):,} events written to {out}")
        except OSError as error:
            raise SimulationError(f"{out}: cannot be written ({error.strerror}): choose another --out") from None
        return
    records = (
        Raw(record.pop("subject"), record, None, Position("simulation", 0, number, number), None)
        for number, record in enumerate(simulate(config))
    )
    _send(records, Settings.load(settings_file), Pace())


def _simulation_sentence(problem: ErrorDetails) -> str:
    option = "".join(f"--{part}: " for part in problem["loc"][:1]) or "--start or --days: "
    return option + problem["msg"].removeprefix("Value error, ").replace("Input should", "must") + "."


@main.command("replay")
@click.argument("log", type=FILE)
@click.option("--mapping", type=FILE, help="How the log's columns become events; without, forewarn's own JSON lines.")
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
) -> None:
    """Replay a log (JSONL, CSV or Parquet, also gzipped) through the dataflow, on a laptop, without Kafka.

    Writes risk-events.jsonl, features.parquet (a row for each decision point), shadow.parquet (the challengers'
    probabilities), outcomes.jsonl, models/, rejects.jsonl, late.jsonl, summary.json and report.html. Nothing written
    depends on the batch size or the number of workers.
    """
    if model is not None and champion is not None:
        raise click.UsageError("Give --model or --champion, not both: a pinned model decides by itself.")
    policy = load_policy(policy_file)
    if champion is not None:
        policy = changed_champion(policy, champion)
    version = None if model is None else load_model(model, policy)
    text = None if text_model is None else load_text_model(text_model)
    rules = None if mapping is None else LogMapping.load(mapping)
    with _bar("replaying") as bar:
        task = bar.add_task("replay", total=1.0)
        source = LogSource(
            log,
            rules,
            batch_size=batch,
            on_progress=lambda _rows: bar.update(task, completed=source.counts.fraction),
        )
        done = replay(
            source, policy, out, log_name=log.name, model=version, text=text, workers=workers, partitions=partitions
        )
    print_replayed(Console(soft_wrap=True), out, done, source.counts, top)


main.add_command(evaluate_command)
main.add_command(compare_command)
main.add_command(train_text_command)
main.add_command(models_group)
main.add_command(run_command)


@main.command("produce")
@click.argument("log", type=FILE)
@click.option("--mapping", type=FILE, help="How the log's columns become events; without, forewarn's own JSON lines.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Events per second.")
@click.option("--speed", type=click.FloatRange(0, min_open=True), help="Times as fast as the events happened.")
@SETTINGS
def produce_command(
    log: Path,
    mapping: Path | None,
    rate: float | None,
    speed: float | None,
    settings_file: Path | None,
) -> None:
    """Send a log to the input topics, with the event ids a replay of it would give; as fast as can be by default."""
    if rate is not None and speed is not None:
        raise click.UsageError("Give --rate or --speed, not both.")
    rules = None if mapping is None else LogMapping.load(mapping)
    _send(read_log(log, rules), Settings.load(settings_file), Pace(rate=rate, speed=speed))


def _send(items: Iterable[Item], settings: Settings, pace: Pace) -> None:
    """Send records to the input topics and say how many arrived."""
    topics: dict[Subject, str] = {CHAT: settings.topics.chat_messages, MODERATION: settings.topics.moderation_events}
    partition_counts(settings.kafka, topics.values())  # a login that fails is told at once
    with _bar("producing") as bar:
        task = bar.add_task("produce", total=None)
        sent = produce(
            items,
            producer_config={
                **kafka_client_config(settings.kafka),
                "message.timeout.ms": settings.kafka.delivery_timeout_ms,
            },
            topics=topics,
            encoder=lambda subject: Encoder(subject, settings.registry, registered_as=f"{topics[subject]}-value"),
            pace=pace,
            on_progress=lambda taken: bar.update(task, completed=taken),
            on_reject=lambda line: click.echo(line, err=True),
            max_record_bytes=settings.run.max_record_bytes,
            allowed_skew_ms=round(settings.run.allowed_skew_seconds * 1000),
        )
    click.echo(
        f"{sent.chat_messages:,} messages and {sent.moderation_events:,} moderation events delivered, "
        f"{sent.rejects:,} rejects not sent",
    )


main.add_command(redrive_command)


@main.group("topics")
def topics_group() -> None:
    """The Kafka topics forewarn reads and writes."""


@topics_group.command("create")
@click.option("--partitions", type=click.IntRange(1), default=8, show_default=True, help="Of every topic.")
@click.option("--replication", type=click.IntRange(1), default=1, show_default=True, help="Copies of each partition.")
@click.option("--keep-inputs", is_flag=True, help="Never let the input topics expire: for logs of past years.")
@SETTINGS
def topics_create(partitions: int, replication: int, keep_inputs: bool, settings_file: Path | None) -> None:
    """Create the topics that are not there yet, with the cleanup each one needs.

    Retention goes by record timestamps, which on the input topics are event times: without --keep-inputs Kafka soon
    deletes a produced log of past years.
    """
    retention = -1 if keep_inputs else None
    for line in create_topics(Settings.load(settings_file), partitions, replication, input_retention_ms=retention):
        click.echo(line)


@main.group("schemas")
def schemas_group() -> None:
    """The Avro schemas of every topic."""


@schemas_group.command("check")
def schemas_check() -> None:
    """Check that released schemas are unchanged, compatible with every earlier version, and agree with the corpus."""
    problems = check_all()
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        raise click.exceptions.Exit(1)
    click.echo("schemas: released files unchanged, versions compatible, corpus passes")


@main.command("topology")
def topology_command() -> None:
    """Print the dataflow as a Mermaid diagram."""
    click.echo(topology())


if __name__ == "__main__":
    main()
