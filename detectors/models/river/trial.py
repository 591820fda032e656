"""The trial of a River model before a run: whether it can learn forewarn's examples, and go on after a restart."""

from __future__ import annotations

from math import isfinite, nan
from random import Random

from detectors.base.points import Example
from detectors.base.vectors import Row, vector_from
from detectors.features.catalogue import NAMES
from detectors.models.river.archive import NotRestorableError, modules_in
from detectors.models.river.classifier import RiverClassifier
from detectors.policy.policy import Policy
from detectors.policy.sections import RiverPolicy

EXAMPLES = 600
"""Made-up examples that a model learns: River's nearest neighbours begin to draw random numbers at 500."""
POINTS = 60
"""Made-up points that a model scores, and then learns."""
GAPS = 0.2
"""Share of the made-up examples' features that are absent."""
STORE_VECTORS = "river.neighbors."
"""Modules whose classes keep whole examples, which an erasure could not find."""
REPLAY = "replay accepts it, a live run does not: take it out of the challengers"


def refusals(policy: Policy, *, live: bool) -> list[str]:
    """Return why the River models that a policy names cannot run, a sentence each."""
    champion, challengers = policy.learning.champion, policy.learning.challengers
    found = [
        refusal(name, policy.models[name], live=live) for name in (champion, *challengers) if name in policy.models
    ]
    if live and champion in policy.models:
        found.append(
            f"{champion} runs in River, and no River model decides in a live run: make it a challenger, or replay with "
            "it as champion."
        )
    return [sentence for sentence in found if sentence is not None]


def refusal(name: str, policy: RiverPolicy, *, live: bool) -> str | None:
    """Return why a River model cannot run, as a sentence; None if it can.

    The model learns a few made-up examples with gaps, and scores. Scores must be probabilities and must not depend on
    earlier ones. For a live run, a stored copy must also go on like the original, and must not keep whole examples.
    """
    where = f"models.{name}: river.{policy.river}"
    model = RiverClassifier(policy)
    for number in range(EXAMPLES):
        model.learn_one(*_made_up(number))
    if model.stopped:
        return f"{where} cannot learn forewarn's examples ({model.stopped}): give other parameters, or another class."
    points = [_made_up(number) for number in range(EXAMPLES, EXAMPLES + POINTS)]
    before = _packed(model)
    try:
        scores = [model.log_odds(row) for row, _ in points]
    except Exception as error:
        return f"{where} gives no probabilities ({type(error).__name__}): name a class that does."
    if not any(map(isfinite, scores)):
        return f"{where} gives no probabilities: name a class that does."
    again = [model.log_odds(row) for row, _ in reversed(points)][::-1]
    if repr(again) != repr(scores) or _packed(model) != before:
        return f"{where} changes when it scores, so that a score depends on those before it: name another class."
    return _refusal_live(where, policy, model, points) if live else None


def _refusal_live(
    where: str, policy: RiverPolicy, model: RiverClassifier, points: list[tuple[Row, Example]]
) -> str | None:
    twin = RiverClassifier(policy)
    try:
        data = model.packed()
        twin.load(model.dump())
    except NotRestorableError as error:
        return f"{where} cannot be restored after a restart, because it holds {error}: {REPLAY}."
    if any(f"{module}.".startswith(STORE_VECTORS) for module in modules_in(data)):
        return f"{where} keeps examples of users, from which an erasure could not remove anybody: {REPLAY}."
    for row, example in points:
        model.learn_one(row, example)
        twin.learn_one(row, example)
    if repr([model.log_odds(row) for row, _ in points]) != repr([twin.log_odds(row) for row, _ in points]):
        return f"{where} goes on differently after a restart: {REPLAY}."
    return None


def _packed(model: RiverClassifier) -> bytes | None:
    """Return a model's state as bytes; None if it cannot be stored."""
    try:
        return model.packed()
    except NotRestorableError:
        return None


def _made_up(number: int) -> tuple[Row, Example]:
    """Return an example that depends on its number alone."""
    chance = Random(number)  # noqa: S311 - made-up examples are no secret
    label = chance.random() < 0.4
    row = [nan if chance.random() < GAPS else 4.0 * chance.random() + label for _ in NAMES]
    return row, Example(f"user {number}", number, vector_from(row), label, 1.0)
