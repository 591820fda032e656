"""Writing and reading back: whatever is valid comes back equal, in Avro and in JSON."""

from __future__ import annotations

from math import isnan, nan
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from schemas.codec.feature_rows import FeatureRowEncoder
from schemas.codec.inputs import Codec, Decoder, Encoder, UnreadableError, encode_json
from schemas.records.base import CHAT, MAX_TIME, MODERATION
from schemas.records.decisions import FeatureRow, Tier
from schemas.records.events import ChatMessage, ModerationEvent
from schemas.records.rejects import RejectReason
from schemas.released.catalogue import released
from tests.kit.records import LAWFUL, MESSAGE, SANCTION, raw, rejected

CODEC = Codec()
TEXTS = st.text(min_size=1, max_size=20)
TIMES = st.integers(0, MAX_TIME)
CHATS = st.builds(
    ChatMessage,
    event_id=TEXTS,
    event_time=TIMES,
    user_id=TEXTS,
    channel=TEXTS,
    text=st.none() | st.text(max_size=50),
    recipients=st.lists(TEXTS, max_size=5).map(tuple),
    locale=st.none() | TEXTS,
    age_band=st.none() | TEXTS,
    scores=st.lists(
        st.fixed_dictionaries({"scorer": TEXTS, "version": TEXTS, "value": st.floats(0, 1)}), max_size=3
    ).map(tuple),
)
DETAILS = {
    "report": st.fixed_dictionaries({}, optional={"reporter_id": TEXTS, "category": TEXTS, "message_id": TEXTS}),
    "sanction": st.fixed_dictionaries(
        {"action": st.sampled_from(["mute", "ban", "other"]), "severity": st.integers(1, 5), "policy": TEXTS},
        optional={"source": st.sampled_from(["human", "automated"])},
    ),
    "reversal": st.fixed_dictionaries({"sanction_id": TEXTS}, optional={"reason": TEXTS}),
    "exposure": st.fixed_dictionaries({"intervention": TEXTS, "arm": TEXTS, "probability": st.floats(0, 1)}),
    "erasure": st.none(),
}
MODERATIONS = st.sampled_from(sorted(DETAILS)).flatmap(
    lambda kind: st.builds(
        lambda detail, **rest: ModerationEvent.model_validate({**rest, "kind": kind, kind: detail}),
        DETAILS[kind],
        event_id=TEXTS,
        event_time=TIMES,
        user_id=TEXTS,
    )
)


@LAWFUL
@given(CHATS)
def test_every_chat_message_comes_back(record: ChatMessage) -> None:
    """The codec reads what the encoder writes, whatever the text."""
    assert CODEC.decode(raw(Encoder(CHAT).encode(record))) == record
    assert CODEC.decode(raw(encode_json(record))) == record


@LAWFUL
@given(MODERATIONS)
def test_every_moderation_event_comes_back(record: ModerationEvent) -> None:
    """Of every kind, with and without what its detail may leave out."""
    assert CODEC.decode(raw(Encoder(MODERATION).encode(record), MODERATION)) == record
    assert CODEC.decode(raw(encode_json(record), MODERATION)) == record


@LAWFUL
@given(st.dictionaries(TEXTS, st.none() | st.floats(allow_nan=False, allow_infinity=False), max_size=6))
def test_features_come_back_with_the_absent_ones_absent(features: dict[str, float | None]) -> None:
    """None is not zero, on either way."""
    row = FeatureRow(
        user_id="u",
        as_of=1,
        event_id="e",
        score=None,
        insufficient_history=True,
        tier="none",
        model_version="",
        features=features,
    )
    for value in (Encoder("feature_row").encode(row), encode_json(row)):
        assert Decoder("feature_row").decode(value) == row


@LAWFUL
@given(data=st.data(), names=st.lists(TEXTS, min_size=1, max_size=5, unique=True), rows=st.integers(0, 4))
def test_rows_of_a_matrix_are_written_as_each_by_itself(data: st.DataObject, names: list[str], rows: int) -> None:
    """To the byte, with features and scores absent, and any number of either."""
    shape = (rows, len(names))
    matrix = data.draw(arrays(np.float64, shape, elements=st.floats(allow_infinity=False)))
    told = st.tuples(TEXTS, TIMES, TEXTS, st.just(nan) | st.floats(0, 1), st.sampled_from([*Tier]), TEXTS)
    others = data.draw(st.lists(told, min_size=rows, max_size=rows))
    wanted = [
        Encoder("feature_row").encode(
            FeatureRow.model_construct(
                user_id=user,
                as_of=as_of,
                event_id=event,
                score=None if isnan(score) else score,
                insufficient_history=isnan(score),
                tier=tier,
                model_version=version,
                features={name: None if isnan(value) else value for name, value in zip(names, row, strict=True)},
            )
        )
        for row, (user, as_of, event, score, tier, version) in zip(matrix.tolist(), others, strict=True)
    ]
    columns: list[list[Any]] = [list(column) for column in zip(*others, strict=True)] or [[]] * 6
    assert FeatureRowEncoder(names).encode_rows(matrix, *columns) == wanted


def test_json_is_one_line_in_the_order_of_the_fields() -> None:
    """Equal records give equal bytes, which files that must be byte-identical stand on."""
    line = encode_json(MESSAGE.model_copy(update={"text": "two\nlines"}))
    assert b"\n" not in line
    assert list(orjson.loads(line)) == list(ChatMessage.model_fields)


def test_an_encoder_writes_its_own_records_only() -> None:
    """A record of another subject is a mistake in our own code, and said at once."""
    with pytest.raises(TypeError, match="this encoder writes ChatMessage, not ModerationEvent"):
        Encoder(CHAT).encode(SANCTION)


def test_without_a_registry_the_frame_names_the_latest_schema() -> None:
    """Two magic bytes and the fingerprint, as the Avro specification has them."""
    assert Encoder(CHAT).encode(MESSAGE)[:10] == b"\xc3\x01" + released().fingerprint(CHAT, released().latest(CHAT))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", RejectReason.EMPTY_VALUE),
        (b"\xc3\x01" + bytes(8), RejectReason.UNKNOWN_SCHEMA),
        (b'{"reason":"too_large"}', RejectReason.MISSING_FIELD),
        (b'{"key":"%%%"}', RejectReason.INVALID_FIELD),
        (b'{"key":7}', RejectReason.INVALID_FIELD),
    ],
)
def test_a_decoder_says_why_our_own_topic_cannot_be_read(value: bytes, reason: RejectReason) -> None:
    """It raises, because on our own topics an unreadable record is a fault."""
    with pytest.raises(UnreadableError) as caught:
        Decoder("reject").decode(value)
    assert caught.value.reason is reason


def test_the_bytes_of_a_reject_are_base64_in_json() -> None:
    """Any tool can open them."""
    reject = rejected(CODEC.decode(raw(b"\xff\x00")))
    assert orjson.loads(encode_json(reject))["value"] == "/wA="
