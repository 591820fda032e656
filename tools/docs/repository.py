"""The repository's own files, and the problems that checks report in them."""

from __future__ import annotations

import subprocess
from difflib import unified_diff
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
"""The root of the repository that contains these tools."""


class Problem(NamedTuple):
    """One thing to correct, in one sentence, and its line (from 1)."""

    path: str
    line: int
    sentence: str

    def __str__(self) -> str:
        """Format as `path:line: sentence`, which editors and terminals link."""
        return f"{self.path}:{self.line}: {self.sentence}"


def own_files(root: Path) -> list[str]:
    """Return the files that belong to the repository, tracked or not yet, relative to its root and sorted.

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
    """Return the line (from 1) of the character at `index`."""
    return text.count("\n", 0, index) + 1


def first_difference(old: str, new: str) -> int:
    """Return the line (from 1) of the old text at which the new text first differs."""
    hunks = [line for line in unified_diff(old.splitlines(), new.splitlines(), n=0) if line.startswith("@@")]
    return max(int(hunks[0].split()[1].lstrip("-").split(",")[0]), 1) if hunks else 1
