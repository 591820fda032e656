"""The oracle: every declared feature recomputed from the plain list of a user's events, by its definition alone."""

from __future__ import annotations

from math import isnan, nan
from statistics import fmean, pstdev

from detectors.features.context import QUICK
from detectors.features.declare import (
    HOPS,
    ChannelFeature,
    Decay,
    Feature,
    Ratio,
    Session,
    Shift,
    Since,
    StrikeCount,
    TokenNgram,
    Trend,
    Window,
    duration_ms,
)
from detectors.features.profile import BURST_GAP, PAUSE, SEEN_CAP
from detectors.features.signals import RECENT_TEXTS, SHORTEST_REPEAT
from detectors.features.tokens import FIRST, GAPS, KINDS
from detectors.features.window import DISTINCT_CAP
from detectors.text.normalise import plain, visible
from schemas.records.events import ChatMessage, Event
from tests.kit.streams import found_by

Occurrence = tuple[str, float | str, int]
"""Signal, amount or key, event time."""


def outcomes(events: list[Event], lateness: int, ttl: int) -> list[tuple[str, bool]]:
    """What each event of one user is: late, duplicate or seen; and whether it comes after a silence beyond `ttl`.

    Then nothing from before counts for anything that comes after.
    """
    clock, ids = -1, []
    said: list[tuple[str, bool]] = []
    for event in events:
        anew = clock >= 0 and event.event_time - clock > ttl
        if anew:
            ids = []
        if event.event_time < clock - lateness:
            said.append(("late", False))
        elif event.event_id in ids[-SEEN_CAP:]:
            said.append(("duplicate", False))
        else:
            said.append(("seen", anew))
            ids.append(event.event_id)
            clock = max(clock, event.event_time)
    return said


def _is_repeat(text: str, earlier: list[str]) -> bool:
    recent: list[str] = []
    for other in reversed(earlier):
        if other not in recent:
            recent.append(other)
    return text in recent[:RECENT_TEXTS]


def occurrences(events: list[Event]) -> list[Occurrence]:
    """Every signal of the seen events, sanctions as they stand after the reversals among them."""
    found: list[Occurrence] = []
    texts: list[str] = []
    said: list[int] = []
    for event in events:
        time = event.event_time
        if isinstance(event, ChatMessage):
            found += [("message", 1, time), ("channel", event.channel, time)]
            found += [("recipient", recipient, time) for recipient in event.recipients]
            if event.text is not None:
                found.append(("length", len(event.text), time))
                if len(visible(event.text)) >= SHORTEST_REPEAT:
                    if _is_repeat(plain(event.text), texts):
                        found.append(("repeat", 1, time))
                    texts.append(plain(event.text))
            if event.scores:
                found.append(("toxicity", max(score.value for score in event.scores), time))
            found += _pace(time, said)
            said.append(time)
            found += _in_channel(event)
        elif event.report is not None:
            found.append(("report", 1, time))
            if event.report.reporter_id is not None:
                found.append(("reporter", event.report.reporter_id, time))
        elif event.exposure is not None:
            found.append(("exposure", 1, time))
        elif event.reversal is not None:
            found.append(("reversal", 1, time))
    return (
        found
        + [("sanction", 1, time) for time, _ in upheld(events)]
        + [("sanction_severity", severity, time) for time, severity in upheld(events)]
    )


def _pace(time: int, said: list[int]) -> list[Occurrence]:
    """A message's gap to the one before, and its place in a burst; none for one that comes out of order."""
    in_order = [at for place, at in enumerate(said) if at >= max(said[: place + 1])]
    if not in_order or time < in_order[-1]:
        return []
    times = [*in_order, time]
    run = 1
    while run < len(times) and times[-run] - times[-run - 1] <= BURST_GAP:
        run += 1
    gap: list[Occurrence] = [("gap", (time - in_order[-1]) // 1000, time)]
    return gap + ([("burst", run, time)] if run > 1 else [])


def _in_channel(event: ChatMessage) -> list[Occurrence]:
    """What a message's channel says of it."""
    context, found = found_by(event), list[Occurrence]()
    if context is None:
        return []
    if not isnan(context.lag):
        found.append(("answer", 1, event.event_time))
        if context.lag <= QUICK:
            found.append(("quick_answer", 1, event.event_time))
    if event.scores and not isnan(context.toxicity):
        excess = max(score.value for score in event.scores) - context.toxicity
        found.append(("excess", excess, event.event_time))
    return found


def session(events: list[Event]) -> tuple[int, int, int, int]:
    """Events in the present session, when it began, how many there were, and the events in the first."""
    clock, sessions = -1, list[tuple[int, int]]()
    for event in events:
        if clock < 0 or event.event_time - clock > PAUSE:
            sessions.append((event.event_time, 0))
        began, count = sessions[-1]
        sessions[-1] = began, count + 1
        clock = max(clock, event.event_time)
    return sessions[-1][1], sessions[-1][0], len(sessions), sessions[0][1]


def upheld(events: list[Event]) -> list[tuple[int, int]]:
    """Time and severity of the sanctions that no reversal names; of a sanction heard of twice, the later word."""
    chat_free = [event for event in events if not isinstance(event, ChatMessage)]
    reversed_ids = {event.reversal.sanction_id for event in chat_free if event.reversal is not None}
    standing = {
        event.event_id: (event.event_time, event.sanction.severity)
        for event in chat_free
        if event.sanction is not None and event.event_id not in reversed_ids
    }
    return list(standing.values())


def window(found: list[Occurrence], signal: str, span: str, now: int) -> list[float | str]:
    """The amounts (or keys) of a signal that a sawtooth window covers at `now`."""
    hop = duration_ms(HOPS[span])
    start = (now - duration_ms(span)) // hop * hop
    return [amount for name, amount, time in found if name == signal and start <= time <= now]


def feature(declared: Feature, events: list[Event], strike_expiry: int) -> float:
    """One declared feature after the last of `events`, all of them seen."""
    now = max(event.event_time for event in events)
    found = occurrences(events)
    match declared:
        case Window(signal, aggregate, span):
            covered = window(found, signal, span, now)
            if aggregate == "count":
                return len(covered)
            if aggregate == "distinct":
                return min(len(set(covered)), DISTINCT_CAP)
            if aggregate == "sum":
                return sum(covered)
            if aggregate == "max":
                return max(covered, default=nan)
            if aggregate == "spread":
                return pstdev(covered) / abs(fmean(covered)) if len(covered) > 1 and sum(covered) else nan
            return sum(covered) / len(covered) if covered else nan
        case Shift(signal, short, long):
            means = [window(found, signal, span, now) for span in (short, long)]
            return fmean(means[0]) - fmean(means[1]) if all(means) else nan
        case Session(happening):
            count, began, number, first = session(events)
            return {"count": count, "since": (now - began) / 1000, "number": number, "first": first}[happening]
        case ChannelFeature(surrounding):
            contexts = [context for event in events if (context := found_by(event)) is not None]
            return float(getattr(contexts[-1], surrounding)) if contexts else nan
        case Ratio(signal, span, per):
            base = len(window(found, per, span, now))
            return len(window(found, signal, span, now)) / base if base else nan
        case Trend(signal, short, long):
            base = len(window(found, signal, long, now)) / duration_ms(long)
            return len(window(found, signal, short, now)) / duration_ms(short) / base if base else nan
        case Decay(signal, half_life):
            return sum(
                amount * 2.0 ** (-(now - time) / duration_ms(half_life))
                for name, amount, time in found
                if name == signal
            )
        case Since("first"):
            return (now - min(event.event_time for event in events)) / 1000
        case Since(signal):
            # what was before the triggering event, but as it stands since: a reversal is heard at once
            current = [] if signal == "sanction" and not _is_sanction(events[-1]) else [events[-1]]
            before = [time for name, _, time in occurrences(events[: len(events) - len(current)]) if name == signal]
            return (now - max(before)) / 1000 if before else nan
        case TokenNgram(length):
            places = range(max(0, len(events) - length), len(events))
            return sum(token(events, place) * 256 ** (len(events) - 1 - place) for place in places)
        case StrikeCount():
            return sum(1 for time, _ in upheld(events) if time >= now - strike_expiry)


def _is_sanction(event: Event) -> bool:
    return not isinstance(event, ChatMessage) and event.sanction is not None


def token(events: list[Event], place: int) -> int:
    """The number of the kind and the gap of the event at this place, counted from 1."""
    event, before = events[place], events[:place]
    if not before:
        gap = FIRST
    else:
        passed = max(0, event.event_time - max(earlier.event_time for earlier in before))
        gap = sum(passed > duration_ms(limit) for limit in GAPS)
    return 1 + KINDS.index(kind(event, before)) * 8 + gap


def kind(event: Event, before: list[Event]) -> str:
    """The kind of an event, in words."""
    if not isinstance(event, ChatMessage):
        return event.kind if event.sanction is None else f"sanction of severity {event.sanction.severity}"
    messages = [earlier for earlier in before if isinstance(earlier, ChatMessage)]
    words = ["message"]
    if any(name == "repeat" for name, _, _ in occurrences([*messages, event])[len(occurrences(messages)) :]):
        words.insert(0, "repeated")
    if messages and messages[-1].channel != event.channel:
        words.append("elsewhere")
    if event.scores:
        toxicity = max(score.value for score in event.scores)
        words.append(f"of {'low' if toxicity <= 0.3 else 'some' if toxicity <= 0.7 else 'high'} toxicity")
    return " ".join(words)
