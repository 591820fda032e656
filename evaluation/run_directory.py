"""The marker of a run directory whose files are being moved in."""

from __future__ import annotations

from pathlib import Path

UNFINISHED = ".forewarn-unfinished"
"""The folder in which files that belong together are written, and from which they are moved."""


def unfinished(directory: Path, last: str) -> bool:
    """Return whether files were being moved into a directory when their writer was killed, so that some may be new."""
    return (directory / UNFINISHED).exists() and not (directory / last).exists()
