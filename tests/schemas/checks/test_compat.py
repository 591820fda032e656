"""Every version reads every other, and an evolution that breaks a reader is caught by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.released.catalogue import Catalogue
from schemas.released.compat import transitive_problems
from tests.kit.broken_schemas import broken, field, text_of, without
from tests.kit.records import release


@pytest.mark.parametrize(
    ("make", "sentences"),
    [
        (
            broken(lambda s: s["fields"].append({"name": "region", "type": "string"})),
            ["moderation_event: v2 cannot read v1: region is not written and has no default."],
        ),
        (
            broken(without("user_id")),
            ["moderation_event: v1 cannot read v2: user_id is not written and has no default."],
        ),
        (
            broken(lambda s: field(s, "event_time").update(type="double")),
            ["moderation_event: v1 cannot read v2: event_time is double where the reader expects long."],
        ),
        (
            broken(lambda s: field(s, "report")["type"][1]["fields"].append({"name": "weight", "type": "int"})),
            ["moderation_event: v2 cannot read v1: report.weight is not written and has no default."],
        ),
        (
            broken(lambda s: field(s, "sanction")["type"].append("string")),
            ["moderation_event: v1 cannot read v2: sanction may be string, which is no branch of the reader's union."],
        ),
        (
            broken(lambda s: field(s, "kind").update(type={"type": "enum", "name": "Kind", "symbols": ["report"]})),
            [
                "moderation_event: v1 cannot read v2: kind is enum where the reader expects string.",
                "moderation_event: v2 cannot read v1: kind is string where the reader expects enum.",
            ],
        ),
        (
            broken(lambda s: s.update(name="M")),
            [
                (
                    "moderation_event: v1 cannot read v2: the record is named forewarn.M where the reader expects "
                    "forewarn.ModerationEvent."
                ),
                (
                    "moderation_event: v2 cannot read v1: the record is named forewarn.ModerationEvent where the "
                    "reader expects forewarn.M."
                ),
            ],
        ),
        (
            broken(lambda s: field(s, "features")["type"].update(values=["null", "string"]), "feature_row"),
            [
                "feature_row: v1 cannot read v2: features{} may be string, which is no branch of the reader's union.",
                "feature_row: v2 cannot read v1: features{} may be double, which is no branch of the reader's union.",
            ],
        ),
        (
            broken(lambda s: field(s, "reasons")["type"]["items"]["fields"].pop(), "risk_event"),
            [],
        ),
        (
            broken(lambda s: field(s, "kind").update(one_of=["praise"])),
            [],
        ),
    ],
)
def test_an_evolution_that_breaks_a_reader_is_caught(
    make: Callable[[Path], Catalogue], sentences: list[str], folder: Path
) -> None:
    """In either direction, with subject, versions and field named; and a sound one is let through."""
    assert transitive_problems(make(folder)) == sentences


def test_every_pair_of_versions_is_compared(folder: Path) -> None:
    """Int to long to double and back again: transitive means every pair, not every neighbour."""
    for version, kind in ((2, "long"), (3, "double")):
        second = text_of("risk_event")
        field(second, "horizon_ms")["type"] = kind
        catalogue = release(folder, "risk_event", version, second)
    assert transitive_problems(catalogue) == [
        "risk_event: v1 cannot read v3: horizon_ms is double where the reader expects long.",
        "risk_event: v2 cannot read v3: horizon_ms is double where the reader expects long.",
    ]
