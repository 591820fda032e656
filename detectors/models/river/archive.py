"""Objects of River's as plain data: every object of the graph is a row of a table, and rows name each other by number.

The bytes are MessagePack, compressed, and nothing of them runs. A class is stored by its name, and only classes and
functions of River's and those in `STANDARD` are ever looked up. An object of another kind cannot be stored.

Shared and circular references are kept, as a pickle keeps them. An object is made without its constructor (`__new__`),
and its attributes are set afterwards, those of the objects it holds first.
"""

from __future__ import annotations

import copyreg
import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from random import Random
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import msgpack
import numpy as np

from schemas.errors import ExpectedError

STANDARD = frozenset(
    {
        *(("builtins", name) for name in ("bool", "dict", "float", "frozenset", "int", "list", "set", "str", "tuple")),
        *(("collections", name) for name in ("Counter", "OrderedDict", "defaultdict", "deque")),
        ("copy", "deepcopy"),
        ("functools", "partial"),
        ("random", "Random"),
        ("numpy.random._mt19937", "MT19937"),
        *(("numpy.random._pickle", f"__{name}_ctor") for name in ("bit_generator", "randomstate")),
    }
)
"""Classes and functions outside River that a state may name, by module and name."""
CALLED = frozenset({"collections", "functools", "random", "numpy.random._pickle"})
"""Modules of `STANDARD` whose classes and functions may be called to make an object."""
RUST = "river._river_rust."
"""The modules of River's whose classes may be called to make an object."""
UNSEEDED = Random(0)  # noqa: S311 - never drawn from
"""Stored in place of the generator of a distribution without a seed, which only its `sample` uses: 2.5 kB each."""
_PLAIN = frozenset({bool, bytes, float, int, str, type(None)})
_LARGEST = 2**63


class NotRestorableError(ExpectedError, ValueError):
    """An object whose state cannot be stored; the text names what it holds."""


def encode(root: object) -> bytes:
    """Return an object and all that it refers to as bytes.

    Raises:
        NotRestorableError: if it refers to an object that cannot be stored.
    """
    table: list[Any] = []
    order: list[int] = []
    numbers: dict[int, int] = {}
    kept: list[object] = []  # keeps temporary objects alive, so that no two have the same id
    stack: list[tuple[int, list[Any], Iterator[Any]]] = []

    def add(value: object) -> int:
        number = numbers[id(value)] = len(table)
        kept.append(value)
        table.append(None)
        head, parts = _described(value)
        stack.append((number, head, iter(parts)))
        return number

    add(root)
    while stack:
        number, row, parts = stack[-1]
        for value in parts:
            if type(value) in _PLAIN and not (type(value) is int and not -_LARGEST <= value < _LARGEST):
                row.append(value)
            elif (known := numbers.get(id(value))) is not None:
                row.append([known])
            else:
                row.append([add(value)])
                break
        else:
            table[number] = row
            order.append(number)
            stack.pop()
    return zlib.compress(msgpack.packb([table, order]), 1)


def _described(value: Any) -> tuple[list[Any], Any]:
    """Return the beginning of an object's row, and the objects that the rest of it names."""
    kind = type(value)
    if kind is list:
        return ["list"], value
    if kind is dict:
        return ["dict"], _flat(value.items())
    if kind is tuple:
        return ["tuple"], value
    if kind is set:
        return ["set"], value
    if kind is frozenset:
        return ["frozenset"], value
    if kind is int:
        return ["int", str(value)], ()
    if kind is np.ndarray:
        if value.dtype.hasobject or not value.flags.c_contiguous:
            raise NotRestorableError(f"an array of {value.dtype}")
        return ["array", value.dtype.str, list(value.shape), value.tobytes()], ()
    if isinstance(value, np.generic):
        return ["scalar", value.dtype.str, value.tobytes()], ()
    if isinstance(value, type | FunctionType | BuiltinFunctionType):
        named = (value.__module__ or "", value.__qualname__)
        _looked_up(*named)
        return ["name", *named], ()
    if isinstance(value, MethodType):
        return ["method", value.__func__.__name__], [value.__self__]
    return _reduced(value)


def _reduced(value: Any) -> tuple[list[Any], list[Any]]:
    """Return the row of an object of a class of River's or of `STANDARD`, by the protocol of `copy`."""
    try:
        reduced = value.__reduce_ex__(4)
    except (NotImplementedError, TypeError) as error:
        raise NotRestorableError(str(error)) from None
    if isinstance(reduced, str):
        raise NotRestorableError(f"an object known as {reduced}")
    make, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
    listed, keyed = list(items or ()), _flat(pairs or ())
    if make is copyreg.__newobj__:  # type: ignore[attr-defined]
        kind, *arguments = arguments
        if type(state) is dict and not (arguments or listed or keyed or hasattr(value, "__setstate__")):
            if kind.__module__.startswith("river.proba.") and state.get("seed", 0) is None:
                state = {**state, "_rng": UNSEEDED}
            return ["object"], [kind, *_flat(state.items())]
        row = ["new", len(arguments), len(listed)]
    else:
        kind = make
        row = ["call", len(arguments), len(listed)]
    return row, [kind, *arguments, state, *listed, *keyed]


def _flat(pairs: Any) -> list[Any]:
    return [part for pair in pairs for part in pair]


def _looked_up(module: str, name: str) -> Any:
    """Return a class or function of River's or of `STANDARD`.

    Raises:
        NotRestorableError: if there is none of this name.
    """
    if (module, name) not in STANDARD and module.split(".", maxsplit=1)[0] != "river":
        raise NotRestorableError(f"{module}.{name}")
    found: Any = import_module(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    sort = isinstance(found, type | FunctionType | BuiltinFunctionType)
    if not sort or found.__qualname__ != name or (module.startswith("river") and found.__module__ != module):
        raise NotRestorableError(f"{module}.{name}")
    return found


def decode(data: bytes) -> Any:
    """Return the object that `encode` stored.

    Raises:
        NotRestorableError: if a row names something that may not be looked up or called.
    """
    table, order = msgpack.unpackb(zlib.decompress(data), strict_map_key=False)
    made: dict[int, Any] = {}

    def get(part: Any) -> Any:
        if type(part) is not list:
            return part
        number = part[0]
        if number not in made:
            made[number] = _made(table[number], get)
        return made[number]

    for number in order:
        value = get([number])
        _fill(value, table[number], get)
    return get([0])


def modules_in(data: bytes) -> set[str]:
    """Return the modules of all classes and functions that stored bytes name."""
    table, _ = msgpack.unpackb(zlib.decompress(data), strict_map_key=False)
    return {row[1] for row in table if row[0] == "name"}


def _made(row: list[Any], get: Callable[[Any], Any]) -> Any:
    """Return the object of a row, still without its contents if they can be added later."""
    match row:
        case ["list" | "dict" | "set" as kind, *_]:
            return {"list": list, "dict": dict, "set": set}[kind]()
        case ["tuple" | "frozenset" as kind, *parts]:
            return {"tuple": tuple, "frozenset": frozenset}[kind](map(get, parts))
        case ["int", text]:
            return int(text)
        case ["array", dtype, shape, data]:
            return np.frombuffer(data, np.dtype(dtype)).reshape(shape).copy()
        case ["scalar", dtype, data]:
            return np.frombuffer(data, np.dtype(dtype))[0]
        case ["name", module, name]:
            return _looked_up(module, name)
        case ["method", name, owner]:
            return _method(get(owner), name)
        case ["object", kind, *_]:
            return _class_of(get(kind)).__new__(get(kind))
        case ["new", arguments, _, kind, *parts]:
            return _class_of(get(kind)).__new__(get(kind), *map(get, parts[:arguments]))
        case ["call", arguments, _, make, *parts]:
            return _callable(get(make))(*map(get, parts[:arguments]))
        case _:
            raise NotRestorableError(f"a row of the kind {row[:1]}")


def _fill(value: Any, row: list[Any], get: Callable[[Any], Any]) -> None:
    """Add an object's contents: items, pairs or attributes."""
    match row:
        case ["list", *parts]:
            value.extend(map(get, parts))
        case ["set", *parts]:
            value.update(map(get, parts))
        case ["dict", *parts]:
            value.update(_pairs(parts, get))
        case ["object", _, *parts]:
            value.__dict__.update(_pairs(parts, get))
        case ["new" | "call", arguments, items, _, *parts]:
            state, rest = get(parts[arguments]), parts[arguments + 1 :]
            _set_state(value, state)
            if items:
                value.extend(map(get, rest[:items]))
            for key, held in _pairs(rest[items:], get):
                value[key] = held
        case _:
            pass  # made whole


def _set_state(value: Any, state: Any) -> None:
    if state is None:
        return
    if hasattr(value, "__setstate__"):
        value.__setstate__(state)
        return
    attributes, slots = state if type(state) is tuple else (state, {})
    if attributes:
        value.__dict__.update(attributes)
    for name, held in (slots or {}).items():
        setattr(value, name, held)


def _pairs(parts: list[Any], get: Callable[[Any], Any]) -> Iterator[tuple[Any, Any]]:
    return zip(map(get, parts[::2]), map(get, parts[1::2]), strict=True)


def _method(owner: Any, name: str) -> Any:
    found = getattr(owner, name, None)
    if not isinstance(found, MethodType) or not type(owner).__module__.startswith("river."):
        raise NotRestorableError(f"a method {name} of {type(owner).__name__}")
    return found


def _class_of(kind: Any) -> Any:
    if not isinstance(kind, type):
        raise NotRestorableError(f"{kind!r} in place of a class")
    return kind


def _callable(make: Any) -> Any:
    module = getattr(make, "__module__", None) or ""
    if module not in CALLED and not f"{module}.".startswith(RUST):
        raise NotRestorableError(f"a call of {module}.{getattr(make, '__qualname__', '')}")
    return make
