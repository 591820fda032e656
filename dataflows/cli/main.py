"""The `forewarn` command: the table of subcommands, with their summaries, and the entry point."""

from __future__ import annotations

from importlib.metadata import version

import click

from dataflows.cli.common import Commands, Entry
from dataflows.runtime.console import say

PLACES = {
    "simulate": Entry(
        "dataflows.cli.produce",
        "simulate_command",
        "Make up a platform's log: users on the way from casual to chronic, reports, sanctions, reversals.",
    ),
    "replay": Entry(
        "dataflows.cli.replay",
        "replay_command",
        "Replay a log (JSONL, CSV or Parquet, also gzipped) through the dataflow, on a laptop, without Kafka.",
    ),
    "evaluate": Entry(
        "dataflows.cli.evaluate",
        "evaluate_command",
        "Say how good a replay's warnings were: right, early, calibrated, and better than trivial scores.",
    ),
    "compare": Entry(
        "dataflows.cli.evaluate",
        "compare_command",
        "Lay two replays of one log side by side: RUN_A before a change of policy, features or model, RUN_B after it.",
    ),
    "explain": Entry(
        "dataflows.cli.explain",
        "explain_command",
        "Say why USER was warned in a replay, when, and whether it was right: a timeline, and one score as a sum.",
    ),
    "whatif": Entry(
        "dataflows.cli.explain",
        "what_if_command",
        "Say whom a replay would have warned of with other thresholds, without replaying the log.",
    ),
    "train-text": Entry(
        "dataflows.cli.text",
        "train_text_command",
        "Train a toxicity scorer on labelled messages (CSV, JSONL or Parquet), and measure it on messages it never"
        " saw.",
    ),
    "models": Entry(
        "dataflows.cli.models", "models_group", "Promote, roll back and show models: the champion and its challengers."
    ),
    "run": Entry("dataflows.cli.live", "run_command", "Run live: read the input topics, publish risk events."),
    "produce": Entry(
        "dataflows.cli.produce",
        "produce_command",
        "Send a log to the input topics, with the event ids a replay of it would give; as fast as can be by default.",
    ),
    "redrive": Entry(
        "dataflows.cli.live",
        "redrive_command",
        "Send dead letters to their input topics again, once each, after what refused them was mended.",
    ),
    "recovery": Entry(
        "dataflows.cli.live", "recovery_group", "Accept topics made anew in the recovery directory of a live run."
    ),
    "topics": Entry("dataflows.cli.topics", "topics_group", "Create the Kafka topics that forewarn reads and writes."),
    "schemas": Entry("dataflows.cli.about", "schemas_group", "Check the Avro schemas of every topic."),
    "topology": Entry("dataflows.cli.about", "topology_command", "Print the dataflow as a Mermaid diagram."),
}


def _say_version(ctx: click.Context, _option: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        from detectors.profiles.user import COMPILED  # noqa: PLC0415 - imports numpy and pydantic, needed for this option only

        say(f"forewarn {version('forewarn')}, {'' if COMPILED else 'not '}compiled")
        ctx.exit()


@click.group(
    cls=Commands,
    places=PLACES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_say_version,
    help="Show the version and exit.",
)
def main() -> None:
    """Early warnings from chat and moderation events: who is heading for chronic violations, how sure, and why."""


if __name__ == "__main__":
    main()
