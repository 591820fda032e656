"""Avro and pydantic say the same, and a field on which they do not is caught by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.checks.agreement import agreement_problems
from schemas.released.catalogue import Catalogue
from tests.kit.broken_schemas import Edit, broken, field, without


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (without("locale"), "the record has the fields ["),
        (lambda s: field(s, "locale").pop("doc"), "locale has no doc."),
        (lambda s: s.pop("doc"), "the record has no doc."),
        (lambda s: field(s, "channel").update(type=["null", "string"], default=None), "channel may not be None"),
        (lambda s: field(s, "locale").pop("default"), "locale may be null and does not default to it."),
        (lambda s: field(s, "recipients").pop("default"), "recipients is a list and does not default to an empty"),
        (lambda s: field(s, "event_time").update(type="string"), "event_time is string in Avro and int in the record."),
        (
            lambda s: field(s, "scores")["type"]["items"]["fields"][2].update(type="float"),
            "scores[].value is float in Avro and float in the record.",
        ),
        (lambda s: field(s, "channel").update(one_of=["lobby"]), "channel states one_of ['lobby'], the record []."),
        (lambda s: s.update(namespace="elsewhere"), "is named elsewhere.ChatMessage, not forewarn.ChatMessage."),
    ],
)
def test_a_schema_that_disagrees_with_its_record_is_caught(edit: Edit, sentence: str, folder: Path) -> None:
    """Field by field: names, types, what may be absent, defaults, closed lists and words of explanation."""
    (problem,) = agreement_problems(broken(edit, "chat_message")(folder))
    assert sentence in problem
    assert problem.startswith("chat_message v2: ")


def test_an_avro_type_that_cannot_be_none_is_caught(folder: Path) -> None:
    """Where the record may be None; that its default cannot be None either is said as well."""
    edit = broken(lambda s: field(s, "locale").update(type="string", default=""), "chat_message")
    assert agreement_problems(edit(folder)) == [
        "chat_message v2: locale does not default to what the record does.",
        "chat_message v2: locale may be None in the record, which its Avro type does not say.",
    ]


def test_a_subject_without_its_other_half_is_caught(folder: Path) -> None:
    """A record that no file describes, and a file that describes no record."""
    (folder / "avro" / "feature_row.v1.avsc").rename(folder / "avro" / "gossip.v1.avsc")
    assert agreement_problems(Catalogue(folder)) == [
        "feature_row has a record but no released schema.",
        "gossip has a released schema but no record.",
    ]
