"""The commands of a live deployment: `run`, `redrive` for its dead letters, and `recovery` for its store."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path

import click

from dataflows.cli.common import FILE, SETTINGS, TEXT_MODEL, TIME, Failure, answered
from dataflows.config.policy import load_policy
from dataflows.config.settings import Settings
from dataflows.ingest.redrive import Selection, redrive
from dataflows.live.cluster import run_cluster
from dataflows.live.run import ClusterSlot, accept, clean_up, prepare, run
from dataflows.live.supervision import EndReason, tell_end
from dataflows.model_registry.text_model import load_text_model
from dataflows.model_registry.version_file import load_model
from dataflows.recovery.errors import panicked
from dataflows.runtime.console import say
from dataflows.runtime.errors import first
from dataflows.runtime.exit_codes import ExitCode, code_of, expected
from dataflows.runtime.logs import configure
from dataflows.runtime.times import epoch_ms
from schemas.records.rejects import RejectReason

log = logging.getLogger(__name__)

REASON = click.Choice([reason.value for reason in RejectReason])


@click.command("run")
@SETTINGS
@click.option("--policy", "policy_file", type=FILE, help="Target, tiers, rules; overrides paths.policy.")
@click.option("--model", type=FILE, help="Score with this model version and learn nothing.")
@TEXT_MODEL
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Worker threads.")
@click.option("--processes", type=click.IntRange(1, 64), default=1, show_default=True, help="On this machine.")
@click.option("--until-end", is_flag=True, help="Stop at the input topics' present end.")
@click.option("--place", type=ClusterSlot.parse, hidden=True, help="What a cluster's processes are started with.")
def run_command(
    settings_file: Path | None,
    policy_file: Path | None,
    model: Path | None,
    text_model: Path | None,
    workers: int,
    processes: int,
    until_end: bool,
    place: ClusterSlot | None,
) -> None:
    """Run live: read the input topics, publish risk events. SIGTERM or Ctrl-C drains and exits.

    Several processes form a cluster; when one dies or hangs, all restart from the last snapshot. Exit codes: 0 stopped
    in order; 2 or 3 something has to be fixed first; 75 a temporary error, a later start may succeed.
    """
    with answered(ExitCode.MEND):
        settings = Settings.load(settings_file)
        configure(settings.log, None if place is None else place.process)
        with _logged(settings):
            chosen = policy_file or settings.paths.policy
            if chosen is None:
                raise click.UsageError("Give a policy: --policy FILE, or paths.policy in the settings.")
            policy = load_policy(chosen)
            version = None if model is None else load_model(model, policy)
            text = None if text_model is None else load_text_model(text_model)
            if processes > 1 and place is None:
                prepare(settings, policy, version)
                reason = run_cluster(sys.argv[1:], processes, lambda: clean_up(settings), settings.run)
                if reason is not None:
                    raise Failure(reason.sentence.splitlines(), reason.code)
                return
            with nullcontext() if place is None else _told():
                telemetry = run(
                    settings, policy, model=version, text=text, workers=workers, stop_at_end=until_end, place=place
                )
    for name in ("events", "rejects", "outcomes", "published"):
        counts = ", ".join(f"{label} {count:,}" for label, count in telemetry.counts(name).items())
        say(f"{name}: {counts or 'none'}")
    for name in ("misplaced", "left_out"):
        if found := telemetry.counts(name):
            say(f"{name}: {', '.join(f'{label} {count:,}' for label, count in found.items())}")


@contextmanager
def _logged(settings: Settings) -> Iterator[None]:
    """Log the error that ends a run if the log format is JSON, for readers who see only the log."""
    try:
        yield
    except Exception as error:
        cause = error if isinstance(error, click.ClickException) else expected(error)
        if settings.log.format == "json" and not isinstance(error, click.exceptions.Exit):
            if cause is None:
                log.exception("The run ends by an error that nobody expected.")
            else:
                log.error("The run ends: %s", cause)  # noqa: TRY400 - an expected error needs no traceback
        raise


@contextmanager
def _told() -> Iterator[None]:
    """Report to the supervisor why this process ends.

    If the engine panicked only because another process ended, report nothing and raise `Failure` with exit code 75.
    """
    try:
        yield
    except BaseException as error:
        if (cause := expected(error)) is not None:
            tell_end(EndReason(str(cause), code_of(cause)))
        elif panicked(error) and first() is None:
            problem = f"The engine gave up ({error}): another process of the cluster has ended."
            raise Failure((problem,), ExitCode.TRY_AGAIN) from None
        raise


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

    Times are those of rejection: when the dead letter was written. A dead letter is never sent twice, even if an
    earlier redrive was killed. Rejects of stage profile are sent as JSON; rejects of files cannot be sent.
    """
    span = (None if time is None else epoch_ms(time) for time in (since, until))
    selection = Selection(frozenset(map(RejectReason, reasons)), frozenset(topics), *span)
    survey, sent = redrive(Settings.load(settings_file), selection, send=send)
    for line in survey.lines(sent):
        say(line)


@click.group("recovery")
def recovery_group() -> None:
    """Accept topics made anew in the recovery directory of a live run."""


@recovery_group.command("accept")
@SETTINGS
def recovery_accept(settings_file: Path | None) -> None:
    """Go on with topics that were deleted and made anew; profiles and models stay.

    A run refuses to start if a topic named in its store was replaced, because the stored offsets mean nothing in the
    new topic. This command stores the present topics; the next run begins with the first record of each new one. Events
    that were counted before are dropped by their ids, as far as the store still holds each user's latest ids.
    """
    for line in accept(Settings.load(settings_file)):
        say(line)
