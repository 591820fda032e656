"""The `topics` commands: create the Kafka topics, report or alter settings that differ."""

from __future__ import annotations

from pathlib import Path

import click

from dataflows.cli.common import SETTINGS
from dataflows.config.settings import Settings
from dataflows.kafka.topics import create_topics
from dataflows.runtime.console import say


@click.group("topics")
def topics_group() -> None:
    """Create the Kafka topics that forewarn reads and writes."""


@topics_group.command("create")
@click.option("--partitions", type=click.IntRange(1), default=8, show_default=True, help="Of every topic.")
@click.option("--replication", type=click.IntRange(1), default=1, show_default=True, help="Copies of each partition.")
@click.option("--keep-inputs", is_flag=True, help="Never let the input topics expire: for logs of past years.")
@click.option("--alter", is_flag=True, help="Set what differs in topics that exist.")
@SETTINGS
def topics_create(
    partitions: int, replication: int, keep_inputs: bool, alter: bool, settings_file: Path | None
) -> None:
    """Create the topics that are not there yet, with the cleanup each one needs, and say what differs in the others.

    Retention goes by record timestamps, which on the input topics are event times: without --keep-inputs Kafka soon
    deletes a produced log of past years.
    """
    retention = -1 if keep_inputs else None
    settings = Settings.load(settings_file)
    for line in create_topics(settings, partitions, replication, input_retention_ms=retention, alter=alter):
        say(line)
