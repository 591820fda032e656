"""Live evaluation of a replay: the measures of a live run, computed as if one lane scored all users.

A replay has one lane per worker, and each lane has its own clocks and windows. So the figures are not taken from the
run's lanes. They are computed again from its outputs, in the order of the log: the same for any number of workers.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dataflows.runtime.telemetry import Telemetry
from detectors.features.catalogue import NUMBERS
from detectors.monitoring.bins import BINS
from detectors.monitoring.quality import MILLION, SAMPLE, Counts, Live, keys_of, row_of
from detectors.profiles.results import Outcome
from detectors.scoring.shard import Publication
from schemas.records.base import Position
from schemas.records.decisions import RiskEvent, Tier


def measure(
    live: Live,
    served: pa.Table,
    places: NDArray[np.int64],
    offsets: NDArray[np.int64],
    publications: list[Publication],
    outcomes: list[Outcome],
) -> Counts:
    """Return the counts of a replay as the single lane of `live`, which is new, would measure them.

    `places` are the log positions of the points in `served`, row by row; `offsets` are the offsets of their records.
    """
    log = next((outcome.at.topic for outcome in outcomes), "")
    keys = np.array(keys_of(places.tolist()), np.int64)
    # outcomes and tombstones sort before the decision point of the same event, risk events after it
    others: list[tuple[int, bool, Outcome | Publication]] = [(outcome.at.seq, False, outcome) for outcome in outcomes]
    others += [(item.at.seq, isinstance(item.event, RiskEvent), item) for item in publications]
    others.sort(key=lambda other: other[:2])
    sampled = np.flatnonzero(keys < SAMPLE)
    sample = served.take(pa.array(sampled))
    columns = sample["user_id"].to_pylist(), sample["as_of"].cast(pa.int64()).to_pylist()
    scores = sample["score"].to_numpy(zero_copy_only=False)
    done = 0
    log_places = places[sampled].tolist(), offsets[sampled].tolist(), keys[sampled].tolist()
    for user, as_of, score, seq, offset, key in zip(*columns, scores.tolist(), *log_places, strict=True):
        while done < len(others) and others[done][:2] < (seq, True):
            _take(live, others[done][2])
            done += 1
        live.point(user, as_of, 0, seq, key, score, row_of(Position(log, 0, offset, seq)))
    for _, _, other in others[done:]:
        _take(live, other)
    matrix = [sample[name].to_numpy(zero_copy_only=False) for name in NUMBERS]
    live.rows(np.column_stack(matrix), scores)
    return live.take()


def _take(live: Live, other: Outcome | Publication) -> None:
    if isinstance(other, Outcome):
        live.outcome(other)
        return
    at, event = other
    if not isinstance(event, RiskEvent):
        live.erase(event.user_id, at.partition)
    elif event.tier.rank > event.previous_tier.rank:
        live.warning(event.user_id, event.as_of, at.partition, at.seq, keys_of([at.seq])[0], event.tier, row_of(at))


def figures(measured: Counts, telemetry: Telemetry) -> dict[str, Any]:
    """Return figures from counts: calibration of matured points, precision of matured warnings by tier, and drift."""
    nothing = Counter[str]()
    points, positives = measured.get("matured_points", nothing), measured.get("matured_positives", nothing)
    millionths = measured.get("matured_probability_millionths", nothing)
    warnings, right = measured.get("matured_warnings", nothing), measured.get("matured_right", nothing)
    total = sum(points.values())
    shifts = telemetry.counts("scorer_shifts")
    return {
        "points": total,
        "positives": sum(positives.values()),
        "calibration_error": _calibration_error(points, positives, millionths),
        "bins": {
            name: {
                "points": points[name],
                "positives": positives[name],
                "mean_probability": millionths[name] / points[name] / MILLION,
            }
            for name in BINS
            if name in points
        },
        "warnings": {
            tier.value: {
                "matured": warnings[tier.value],
                "right": right[tier.value],
                "precision": right[tier.value] / warnings[tier.value],
            }
            for tier in Tier
            if tier.value in warnings
        },
        "drift": {
            "windows": sum(measured.get("drift_windows", nothing).values()),
            "drifts": dict(sorted(measured.get("drifts", nothing).items())),
        },
        "scorers": {
            scorer: {"versions_compared": compared, "shifts": shifts.get(scorer, 0)}
            for scorer, compared in telemetry.counts("scorer_versions").items()
        },
    }


def _calibration_error(points: Counter[str], positives: Counter[str], millionths: Counter[str]) -> float | None:
    """Return the mean distance of predicted and observed rates over bins, weighted by points; None without points."""
    total = sum(points.values())
    if not total:
        return None
    return sum(abs(millionths[name] / MILLION - positives[name]) for name in points) / total
