"""Errors of unreadable records: a reason from the closed list, and a detail that never contains a value."""

from __future__ import annotations

from math import isfinite

from pydantic import ValidationError

from schemas.records.rejects import RejectReason


class UnreadableError(ValueError):
    """Bytes that are no record. `reason` and `detail` go into the Reject; `detail` never contains a value."""

    def __init__(self, reason: RejectReason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail


def classify(error: ValidationError) -> tuple[RejectReason, str]:
    """Return the reject reason and the detail of a pydantic error, from the first field it reports."""
    first = error.errors(include_url=False, include_context=False)[0]
    kind, given = first["type"], first["input"]
    path = ".".join(map(str, first["loc"]))
    if kind == "missing":
        return RejectReason.MISSING_FIELD, path
    if kind == "string_unicode":
        return RejectReason.INVALID_UTF8, path
    if isinstance(given, float) and not isfinite(given):
        return RejectReason.NON_FINITE_NUMBER, path
    if path == "event_time" and kind == "greater_than_equal":
        return RejectReason.NEGATIVE_TIMESTAMP, path
    if path == "event_time" and kind == "less_than_equal":
        return RejectReason.FUTURE_TIMESTAMP, "event_time: beyond the year 9999"
    if not path:
        return RejectReason.INVALID_FIELD, "kind: not the detail that is present" if kind == "value_error" else kind
    return RejectReason.INVALID_FIELD, f"{path}: {kind}"
