"""Trains a text scorer on labelled messages, and tests it on groups of messages that were not used in training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from dataflows.sources.files.formats import open_rows
from dataflows.sources.files.rows import BadRow, whole
from detectors.base.elementwise import log
from detectors.text.ngrams import BITS, excerpt, hashed
from detectors.text.normalise import plain, skeleton
from detectors.text.scorer import TextScorer
from evaluation.calibration import calibration_error, reliability
from evaluation.intervals import Figure, compare_scores
from schemas.errors import ExpectedError

STRENGTH = 5.0
"""Inverse of the L2 penalty, chosen on a tenth of CONDA's matches that is used for neither training nor test."""
CALIBRATED_ON = 10
"""Percentage of the groups held out to fit the calibration."""
LEAST = 50
"""Minimum number of messages of each label in training, calibration and test."""


class TrainingError(ExpectedError, ValueError):
    """Messages that no scorer can be trained on; the text is a sentence."""


class Message(NamedTuple):
    """A labelled message and its group; a whole group is assigned to training, calibration or test."""

    text: str
    toxic: bool
    group: str


@dataclass(frozen=True, slots=True)
class Source:
    """A file of labelled messages: its columns, and the labels that mean toxic.

    A row without a label is unknown, not clean, and left out. Rows with the same `group`, such as those of one match,
    stay in one split. Without a group column, messages of equal normalised form are one group, and copies with the same
    label are left out.
    """

    path: Path
    text: str
    label: str
    positive: frozenset[str]
    group: str | None = None


class Trained(NamedTuple):
    """A scorer and its figures on the test messages.

    `trained` and `tested` count messages; `positives` counts the toxic test messages.
    """

    scorer: TextScorer
    trained: int
    tested: int
    positives: int
    roc_auc: Figure
    average_precision: Figure
    calibration_error: float | None


def train(source: Source, test_share: int) -> Trained:
    """Train on some groups, calibrate on others, and test once on `test_share` percent of the groups.

    A hash of its name assigns a group to a split, so the same file gives the same scorer and the same figures.

    Raises:
        TrainingError: if a split has too few messages of either label.
        LogError: if the file cannot be read.
    """
    messages = list(_messages(source))
    part = np.array([_bucket(message.group) for message in messages], dtype=np.int64)
    toxic = np.array([message.toxic for message in messages], dtype=np.bool_)
    tested, calibrated = part < test_share, (part >= test_share) & (part < test_share + CALIBRATED_ON)
    learnt = part >= test_share + CALIBRATED_ON
    for name, rows in (("training", learnt), ("calibration", calibrated), ("test", tested)):
        least = min(int(toxic[rows].sum()), int((~toxic[rows]).sum()))
        if least < LEAST:
            raise TrainingError(
                f"{source.path}: {name} has {least} messages of one label, and needs {LEAST}: check --label and "
                "--positive, or take more messages."
            )

    def texts(rows: NDArray[np.bool_]) -> list[str]:
        return [messages[row].text for row in np.flatnonzero(rows).tolist()]

    bare = _fit(texts(learnt), toxic[learnt])
    platt = LogisticRegression(C=1e6)
    platt.fit(bare.log_odds(texts(calibrated))[:, None], toxic[calibrated])
    scorer = bare.calibrated(float(platt.coef_[0, 0]), float(platt.intercept_[0]))
    score = scorer.score_many(texts(tested))
    _, owner = np.unique([messages[row].group for row in np.flatnonzero(tested).tolist()], return_inverse=True)
    compared = compare_scores(toxic[tested], owner, {"text": score})
    return Trained(
        scorer,
        int(learnt.sum()),
        int(tested.sum()),
        int(toxic[tested].sum()),
        compared.roc_auc["text"],
        compared.average_precision["text"],
        calibration_error(reliability(toxic[tested], score)),
    )


def _messages(source: Source) -> Iterator[Message]:
    columns = [source.text, source.label, *([source.group] if source.group else [])]
    rows = open_rows(source.path, columns)
    places = [list(rows.columns).index(column) for column in columns]
    seen: set[tuple[str, bool]] = set()
    read = 0
    with whole(source.path, lambda: read):
        for row in rows:
            read += 1
            if not isinstance(row, BadRow):
                yield from _message(source, [row[place] for place in places], seen)


def _message(source: Source, cells: list[Any], seen: set[tuple[str, bool]]) -> Iterator[Message]:
    """Yield the message of a row if it has a text and a label and, without a group column, is no copy of another."""
    text, label, *group = cells
    if not isinstance(text, str) or not text or label in (None, "") or label != label:  # noqa: PLR0124 - NaN
        return
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate is no valid text
        return
    toxic = str(label) in source.positive
    if group:
        yield Message(text, toxic, str(group[0]))
        return
    form = skeleton(plain(excerpt(text)))
    if (form, toxic) not in seen:  # copies of a message are not independent evidence
        seen.add((form, toxic))
        yield Message(text, toxic, form)


def _bucket(group: str) -> int:
    """Return a number below 100 that depends only on the group's name."""
    return int.from_bytes(blake2b(group.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") % 100


def _fit(texts: list[str], toxic: NDArray[np.bool_]) -> TextScorer:
    """Fit a logistic regression on n-gram counts, each scaled by how well the n-gram separates the classes.

    The scale is the mean of 1 and the absolute log-count ratio (Wang and Manning, ACL 2012); the ratio alone would
    shrink rare n-grams more. Counts are divided by the square root of the message's number of n-grams. The weights of
    the scorer include the scale.
    """
    buckets, owner = hashed(texts)
    many = np.bincount(owner, minlength=len(texts))
    seen = np.unique(owner * (1 << BITS) + buckets)  # each n-gram counts once per message
    of_toxic = toxic[seen >> BITS]
    ratio = _share(seen[of_toxic]) / _share(seen[~of_toxic])
    informative = 0.5 + 0.5 * np.abs(log(ratio))
    shape = (len(texts), 1 << BITS)
    values = informative[buckets] / np.sqrt(many[owner])
    counts = csr_matrix((values, (owner, buckets)), shape=shape)  # duplicates add up
    model = LogisticRegression(C=STRENGTH, max_iter=500)
    model.fit(counts, toxic)
    weights, bias = (model.coef_[0] * informative).astype(np.float32), float(model.intercept_[0])
    return TextScorer(weights, bias, messages=len(texts), positives=int(toxic.sum()))


def _share(seen: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return each bucket's share of the n-grams in `seen`; half a count is added to each, so that no share is zero."""
    counts = np.bincount(seen & ((1 << BITS) - 1), minlength=1 << BITS) + 0.5
    shares: NDArray[np.float64] = counts / counts.sum()
    return shares
