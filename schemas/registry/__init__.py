"""The schema registry: settings, and the client that is imported where one is configured."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schemas.registry.client import Registry
    from schemas.registry.settings import RegistrySettings


def connect(settings: RegistrySettings) -> Registry:
    """Return lookups in the registry. No request is made before the first lookup."""
    from schemas.registry.client import Registry  # noqa: PLC0415 - a quarter of a second of imports that only some need

    return Registry(settings)
