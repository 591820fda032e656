"""The corpus is the specification: every example holds, and one that does not is caught by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.checks.corpus import Example, corpus_problems, example_problems, examples
from schemas.released.catalogue import Catalogue, released
from tests.kit.broken_schemas import change, field, text_of
from tests.kit.records import release

EXAMPLES, STRAYS = examples(released())


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
    (corpus / "reject.v99.too_new.pass.json").write_text('{"record": {}}')
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
            "expect, mended and received."
        ),
        "examples/reject.v99.too_new.pass.json is no example: reject v99 is not released.",
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
