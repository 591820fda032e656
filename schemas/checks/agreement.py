"""Agreement of each subject's latest Avro schema with its pydantic record, field by field."""

from __future__ import annotations

from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from schemas.released.catalogue import MODELS, Catalogue

NAMESPACE = "forewarn"

_PRIMITIVES: dict[Any, tuple[str, ...]] = {
    str: ("string",),
    int: ("long", "int"),
    float: ("double",),
    bool: ("boolean",),
    bytes: ("bytes",),
}


def agreement_problems(catalogue: Catalogue) -> list[str]:
    """Return one sentence per subject or field that disagrees or has no `doc`; empty if there is none."""
    problems = [f"{subject} has a record but no released schema." for subject in MODELS.keys() - catalogue.subjects()]
    for subject in catalogue.subjects():
        model = MODELS.get(subject)
        if model is None:
            problems.append(f"{subject} has a released schema but no record.")
            continue
        version = catalogue.latest(subject)
        schema = catalogue.schema(subject, version)
        if schema["name"] != f"{NAMESPACE}.{model.__name__}":
            problems.append(f"{subject} v{version}: is named {schema['name']}, not {NAMESPACE}.{model.__name__}.")
        names = schema["__named_schemas"]
        problems.extend(f"{subject} v{version}: {why}." for why in _record(schema, model, names, ""))
    return sorted(problems)


def _record(schema: dict[str, Any], model: type[BaseModel], names: dict[str, Any], path: str) -> list[str]:
    where = path.rstrip(".") or "the record"
    problems = [] if schema.get("doc") else [f"{where} has no doc"]
    avro = {field["name"]: field for field in schema["fields"]}
    if list(avro) != list(model.model_fields):
        return [*problems, f"{where} has the fields {list(avro)}, the record {list(model.model_fields)}"]
    for name, info in model.model_fields.items():
        field = avro[name]
        if not field.get("doc"):
            problems.append(f"{path}{name} has no doc")
        problems.extend(_type(field["type"], info.annotation, names, f"{path}{name}"))
        problems.extend(_closed_list(field, info.annotation, f"{path}{name}"))
        problems.extend(_default(field, info, f"{path}{name}"))
    return problems


def _type(schema: Any, annotation: Any, names: dict[str, Any], path: str) -> list[str]:
    annotation, nullable = _bare(annotation)
    if nullable != isinstance(schema, list):
        return [f"{path} {'may' if nullable else 'may not'} be None in the record, which its Avro type does not say"]
    if isinstance(schema, list):
        if len(schema) != 2 or schema[0] != "null":
            return [f"{path} is a union of other than null and one type"]
        schema = schema[1]
    if isinstance(schema, str):
        schema = names.get(schema, schema)
    kind = schema["type"] if isinstance(schema, dict) else schema
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is tuple and kind == "array":
        return _type(schema["items"], arguments[0], names, f"{path}[]")
    if origin is dict and kind == "map":
        return _type(schema["values"], arguments[1], names, f"{path}{{}}")
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and kind == "record":
        return _record(schema, annotation, names, f"{path}.")
    if kind in (("string",) if _choices(annotation) else _PRIMITIVES.get(annotation, ())):
        return []
    return [f"{path} is {kind} in Avro and {getattr(annotation, '__name__', annotation)} in the record"]


def _closed_list(field: dict[str, Any], annotation: Any, path: str) -> list[str]:
    """Compare the `one_of` of a field with the closed list of the record.

    Closed lists are Avro strings because an Avro enum could never grow. `one_of` states the list of this version.
    """
    choices, stated = _choices(_bare(annotation)[0]), field.get("one_of", [])
    return [] if choices == stated else [f"{path} states one_of {stated}, the record {choices}"]


def _default(field: dict[str, Any], info: FieldInfo, path: str) -> list[str]:
    """Compare the Avro default of a field with the default of the record.

    In Avro, optional fields default to null and lists to empty, even where the record requires a value.
    """
    stated = field.get("default", ...)
    if isinstance(field["type"], list) and stated is not None:
        return [f"{path} may be null and does not default to it"]
    if isinstance(field["type"], dict) and field["type"]["type"] == "array" and stated != []:
        return [f"{path} is a list and does not default to an empty one"]
    if info.is_required():
        return []
    own = list(info.default) if isinstance(info.default, tuple) else info.default
    return [] if stated == own else [f"{path} does not default to what the record does"]


def _bare(annotation: Any) -> tuple[Any, bool]:
    """Return the type without its constraints and without None, and whether None was allowed."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) not in (Union, UnionType):
        return annotation, False
    rest = [branch for branch in get_args(annotation) if branch is not NoneType]
    return (_bare(rest[0])[0] if len(rest) == 1 else annotation), NoneType in get_args(annotation)


def _choices(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [member.value for member in annotation]
    return []
