"""The commands of a live deployment: to run it, and to send again what it refused."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from dataflows.cli_common import FILE, SETTINGS, TEXT_MODEL, expected, tell
from dataflows.cluster import REFUSED, run_cluster
from dataflows.console import say
from dataflows.model_file import load_model
from dataflows.policy_file import load_policy
from dataflows.redrive import Selection, redrive
from dataflows.run import Place, clean_up, prepare, run
from dataflows.settings import Settings
from dataflows.text_model import load_text_model
from schemas.records import RejectReason

REASON = click.Choice([reason.value for reason in RejectReason])
TIME = click.DateTime([f"%Y-%m-%d{time}{zone}" for time in ("", "T%H:%M", "T%H:%M:%S") for zone in ("", "%z")])


@click.command("run")
@SETTINGS
@click.option("--policy", "policy_file", type=FILE, help="Target, tiers, rules; overrides paths.policy.")
@click.option("--model", type=FILE, help="Score with this model version and learn nothing.")
@TEXT_MODEL
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Worker threads.")
@click.option("--processes", type=click.IntRange(1, 64), default=1, show_default=True, help="On this machine.")
@click.option("--until-end", is_flag=True, help="Stop at the input topics' present end.")
@click.option("--place", type=Place.parse, hidden=True, help="What a cluster's processes are started with.")
def run_command(
    settings_file: Path | None,
    policy_file: Path | None,
    model: Path | None,
    text_model: Path | None,
    workers: int,
    processes: int,
    until_end: bool,
    place: Place | None,
) -> None:
    """Run live: read the input topics, publish risk events. SIGTERM or Ctrl-C drains and exits.

    Several processes form a cluster; when one dies, all start again from the last snapshot.
    """
    settings = Settings.load(settings_file)
    chosen = policy_file or settings.paths.policy
    if chosen is None:
        raise click.UsageError("Give a policy: --policy FILE, or paths.policy in the settings.")
    policy = load_policy(chosen)
    version = None if model is None else load_model(model, policy)
    text = None if text_model is None else load_text_model(text_model)
    if processes > 1 and place is None:
        prepare(settings, policy, version)
        raise click.exceptions.Exit(run_cluster(sys.argv[1:], processes, lambda: clean_up(settings)))
    try:
        telemetry = run(settings, policy, model=version, text=text, workers=workers, stop_at_end=until_end, place=place)
    except Exception as error:
        if place is None or (known := expected(error)) is None:
            raise
        tell(known)
        raise click.exceptions.Exit(REFUSED) from None
    for name in ("events", "rejects", "outcomes", "published"):
        counts = ", ".join(f"{label} {count:,}" for label, count in telemetry.counts(name).items())
        say(f"{name}: {counts or 'none'}")


@click.command("redrive")
@click.option("--reason", "reasons", type=REASON, multiple=True, help="Only of this reason; may be given again.")
@click.option("--topic", "topics", multiple=True, help="Only from this input topic; may be given again.")
@click.option(
    "--since",
    type=TIME,
    metavar="TIME",
    help="Only rejected at or after this time, such as 2024-03-01T09:30Z; UTC if not said.",
)
@click.option("--until", type=TIME, metavar="TIME", help="Only rejected before this time.")
@click.option("--send", is_flag=True, help="Send them; without, only say what would be sent.")
@SETTINGS
def redrive_command(
    reasons: tuple[str, ...],
    topics: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    send: bool,
    settings_file: Path | None,
) -> None:
    """Send dead letters to their input topics again, once each, after what refused them was mended.

    Times are those of rejection: when the dead letter was written. What was redriven before is never sent again,
    whatever was killed in between. Rejects of stage profile go back as JSON; those of files have nowhere to go.
    """
    zoned = (time if time is None or time.tzinfo else time.replace(tzinfo=UTC) for time in (since, until))
    span = (None if time is None else round(time.timestamp() * 1000) for time in zoned)
    selection = Selection(frozenset(map(RejectReason, reasons)), frozenset(topics), *span)
    survey, sent = redrive(Settings.load(settings_file), selection, send=send)
    for line in survey.lines(sent):
        say(line)
