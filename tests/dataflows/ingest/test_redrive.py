"""Redrive without a broker: what is selected, what is counted, what is said, and the errors in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from confluent_kafka import TIMESTAMP_CREATE_TIME, Message

from dataflows.cli.main import main
from dataflows.ingest.redrive import DeadLetterSummary, Origin, Selection, marked
from dataflows.runtime.exit_codes import ExitCode
from schemas.codec.outputs import Decoder, Encoder
from schemas.records.rejects import Reject, RejectReason

INPUTS = {"chat": 2, "moderation": 2}
encoder, decoder = Encoder("reject"), Decoder("reject")


def reject(offset: int, **changes: Any) -> Reject:
    described: dict[str, Any] = {
        "reason": "too_large",
        "stage": "decode",
        "detail": "more than 10 bytes",
        "subject": "chat_message",
        "topic": "chat",
        "partition": 1,
        "offset": offset,
        "seq": offset,
        "received": 5,
        "key": b"whose",
        "value": b"what",
    }
    return Reject.model_validate({**described, **changes})


def letter(
    at: int, value: bytes | None, time: int = 1_000, headers: dict[str, str | bytes | None] | None = None
) -> Message:
    pairs = None if headers is None else list(headers.items())
    return Message("dead", 0, at, b"whose", value, headers=pairs, timestamp=(TIMESTAMP_CREATE_TIME, time))


def marker(topic: bytes, partition: bytes, offset: bytes) -> dict[str, str | bytes | None]:
    return {"redriven-topic": topic, "redriven-partition": partition, "redriven-offset": offset}


def surveyed(*letters: Message, selection: Selection | None = None) -> DeadLetterSummary:
    survey = DeadLetterSummary(decoder.decode, INPUTS, Selection() if selection is None else selection)
    for item in letters:
        survey.add(item)
    return survey


def offsets(survey: DeadLetterSummary) -> list[int]:
    return sorted(origin.offset for origin in survey.selected)


def test_a_reject_written_twice_is_one_record() -> None:
    """Output is at least once; the coordinates of the original say that it is the same, and the first copy counts."""
    survey = surveyed(letter(7, encoder.encode(reject(3))), letter(9, encoder.encode(reject(3))))
    assert survey.selected == {Origin("chat", 1, 3): (RejectReason.TOO_LARGE, 0, 7)}


@pytest.mark.parametrize("order", [1, -1])
def test_a_marker_counts_wherever_it_stands(order: int) -> None:
    """Before its reject (a copy written after the redrive) or behind it, it says that the record was sent."""
    letters = [letter(0, encoder.encode(reject(3))), letter(1, None, headers=marker(b"chat", b"1", b"3"))]
    survey = surveyed(*letters[::order])
    assert survey.redriven == set(survey.selected) == {Origin("chat", 1, 3)}
    assert list(survey.lines(None))[-1] == "0 records would be sent again; --send sends them."


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (b"", marker(b"chat", b"1", b"3")),
        (None, None),
        (None, {"redriven-topic": b"chat"}),
        (None, marker(b"chat", b"one", b"3")),
        (None, marker(b"\xff", b"1", b"3")),
        (None, {**marker(b"chat", b"1", b"3"), "redriven-topic": None}),
    ],
)
def test_what_is_not_quite_a_marker_is_none(value: bytes | None, headers: dict[str, str | bytes | None] | None) -> None:
    """Somebody else's record on the topic is counted as unreadable and stops nothing."""
    odd = letter(0, value, headers=headers)
    assert marked(odd) is None
    assert dict(surveyed(odd).unreadable) == {"empty_value": 1}


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), [1, 2, 3, 4]),
        (Selection(reasons=frozenset([RejectReason.TOO_LARGE])), [1, 3]),
        (Selection(topics=frozenset(["moderation"])), [3, 4]),
        (Selection(since=2_000), [2, 3, 4]),
        (Selection(until=3_000), [1, 2]),
        (Selection(since=2_000, until=3_000), [2]),
        (Selection(frozenset([RejectReason.TOO_LARGE]), frozenset(["moderation"]), 1, 9_000), [3]),
    ],
)
def test_a_selection_goes_by_reason_topic_and_time_of_rejection(selection: Selection, expected: list[int]) -> None:
    """Every condition given must hold; `since` belongs to the span, `until` does not; `received` plays no part."""
    rejects = [
        reject(1),
        reject(2, reason="malformed_json"),
        reject(3, topic="moderation"),
        reject(4, topic="moderation", reason="malformed_json"),
    ]
    letters = [letter(item.offset, encoder.encode(item), item.offset * 1_000) for item in rejects]
    assert offsets(surveyed(*letters, selection=selection)) == expected


def test_only_the_inputs_of_these_settings_are_written_to() -> None:
    """A dead letter cannot make redrive write to another topic, a partition that is not there, or a file."""
    rejects = [
        reject(1, topic="risk.events"),
        reject(2, partition=2),
        reject(3, partition=-1),
        reject(4, stage="source"),
        reject(5, stage="profile", reason="internal_error", received=None),
    ]
    survey = surveyed(*(letter(item.offset, encoder.encode(item)) for item in rejects))
    assert offsets(survey) == [5]
    assert "4 rejects come from a file, or from no topic and partition of the inputs." in survey.lines(None)


def test_the_table_counts_by_reason_and_topic_and_shows_no_content() -> None:
    """What is to be sent and what was before stand side by side; keys and values are nowhere."""
    survey = surveyed(
        *(letter(at, encoder.encode(reject(at))) for at in range(3)),
        letter(3, encoder.encode(reject(9, topic="moderation", reason="malformed_json"))),
        letter(4, None, headers=marker(b"chat", b"1", b"2")),
        letter(5, b"neither"),
    )
    assert list(survey.lines(None)) == [
        "reason          topic       to send  redriven before",
        "malformed_json  moderation        1                0",
        "too_large       chat              2                1",
        "1 dead letters cannot be read as rejects: unknown_framing.",
        "3 records would be sent again; --send sends them.",
    ]
    assert list(survey.lines(3))[-1] == "3 records sent again."


def refused(*arguments: str, code: int | None = None) -> str:
    result = CliRunner().invoke(main, ["redrive", *arguments])
    assert result.exit_code in ((ExitCode.BUG, ExitCode.USAGE) if code is None else (code,)), result.output
    assert isinstance(result.exception, SystemExit)
    return result.stderr.splitlines()[-1]


def test_an_unknown_reason_is_answered_with_those_there_are(tmp_path: Path) -> None:
    """A reason that nothing is ever rejected for selects nothing, so it is a mistake."""
    said = refused("--reason", "too_big", "--settings", str(tmp_path / "none.toml"))
    assert said.startswith("Error: Invalid value for '--reason': 'too_big' is not one of ")
    assert all(f"'{reason.value}'" in said for reason in RejectReason)


def test_a_topic_that_is_no_input_is_answered_with_the_inputs(tmp_path: Path) -> None:
    """Known before Kafka is asked anything."""
    settings = tmp_path / "settings.toml"
    settings.write_text('[kafka]\nbootstrap_servers = "127.0.0.1:1"\n')
    assert refused("--topic", "risk.events", "--settings", str(settings)) == (
        "Error: risk.events is no input topic of these settings: choose chat.messages or moderation.events."
    )


def test_without_a_broker_it_says_so_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both the dry run and the real one end with where Kafka was looked for."""
    monkeypatch.setattr("dataflows.kafka.topics.ANSWER_SECONDS", 0.5)
    settings = tmp_path / "settings.toml"
    settings.write_text('[kafka]\nbootstrap_servers = "127.0.0.1:1"\n')
    for arguments in ((), ("--send",)):
        said = refused("--settings", str(settings), *arguments, code=ExitCode.TRY_AGAIN)
        assert said.startswith("Error: Topic ")
        assert said.endswith("check that Kafka runs at 127.0.0.1:1 and that this user is allowed to.")
