"""The commands `explain` and `whatif`: why a user was warned, and who would be with other thresholds."""

from __future__ import annotations

from pathlib import Path

import click

from dataflows.cli.common import FILE, LOG, REPLAYED_MAPPING
from dataflows.config.policy import load_policy
from dataflows.explain.document import explain_user
from dataflows.explain.run_files import read_erasures, read_policy, read_tiers
from dataflows.mapping.load import load_mapping
from dataflows.reports.explained import explained_lines
from dataflows.reports.terminal import what_if_lines
from dataflows.runtime.console import say, say_json
from evaluation.runs import read_outputs
from evaluation.whatif import what_if

RUN = click.option(
    "--run",
    "run_dir",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    required=True,
    help="The --out of a replay.",
)


@click.command("explain")
@click.argument("user")
@RUN
@click.option("--event", "event_id", metavar="EVENT_ID", help="Explain this point instead of the strongest warning.")
@click.option("--log", type=LOG, help="The log that was replayed: the timeline has the user's events as well.")
@REPLAYED_MAPPING
@click.option("--all", "everything", is_flag=True, help="A line for each point and each contribution.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole document instead of the text.")
def explain_command(
    user: str,
    run_dir: Path,
    event_id: str | None,
    log: Path | None,
    mapping: Path | None,
    everything: bool,
    as_json: bool,
) -> None:
    """Say why USER was warned in a replay, when, and whether it was right: a timeline, and one score as a sum.

    Prints the user's points, warnings, escalations and, with --log, events. Then it explains one point: everything that
    the model added up, the rules, and what would have kept the user out of the tier. No text of a message is read.
    """
    if mapping is not None and log is None:
        raise click.UsageError("Give --log too: a mapping is for reading it.")
    rules = None if mapping is None else load_mapping(mapping)
    document = explain_user(run_dir, user, event_id, log, rules)
    if as_json:
        say_json(document)
        return
    for line in explained_lines(document, everything=everything):
        say(line)


@click.command("whatif")
@RUN
@click.option("--policy", "policy_file", type=FILE, required=True, help="The policy of the run with other tiers.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole document instead of the summary.")
def what_if_command(run_dir: Path, policy_file: Path, as_json: bool) -> None:
    """Say whom a replay would have warned of with other thresholds, without replaying the log.

    Prints precision, recall and lead time before and after, and the users and warnings gained and lost. The scores are
    those of the replay, so the policies may differ in tiers only.
    """
    changed, run = load_policy(policy_file), read_outputs(run_dir)
    policy = read_policy(run_dir, run.summary)
    document = what_if(run, policy, changed, read_tiers(run_dir), read_erasures(run_dir))
    if as_json:
        say_json(document)
        return
    for line in what_if_lines(document):
        say(line)
