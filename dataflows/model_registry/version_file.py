"""Model versions as files: written by a replay, loaded to be pinned."""

from __future__ import annotations

from pathlib import Path

from dataflows.runtime.text_files import decode_text
from detectors.base.state import content_hash
from detectors.features.catalogue import NAMES
from detectors.models.catalogue import freeze
from detectors.models.river.classifier import FAMILY as RIVER
from detectors.policy.parse import MODEL_NAME
from detectors.policy.policy import Policy
from schemas.errors import ExpectedError
from schemas.records.decisions import ModelVersion


class ReplayError(ExpectedError, ValueError):
    """A replay that cannot be run; the text is a sentence."""


def load_model(path: Path, policy: Policy) -> ModelVersion:
    """Return the model version in a file that a replay wrote, to be pinned under `policy`.

    Raises:
        ReplayError: if the file contains no model version, a changed one, or one made for other features, or if the
            version lacks the track record (threshold statistics) that the policy decides by.
    """
    try:
        version = ModelVersion.model_validate_json(decode_text(path.read_bytes()))
        track = None if version.family == RIVER else freeze(version).track
    except OSError as error:
        raise ReplayError(f"{path}: cannot be read ({error.strerror}); a replay writes models/<name>.json.") from None
    except (ArithmeticError, LookupError, TypeError, ValueError):  # a state that is no model may raise any of these
        raise ReplayError(f"{path}: not a model version; a replay writes models/<name>.json.") from None
    if version.family == RIVER:
        raise ReplayError(f"{path}: its model runs in River, whose state no version holds: replay without --model.")
    if not MODEL_NAME.fullmatch(version.name):
        raise ReplayError(
            f"{path}: its model has a name that no model may have, and files are named by it; take one a replay wrote."
        )
    if content_hash(version.model_dump(exclude={"version"})) != version.version:
        raise ReplayError(f"{path}: changed since version {version.version} was made; take the file a replay wrote.")
    if version.features != NAMES:
        raise ReplayError(f"{path}: made for other features than this forewarn declares; replay without --model first.")
    if policy.tracked and track is None:
        raise ReplayError(
            f"{path}: has no track record, which policy {policy.name} decides by: take a model learnt under a policy "
            "that promises a precision or has a budget, or give the tiers numbers."
        )
    return version
