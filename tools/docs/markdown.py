"""Markdown parsing for the checks: fenced blocks, links, and the anchors that a link may name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

_HTML_ID = re.compile(r"\b(?:id|name)=[\"']([^\"']+)[\"']")


class Fence(NamedTuple):
    """A fenced block: its language, its text, and the line (from 1) on which its text starts."""

    language: str
    body: str
    line: int


class Link(NamedTuple):
    """A link or picture: its target, and the line (from 1) of its paragraph."""

    target: str
    line: int


def _tokens(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(text)


def _line(token: Token) -> int:
    return token.map[0] + 1 if token.map else 1


def fences(text: str) -> Iterator[Fence]:
    """Yield every fenced block, in order."""
    for token in _tokens(text):
        if token.type == "fence":
            yield Fence(token.info.strip().split(" ")[0], token.content, _line(token) + 1)


def links(text: str) -> Iterator[Link]:
    """Yield every link and picture, in order; a reference link counts where it is used."""
    line = 1
    for token in _tokens(text):
        # Table cells have no line of their own; use the line of the row before them.
        line = _line(token) if token.map else line
        for child in token.children or ():
            target = child.attrs.get("href" if child.type == "link_open" else "src")
            if child.type in {"link_open", "image"} and isinstance(target, str):
                yield Link(target, line)


def code_spans(text: str) -> Iterator[Link]:
    """Yield the pieces of inline code in order, with their lines."""
    line = 1
    for token in _tokens(text):
        line = _line(token) if token.map else line
        for child in token.children or ():
            if child.type == "code_inline":
                yield Link(child.content, line)


def anchors(text: str) -> set[str]:
    """Return the fragments that a link into this text may name: heading slugs of code hosts, and HTML ids."""
    found: set[str] = set(_HTML_ID.findall(text))
    heading = False
    for token in _tokens(text):
        if heading:
            slug = re.sub(r"[^\w\- ]", "", _plain(token).lower()).replace(" ", "-")
            repeat = 0
            while (name := f"{slug}-{repeat}" if repeat else slug) in found:
                repeat += 1
            found.add(name)
        heading = token.type == "heading_open"
    return found


def _plain(token: Token) -> str:
    return "".join(child.content for child in token.children or () if child.type in {"text", "code_inline"})
