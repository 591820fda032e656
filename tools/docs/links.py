"""Check that relative links in the documents, and paths named as code, lead somewhere inside the repository."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote

from tools.docs.markdown import anchors, code_spans, links
from tools.docs.repository import Problem

_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:|//")


def broken_links(root: Path, documents: Iterable[str]) -> Iterator[Problem]:
    """Yield a problem for each relative link whose file or heading is missing; do not follow links to other hosts."""
    for name in documents:
        document = (root / name).resolve()
        for link in links(document.read_text("utf-8")):
            if not _SCHEME.match(link.target) and (error := _error(root.resolve(), document, unquote(link.target))):
                yield Problem(name, link.line, error)


def missing_files(root: Path, documents: Iterable[str]) -> Iterator[Problem]:
    """Yield a problem for each path in inline code that begins with a folder of the repository and leads nowhere.

    Pages of the site cannot link to files outside of it, so they name them. Capitals and signs make a path a pattern.
    """
    folders = [re.escape(path.name) for path in sorted(root.iterdir()) if path.is_dir() and path.name[0] not in "._"]
    ours = re.compile(rf"(?!out/)(?:{'|'.join(folders)})/(?:(?!\.\.\.)[a-z0-9_./-])+")
    for name in documents:
        for span in code_spans((root / name).read_text("utf-8")):
            for word in span.target.split():
                if ours.fullmatch(word) and not (root / word).exists():
                    yield Problem(name, span.line, f"there is no {word!r}; correct the path.")


def _error(root: Path, document: Path, target: str) -> str | None:
    path, _, fragment = target.partition("#")
    file = (document.parent / path).resolve() if path else document
    if not file.is_relative_to(root):
        return f"the link {target!r} leaves the repository; say in words where that is."
    if not file.exists():
        return f"the link {target!r} leads to no file; correct or remove it."
    if fragment and file.suffix == ".md" and fragment not in anchors(file.read_text("utf-8")):
        return f"the link {target!r} names no heading of its file; correct the part after '#'."
    return None
