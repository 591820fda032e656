"""Stacking: other models side by side, and how to weigh them (Wolpert, Neural Networks 5, 1992)."""

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
    """Members that learn every example as they would alone; log-odds = intercept + weighed sum of theirs, standardised.

    The weights are learnt from what each member says of an example before it learns it. Positives weigh for the members
    what each asks for, and for the weights no more than negatives: the log-odds are of that, whatever the members' own
    class weights.
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
        """What a positive weighs against a negative in what this model learns: the same."""
        return 1.0

    def score_one(self, row: Row, example: Example) -> float:
        """Log-odds of an example, as a version made now would give them; NaN where no member says anything."""
        return self._weighing.score([member.score_one(reader.of(row), example) for member, reader in self._pupils])

    def learn_one(self, row: Row, example: Example) -> None:
        """Learn one example; with a negative weight, take one back."""
        pupils = [(member, reader.of(row)) for member, reader in self._pupils]
        said = [member.score_one(given, example) for member, given in pupils]
        self._weighing.learn(said, example.label, example.weight)
        for member, given in pupils:
            member.learn_one(given, weighed(example, member.class_weight(self._positive_weight)))

    def advance(self, now: int) -> bool:
        """Tell the members that keep examples what time it is (ms); whether that changes what any of them scores."""
        changed = [member.advance(now) for member in self._remembering]
        return any(changed)

    def forget(self, user_id: str) -> bool:
        """Have the members that keep examples let go of a user's; whether there were any."""
        changed = [member.forget(user_id) for member in self._remembering]
        return any(changed)

    def dump(self) -> dict[str, Any]:
        """The members by name, each with its family, what it reads and its own state, and how they are weighed."""
        return self._document({name: member.dump() for name, member in self._members.items()})

    def publish(self) -> dict[str, Any]:
        """The same with no more of the members than they would publish."""
        return self._document({name: publish() for name, publish in self._publish.items()})

    def _document(self, models: dict[str, dict[str, Any]]) -> dict[str, Any]:
        members = {
            name: {"family": member.family, "reads": member.reads.names, "model": models[name]}
            for name, member in self._members.items()
        }
        return {"members": members, **self._weighing.dump()}

    def load(self, state: dict[str, Any]) -> None:
        """Become the model that was dumped."""
        for name, member in self._members.items():
            member.load(state["members"][name]["model"])
        self._weighing.load(state)


def terms_among(families: Mapping[str, Family], state: dict[str, Any], names: tuple[str, ...]) -> Blend:
    """A dumped stack at work on columns of the features `names`, its members each of one of the `families`."""
    *weights, intercept = state["weights"]
    moments = zip(weights, state["means"], spreads(state["counts"], state["squares"]), strict=True)
    members = []
    for member, (weight, mean, spread) in zip(state["members"].values(), moments, strict=True):
        reads = FeatureSelection(set(member["reads"]).intersection(names))
        terms = families[member["family"]].terms(member["model"], reads.names)
        rows = [names.index(name) for name in reads.names]
        members.append(Member(terms, rows, weight, mean, spread))
    return Blend(intercept, tuple(members))
