"""Facts that the reference pages take from the code: tables and sections, by the name a page asks for them.

A column that the code knows is filled from it. A column that only a person can write (`meaning`) is kept from the page,
row by row; `generated.py` puts both together.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dataflows.config.settings import Settings, TopicSettings
from dataflows.kafka.topics import wanted_topics
from dataflows.reports.formatting import name_feature
from dataflows.runtime.exit_codes import ExitCode
from dataflows.runtime.telemetry import Telemetry
from detectors.features.catalogue import NAMES
from detectors.features.declare import HOPS
from detectors.features.signals import SIGNALS
from detectors.models.catalogue import MODELS
from detectors.policy.policy import Policy
from detectors.policy.sections import (
    ChannelPolicy,
    Clause,
    LearningPolicy,
    PromisePolicy,
    RiverPolicy,
    RulePolicy,
    StackPolicy,
    TargetPolicy,
    TierPolicy,
    VariantPolicy,
    WarningPolicy,
)
from detectors.policy.values import written
from detectors.rules.catalogue import RULES
from schemas.records.decisions import RiskEvent
from schemas.records.events import ModerationEvent
from schemas.records.rejects import RejectReason
from schemas.released.catalogue import AvroSchema, released


class Facts(NamedTuple):
    """A table: its columns, and for each row what the code knows. The first column names the row."""

    columns: tuple[str, ...]
    rows: list[dict[str, str]]


Made = Facts | str
"""The content of a block: a table, or text."""

POLICY: dict[str, type[BaseModel]] = {
    "top": Policy,
    "target": TargetPolicy,
    "clauses": Clause,
    "channels": ChannelPolicy,
    "learning": LearningPolicy,
    "variants": VariantPolicy,
    "models": RiverPolicy,
    "stack": StackPolicy,
    "tiers": TierPolicy,
    "promises": PromisePolicy,
    "warnings": WarningPolicy,
    "rules": RulePolicy,
}
"""The sections of a policy, as its page names them."""

LIMITS = (
    "detectors.features.window.DISTINCT_CAP",
    "detectors.features.profile.SEEN_CAP",
    "detectors.features.strikes.LEDGER_CAP",
    "detectors.labels.target.ESCALATIONS_CAP",
    "detectors.labels.target.TAUGHT_CAP",
    "detectors.labels.target.FACTS_CAP",
    "detectors.labels.target.HEAVIEST",
    "detectors.features.signals.RECENT_TEXTS",
    "detectors.features.tokens.LONGEST",
    "detectors.profiles.channels.POSTERS",
    "detectors.profiles.channels.SANCTIONS",
    "detectors.profiles.users.LIVE",
    "detectors.models.sequence.ngrams.MOST",
    "detectors.base.log_clock.CAPACITY",
    "detectors.learning.ahead.MOST",
    "detectors.monitoring.quality.POINTS",
    "detectors.monitoring.quality.WARNINGS",
    "detectors.monitoring.scorers.SCORERS",
    "detectors.monitoring.scorers.VERSIONS",
)
"""Bounds on state that a user can notice, by the constants that set them."""


def code(text: object) -> str:
    """Return text as inline code; nothing for nothing."""
    return f"`{text}`" if str(text) else ""


def alternatives(names: list[str]) -> str:
    """Join names as a sentence lists them."""
    quoted = [code(json.dumps(name)) for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def type_of(name: str, schema: dict[str, Any]) -> str:
    """Describe a key's type and bounds, from its JSON schema."""
    schema = next((part for part in schema.get("anyOf", ()) if part.get("type") != "null"), schema)
    kind = schema.get("type")
    if name == "champion":
        own = ", ".join(code(json.dumps(model)) for model in MODELS)
        return f"{own}, a [variant](#variants) or, in a replay, a [River model](#models)"
    if name == "model" and "maxLength" in schema:
        return "a model"
    if name in {"challengers", "members"}:
        return "list of models and variants" + (", two or more" if schema.get("minItems") == 2 else "")
    if name == "parameters":
        return "table"
    if "ge" in schema and "minimum" not in schema:  # the bounds of a duration stand outside JSON schema's words
        return "duration above 0" if "gt" in schema else "duration"
    if "enum" in schema:
        return alternatives(schema["enum"])
    if kind == "array":
        return "list of clauses" if "$ref" in schema["items"] else "list of text"
    if kind == "string":
        return _text(schema)
    if kind in {"integer", "number"}:
        return _bounds(schema, "a whole number" if kind == "integer" else "a number")
    if kind == "boolean":
        return "true or false"
    return "table of options" if name == "options" else "section"


def _text(schema: dict[str, Any]) -> str:
    form = schema.get("format", "")
    if form == "password":
        return "secret text"
    if "path" in form:
        return "path"
    return f"text, 1 to {schema['maxLength']} characters" if "maxLength" in schema else "text"


def _bounds(schema: dict[str, Any], kind: str) -> str:
    least, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    most, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    if kind == "a whole number" and above == 0:
        least, above = 1, None
    low = f"above {above:g}" if above is not None else f"{least:g}" if least is not None else ""
    high = f"below {below:g}" if below is not None else f"{most:g}" if most is not None else ""
    if low and high:
        if above is not None:
            return f"{low}, {high if below is not None else f'at most {high}'}"
        return f"{low} to {high}"
    if above is not None:
        return f"{kind} above {above:g}"
    return f"{low} or more" if low else kind


def default_of(field: FieldInfo, kind: str) -> str:
    """State a key's default as a file would."""
    default = field.default
    if field.is_required():
        return "needed"
    if default is None:
        return "none"
    if isinstance(default, BaseModel):
        return "its defaults"
    if default == {}:
        return "`{}`" if kind == "table of options" else "none"
    if kind.startswith("duration"):
        return code(json.dumps(written(default)))
    return code(json.dumps(list(default) if isinstance(default, tuple) else default))


def keys(model: type[BaseModel], first: str) -> Facts:
    """Return the keys of a section: name, type and default; the page explains each."""
    rows = []
    properties = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        kind = type_of(name, properties[name])
        rows.append({first: code(name), "type": kind, "default": default_of(field, kind)})
    return Facts((first, "type", "default", "meaning"), rows)


def settings_sections() -> dict[str, type[BaseModel]]:
    """Return the sections of the settings, by name."""
    return {name: _model(field.annotation) for name, field in Settings.model_fields.items()}


def _model(annotation: Any) -> type[BaseModel]:
    return next(
        found
        for found in (annotation, *get_args(annotation))
        if isinstance(found, type) and issubclass(found, BaseModel)
    )


def topics() -> Facts:
    """Return the topics: default name, setting, and the configuration that `forewarn topics create` gives each."""
    settings = Settings.model_validate({"kafka": {"bootstrap_servers": "localhost:9092"}})
    made = {topic.name: topic for topic in wanted_topics(settings, 8, None, 0)}
    rows = []
    for setting, name in TopicSettings().model_dump().items():
        config = made[name].config
        shown = [code(f"{key}={value}") for key, value in config.items() if key != "max.message.bytes"]
        rows.append(
            {
                "topic": code(name),
                "setting": code(f"topics.{setting}"),
                "configuration as created": ", ".join(shown) or "the broker's default",
            }
        )
    return Facts(("topic", "setting", "record key", "content", "configuration as created"), rows)


def metrics() -> Facts:
    """Return the metrics that `forewarn run` serves: name, kind and labels."""
    rows = []
    for collector in Telemetry().registry._collector_to_names:  # noqa: SLF001 - the only list in order of declaration
        (metric,) = collector.collect()
        suffix = "_total" if metric.type == "counter" else ""
        labels = ", ".join(code(label) for label in getattr(collector, "_labelnames", ()))
        rows.append({"metric": code(f"{metric.name}{suffix}"), "type": metric.type, "labels": labels})
    return Facts(("metric", "type", "labels", "counts", "in `summary.json`"), rows)


def limits() -> Facts:
    """Return the bounds on state, with their values."""
    rows = []
    for bound in LIMITS:
        module, _, name = bound.rpartition(".")
        rows.append({"bound": code(bound), "value": f"{getattr(import_module(module), name):g}"})
    return Facts(("bound", "value", "beyond it"), rows)


def exit_codes() -> Facts:
    """Return the exit codes of a run."""
    codes = [*(str(int(code)) for code in ExitCode), "128 + *n*"]
    return Facts(("code", "of `forewarn run`", "action"), [{"code": code} for code in codes])


def named(first: str, names: Iterator[str] | list[str], *kept: str) -> Facts:
    """Return a table whose rows come from the code and whose other columns come from the page."""
    return Facts((first, *kept), [{first: code(name)} for name in names])


def features() -> Facts:
    """Return the features of a vector, in order and in words."""
    return Facts(("feature", "in words"), [{"feature": code(name), "in words": name_feature(name)} for name in NAMES])


def spans() -> Facts:
    """Return the spans a window may have, and their hops."""
    return Facts(("span", "hop"), [{"span": code(span), "hop": code(hop)} for span, hop in HOPS.items()])


def rules() -> str:
    """Return a section for each rule, from the attributes of its class."""
    parts = []
    for name, rule in sorted(RULES.items()):
        reads = ", ".join(code(feature) for feature in rule.features)
        summary = (rule.__doc__ or "").strip().splitlines()[0]
        parts.append(
            f"## {name}\n\n{summary} Default limit: {rule.default_limit:g}. Reads {reads}.\n\n"
            f"- **Runbook.** {rule.runbook}\n- **Known gaps.** {rule.known_gaps}\n"
        )
    return "\n".join(parts)


def schemas() -> str:
    """Return a section for each record, from the newest released Avro schema of each subject."""
    parts, catalogue = [], released()
    for subject in catalogue.subjects():
        version = catalogue.latest(subject)
        schema = catalogue.schema(subject, version)
        others = ", ".join(str(other) for other in catalogue.versions(subject))
        file = f"schemas/avro/{subject}.v{version}.avsc"
        parts.append(f"## {subject}\n\n{schema['doc']} Versions released: {others}. Newest: {code(file)}.\n")
        parts.extend(_record(schema, level=3))
    return "\n".join(parts)


def _record(schema: AvroSchema, level: int, heading: str = "") -> Iterator[str]:
    rows = ["| field | type | default | meaning |", "|---|---|---|---|"]
    nested = []
    for field in schema["fields"]:
        default = code(json.dumps(field["default"])) if "default" in field else "needed"
        rows.append(f"| {code(field['name'])} | {_avro(field['type'])} | {default} | {cell(field.get('doc', ''))} |")
        nested += [inner for inner in _inner(field["type"]) if inner["type"] == "record"]
    yield (f"{heading}\n\n" if heading else "") + "\n".join(rows) + "\n"
    for inner in nested:
        title = f"{'#' * level} {inner['name'].rpartition('.')[2]}"
        yield from _record(inner, level, f"{title}\n\n{inner['doc']}" if inner.get("doc") else title)


def cell(text: str) -> str:
    """Return text that may stand in a cell of a table."""
    return " ".join(text.replace("|", "\\|").split())


def _avro(kind: Any) -> str:
    if isinstance(kind, list):
        return " or ".join(_avro(one) for one in kind)
    if not isinstance(kind, dict):
        return str(kind).rpartition(".")[2]
    if kind["type"] == "enum":
        return ", ".join(code(symbol) for symbol in kind["symbols"])
    if kind["type"] in {"array", "map"}:
        return f"{kind['type']} of {_avro(kind['items' if kind['type'] == 'array' else 'values'])}"
    return kind["name"].rpartition(".")[2] if "name" in kind else str(kind["type"])


def _inner(kind: Any) -> Iterator[dict[str, Any]]:
    """Yield the named types defined inside a field's type."""
    if isinstance(kind, list):
        for one in kind:
            yield from _inner(one)
    elif isinstance(kind, dict):
        if kind["type"] in {"record", "enum"}:
            yield kind
        else:
            yield from _inner(kind.get("items", kind.get("values")))


def _all() -> dict[str, Callable[[], Made]]:
    found: dict[str, Callable[[], Made]] = {
        "topics": topics,
        "metrics": metrics,
        "limits": limits,
        "exit-codes": exit_codes,
        "features": features,
        "spans": spans,
        "rules": rules,
        "schemas": schemas,
        "rejects": lambda: named("reason", [reason.value for reason in RejectReason], "the record", "what to do"),
        "signals": lambda: named("signal", list(SIGNALS), "value"),
        "models": lambda: named("model", list(MODELS), "method", "reads"),
        "risk-event": lambda: named("field", list(RiskEvent.model_fields), "meaning"),
        "model-notes": lambda: named(
            "note", list(get_args(RiskEvent.model_fields["model_note"].annotation)), "meaning"
        ),
        "event-kinds": lambda: named(
            "kind", ["message", *get_args(ModerationEvent.model_fields["kind"].annotation)], "record", "says"
        ),
    }
    for section, model in POLICY.items():
        found[f"policy-{section}"] = lambda model=model: keys(model, "key")  # type: ignore[misc]
    for section, model in settings_sections().items():
        found[f"settings-{section}"] = lambda model=model: keys(model, "setting")  # type: ignore[misc]
    return found


FACTS = _all()
"""The facts that a page can include, by name."""
