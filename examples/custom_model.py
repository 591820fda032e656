"""Add a model and let it learn in shadow, without a broker.

    python examples/custom_model.py

In a change to forewarn itself, the class goes into a folder of `detectors/models` and its name into the catalogue.
"""

from __future__ import annotations

from math import isnan
from typing import Any

import numpy as np

from detectors.base.elementary import log
from detectors.base.points import Example
from detectors.base.vectors import Matrix, Row
from detectors.features.catalogue import NAMES
from detectors.features.selection import FeatureSelection
from detectors.models.catalogue import FAMILIES, MODELS, READS
from detectors.models.version import Family, LinearTerms
from forewarn import FlowDriver, small_policy

FEATURE = "report_count_7d"


class ReportRate:
    """Model of one feature: the odds of an escalation with and without a report in the last week.

    Log-odds = log((positives + 1) / (negatives + 1)), counted apart for the two cases.
    """

    family = "report_rate"
    reads = FeatureSelection([FEATURE])

    def __init__(self) -> None:
        self._counts = [[0.0, 0.0], [0.0, 0.0]]  # without a report, with one; negatives, positives

    def class_weight(self, _asked: float) -> float:
        """Return the weight of a positive: counts need none."""
        return 1.0

    def score_one(self, row: Row, _example: Example) -> float:
        """Return the log-odds of an example."""
        return _log_odds(self._counts[_case(row)])

    def learn_one(self, row: Row, example: Example) -> None:
        """Count one example; a negative weight takes one back."""
        self._counts[_case(row)][int(example.label)] += example.weight

    def dump(self) -> dict[str, Any]:
        """Return the counts as plain data."""
        return {"counts": [list(case) for case in self._counts]}

    def load(self, state: dict[str, Any]) -> None:
        """Take the counts that were dumped."""
        self._counts = [[float(number) for number in case] for case in state["counts"]]

    @staticmethod
    def terms(state: dict[str, Any], _names: tuple[str, ...]) -> LinearTerms:
        """Return a version as an intercept and the contribution of the one feature."""
        without, reported = (_log_odds(case) for case in state["counts"])

        def contributions(columns: Matrix) -> Matrix:
            return np.where(columns > 0, reported - without, 0.0)

        return LinearTerms(intercept=without, parts=contributions)


def _case(row: Row) -> int:
    value = row[NAMES.index(FEATURE)]
    return 0 if isnan(value) else int(value > 0)


def _log_odds(case: list[float]) -> float:
    negatives, positives = (max(number, 0.0) for number in case)
    return log(positives + 1.0) - log(negatives + 1.0)


def probabilities_before_and_after_a_report() -> list[float]:
    """Return what the model says of a user before and after a report, once others have taught it."""
    MODELS["report_rate"] = lambda _learning: ReportRate()
    READS["report_rate"], FAMILIES[ReportRate.family] = (
        ReportRate.reads.names,
        Family(ReportRate.reads, ReportRate.terms),
    )
    try:
        learning = {"champion": "report_rate", "challengers": [], "publish_every": "1m", "min_positives": 2}
        driver = FlowDriver(small_policy(learning=learning))
        for number in range(20):
            user = f"p{number:03d}"
            driver.chat(user)
            if number % 4 == 0:
                driver.report(user, "p900")
                driver.chat(user)
            if number % 8 == 0:
                driver.sanction(user, severity=5)
            driver.advance("5m")
        driver.chat("p500")
        driver.report("p500", "p901")
        served = [row.probability for row in driver.run().served if row.point.user_id == "p500"]
        return [round(probability, 3) for probability in served if probability is not None]
    finally:
        del MODELS["report_rate"], READS["report_rate"], FAMILIES[ReportRate.family]


if __name__ == "__main__":
    print(probabilities_before_and_after_a_report())
