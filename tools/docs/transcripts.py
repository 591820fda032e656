"""Keep transcripts up to date: run every console block behind `<!-- run -->` again.

The commands of a page run in order and share an empty directory with links to the repository's `examples` and `deploy`.
`forewarn` and `python` are those of the interpreter that runs this.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

_BLOCK = re.compile(r"(?P<head><!-- run -->\n```console\n)(?P<body>.*?)(?P<tail>```)", re.DOTALL)
_PROMPT = "$ "
_SEEN = ("examples", "deploy")


class TranscriptError(Exception):
    """A command of a page failed; the message is one sentence."""


def commands(body: str) -> list[str]:
    """Return the commands typed in a block, with lines that end in a backslash joined to the next."""
    found: list[str] = []
    going_on = False
    for line in body.splitlines():
        if going_on:
            found[-1] += f"\n{line}"
        elif line.startswith(_PROMPT):
            found.append(line.removeprefix(_PROMPT))
        else:
            continue
        going_on = line.endswith("\\")
    return found


def with_transcripts(page: str, root: Path) -> str:
    """Return the page with every transcript as the commands print it now.

    Raises:
        TranscriptError: if a command fails.
    """
    with TemporaryDirectory() as folder:
        for name in _SEEN:
            (Path(folder) / name).symlink_to(root / name)

        def block(found: re.Match[str]) -> str:
            typed = commands(found["body"])
            printed = "\n".join(f"{_PROMPT}{command}\n{_run(command, folder, root)}".rstrip() for command in typed)
            return f"{found['head']}{printed}\n{found['tail']}"

        return _BLOCK.sub(block, page)


def _run(command: str, folder: str, root: Path) -> str:
    python = shlex.quote(sys.executable)
    shell = f'set -e; forewarn() {{ {python} -m dataflows.cli.main "$@"; }}; python() {{ {python} "$@"; }}\n{command}\n'
    path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        ["bash", "-c", shell],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "120", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        said = (done.stderr.strip() or "nothing").splitlines()[-1]
        raise TranscriptError(f"{command!r} ended with {done.returncode} and said: {said}")
    return done.stdout
