"""Stacking: several models, and a meta-learner that weights them (Wolpert, Neural Networks 5, 1992)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detectors.base.points import Example
from detectors.base.vectors import Row
from detectors.features.selection import EVERYTHING, FeatureSelection
from detectors.models.base import OnlineModel, StoresExamples, publisher
from detectors.models.inputs import Reader, weighed
from detectors.models.stack.blend import Blend, Member
from detectors.models.stack.meta_learner import Weighing, spreads
from detectors.models.version import Family
from detectors.policy.sections import LearningPolicy

FAMILY = "stack"


class Stack:
    """Members that learn as they would alone; log-odds = intercept + weighted sum of their standardised log-odds.

    The weights are learnt from each member's log-odds of an example before the member learns it. Members learn
    positives with their own class weights. The meta-learner weighs positives and negatives equally, so the stack's
    log-odds are without class weight, whatever the members use.
    """

    family = FAMILY
    reads = EVERYTHING

    def __init__(self, members: Mapping[str, OnlineModel], learning: LearningPolicy) -> None:
        self._members = dict(members)
        self._remembering = [member for member in members.values() if isinstance(member, StoresExamples)]
        self._pupils = [(member, Reader(member.reads)) for member in members.values()]
        self._publish = {name: publisher(member) for name, member in members.items()}
        self._positive_weight = learning.positive_weight
        self._weighing = Weighing(len(members))

    def class_weight(self, _asked: float) -> float:
        """Return 1.0: a positive weighs the same as a negative in learning."""
        return 1.0

    def score_one(self, row: Row, example: Example) -> float:
        """Return an example's log-odds as a version made now would; NaN if no member can score it."""
        return self._weighing.score([member.score_one(reader.of(row), example) for member, reader in self._pupils])

    def learn_one(self, row: Row, example: Example) -> None:
        """Learn one example; a negative weight undoes one."""
        pupils = [(member, reader.of(row)) for member, reader in self._pupils]
        said = [member.score_one(given, example) for member, given in pupils]
        self._weighing.learn(said, example.label, example.weight)
        for member, given in pupils:
            member.learn_one(given, weighed(example, member.class_weight(self._positive_weight)))

    def advance(self, now: int) -> bool:
        """Advance members that store examples to `now` (ms); return whether any member's scores change."""
        changed = [member.advance(now) for member in self._remembering]
        return any(changed)

    def forget(self, user_id: str) -> bool:
        """Erase a user from members that store examples; return whether any published state changes."""
        changed = [member.forget(user_id) for member in self._remembering]
        return any(changed)

    def dump(self) -> dict[str, Any]:
        """Return the members by name, each with family, features and state, and the meta-learner's state."""
        return self._document({name: member.dump() for name, member in self._members.items()})

    def publish(self) -> dict[str, Any]:
        """Return the same document with only the published state of each member."""
        return self._document({name: publish() for name, publish in self._publish.items()})

    def _document(self, models: dict[str, dict[str, Any]]) -> dict[str, Any]:
        members = {
            name: {"family": member.family, "reads": member.reads.names, "model": models[name]}
            for name, member in self._members.items()
        }
        return {"members": members, **self._weighing.dump()}

    def load(self, state: dict[str, Any]) -> None:
        """Replace the model's state with a dumped one."""
        for name, member in self._members.items():
            member.load(state["members"][name]["model"])
        self._weighing.load(state)


def terms_among(families: Mapping[str, Family], state: dict[str, Any], names: tuple[str, ...]) -> Blend:
    """Return a dumped stack's blend on columns of the features `names`; its members are of the `families`."""
    *weights, intercept = state["weights"]
    moments = zip(weights, state["means"], spreads(state["counts"], state["squares"]), strict=True)
    members = []
    for member, (weight, mean, spread) in zip(state["members"].values(), moments, strict=True):
        reads = FeatureSelection(set(member["reads"]).intersection(names))
        terms = families[member["family"]].terms(member["model"], reads.names)
        rows = [names.index(name) for name in reads.names]
        members.append(Member(terms, rows, weight, mean, spread))
    return Blend(intercept, tuple(members))
