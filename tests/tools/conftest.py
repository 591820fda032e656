"""A simulated log and replays of it, for the tests here."""

from __future__ import annotations

from tests.kit.simulated import replays, simulated

__all__ = ["replays", "simulated"]
