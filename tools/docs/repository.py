"""What the checks read and what they answer: the repository's own files, and a problem in one of them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
"""The repository these tools stand in."""


class Problem(NamedTuple):
    """One thing to mend, in one sentence, and the line it stands on (counted from 1)."""

    path: str
    line: int
    sentence: str

    def __str__(self) -> str:
        """Print as editors and terminals link it."""
        return f"{self.path}:{self.line}: {self.sentence}"


def own_files(root: Path) -> list[str]:
    """Files that belong to the repository, tracked or about to be, relative to its root and sorted.

    Ignored files and files deleted from the working tree are left out.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return sorted({name for name in listed.split("\0") if name and (root / name).is_file()})


def line_of(text: str, index: int) -> int:
    """The line (from 1) that holds the character at `index`."""
    return text.count("\n", 0, index) + 1
