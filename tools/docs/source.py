"""Python sources as syntax trees: the modules of a package, and the names a module uses."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Module(NamedTuple):
    """One source file: its path (relative to the repository), its dotted name, its text and its syntax tree."""

    path: str
    name: str
    text: str
    tree: ast.Module

    @property
    def package(self) -> str:
        """Return the dotted name from which relative imports start."""
        return self.name if self.path.endswith("__init__.py") else self.name.rpartition(".")[0]


class Use(NamedTuple):
    """A full dotted name, and the line (from 1) on which it is used."""

    name: str
    line: int


def modules(root: Path, package: str) -> list[Module]:
    """Return every module of a top-level package below `root`, sorted by path."""
    found = []
    for file in sorted((root / package).rglob("*.py")):
        path = file.relative_to(root)
        parts = path.with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = file.read_text("utf-8")
        found.append(Module(path.as_posix(), name, text, ast.parse(text, filename=path.as_posix())))
    return found


def imports(module: Module) -> Iterator[Use]:
    """Yield every name imported anywhere in the module; `from a import b` is `a.b`, relative ones are absolute."""
    return (binding.use for binding in _bindings(module))


def uses(module: Module) -> Iterator[Use]:
    """Yield every name imported or used, without aliases: after `import time as t`, `t.time` is `time.time`.

    A builtin is `builtins.open`. Names that are neither, such as variables and their attributes, are left out.
    """
    bound: dict[str, str] = {}
    for use, local, target in _bindings(module):
        yield use
        bound[local] = target
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name | ast.Attribute) and (name := _dotted(node, bound)):
            yield Use(name, node.lineno)


class _Binding(NamedTuple):
    use: Use
    local: str
    target: str


def _bindings(module: Module) -> Iterator[_Binding]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                use, top = Use(alias.name, node.lineno), alias.name.split(".")[0]
                yield _Binding(use, alias.asname, alias.name) if alias.asname else _Binding(use, top, top)
        elif isinstance(node, ast.ImportFrom):
            package = module.package.split(".")
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                name = f"{source}.{alias.name}"
                yield _Binding(Use(name, node.lineno), alias.asname or alias.name, name)


def _dotted(node: ast.expr, bound: dict[str, str]) -> str | None:
    if isinstance(node, ast.Name):
        return bound.get(node.id) or (f"builtins.{node.id}" if hasattr(builtins, node.id) else None)
    if isinstance(node, ast.Attribute):
        base = _dotted(node.value, bound)
        return f"{base}.{node.attr}" if base else None
    return None
