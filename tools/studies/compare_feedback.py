"""Comparison of ways to learn from delayed labels, on the public logs: see docs/lab-book/learning.md.

A point's label is known when its horizon is over, or earlier if the user escalates. *Fake negatives* learns each point
at once as a negative, learns it again as a positive if the user escalates, and undoes the bias in the probability
(Ktena et al., RecSys 2019). *Waiting* learns each point when its label is known. Each is shown as it is and with its
probabilities calibrated online: log-odds times a slope plus an intercept, or plus an intercept alone, learnt from
labels that were known before the point.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from heapq import heappop, heappush
from math import exp, sqrt
from pathlib import Path

import click
import numpy as np
import orjson
from numpy.typing import NDArray

from dataflows.mapping.mapping import LogMapping
from dataflows.reports.numbers import figure
from dataflows.sources.files.log import read_log
from detectors.base.log_clock import LogClock
from detectors.base.points import DecisionPoint, Example
from detectors.learning.learner import Learner, Published
from detectors.models.catalogue import new_model
from detectors.policy.policy import Policy
from detectors.profiles.channels import Channels
from detectors.profiles.results import Outcome, TrainingEvent, cause_of, outcomes_of, training_event_of
from detectors.profiles.user import CompiledPolicy, User
from detectors.scoring.batch import Batch
from detectors.scoring.versions import Versions, probabilities_of
from evaluation.calibration import reliability
from evaluation.intervals import SAMPLES, Figure, compare_scores, draws, interval
from evaluation.labels import Labels, OutcomeRecord, label, upheld
from schemas.codec.inputs import EARLIEST_TIME, Codec
from schemas.records.rejects import Reject
from tools.studies.evaluate_logs import asked, log_of, mapping_of, policy_of

Values = NDArray[np.float64]
Flags = NDArray[np.bool_]
LEARNER = "logistic"
"""The model that learns in each of the ways, whatever a policy's champion is."""
CHOSEN_BEFORE = 0.85
"""Choices are made on points before this quantile of their times."""
STEP = 0.02
"""Step size of the online calibration (AdaGrad)."""
FIGURES = {"AUC": 3, "AP": 4, "calibration error": 4, "Brier": 5}
"""The figures that are compared, with their decimal places."""
LEAST_ODDS = 1e-9
SMALLER = 2.0**80
"""Divisor that keeps odds below one while they are read. It is larger than any odds, and a power of two, so that
division is exact."""


@dataclass(frozen=True)
class StudyLog:
    """A log as training events, and the points that are scored, with their labels and users."""

    events: list[TrainingEvent]
    points: list[DecisionPoint]
    labels: Labels
    users: NDArray[np.int64]


def read(log_file: Path, mapping: LogMapping | None, policy: Policy) -> StudyLog:
    """Return the training events, decision points and labels of a log, in its order."""
    codec, rules, remembered = Codec(earliest_ms=EARLIEST_TIME), CompiledPolicy(policy), policy.channels.remembered
    channels = None if remembered is None else Channels(remembered, policy.allowed_lateness, policy.profile_ttl)
    users: dict[str, User] = {}
    events: list[TrainingEvent] = []
    points: list[DecisionPoint] = []
    outcomes: list[Outcome] = []
    for item in read_log(log_file, mapping):
        event = item if isinstance(item, Reject) else codec.decode(item)
        if isinstance(event, Reject):
            events.append(TrainingEvent(event.partition, event.seq, "", -1, (), erased=False))
        if isinstance(item, Reject) or isinstance(event, Reject):
            continue
        context = None if channels is None else channels.see(event)
        step = users.setdefault(event.user_id, User(rules)).step(event, item.at, context)
        events.append(training_event_of(step))
        if step.point is not None:
            points.append(step.point)
        outcomes.extend(outcomes_of(step))
        if step.outcome == "erased":
            del users[event.user_id]
    code = {user: number for number, user in enumerate(dict.fromkeys(point.user_id for point in points))}
    numbers = np.array([code[point.user_id] for point in points], dtype=np.int64)
    as_of = np.array([point.as_of for point in points], dtype=np.int64)
    places = np.array([point.at.seq for point in points], dtype=np.int64)
    escalations = upheld(
        OutcomeRecord(code[one.user_id], one.kind, one.as_of, one.at.seq, cause_of(one))
        for one in outcomes
        if one.user_id in code
    )
    labels = label("horizon", numbers, as_of, places, escalations, policy.target.horizon)
    return StudyLog(events, points, labels, numbers)


def waiting(events: list[TrainingEvent], horizon: int) -> list[TrainingEvent]:
    """Return the training events with every negative delayed until its horizon is over.

    A negative is left out if its user escalates within the horizon.
    """
    clock = LogClock()
    held: list[tuple[int, int, int]] = []  # a heap, so that one user's wrong clock does not delay the others
    examples: dict[int, Example] = {}
    of_user: dict[str, list[int]] = {}
    found = []
    for number, event in enumerate(events):
        if event.time >= 0:
            clock.advance(event.user_id, event.time)
        now_known = [example for example in event.examples if example.label]
        if any(example.weight > 0 for example in now_known):
            for key in of_user.pop(event.user_id, ()):
                if key in examples and examples[key].known_at >= event.time - horizon:
                    del examples[key]
        while held and held[0][0] < clock.now:
            due, _, key = heappop(held)
            if key in examples:
                now_known.append(examples.pop(key)._replace(known_at=due))
        for example in event.examples:
            if not example.label:
                examples[number] = example
                heappush(held, (example.known_at + horizon, event.seq, number))
                of_user.setdefault(event.user_id, []).append(number)
        found.append(event._replace(examples=tuple(now_known)))
    return found


def scored(log: StudyLog, events: list[TrainingEvent], policy: Policy, smaller: float = 1.0) -> Values:
    """Return each point's probability by the champion in force at its place in the log; NaN where it gives none.

    The probability is the model's odds, divided by `smaller` and cut at one.
    """
    learning = policy.learning
    published = Learner(learning.champion, learning, model=lambda: new_model(learning.champion, policy)).take(events)[0]
    versions = Versions(learning.keep_versions)
    versions.hear([_lessened(version, smaller) for version in published])
    batch = Batch(log.points)
    values = probabilities_of(batch, versions.choose_all(batch, one_partition=True))
    values[np.array(batch.events) < learning.min_events] = np.nan
    return values


def _lessened(published: Published, smaller: float) -> Published:
    """Return the published version with its odds divided by `smaller`."""
    document = orjson.loads(published.version.state)
    document["positive_weight"] *= smaller
    state = orjson.dumps(document).decode()
    return published._replace(version=published.version.model_copy(update={"state": state}))


def waited(log: StudyLog, policy: Policy) -> Values:
    """Return each point's probability by a champion that learns by waiting.

    A delayed negative need not be undone. The odds of the model are therefore true odds, and may exceed one.
    """
    odds = SMALLER * scored(log, waiting(log.events, policy.target.horizon), policy, SMALLER)
    return odds / (1 + odds)


def calibrated(log: StudyLog, values: Values, *, sloping: bool = True) -> Values:
    """Return probabilities calibrated by labels that were known before each point, on the clock of the log.

    Without `sloping` the slope stays one, and only the intercept is learnt.
    """
    slope, intercept, steep, high = 1.0, 0.0, 1.0, 1.0
    clock, known = LogClock(), log.labels
    open_points: list[tuple[int, int]] = []  # a heap, for the same reason as in `waiting`
    found = np.full(len(values), np.nan)
    logits = np.log(np.clip(values, LEAST_ODDS, 1 - LEAST_ODDS) / np.clip(1 - values, LEAST_ODDS, 1)).tolist()
    for row, point in enumerate(log.points):
        clock.advance(point.user_id, point.as_of)
        while open_points and open_points[0][0] < clock.now:
            _, past = heappop(open_points)
            miss = 1 / (1 + exp(-slope * logits[past] - intercept)) - known.positive[past]
            steep, high = steep + (miss * logits[past]) ** 2, high + miss**2
            if sloping:
                slope -= STEP * miss * logits[past] / sqrt(steep)
            intercept -= STEP * miss / sqrt(high)
        if values[row] == values[row]:
            found[row] = 1 / (1 + exp(-slope * logits[row] - intercept))
            heappush(open_points, (int(known.known_at[row]), row))
    return found


class Honesty:
    """Calibration error and Brier score of one way, for repeated weighting; the bins are those of all its points."""

    def __init__(self, positive: Flags, values: Values) -> None:
        lows = [one.low for one in reliability(positive, values)]
        self._bin = np.searchsorted(lows, values, side="right") - 1
        self._miss = values - positive

    def figures(self, weight: Values) -> tuple[float, float]:
        """Return calibration error and Brier score of the weighted points."""
        by_bin = np.bincount(self._bin, weight * self._miss)
        return float(np.abs(by_bin).sum() / weight.sum()), float((weight * self._miss**2).sum() / weight.sum())


def honesty(positive: Flags, user: NDArray[np.int64], ways: dict[str, Values]) -> dict[str, list[Figure]]:
    """Return calibration error and Brier score of each way, then those of the first way minus its own."""
    kept = {name: Honesty(positive, values) for name, values in ways.items()}
    ones = np.ones(len(positive))
    whole = {name: np.array(way.figures(ones)) for name, way in kept.items()}
    sampled: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for weight in draws(user, SAMPLES):
        for name, way in kept.items():
            sampled[name].append(way.figures(weight))
    drawn = {name: np.array(figures) for name, figures in sampled.items()}
    first = next(iter(ways))
    return {
        name: [interval(whole[name][i], drawn[name][:, i]) for i in (0, 1)]
        + [interval(whole[first][i] - whole[name][i], drawn[first][:, i] - drawn[name][:, i]) for i in (0, 1)]
        for name in ways
    }


def compared(log: StudyLog, ways: dict[str, Values]) -> list[str]:
    """Return Markdown tables of every way's figures, and of those of the first way minus its own.

    Figures are for points before the quantile `CHOSEN_BEFORE` and after it.
    """
    as_of = np.array([point.as_of for point in log.points])
    usable = log.labels.mature & ~np.any([np.isnan(values) for values in ways.values()], axis=0)
    split = np.quantile(as_of, CHOSEN_BEFORE)
    figures = [f"| points | {' | '.join(['way', *FIGURES])} |", "|" + "---|" * 6]
    leads = [f"| points | {' | '.join(['first way less', *FIGURES])} |", "|" + "---|" * 6]
    for part, rows in (("before", usable & (as_of < split)), ("after", usable & (as_of >= split))):
        positive, users = log.labels.positive[rows], log.users[rows]
        values = {name: of_way[rows] for name, of_way in ways.items()}
        ranked, honest = compare_scores(positive, users, values), honesty(positive, users, values)
        for name in ways:
            error, squared, more_error, more_squared = honest[name]
            cells = (ranked.roc_auc[name], ranked.average_precision[name], error, squared)
            figures.append(_row(part, name, cells, ""))
            if name in ranked.roc_auc_above:
                above = (ranked.roc_auc_above[name], ranked.average_precision_above[name], more_error, more_squared)
                leads.append(_row(part, name, above, "+"))
    return [*figures, "", *leads]


def _row(part: str, name: str, cells: tuple[Figure, ...], sign: str) -> str:
    written = [figure(cell._asdict(), places, sign) for cell, places in zip(cells, FIGURES.values(), strict=True)]
    return f"| {' | '.join([part, name, *written])} |"


def ways_of(log: StudyLog, policy: Policy) -> dict[str, Values]:
    """Return the probabilities of each way to learn, without and with online calibration."""
    fake, late = scored(log, log.events, policy), waited(log, policy)
    return {
        "fake negatives": fake,
        "waiting": late,
        "fake negatives, calibrated": calibrated(log, fake),
        "waiting, calibrated": calibrated(log, late),
        "fake negatives, intercept": calibrated(log, fake, sloping=False),
        "waiting, intercept": calibrated(log, late, sloping=False),
    }


def main() -> int:
    """Compare on the requested logs that exist; return 1 if none does."""
    arguments = asked(__doc__)
    for name in arguments.found:
        policy = policy_of(name, LEARNER)
        log = read(log_of(arguments.logs, name), mapping_of(name), policy)
        click.echo(f"== {name}\n" + "\n".join(compared(log, ways_of(log, policy))))
    return 0 if arguments.found else 1


if __name__ == "__main__":
    sys.exit(main())
