"""Reader of policy files, with one sentence for each error in a file."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dataflows.runtime.text_files import TextError, read_text
from dataflows.runtime.validation import demand, dotted, fields_at, nearest
from detectors.models.catalogue import READS
from detectors.policy.parse import parse_policy
from detectors.policy.policy import Policy
from detectors.rules.catalogue import RULES
from schemas.errors import ExpectedError


class PolicyError(ExpectedError, ValueError):
    """A policy file that cannot be used; the text is one sentence for each problem."""


def load_policy(path: Path) -> Policy:
    """Return the policy in a TOML file.

    Raises:
        PolicyError: if the file does not exist, is not TOML, or contains an error.
    """
    try:
        data = tomllib.loads(read_text(path))
    except FileNotFoundError:
        raise PolicyError(f"{path}: there is no such policy file; deploy/policies/ has examples.") from None
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read ({error.strerror}): name a policy file.") from None
    except (tomllib.TOMLDecodeError, RecursionError, TextError) as error:
        raise PolicyError(f"{path}: not a TOML file ({error}): correct it there.") from None
    try:
        return parse_policy(data, RULES, READS)
    except ValidationError as error:
        problems = error.errors()
        raise PolicyError(*(_sentence(path, item) for item in problems if not _echo(item, problems))) from None
    except ValueError as error:
        raise PolicyError(f"{path}: {error}.") from None


def _echo(problem: ErrorDetails, problems: list[ErrorDetails]) -> bool:
    """Return whether a list is reported as too short only because one of its items is invalid."""
    loc = problem["loc"]
    return problem["type"] == "too_short" and any(
        len(other["loc"]) > len(loc) and other["loc"][: len(loc)] == loc for other in problems
    )


def _sentence(path: Path, problem: ErrorDetails) -> str:
    loc = tuple(part for part in problem["loc"] if part != "[key]")
    where = f"{path}: {dotted(loc) or 'the policy'}"
    match problem["type"]:
        case "missing":
            return f"{where} is missing: set it."
        case "extra_forbidden":
            known = fields_at(Policy, loc[:-1])
            meant = nearest(str(loc[-1]), known)
            return f"{where} is not a setting: {_choose(known) if meant is None else f'did you mean {meant}?'}"
        case "literal_error":
            # pydantic formats a choice as 'high', or as <Tier.HIGH: 'high'> if it belongs to an enumeration
            choices = re.findall("'([^']*)'", problem["msg"])
            return f"{where} is none of the choices: {_choose(choices)}"
        case "too_short" if problem["ctx"]["min_length"] > 1:
            return f"{where} has too few entries: give at least {problem['ctx']['min_length']}."
        case "too_short" | "string_too_short":
            return f"{where} is empty: give at least one {'character' if 'string' in problem['type'] else 'entry'}."
        case "value_error":
            return f"{where}: {demand(problem)}."
        case "model_type" | "dict_type":
            return f"{where} must be a table of settings, such as [{dotted(loc)}] begins."
        case "tuple_type":
            return f"{where} must be a list: write it in [brackets]."
        case _:
            return f"{where} cannot be used: it {demand(problem).partition(',')[0]}."


def _choose(known: list[str]) -> str:
    return f"choose from {', '.join(known)}."
