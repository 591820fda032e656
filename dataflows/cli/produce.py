"""The commands `simulate` and `produce`: generate a log, and send a log to the input topics."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dataflows.cli.common import FILE, LOG, MAPPING, SETTINGS, TIME
from dataflows.config.settings import Settings, kafka_client_config
from dataflows.ingest.produce import Pace, produce
from dataflows.kafka.topics import partition_counts
from dataflows.mapping.load import load_mapping
from dataflows.runtime.console import progress, say
from dataflows.runtime.validation import demand
from dataflows.simulate.platform import SimulationConfig, simulate, write_log
from dataflows.sources.files.log import Item, read_log
from schemas.codec.outputs import Encoder
from schemas.records.base import CHAT, MODERATION, Position, Raw, Subject


@click.command("simulate")
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
        raise click.UsageError(" ".join(map(_simulation_sentence, error.errors()))) from None
    if out is not None:
        say(f"{write_log(config, out):,} events written to {out}")
        return
    records = (
        Raw(record.pop("subject"), record, None, Position("simulation", 0, number, number), None)
        for number, record in enumerate(simulate(config))
    )
    _send(records, Settings.load(settings_file), Pace())


def _simulation_sentence(problem: ErrorDetails) -> str:
    option = "".join(f"--{part}: " for part in problem["loc"][:1]) or "--start or --days: "
    return f"{option}{demand(problem)}."


@click.command("produce")
@click.argument("log", type=LOG)
@MAPPING
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
    rules = None if mapping is None else load_mapping(mapping)
    _send(read_log(log, rules), Settings.load(settings_file), Pace(rate=rate, speed=speed))


def _send(items: Iterable[Item], settings: Settings, pace: Pace) -> None:
    """Send records to the input topics and print how many were delivered."""
    topics: dict[Subject, str] = {CHAT: settings.topics.chat_messages, MODERATION: settings.topics.moderation_events}
    partition_counts(settings.kafka, topics.values())  # report a failed login before anything is sent
    with progress("producing") as advance:
        sent = produce(
            items,
            producer_config={
                **kafka_client_config(settings.kafka),
                "message.timeout.ms": settings.kafka.delivery_timeout_ms,
            },
            topics=topics,
            encoder=lambda subject: Encoder(subject, settings.registry, registered_as=f"{topics[subject]}-value"),
            pace=pace,
            on_progress=advance,
            on_reject=partial(say, err=True),
            max_record_bytes=settings.run.max_record_bytes,
            allowed_skew_ms=round(settings.run.allowed_skew_seconds * 1000),
        )
    say(
        f"{sent.chat_messages:,} messages and {sent.moderation_events:,} moderation events delivered, "
        f"{sent.rejects:,} rejects not sent",
    )
