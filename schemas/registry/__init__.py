"""The schema registry: its settings, and its client, which is imported only if a registry is configured."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schemas.registry.client import Registry
    from schemas.registry.settings import RegistrySettings


def connect(settings: RegistrySettings) -> Registry:
    """Return a registry client. No request is made before the first lookup."""
    from schemas.registry.client import Registry  # noqa: PLC0415 - a quarter of a second of imports that only some need

    return Registry(settings)
