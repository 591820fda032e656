"""River's classes as a policy names them: looked up, and made with parameters that fit River's own signatures.

River is imported only if a policy names one of its classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from inspect import Parameter, isabstract, signature
from re import compile as pattern
from typing import Any

SEED = 0
"""The seed of a class that takes one, unless the policy gives another."""
CLASS = pattern(r"[a-z_]+(\.[a-z_]+)*\.[A-Z]\w*")
"""The pattern of a class's name below `river`."""
KEYS = frozenset({"river", "parameters"})
"""The keys of a parameter that is itself an object of River's."""
_TYPES = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,), "list": (list,), "dict": (dict,)}


def classifier_from(name: str, parameters: Mapping[str, Any]) -> Any:
    """Return an untrained classifier of River's.

    Raises:
        ValueError: if there is no such class, it is no classifier, or the parameters do not fit it.
    """
    kind = _class_named(name)
    base = import_module("river.base")
    if not issubclass(kind, base.Classifier) or isabstract(kind):
        raise ValueError(f"river.{name} is no classifier: name a class such as tree.HoeffdingTreeClassifier")
    return _made(name, kind, parameters)


def _class_named(name: str) -> type:
    """Return the class of this name below `river`."""
    if not CLASS.fullmatch(name):
        raise ValueError(f"{name!r} is no class of River's: write module.Class, such as tree.HoeffdingTreeClassifier")
    path, _, last = name.rpartition(".")
    try:
        module = import_module(f"river.{path}")
    except ImportError:
        raise ValueError(f"River has no module {path}: riverml.xyz lists its classes") from None
    found = getattr(module, last, None)
    if not isinstance(found, type) or not found.__module__.startswith("river."):
        known = [other for other, one in vars(module).items() if isinstance(one, type) and other[0].isupper()]
        close = get_close_matches(last, known, n=1)
        advice = f"did you mean {path}.{close[0]}" if close else "riverml.xyz lists its classes"
        raise ValueError(f"River has no class {name}: {advice}")
    return found


def _made(name: str, kind: type, parameters: Mapping[str, Any]) -> Any:
    """Return an object of a class, with a seed if it takes one."""
    known = {
        key: one
        for key, one in signature(kind).parameters.items()
        if one.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    }
    for key in parameters:
        if key not in known:
            close = get_close_matches(key, known, n=1)
            listed = f"it takes {', '.join(known)}" if known else "it takes none"
            raise ValueError(f"river.{name} has no parameter {key}: {f'did you mean {close[0]}' if close else listed}")
    needed = [key for key, one in known.items() if one.default is one.empty and key not in parameters]
    if needed:
        raise ValueError(f"river.{name} needs {needed[0]}: give it among the parameters")
    values = {key: _value(name, known[key], value) for key, value in parameters.items()}
    if "seed" in known:
        values.setdefault("seed", SEED)
    try:
        return kind(**values)
    except Exception as error:  # River's constructors raise what they like
        raise ValueError(f"river.{name} cannot be made with these parameters ({error})") from None


def _value(name: str, parameter: Parameter, value: Any) -> Any:
    """Return a parameter's value; a table with the key `river` is an object of River's."""
    if isinstance(value, list):
        return [_value(name, parameter.replace(annotation=parameter.empty), item) for item in value]
    if isinstance(value, dict) and "river" in value:
        if extra := sorted(value.keys() - KEYS):
            raise ValueError(f"river.{name}: {parameter.name} has the key {extra[0]}: it takes river and parameters")
        return _made(value["river"], _component(value["river"]), value.get("parameters", {}))
    kinds = [part.strip() for part in str(parameter.annotation).strip("'\"").split("|")]
    if all(kind in _TYPES or kind == "None" for kind in kinds):
        types = tuple(one for kind in kinds if kind != "None" for one in _TYPES[kind])
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            asked = " or ".join(kind for kind in kinds if kind != "None")
            raise ValueError(f"river.{name}: {parameter.name} must be {asked}, and is {value!r}")
    return value


def _component(name: Any) -> type:
    """Return the class of a parameter: a part of an estimator, such as an optimizer, a detector or a model."""
    kind = _class_named(str(name))
    if kind.__module__.split(".")[1] in {"datasets", "stream", "evaluate"} or isabstract(kind):
        raise ValueError(f"river.{name} is no part of a model")
    return kind
