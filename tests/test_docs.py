"""The pages in docs/ say what the code says: every key, default, reason, feature, limit and rule, and nothing else."""

from __future__ import annotations

import ast
import os
import re
import tomllib
from importlib import import_module
from typing import Any, get_args

import orjson
import pytest
from pydantic import BaseModel

from dataflows import operators
from dataflows.config.settings import KafkaSettings, Settings, TopicSettings
from dataflows.kafka.topics import ENVELOPE_BYTES
from dataflows.reports.formatting import name_feature
from dataflows.runtime.telemetry import Telemetry
from detectors.features.catalogue import NAMES
from detectors.features.declare import HOPS, duration_ms
from detectors.features.signals import SIGNALS
from detectors.models.catalogue import MODELS, READS
from detectors.policy.parse import parse_policy as parse
from detectors.rules.catalogue import RULES
from schemas.records.decisions import RiskEvent
from schemas.records.events import ModerationEvent
from schemas.records.rejects import RejectReason
from tests.kit.pages import ROOT, first_cells, table, text
from tools.docs.facts import POLICY, settings_sections

EXAMPLE = ROOT / "deploy/settings.example.toml"

HEADINGS = {"top": "Top level", "clauses": "Clauses"}
POLICY_SECTIONS = {HEADINGS.get(name, name): section for name, section in POLICY.items()}
SETTINGS_SECTIONS = settings_sections()


def stated(cell: str) -> Any:
    """The value a default cell states; a duration in milliseconds."""
    if cell == "none":
        return None
    value = tomllib.loads(f"value = {cell.strip('`')}")["value"]
    if isinstance(value, str) and re.fullmatch(r"\d+(ms|s|m|h|d)", value):
        return duration_ms(value)
    return tuple(value) if isinstance(value, list) else value


def check_defaults(rows: list[list[str]], model: type[BaseModel], column: int) -> None:
    for row in rows:
        field, cell = model.model_fields[row[0].strip("`")], row[column]
        if field.is_required():
            assert cell == "needed", row
        elif isinstance(field.default, BaseModel) or field.default == {}:
            assert cell in {"its defaults", "no rules", "none", "`{}`"}, row
        else:
            assert stated(cell) == field.default, row


def bounds(schema: Any) -> set[str]:
    """Every bound a JSON schema names, as a page would write it; zero below a duration goes without saying."""
    found: set[str] = set()
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key in {"minimum", "maximum", "exclusiveMinimum"} and not isinstance(value, dict):
                found.add(f"{value:g}")
            elif key == "enum":
                found.update(f'"{choice}"' for choice in value)
            elif key in {"anyOf", "allOf", "items"}:
                found |= bounds(value)
    elif isinstance(schema, list):
        found = set().union(*map(bounds, schema))
    return found


@pytest.mark.parametrize("heading", POLICY_SECTIONS)
def test_every_key_of_a_policy_is_documented_with_its_default_and_bounds(heading: str) -> None:
    """The page lists the keys of each section in their order, and types and defaults are the model's."""
    model, rows = POLICY_SECTIONS[heading], table("reference/policy.md", heading, "key")
    assert [row[0].strip("`") for row in rows] == list(model.model_fields)
    check_defaults(rows, model, column=2)
    properties = model.model_json_schema()["properties"]
    for name, kind, *_ in rows:
        written = set(re.findall(r'"\w+"|[\d.]+', kind.replace("`", "")))
        asked = bounds(properties[name.strip("`")])
        if kind.startswith("duration"):
            assert ("above 0" in kind) == (b'"gt":0' in orjson.dumps(properties[name.strip("`")]))
        else:
            assert asked <= written, (name, kind)


def test_the_champions_a_policy_may_name_are_documented() -> None:
    """docs/reference/policy.md names every model there is."""
    (row,) = [row for row in table("reference/policy.md", "learning", "key") if row[0] == "`champion`"]
    assert set(re.findall(r'"(\w+)"', row[1])) == set(MODELS)


def test_the_policies_shown_can_be_used() -> None:
    """The shortest policy is one, and the fragments shown can be added to it."""
    blocks = re.findall(r"```toml\n(.*?)```", text("reference/policy.md"), re.DOTALL)
    shortest = parse(tomllib.loads(blocks[0]), RULES, READS)
    longest = parse(tomllib.loads("\n".join(blocks)), RULES, READS)
    assert (len(shortest.target.when), len(longest.target.when)) == (1, 3)
    assert longest.rules["report_burst"].limit == 4


@pytest.mark.parametrize("heading", SETTINGS_SECTIONS)
def test_every_setting_is_documented_with_its_default(heading: str) -> None:
    """docs/reference/settings.md lists the settings of each section in their order, with the defaults of the model."""
    model, rows = SETTINGS_SECTIONS[heading], table("reference/settings.md", heading, "setting")
    assert [row[0].strip("`") for row in rows] == list(model.model_fields)
    assert list(SETTINGS_SECTIONS) == list(Settings.model_fields)
    check_defaults(rows, model, column=2)


@pytest.fixture
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("FOREWARN_"):
            monkeypatch.delenv(name)


@pytest.mark.usefixtures("_clean_environment")
def test_the_example_settings_load_and_hold_every_default() -> None:
    """The example is accepted as it stands, states the defaults, and names every setting but the secrets."""
    settings = Settings.load(EXAMPLE)
    assert settings == Settings(kafka=KafkaSettings(bootstrap_servers="localhost:9092"))
    named = set(re.findall(r"^(?:# )?(\w+) = ", EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE))
    asked = {name for model in SETTINGS_SECTIONS.values() for name in model.model_fields}
    assert asked - named == {"password", "ssl_key_password", "options"}
    assert "[kafka.options]" in EXAMPLE.read_text(encoding="utf-8")


def test_every_topic_is_described_under_its_own_name() -> None:
    """docs/reference/topics.md has a row for each topic, with the setting that renames it."""
    defaults = TopicSettings().model_dump()
    rows = {row[1].strip("`"): row[0].strip("`") for row in table("reference/topics.md", "Topics", "topic")}
    assert rows == {f"topics.{setting}": name for setting, name in defaults.items()}
    assert f"{ENVELOPE_BYTES:,} bytes more" in text("reference/topics.md")


def test_every_metric_is_described_with_its_labels() -> None:
    """docs/reference/metrics.md lists what `run` serves, and says what each counts."""
    telemetry = Telemetry()
    kinds = {metric.name: metric.type for metric in telemetry.registry.collect()}
    served = {f"{name}_total" if kind == "counter" else name for name, kind in kinds.items()}
    rows = table("reference/metrics.md", "Metrics", "metric")
    assert {row[0].strip("`") for row in rows} == served
    assert all(row[3] for row in rows)
    labels = {f"forewarn_{name}_total": metric._labelnames for name, metric in telemetry._metrics.items()}
    gauges = (telemetry.input_partitions, telemetry.unread_partitions, telemetry.record_lead, telemetry.build)
    labels |= {gauge._name: gauge._labelnames for gauge in gauges}
    found = {row[0].strip("`"): tuple(re.findall(r"`(\w+)`", row[2])) for row in rows}
    assert found == dict.fromkeys(served, ()) | labels


def string_constants(package: str) -> list[str]:
    """Every string written in a package's sources; of one with values in it, the parts between them."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / package).rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return [node.value for node in nodes if isinstance(node.value, str)]


def test_what_trouble_says_is_quoted_from_the_code() -> None:
    """Every sentence that docs/reference/errors.md explains is one that some error or warning really says."""
    said = [*string_constants("dataflows"), *string_constants("schemas")]
    quoted = first_cells("reference/errors.md", "Messages", "it says")
    assert len(quoted) > 10
    assert [words for words in quoted if not any(words in sentence for sentence in said)] == []


def test_every_reject_reason_is_explained_with_what_to_do() -> None:
    """docs/reference/errors.md has a row for each reason, in the order of the list, and none is left empty."""
    rows = table("reference/errors.md", "Rejects", "reason")
    assert [row[0].strip("`") for row in rows] == [reason.value for reason in RejectReason]
    assert all(len(row) == 3 and all(row) for row in rows)


def test_every_kind_of_event_is_named() -> None:
    """docs/explanation/events-and-profiles.md names messages and each kind of moderation event."""
    message, *kinds = first_cells("explanation/events-and-profiles.md", "Event", "kind")
    assert message == "message"
    assert kinds == list(get_args(ModerationEvent.model_fields["kind"].annotation))


def test_signals_windows_and_features_are_those_declared() -> None:
    """The page lists every signal, every span with its hop, and every feature in order and in words."""
    assert first_cells("reference/features.md", "Signals", "signal") == list(SIGNALS)
    hops = {span.strip("`"): hop.strip("`") for span, hop in table("reference/features.md", "Windows", "span")}
    assert hops == HOPS
    features = [
        (name.strip("`"), words) for name, words in table("reference/features.md", "The feature vector", "feature")
    ]
    assert features == [(name, name_feature(name)) for name in NAMES]


def test_every_field_of_a_risk_event_is_explained() -> None:
    """docs/reference/risk-event.md has a row for each field, in order, and one for each note on the model."""
    assert first_cells("reference/risk-event.md", "Risk event", "field") == list(RiskEvent.model_fields)
    notes = first_cells("reference/risk-event.md", "Model notes", "note")
    assert set(notes) == set(get_args(RiskEvent.model_fields["model_note"].annotation))


def test_the_limits_are_those_in_the_code() -> None:
    """Every bound in docs/reference/limits.md has the value of the constant it names."""
    rows = table("reference/limits.md", "Limits", "bound")
    assert len(rows) > 5
    for bound, value, *_ in rows:
        module, _, name = bound.strip("`").rpartition(".")
        assert getattr(import_module(module), name) == float(value), bound


@pytest.mark.parametrize("name", sorted(RULES))
def test_every_rule_is_described_with_its_runbook_and_gaps(name: str) -> None:
    """docs/reference/rules.md says of each rule what the rule says of itself."""
    rule = RULES[name]
    found = re.search(rf"^## {name}\n(.*?)(?=^## )", text("reference/rules.md"), re.DOTALL | re.MULTILINE)
    assert found, f"docs/reference/rules.md has no section '## {name}'"
    section = " ".join(found[1].split())
    assert f"**Runbook.** {rule.runbook}" in section
    assert f"**Known gaps.** {rule.known_gaps}" in section
    assert (
        f"Default limit: {rule.default_limit:g}. Reads {', '.join(f'`{name}`' for name in rule.features)}." in section
    )


def test_the_picture_of_the_architecture_names_every_step_and_topic() -> None:
    """The steps are the operators of the spine, with the source before them; the topics have their default names."""
    picture = (ROOT / "docs/explanation/architecture.svg").read_text(encoding="utf-8")
    steps = [name for name in operators.__all__ if name != "deliver"]  # which belongs to the sinks
    assert [
        name for name in ("source", *steps, *TopicSettings().model_dump().values()) if f">{name}<" not in picture
    ] == []
