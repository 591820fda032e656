"""The public interface of forewarn: the names that other code may import.

Everything else may move between releases. Names are loaded on first use, so that a subscriber that decodes risk events
does not load the stream engine.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataflows.mapping.python import MappedEvent, MappedScore
    from dataflows.testing import DriverResult, FlowDriver, hand_made_model, small_policy
    from schemas.codec.outputs import Decoder, Encoder
    from schemas.records.decisions import FeatureRow, ModelVersion, Reason, RiskEvent, Tier, Tombstone
    from schemas.records.events import ChatMessage, ModerationEvent
    from schemas.records.rejects import Reject, RejectReason

    __version__: str

__all__ = [
    "ChatMessage",
    "Decoder",
    "DriverResult",
    "Encoder",
    "FeatureRow",
    "FlowDriver",
    "MappedEvent",
    "MappedScore",
    "ModelVersion",
    "ModerationEvent",
    "Reason",
    "Reject",
    "RejectReason",
    "RiskEvent",
    "Tier",
    "Tombstone",
    "__version__",
    "hand_made_model",
    "small_policy",
]
_PLACES = {
    "schemas.codec.outputs": ("Decoder", "Encoder"),
    "schemas.records.decisions": ("FeatureRow", "ModelVersion", "Reason", "RiskEvent", "Tier", "Tombstone"),
    "schemas.records.events": ("ChatMessage", "ModerationEvent"),
    "schemas.records.rejects": ("Reject", "RejectReason"),
    "dataflows.mapping.python": ("MappedEvent", "MappedScore"),
    "dataflows.testing": ("DriverResult", "FlowDriver", "hand_made_model", "small_policy"),
}
_MODULES = {name: module for module, names in _PLACES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load a public name from its module, or the version from the installed distribution.

    Raises:
        AttributeError: if there is no such name.
    """
    if name == "__version__":
        return version("forewarn")
    if name not in _MODULES:
        raise AttributeError(f"module 'forewarn' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
