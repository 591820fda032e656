"""From bytes to a checked event: orjson, and checks by hand of everything the schemas ask for."""

from __future__ import annotations

from typing import Any

import orjson

CHAT, MODERATION = "chat_message", "moderation_event"
MAX_BYTES = 1_048_576
MAX_TIME = 253_402_300_799_999
ALLOWED_SKEW = 300_000
ACTIONS = frozenset({"warning", "mute", "kick", "suspension", "ban", "other"})
SOURCES = frozenset({"human", "automated", "unknown"})
DETAILS = ("report", "sanction", "reversal", "exposure")
KINDS = frozenset({*DETAILS, "erasure"})


class InvalidError(ValueError):
    """A record that is no event."""


def decode(subject: str, value: bytes | None, received: int | None = None) -> dict[str, Any]:
    """The event in a record's value.

    Raises:
        InvalidError: if there is none.
    """
    if value is None or len(value) > MAX_BYTES:
        raise InvalidError("value")
    try:
        event = orjson.loads(value)
    except orjson.JSONDecodeError:
        raise InvalidError("json") from None
    return check(subject, event, received)


def check(subject: str, event: Any, received: int | None = None) -> dict[str, Any]:
    """The event itself, if everything about it is as it should be."""
    if type(event) is not dict:
        raise InvalidError("object")
    get = event.get
    _text(get("event_id"), 256)
    _text(get("user_id"), 256)
    time = get("event_time")
    if type(time) is not int or not 0 <= time <= MAX_TIME:
        raise InvalidError("event_time")
    if received is not None and time - received > ALLOWED_SKEW:
        raise InvalidError("future")
    if subject == CHAT:
        _check_message(event)
    else:
        _check_moderation(event)
    return event


def _check_message(event: dict[str, Any]) -> None:
    get = event.get
    _text(get("channel"), 128)
    text = get("text")
    if text is not None and (type(text) is not str or len(text) > 65_536):
        raise InvalidError("text")
    if recipients := get("recipients"):
        if type(recipients) is not list or len(recipients) > 1_024:
            raise InvalidError("recipients")
        for recipient in recipients:
            _text(recipient, 256)
    for name, most in (("locale", 35), ("age_band", 32)):
        label = get(name)
        if label is not None and (type(label) is not str or len(label) > most):
            raise InvalidError(name)
    if scores := get("scores"):
        if type(scores) is not list or len(scores) > 64:
            raise InvalidError("scores")
        for score in scores:
            if type(score) is not dict:
                raise InvalidError("scores")
            _text(score.get("scorer"), 128)
            _text(score.get("version"), 128)
            _unit(score.get("value"))


def _check_moderation(event: dict[str, Any]) -> None:
    get = event.get
    kind = get("kind")
    if kind not in KINDS:
        raise InvalidError("kind")
    for name in DETAILS:
        if (get(name) is not None) != (name == kind):
            raise InvalidError(name)
    if kind == "erasure":
        return
    detail = event[kind]
    if type(detail) is not dict:
        raise InvalidError(kind)
    get = detail.get
    if kind == "sanction":
        severity = get("severity")
        if type(severity) is not int or not 1 <= severity <= 5:
            raise InvalidError("severity")
        if get("action") not in ACTIONS or get("source", "unknown") not in SOURCES:
            raise InvalidError("sanction")
        _text(get("policy"), 128)
    elif kind == "report":
        for name, most in (("reporter_id", 256), ("category", 128), ("channel", 128), ("message_id", 256)):
            if get(name) is not None:
                _text(get(name), most)
    elif kind == "reversal":
        _text(get("sanction_id"), 256)
        if get("reason") is not None:
            _text(get("reason"), 128)
    else:
        _text(get("intervention"), 128)
        _text(get("arm"), 128)
        _unit(get("probability"))


def _text(value: Any, most: int) -> None:
    if type(value) is not str or not 0 < len(value) <= most:
        raise InvalidError("text")


def _unit(value: Any) -> None:
    if type(value) not in (float, int) or not 0.0 <= value <= 1.0:
        raise InvalidError("number")
