"""Checks that commands in the documents exist: `forewarn` parses their words, `make` has their target."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click

from tools.docs.markdown import fences
from tools.docs.repository import Problem

PROGRAM = "forewarn"
_PROMPT = "$ "
_ENDS = {"|", "||", "&&", ";", "&", "|&"}
_REDIRECTS = {">", ">>", "<", ">&", "&>"}
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


class Invocation(NamedTuple):
    """One simple command typed at a prompt: its words (program first), and the line (from 1) of the prompt."""

    words: tuple[str, ...]
    line: int


def invocations(text: str) -> Iterator[Invocation]:
    """Yield every command after a `$ ` in a console block; split pipelines, drop redirections and variables."""
    for fence in fences(text):
        if fence.language == "console":
            lines = enumerate(fence.body.splitlines(), start=fence.line)
            for number, line in lines:
                if line.startswith(_PROMPT):
                    typed = line.removeprefix(_PROMPT)
                    while typed.endswith("\\"):
                        typed = typed[:-1] + next(lines, (0, ""))[1]
                    yield from (Invocation(words, number) for words in _simple_commands(typed))


def _simple_commands(typed: str) -> Iterator[tuple[str, ...]]:
    lexer = shlex.shlex(typed, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    redirected = False
    for token in [*lexer, ";"]:
        if token in _ENDS:
            if words:
                yield tuple(words)
            words, redirected = [], False
        elif token in _REDIRECTS:
            redirected = True
        elif not redirected and (words or not _ASSIGNMENT.match(token)):
            words.append(token)


def commands(cli: click.Command) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield `cli` and every command below it, each with the words that lead to it; leave out hidden ones."""
    yield from _below(cli, click.Context(cli, info_name=PROGRAM, **cli.context_settings), ())


def _below(
    command: click.Command, ctx: click.Context, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            child = command.get_command(ctx, name)
            if child is not None and not child.hidden:
                yield from _below(child, click.Context(child, info_name=name, parent=ctx), (*path, name))


def usage_error(cli: click.Command, words: Sequence[str]) -> str | None:
    """Return the problem of calling `cli` with these words, or None; check no values and run nothing."""
    command, ctx, rest = cli, click.Context(cli, info_name=PROGRAM, **cli.context_settings), list(words)
    while True:
        try:
            values, rest, order = command.make_parser(ctx).parse_args(rest)
        except click.UsageError as error:
            return f"'{ctx.command_path}' cannot be called so: {error.format_message()}"
        if any(param.is_eager and not param.expose_value for param in order):
            return None  # --help and --version need no other parameter
        for param in command.get_params(ctx):
            if param.required and not _given(param, values.get(param.name or "")):
                return f"'{ctx.command_path}' needs {param.get_error_hint(ctx)}."
        if not isinstance(command, click.Group):
            return f"'{ctx.command_path}' takes no argument {rest[0]!r}." if rest else None
        if not rest:
            return None if command.invoke_without_command else f"'{ctx.command_path}' needs one of its commands."
        name = rest.pop(0)
        child = command.get_command(ctx, name)
        if child is None:
            return f"'{ctx.command_path}' has no command {name!r}."
        command, ctx = child, click.Context(child, info_name=name, parent=ctx)


def _given(param: click.Parameter, value: object) -> bool:
    # The parser stores a private marker for an absent argument, and no entry for an absent option.
    if isinstance(param, click.Argument):
        return isinstance(value, str) or (isinstance(value, list | tuple) and bool(value))
    return value is not None


def unknown_commands(root: Path, documents: Iterable[str], cli: click.Command) -> Iterator[Problem]:
    """Yield a problem for each invalid `forewarn` or `make` command in a document's console blocks."""
    targets = set(re.findall(r"^([a-z][\w-]*):", (root / "Makefile").read_text("utf-8"), re.MULTILINE))
    for name in documents:
        for words, line in invocations((root / name).read_text("utf-8")):
            program = Path(words[0]).name
            if program == PROGRAM and (error := usage_error(cli, words[1:])):
                yield Problem(name, line, error)
            if program == "make":
                for word in words[1:]:
                    if not word.startswith("-") and "=" not in word and word not in targets:
                        yield Problem(name, line, f"the Makefile has no target {word!r}.")


def undocumented_commands(root: Path, documents: Iterable[str], cli: click.Command) -> Iterator[Problem]:
    """Yield a problem for each command that no document mentions by its full name."""
    texts = [(root / name).read_text("utf-8") for name in documents]
    for path, command in commands(cli):
        full = " ".join((PROGRAM, *path))
        mention = re.compile(rf"\b{re.escape(full)}(?![\w-])")
        if not isinstance(command, click.Group) and not any(mention.search(text) for text in texts):
            yield Problem("README.md", 1, f"no document mentions '{full}'; say in README.md or docs/ what it is for.")
