from __future__ import annotations

import ast

import pytest

from tools.docs.source import Module, imports, uses


def module(text: str, path: str = "pack/part/module.py") -> Module:
    name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return Module(path, name, text, ast.parse(text))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("import time\ntime.time()", "time.time"),
        ("import time as t\nt.time()", "time.time"),
        ("from time import time\ntime()", "time.time"),
        ("from datetime import datetime\ndatetime.now()", "datetime.datetime.now"),
        ("import datetime as dt\ndt.datetime.now()", "datetime.datetime.now"),
        ("def f():\n    from os import environ as e\n    return e.get('A')", "os.environ"),
        ("import os.path\nos.environ['A']", "os.environ"),
        ("x = eval", "builtins.eval"),
    ],
)
def test_a_name_is_found_under_whatever_alias_it_is_used(text: str, name: str) -> None:
    """Renaming an import hides nothing."""
    assert name in {use.name for use in uses(module(text))}


def test_a_variable_is_not_taken_for_a_module() -> None:
    """A parameter called time is not the clock, and methods of a value are nobody's names."""
    assert list(uses(module("def f(time, clock):\n    return time.time() + clock().now()"))) == []


@pytest.mark.parametrize(
    ("path", "text", "name"),
    [
        ("pack/part/module.py", "from . import other", "pack.part.other"),
        ("pack/part/module.py", "from ..far import thing", "pack.far.thing"),
        ("pack/part/__init__.py", "from .module import thing", "pack.part.module.thing"),
        ("pack/module.py", "if False:\n    import lazy.one", "lazy.one"),
    ],
)
def test_imports_are_given_by_their_full_names(path: str, text: str, name: str) -> None:
    """Relative imports, packages and imports inside a block are all seen."""
    assert [use.name for use in imports(module(text, path))] == [name]


def test_a_use_knows_its_line() -> None:
    """The line is the one to mend."""
    assert (2, "time.time") in {(use.line, use.name) for use in uses(module("import time\nx = time.time()"))}
