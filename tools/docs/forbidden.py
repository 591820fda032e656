"""Strings that no file of the repository may contain: a package registry's host, or a path of one machine.

Readers choose their registry in the configuration of their clients. The hosts are stored in pieces, so that this file
passes its own check.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tools.docs.repository import Problem, line_of

_HOSTS = (
    ("pypi", "org"),
    ("pypi", "python", "org"),
    ("pythonhosted", "org"),
    ("anaconda", "org"),
    ("anaconda", "com"),
    ("npmjs", "org"),
    ("npmjs", "com"),
    ("yarnpkg", "com"),
    ("repo1", "maven", "org"),
    ("repo", "maven", "org"),
    ("repo", "maven", "apache", "org"),
    ("maven-central", "storage", "googleapis", "com"),
    ("sonatype", "org"),
    ("sonatype", "com"),
    ("packages", "confluent", "io"),
    ("crates", "io"),
    ("proxy", "golang", "org"),
    ("sum", "golang", "org"),
    ("rubygems", "org"),
    ("deb", "debian", "org"),
    ("archive", "ubuntu", "com"),
)
_ANY_HOST = "|".join(re.escape(".".join(labels)) for labels in _HOSTS)
_HOST = re.compile(rf"(?<![\w-])(?:{_ANY_HOST})(?![\w-])", re.IGNORECASE)
_PATH = re.compile(r"(?<![\w.~-])/(?:(?:work|root)(?![\w-])|(?:home|Users)/(?=\w))")

_SENTENCES = (
    (_HOST, "names the package registry host {!r}; leave the choice of a registry to the reader's clients."),
    (_PATH, "names {!r}, a path of one machine; write it relative to the repository."),
)


def forbidden_strings(root: Path, names: Iterable[str]) -> Iterator[Problem]:
    """Yield a problem for each forbidden string in a text file; skip binary files (those with a zero byte)."""
    for name in names:
        content = (root / name).read_bytes()
        if b"\0" not in content:
            text = content.decode("utf-8", "replace")
            for pattern, sentence in _SENTENCES:
                for found in pattern.finditer(text):
                    yield Problem(name, line_of(text, found.start()), f"this line {sentence.format(found.group())}")
