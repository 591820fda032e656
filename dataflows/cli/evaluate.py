"""The commands `evaluate` and `compare`: the quality of a replay's warnings, and the effect of a change on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from dataflows.cli.common import LOG, REPLAYED_MAPPING
from dataflows.mapping.load import load_mapping
from dataflows.replay.attributes import by_attribute
from dataflows.reports.evaluation_page import write_evaluation
from dataflows.reports.terminal import compared_lines, evaluated_lines
from dataflows.runtime.console import say, say_json
from detectors.features.declare import duration_ms
from evaluation.compare import compare
from evaluation.evaluate import Protocol, Where, evaluate
from evaluation.runs import read_outputs

RUN_DIR = click.Path(path_type=Path, file_okay=False, exists=True)


def _where(asked: str) -> Where:
    feature, _, value = asked.partition("=")
    try:
        return Where(feature, None if value == "absent" else float(value))
    except ValueError:
        raise click.BadParameter(f"{asked!r}: write a feature and its value, as in report_count_24h=1.") from None


def _duration(asked: str) -> int:
    try:
        return duration_ms(asked)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _protocol_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print the whole document instead of the summary."),
        click.option(
            "--ahead",
            default="0s",
            metavar="DURATION",
            callback=lambda _context, _option, asked: _duration(asked),
            help="Only escalations at least so far away count, such as 5m; nearer ones are neither a yes nor a no.",
        ),
        click.option("--skip-first", is_flag=True, help="Without each user's first point."),
        click.option(
            "--from-quantile",
            type=click.FloatRange(0, 1, max_open=True),
            default=0.0,
            help="Only points from this quantile of their times on.",
        ),
        click.option(
            "--until-quantile",
            type=click.FloatRange(0, 1, min_open=True),
            default=1.0,
            help="Only points before this quantile of their times: what a choice may be made on.",
        ),
        click.option(
            "--question",
            type=click.Choice(["horizon", "next"]),
            default="horizon",
            show_default=True,
            help="Escalates within the horizon; or before anything else of the user is seen.",
        ),
    ):
        command = option(command)
    return command


@click.command("evaluate")
@click.argument("run_dir", type=RUN_DIR)
@click.option("--log", type=LOG, help="The log that was replayed: figures by channel, locale and age band as well.")
@REPLAYED_MAPPING
@click.option(
    "--where",
    "where",
    multiple=True,
    metavar="FEATURE=VALUE",
    callback=lambda _context, _option, asked: tuple(map(_where, asked)),
    help="Only points at which a feature has this value, or is absent; may be repeated.",
)
@click.option("--no-boosting", is_flag=True, help="Without the floor that takes longest, boosted trees.")
@_protocol_options
def evaluate_command(
    run_dir: Path,
    log: Path | None,
    mapping: Path | None,
    no_boosting: bool,
    question: Any,
    from_quantile: float,
    until_quantile: float,
    skip_first: bool,
    ahead: int,
    where: tuple[Where, ...],
    as_json: bool,
) -> None:
    """Say how good a replay's warnings were: right, early, calibrated, and better than trivial scores.

    Reads the outputs in RUN_DIR and writes evaluation.json and evaluation.html there. Every prediction was made before
    its label, a label counts only when its horizon has passed, and every interval is a bootstrap over users.
    """
    rules = None if mapping is None else load_mapping(mapping)
    protocol = Protocol(question, from_quantile, until_quantile, skip_first, ahead, not no_boosting, where)
    run = read_outputs(run_dir)
    document = evaluate(run, protocol, None if log is None else by_attribute(run, log, rules))
    page = write_evaluation(document, run_dir)
    _print(document, [*evaluated_lines(document), "", f"report: {page}"], as_json=as_json)


@click.command("compare")
@click.argument("run_a", type=RUN_DIR)
@click.argument("run_b", type=RUN_DIR)
@_protocol_options
def compare_command(
    run_a: Path,
    run_b: Path,
    question: Any,
    from_quantile: float,
    until_quantile: float,
    skip_first: bool,
    ahead: int,
    as_json: bool,
) -> None:
    """Lay two replays of one log side by side: RUN_A before a change of policy, features or model, RUN_B after it.

    Figures with intervals and their difference, warnings gained and lost, users who changed tier, and the
    counterexamples worth reading.
    """
    protocol = Protocol(question, from_quantile, until_quantile, skip_first, ahead)
    document = compare(read_outputs(run_a), read_outputs(run_b), protocol)
    _print(document, compared_lines(document), as_json=as_json)


def _print(document: dict[str, Any], lines: list[str], *, as_json: bool) -> None:
    if as_json:
        say_json(document)
        return
    for line in lines:
        say(line)
