"""The released schemas keep their promises, and a change that would break one is caught by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.agreement import agreement_problems
from schemas.catalogue import Catalogue, released
from schemas.check import check_all
from schemas.compat import transitive_problems
from schemas.corpus import Example, corpus_problems, example_problems, examples
from schemas.lock import lock_problems
from tests.schemas.kit import copy_of_released, release

EXAMPLES, STRAYS = examples(released())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the released files that a test may break."""
    return copy_of_released(tmp_path)


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Read a JSON file, edit it and write it back."""
    content = orjson.loads(path.read_bytes())
    edit(content)
    path.write_bytes(orjson.dumps(content))


def text_of(subject: str) -> dict[str, Any]:
    schema: dict[str, Any] = orjson.loads(released().text(subject, 1))
    return schema


def field(schema: dict[str, Any], name: str) -> dict[str, Any]:
    return next(f for f in schema["fields"] if f["name"] == name)


def test_everything_released_is_good() -> None:
    """What `forewarn schemas check` says of this very distribution."""
    assert check_all() == []


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_holds(example: Example) -> None:
    """A passing one is read and comes back, a failing one is refused for its reason."""
    assert example_problems(example, released()) == []


def test_the_corpus_is_not_thin() -> None:
    """Six or more examples of what comes in, two or more of what goes out, and no stray file among them."""
    assert STRAYS == []
    for subject in released().subjects():
        count = sum(example.subject == subject for example in EXAMPLES)
        assert count >= (6 if subject in {"chat_message", "moderation_event"} else 2)


def test_an_example_that_does_not_hold_is_caught(folder: Path) -> None:
    """A pass that fails, a fail that passes, a wrong reason, a wrong name, wrong content, a subject left out."""
    corpus = folder / "examples"
    passing, failing = corpus / "reject.v1.no_key_no_value.pass.json", corpus / "reject.v1.no_offset.fail.json"
    change(passing, lambda example: example["record"].update(offset="many"))
    change(failing, lambda example: example.update(expect="too_large"))
    change(corpus / "risk_event.v1.unknown_tier.fail.json", lambda example: example["record"].update(tier="high"))
    (corpus / "notes.txt").write_text("todo")
    (corpus / "reject.v2.too_new.pass.json").write_text('{"record": {}}')
    (corpus / "reject.v1.typo.fail.json").write_text('{"record": {}, "expected": "missing_field"}')
    (corpus / "reject.v1.no_reason.fail.json").write_text('{"record": {}}')
    for file in corpus.glob("model_version.*.fail.json"):
        file.unlink()
    assert sorted(corpus_problems(Catalogue(folder))) == [
        "examples/notes.txt is no example: it is not named <subject>.v<version>.<why>.pass.json or .fail.json.",
        "examples/reject.v1.no_key_no_value.pass.json is refused (invalid_field) and should pass.",
        "examples/reject.v1.no_offset.fail.json is refused for missing_field, not for too_large.",
        (
            "examples/reject.v1.no_reason.fail.json is no example: a failing example states what to expect, a passing "
            "one does not."
        ),
        (
            "examples/reject.v1.typo.fail.json is no example: it holds one of record, text and hex, and else only "
            "expect and received."
        ),
        "examples/reject.v2.too_new.pass.json is no example: reject v2 is not released.",
        "examples/risk_event.v1.unknown_tier.fail.json passes and should be refused for invalid_field.",
        "model_version needs at least one example that passes and one that fails.",
    ]


def test_an_example_that_a_schema_drops_something_of_is_caught(folder: Path) -> None:
    """A later version without locales, and one that cannot hold a text at all."""
    second, third = text_of("chat_message"), text_of("chat_message")
    second["fields"].remove(field(second, "locale"))
    field(third, "text")["type"] = ["null", "long"]
    release(folder, "chat_message", 3, third)
    problems = corpus_problems(release(folder, "chat_message", 2, second))
    for version in (2, 3):
        sentence = f"examples/chat_message.v1.every_field.pass.json does not come back through the Avro of v{version}."
        assert sentence in problems


def test_a_released_file_that_changed_is_caught(folder: Path) -> None:
    """Even by white space: the bytes are what was released."""
    file = folder / "avro" / "reject.v1.avsc"
    file.write_bytes(file.read_bytes() + b"\n")
    assert lock_problems(Catalogue(folder)) == [
        "avro/reject.v1.avsc changed after its release: restore it, and make a new version instead."
    ]


def test_a_released_file_that_went_or_came_or_is_misnamed_is_caught(folder: Path) -> None:
    """With the line to add where a new version is meant."""
    (folder / "avro" / "reject.v1.avsc").unlink()
    (folder / "avro" / "Reject.avsc").write_text("{}")
    problems = lock_problems(release(folder, "risk_event", 3, {}))
    assert problems == [
        "avro/Reject.avsc is not named <subject>.v<version>.avsc: rename or remove it.",
        (
            'avro/risk_event.v3.avsc is not locked: to release it, add "risk_event.v3.avsc": '
            '"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" to lock.json.'
        ),
        "avro/reject.v1.avsc is locked but gone: restore it, records written with it may still be read.",
        "risk_event has versions [1, 3]: they count from 1 without gaps.",
    ]


@pytest.mark.parametrize("content", [None, b"{", b"[]"])
def test_a_broken_lock_is_caught(content: bytes | None, folder: Path) -> None:
    """A lock that says nothing locks nothing."""
    if content is None:
        (folder / "lock.json").unlink()
    else:
        (folder / "lock.json").write_bytes(content)
    assert lock_problems(Catalogue(folder))[0].startswith("lock.json ")


def broken(edit: Callable[[dict[str, Any]], object], subject: str = "moderation_event") -> Callable[[Path], Catalogue]:
    def make(folder: Path) -> Catalogue:
        second = text_of(subject)
        edit(second)
        return release(folder, subject, 2, second)

    return make


def without(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda schema: schema["fields"].remove(field(schema, name))


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
def test_a_schema_that_disagrees_with_its_record_is_caught(
    edit: Callable[[dict[str, Any]], object], sentence: str, folder: Path
) -> None:
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
    (folder / "avro" / "reject.v1.avsc").rename(folder / "avro" / "gossip.v1.avsc")
    assert agreement_problems(Catalogue(folder)) == [
        "gossip has a released schema but no record.",
        "reject has a record but no released schema.",
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{", "avro/reject.v2.avsc is not JSON"),
        (
            b'{"type":"record","name":"A","fields":[{"name":"a","type":["null","A"]}]}',
            "avro/reject.v2.avsc is not safe to decode: it contains itself.",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_named_by_the_check(content: bytes, sentence: str, folder: Path) -> None:
    """Beside the lock's own complaint, and before anything that would stumble over it."""
    (folder / "avro" / "reject.v2.avsc").write_bytes(content)
    locked, unusable = check_all(Catalogue(folder))
    assert locked.startswith("avro/reject.v2.avsc is not locked")
    assert sentence in unusable
