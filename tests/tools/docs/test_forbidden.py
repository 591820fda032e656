from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools.docs.forbidden import forbidden_strings
from tools.docs.repository import ROOT, own_files


def dotted(*labels: str) -> str:
    """A name put together here, so that this file is clean itself."""
    return ".".join(labels)


def slashed(*parts: str) -> str:
    return "/".join(("", *parts))


@pytest.mark.parametrize(
    "text",
    [
        f"see https://{dotted('pypi', 'org')}/simple",
        f"https://{dotted('files', 'pythonhosted', 'org')}/packages/x.whl",
        dotted("Registry", "NPMJS", "org"),
        f"<url>https://{dotted('repo1', 'maven', 'org')}/maven2</url>",
        dotted("static", "crates", "io"),
        f"cd {slashed('work', 'main')}",
        f"'{slashed('root', '.cache')}'",
        f"open {slashed('root')}, then",
        f"file://{slashed('home', 'somebody', 'x')}",
        slashed("Users", "somebody"),
    ],
)
def test_a_forbidden_string_is_reported_with_its_line(tmp_path: Path, text: str) -> None:
    """Hosts of registries in any case and with any subdomain, and absolute paths of one machine."""
    (tmp_path / "file.txt").write_text(f"fine\n{text}\nfine\n")
    (problem,) = forbidden_strings(tmp_path, ["file.txt"])
    assert (problem.path, problem.line) == ("file.txt", 2)


@pytest.mark.parametrize(
    "text",
    [
        "https://example.org/work/root/home/x",
        "out/work/log",
        "~/work/here",
        "either/root or branch",
        f"https://{dotted('maven', 'apache', 'org')}/POM/4.0.0",
        f"my{dotted('pypi', 'org')}anisation",
        slashed("workers", "root"),
        slashed("var", "lib", "home"),
    ],
)
def test_what_only_looks_like_one_is_let_through(tmp_path: Path, text: str) -> None:
    """Parts of longer words, relative paths and other people's addresses."""
    (tmp_path / "file.txt").write_text(text)
    assert list(forbidden_strings(tmp_path, ["file.txt"])) == []


def test_binary_files_are_not_read_as_text(tmp_path: Path) -> None:
    """A compressed log may hold any bytes."""
    (tmp_path / "log.gz").write_bytes(b"\0" + slashed("root").encode())
    assert list(forbidden_strings(tmp_path, ["log.gz"])) == []


def test_the_check_passes_its_own_source() -> None:
    """The patterns are written so that neither the check nor this test trips over itself."""
    own = [name for name in own_files(ROOT) if name.startswith(("tools/", "tests/tools/"))]
    assert {"tools/docs/forbidden.py", "tests/tools/docs/test_forbidden.py"} <= set(own)
    assert list(forbidden_strings(ROOT, own)) == []


def test_own_files_are_the_tracked_and_the_new_but_not_the_ignored_or_deleted(tmp_path: Path) -> None:
    """A problem is found before its file is committed, and build output is left alone."""

    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    for name in ("kept", "gone", "new", "built"):
        (tmp_path / name).write_text(name)
    (tmp_path / ".gitignore").write_text("built\n")
    git("add", "kept", "gone")
    (tmp_path / "gone").unlink()
    assert own_files(tmp_path) == [".gitignore", "kept", "new"]
