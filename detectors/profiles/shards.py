"""Shards of users: the names of lanes, and the lane of a user."""

from __future__ import annotations

from zlib import crc32

LANES = 8
"""Number of lanes unless another is asked for: `run.lanes` of the settings, and of flows in tests."""


def lane_names(lanes: int) -> list[str]:
    """Return the names of this number of lanes."""
    return [f"{lane:03d}" for lane in range(lanes)]


def lane_of(user_id: str, lanes: int) -> str:
    """Return the lane that processes and scores a user: the same in every process."""
    return f"{number_of(user_id) % lanes:03d}"


def number_of(user_id: str) -> int:
    """Return the number from which a user's lane follows: the same in every process."""
    return crc32(user_id.encode("utf-8", "surrogatepass"))
