"""Reads a policy file. A wrong one is answered in one sentence for each thing that is wrong."""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from detectors.models.catalogue import MODELS
from detectors.policy import Policy, parse_policy
from detectors.rules.catalogue import RULES


class PolicyError(ValueError):
    """A policy file that cannot be used, in sentences."""


def load_policy(path: Path) -> Policy:
    """The policy in a TOML file.

    Raises:
        PolicyError: if there is no such file, it is not TOML, or anything in it is wrong.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PolicyError(f"{path}: there is no such policy file; deploy/policies/ has examples.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PolicyError(f"{path}: not a TOML file ({error}).") from None
    try:
        return parse_policy(data, set(RULES), set(MODELS))
    except ValidationError as error:
        raise PolicyError("\n".join(_sentence(path, problem) for problem in error.errors())) from None
    except ValueError as error:
        raise PolicyError(f"{path}: {error}.") from None


def _sentence(path: Path, problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _known_keys(problem["loc"][:-1])
        close = get_close_matches(str(problem["loc"][-1]), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(known)}."
        return f"{path}: {where} is not a setting; {hint}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{path}: {where or 'the policy'}: {message[0].lower()}{message[1:]}."


def _known_keys(loc: tuple[Any, ...]) -> list[str]:
    """The keys of the section a problem lies in."""
    model: Any = Policy
    for part in loc:
        if isinstance(part, int):
            continue
        fields = getattr(model, "model_fields", {})
        model = fields[part].annotation if part in fields else model
        while not (isinstance(model, type) and issubclass(model, BaseModel)):
            arguments = [a for a in getattr(model, "__args__", ()) if isinstance(a, type) or hasattr(a, "__args__")]
            if not arguments:
                return []
            model = arguments[-1] if arguments[-1] is not Ellipsis else arguments[0]
    return sorted(model.model_fields)
