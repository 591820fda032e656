"""Golden scenarios: a story in TOML, and what forewarn says of it in JSON lines that can be checked by hand.

A story has a `policy`, perhaps a `model` whose probability is `base` times one plus each weighted feature, and
`events` in the order of the log, each dated `at` a time after the story begins.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from dataflows.testing import START, DriverResult, FlowDriver, hand_made_model, small_policy
from detectors.features.declare import duration_ms
from schemas.records.decisions import ModelVersion, Reason, RiskEvent

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Scenario:
    """A story as it was read; `driver` tells it to a driver."""

    story: dict[str, Any]

    @classmethod
    def named(cls, name: str) -> Scenario:
        """The scenario in a file of this folder."""
        return cls(tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8")))

    @property
    def model(self) -> ModelVersion | None:
        """The model to pin, if the story has one; otherwise models learn."""
        model = self.story.get("model")
        return None if model is None else hand_made_model(model["base"], model["weights"])

    def driver(self, *, crash_every: int = 0) -> FlowDriver:
        """A driver that was told the story, and dies before every so many events if asked to."""
        driver = FlowDriver(small_policy(**self.story["policy"]))
        for number, event in enumerate(self.story["events"]):
            if crash_every and number % crash_every == crash_every - 1:
                driver.crash()
            tell(driver, number, dict(event))
        return driver


def tell(driver: FlowDriver, number: int, event: dict[str, Any]) -> None:
    """Feed one event of a story."""
    fields = {"event_id": event.pop("id", f"e{number}"), "event_time": START + duration_ms(event.pop("at"))}
    (kind,) = event.keys() & {"chat", "report", "sanction", "reversal", "erasure"}
    user = event.pop(kind)
    match kind:
        case "chat":
            driver.chat(user, **fields, **event)
        case "report":
            driver.report(user, event.pop("by"), **fields)
        case "sanction":
            driver.sanction(user, event.pop("severity"), **fields)
        case "reversal":
            driver.reverse(user, event.pop("of"), **fields)
        case _:
            driver.erase(user, **fields)


def clock(time: int) -> str:
    """A time as it is written in stories, exact to the millisecond."""
    rest, parts = time - START, []
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)):
        amount, rest = divmod(rest, length)
        if amount:
            parts.append(f"{amount}{unit}")
    return " ".join(parts) or "0s"


def told(result: DriverResult) -> Iterator[dict[str, Any]]:
    """What subscribers and operators are told, stream by stream; what a crash made come twice is told once.

    Numbers are rounded, because the last bits of a logarithm are the machine's own business.
    """
    for event in dict.fromkeys(result.risk):
        if not isinstance(event, RiskEvent):
            yield {"erased": event.user_id, "at": clock(event.as_of)}
            continue
        yield {
            "user": event.user_id,
            "at": clock(event.as_of),
            "by": event.trigger.event_id,
            "tier": f"{event.previous_tier} -> {event.tier}",
            "probability": None if event.probability is None else round(event.probability, 4),
            "until": clock(event.expires_at),
            "because": [_reason(reason) for reason in event.reasons],
            "note": event.model_note,
            "id": event.risk_event_id,
        }
    for outcome in dict.fromkeys(result.outcomes):
        yield {"outcome": outcome.kind, "user": outcome.user_id, "at": clock(outcome.as_of)}
    for late in dict.fromkeys(result.late):
        yield {"late": late.event.event_id, "at": clock(late.event.event_time)}
    for version in dict.fromkeys(result.versions):
        yield {
            "version": version.name,
            "learned_until": None if version.learned_until is None else clock(version.learned_until),
            "examples": version.examples,
            "positives": version.positives,
        }
    points = {row.point.event_id: row.point.user_id for row in result.served}
    yield {"points": dict(sorted(Counter(points.values()).items()))}


def _reason(reason: Reason) -> str:
    value = "absent" if reason.value is None else f"{reason.value:.4g}"
    moved = "" if reason.contribution is None else f" ({reason.contribution:+.3f})"
    return f"{reason.detector}: {reason.feature} {value}{moved}"


def rendered(result: DriverResult) -> bytes:
    """The expected file this result would be."""
    return b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in told(result))
