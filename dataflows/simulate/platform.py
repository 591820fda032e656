"""The log of a simulated platform, for demos, load and tests.

It proves nothing about accuracy, because it contains only its own assumptions.
"""

from __future__ import annotations

import gzip
import heapq
import itertools
import math
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson

from dataflows.runtime.atomic import whole_file
from dataflows.simulate.config import SimulationConfig
from dataflows.simulate.moderation import DAY, HOUR, MINUTE, Moderation
from dataflows.simulate.population import NEVER, Bools, Ints, Population
from dataflows.simulate.text import POOL, Phrases
from schemas.errors import ExpectedError
from schemas.records.base import CHAT

__all__ = ["SimulationConfig", "SimulationError", "simulate", "write_log"]

STRETCH = 100_000
"""Upper bound of the mean number of messages drawn at a time, which bounds memory for any length of the log."""

CHANNELS = tuple(f"room-{number:02}" for number in range(24))

VIOLATION, FALSELY_REPORTED = 1, 2
"""Kinds of messages other than harmless ones (0)."""

Event = dict[str, Any]


class SimulationError(ExpectedError, ValueError):
    """A simulation that cannot be made or written."""


class Delivery:
    """Delivery of events to the log, with a few delays and duplicates."""

    def __init__(self, config: SimulationConfig, rng: np.random.Generator) -> None:
        self.late, self.disordered = config.late, config.late + config.disordered
        self.troubled = self.disordered + config.duplicated
        self._rng = rng
        self._count = itertools.count()
        self._held: list[tuple[int, int, Event]] = []
        self.next_at: float = NEVER

    def send(self, event: Event, time: int, luck: float) -> Iterator[Event]:
        """Yield the event now, or delay it, or yield it and delay a duplicate, depending on `luck` in [0, 1)."""
        if luck < self.late:
            self._hold(event, time + 5 * MINUTE + int(self._rng.exponential(3 * HOUR)))
        elif luck < self.disordered:
            self._hold(event, time + 1 + int(self._rng.exponential(5_000)))
        else:
            if luck < self.troubled:
                # Copy the event now, because its receiver may change it.
                self._hold(dict(event), time + 1 + int(self._rng.exponential(30_000)))
            yield event

    def _hold(self, event: Event, until: int) -> None:
        heapq.heappush(self._held, (until, next(self._count), event))
        self.next_at = self._held[0][0]

    def arrive(self) -> Event:
        """Remove and return the held event that arrives first."""
        event = heapq.heappop(self._held)[2]
        self.next_at = self._held[0][0] if self._held else NEVER
        return event


def simulate(config: SimulationConfig) -> Iterator[Event]:
    """Yield at least `config.events` records with their `subject`, in the order in which they reach the log.

    That is the order of event time, except for the few events that are late, disordered or duplicated.
    """
    rng = np.random.default_rng(config.seed)
    numbers = itertools.count()

    def new_id() -> str:
        return f"sim-{config.seed}-{next(numbers):09}"

    people = Population(config, rng)
    phrases = Phrases(rng)
    moderation = Moderation(config, people, rng, new_id)
    delivery = Delivery(config, rng)

    def until(time: float) -> Iterator[Event]:
        """Yield moderation events and held events up to a time (ms from the start)."""
        while (happens := min(moderation.next_at, delivery.next_at)) <= time:
            if delivery.next_at == happens:
                yield delivery.arrive()
            else:
                yield from delivery.send(moderation.due(), int(happens), float(rng.random()))

    for stretch in _stretches(config, rng):
        for event, time, luck, user, kind in _messages(config, rng, people, phrases, new_id, stretch):
            if moderation.next_at <= time or delivery.next_at <= time:
                yield from until(time)
            if kind == VIOLATION:
                moderation.violated(user, time, event["event_id"], event["channel"])
            elif kind == FALSELY_REPORTED:
                moderation.falsely_reported(user, time, event["event_id"], event["channel"])
            if luck < delivery.troubled:
                yield from delivery.send(event, time, luck)
            else:
                yield event
    yield from until(config.span_ms)
    while delivery.next_at < NEVER:
        yield delivery.arrive()


def _stretches(config: SimulationConfig, rng: np.random.Generator) -> Iterator[tuple[int, int, int]]:
    """Yield begin, end (ms from the start) and number of messages of stretches of an hour or less, busier by day."""
    span = config.span_ms
    pieces = min(span, max(math.ceil(span / HOUR), math.ceil(config.events / STRETCH)))
    edges = np.linspace(0, span, pieces + 1).astype(np.int64)
    middles = (edges[:-1] + edges[1:]) / 2
    busy = 1.0 + 0.6 * np.sin(2 * math.pi * (middles / DAY - 0.4))
    counts = rng.multinomial(config.events, busy / busy.sum())
    for begin, end, count in zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True):
        if count:
            yield begin, end, count


def _messages(
    config: SimulationConfig,
    rng: np.random.Generator,
    people: Population,
    phrases: Phrases,
    new_id: Callable[[], str],
    stretch: tuple[int, int, int],
) -> Iterator[tuple[Event, int, float, int, int]]:
    """Yield the messages of a stretch: event, time (ms from the start), luck in delivery, author and kind."""
    begin, end, count = stretch
    times = begin + np.sort(rng.integers(0, end - begin, count))
    users = people.speakers(rng, count, begin)
    violates = rng.random(count) < people.violation_chance(users, times)
    contacts = times >= people.contact_at[users]
    toxic = violates & ~contacts
    kinds = np.where(violates, VIOLATION, np.where(rng.random(count) < config.falsely_reported, FALSELY_REPORTED, 0))
    scores = np.where(toxic, rng.beta(7.0, 3.0, count), rng.beta(1.2, 14.0, count)).round(4)
    homely = rng.random(count) < 0.7
    rooms = np.where(homely, users * 7 % len(CHANNELS), rng.integers(0, len(CHANNELS), count))
    columns = zip(
        times.tolist(),
        users.tolist(),
        kinds.tolist(),
        contacts.tolist(),
        toxic.tolist(),
        scores.tolist(),
        rooms.tolist(),
        _recipients(rng, users, contacts, people.size).tolist(),
        rng.integers(0, POOL, count).tolist(),
        rng.integers(0, POOL, count).tolist(),
        rng.random(count).tolist(),
        strict=True,
    )
    names, start = people.names, config.start_ms
    for time, user, kind, contact, marked, score, room, whom, opening, ending, luck in columns:
        event: Event = {
            "subject": CHAT,
            "event_id": new_id(),
            "event_time": start + time,
            "user_id": names[user],
            "channel": "direct" if contact else CHANNELS[room],
            "text": f"{(phrases.marked if marked else phrases.openings)[opening]} {phrases.endings[ending]}",
            "locale": people.locales[user],
            "age_band": people.age_bands[user],
            "scores": [{"scorer": "sim-toxicity", "version": "1", "value": score}],
        }
        if whom >= 0:
            event["recipients"] = [names[whom]]
        yield event, time, luck, user, kind


def _recipients(rng: np.random.Generator, users: Ints, contacts: Bools, size: int) -> Ints:
    """Return the recipient of each message, -1 for none.

    A quarter of the messages go to one of six friends of the author. Of the messages of contacting users, 95 % go to
    any other user.
    """
    friends = (users + rng.integers(1, 7, len(users))) % size
    strangers = (users + rng.integers(1, size, len(users))) % size
    addressed = rng.random(len(users)) < np.where(contacts, 0.95, 0.25)
    return np.where(addressed, np.where(contacts, strangers, friends), -1)


def write_log(config: SimulationConfig, path: Path | str) -> int:
    """Write a simulation as JSONL, gzipped if the path ends in `.gz`; return the number of events.

    Raises:
        SimulationError: if the path ends in neither `.jsonl` nor `.jsonl.gz`, or cannot be written; nothing is then
            changed.
    """
    path = Path(path)
    if not path.name.lower().endswith((".jsonl", ".jsonl.gz")):
        raise SimulationError(f"{path}: a simulated log is JSONL: name it .jsonl or .jsonl.gz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            if path.suffix.lower() != ".gz":
                return _write(simulate(config), file)
            # No name and no time in the header, so that the same seed gives the same bytes.
            with gzip.GzipFile("", "wb", compresslevel=3, fileobj=file, mtime=0) as zipped:
                return _write(simulate(config), zipped)
    except OSError as error:
        raise SimulationError(f"{path}: cannot be written ({error.strerror}): choose another --out") from None


def _write(events: Iterator[Event], out: IO[bytes] | gzip.GzipFile) -> int:
    written = 0
    while lines := [orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE) for event in islice(events, 1_000)]:
        out.write(b"".join(lines))
        written += len(lines)
    return written
