"""Names in a run directory: the policy, and the marker of files that are being moved in."""

from __future__ import annotations

from pathlib import Path

POLICY = "policy.json"
"""The file that holds the policy of the run, with the values of all keys."""
UNFINISHED = ".forewarn-unfinished"
"""The folder in which files that belong together are written, and from which they are moved into the run directory."""


def unfinished(directory: Path, last: str) -> bool:
    """Return whether a writer was killed while it moved files into a directory, so that only some may be new.

    `last` is the file that is moved last.
    """
    return (directory / UNFINISHED).exists() and not (directory / last).exists()
