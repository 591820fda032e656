"""A classifier of River's as an online model."""

from __future__ import annotations

from hashlib import blake2b
from importlib.metadata import version
from inspect import signature
from struct import pack
from typing import Any

from detectors.base.points import Example
from detectors.base.state import StateVersionError
from detectors.base.vectors import Row
from detectors.features.selection import QUANTITIES
from detectors.models.river.archive import NotRestorableError, decode
from detectors.models.river.trained import FAILURES, RiverModel, Trained, features_of
from detectors.policy.river_classes import classifier_from
from detectors.policy.sections import RiverPolicy

FAMILY = "river"


class RiverClassifier:
    """A classifier of River's, taught the same examples as every other model.

    An absent feature is left out of the features that River gets. A class whose `learn_one` takes a weight gets it, and
    the class weight with it; another class learns an example as many times as it weighs, rounded, and has no class
    weight. River cannot take an example back, so one that is taken back stays learnt.

    Learning stops for good if River's code fails, or once a version is larger than the policy's `max_bytes`. The model
    then keeps its last scores; `stopped` says why.
    """

    family = FAMILY
    reads = QUANTITIES

    def __init__(self, policy: RiverPolicy) -> None:
        self._policy = policy
        classifier: Any = classifier_from(policy.river, policy.parameters)
        self._model = RiverModel(classifier, _new_scaler() if policy.scale else None)
        self._weighs = "w" in signature(classifier.learn_one).parameters
        self._learnt = b""
        self._trained: Trained | None = None
        self.stopped = ""

    def class_weight(self, asked: float) -> float:
        """Return the policy's weight of a positive relative to a negative; 1.0 if the class takes no weights."""
        return asked if self._weighs else 1.0

    def score_one(self, row: Row, _example: Example) -> float:
        """Return the log-odds of an example's row as a version made now would; NaN if River gives none."""
        return self._model.score(self.features(row))

    def learn_one(self, row: Row, example: Example) -> None:
        """Learn one example, unless learning has stopped. An example that takes one back is not learnt."""
        features = self.features(row)
        if self.stopped or example.weight <= 0 or not features:
            return
        self._trained = None
        numbers = pack(f"{len(row) + 2}d", *row, example.label, example.weight)
        self._learnt = blake2b(self._learnt + numbers, digest_size=16).digest()
        try:
            if self._weighs:
                self._model.learn_one(features, example.label, w=example.weight)
                return
            for _ in range(max(1, round(example.weight))):
                self._model.learn_one(features, example.label)
        except FAILURES as error:
            self.stopped = f"River failed ({type(error).__name__})"

    def features(self, row: Row) -> dict[str, float]:
        """Return what River gets of a row: the features that are present, by name."""
        return features_of(self.reads.names, [row[place] for place in self.reads.columns])

    def log_odds(self, row: Row) -> float:
        """Return the log-odds of a row; NaN if River gives none.

        Raises:
            Exception: whatever River's code raises.
        """
        return self._model.log_odds(self.features(row))

    def trained(self) -> Trained:
        """Return a copy of the model in its current state, for scoring only."""
        if self._trained is None:
            self._trained = Trained.of(self._model)
        return self._trained

    def publish(self) -> dict[str, Any]:
        """Return what a version says of itself: class, parameters and a hash of all that was learnt, without state.

        Learning stops if the version is too large.
        """
        policy, data = self._policy, self.trained().data
        if data is not None and len(data) > policy.max_bytes and not self.stopped:
            self.stopped = f"a version has {len(data)} bytes, more than max_bytes"
        return {
            "river": policy.river,
            "parameters": policy.model_dump(mode="json")["parameters"],
            "scale": policy.scale,
            "river_version": version("river"),
            "learnt": self._learnt.hex(),
            "stopped": self.stopped,
        }

    def packed(self) -> bytes:
        """Return the model as it is now as bytes.

        Raises:
            NotRestorableError: if it holds something that cannot be stored; the text says what.
        """
        return self._model.packed()

    def dump(self) -> dict[str, Any]:
        """Return the full state as plain data, for the recovery store only.

        Raises:
            NotRestorableError: if the model cannot be stored; the text is a sentence.
        """
        try:
            data = self.trained().data or self.packed()
        except NotRestorableError as error:
            raise NotRestorableError(
                f"river.{self._policy.river} holds {error}, which no store can keep: take the model out of the "
                "challengers"
            ) from None
        return {
            "river_version": version("river"),
            "data": data,
            "learnt": self._learnt,
            "stopped": self.stopped,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Replace the model's state with a dumped one.

        Raises:
            StateVersionError: if another version of River wrote it, or it is no such state.
        """
        if state["river_version"] != version("river"):
            raise StateVersionError(
                f"the state of {self._policy.river} was written with River {state['river_version']}, and this is River "
                f"{version('river')}: install that one, or give the model another name"
            )
        try:
            self._model = RiverModel(*decode(state["data"]))
        except NotRestorableError as error:
            raise StateVersionError(f"the state of {self._policy.river} holds {error}: it is not forewarn's") from None
        self._learnt, self.stopped, self._trained = state["learnt"], state["stopped"], None

    @staticmethod
    def terms(state: dict[str, Any], _names: tuple[str, ...]) -> Any:
        """Refuse to make scoring terms of a published state, which holds no trained object.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"a version of {state['river']} says what was trained and holds no model")


def _new_scaler() -> Any:
    from river import preprocessing  # noqa: PLC0415 - a second to import, needed for such models only

    return preprocessing.StandardScaler()
