"""A user as plain data that JSON can hold, and back, for those who keep state in a store."""

from __future__ import annotations

from typing import Any

from tests.bench.peers.job import User
from tests.bench.peers.profile import DAY_HOPS, MONTH_HOPS, WEEK_HOPS, Profile
from tests.bench.peers.window import Highest, Latest, Tiles


def dump(user: User) -> list[Any]:
    """Everything but the vectors of the points that wait, which are stored one by one."""
    labels = user.labels
    waiting = [labels.facts, labels.waiting, labels.highest, list(labels.offered.items())]
    return [_profile(user.profile), [*waiting, labels.escalations, labels.weight], user.standing]


def load(state: list[Any], vectors: Any) -> User:
    """The user that was dumped."""
    user = User(vectors)
    profile, labels, standing = state
    user.profile = _profile_from(profile)
    facts, waiting, user.labels.highest, offered, *rest = labels
    user.labels.facts = [(fact, time, by) for fact, time, by in facts]
    user.labels.waiting = [(key, time, number) for key, time, number in waiting]
    user.labels.offered = dict(offered)
    escalations, user.labels.weight = rest
    user.labels.escalations = [(cause, time, learnt, weight) for cause, time, learnt, weight in escalations]
    tier, expires, entered_at, entered = standing
    user.standing = (tier, expires, entered_at, entered)
    return user


def _profile(profile: Profile) -> list[Any]:
    rare = [None if tiles is None else _tiles(tiles) for tiles in (profile.week, profile.month)]
    toxic = None if profile.toxic is None else list(profile.toxic.tiles.items())
    latest = [list(one.times.items()) for one in (profile.channels, profile.recipients, profile.reporters)]
    return [
        [profile.clock, profile.first, profile.spoke, profile.reported, profile.exposed],
        [profile.events, profile.sessions, profile.first_session],
        [_tiles(profile.minutes), _tiles(profile.hour), _tiles(profile.day)],
        rare,
        [*profile.message_decays, profile.toxicity_decay, profile.report_decay],
        toxic,
        latest,
        profile.ledger,
        profile.texts,
        list(profile.seen),
    ]


def _profile_from(state: list[Any]) -> Profile:
    new = Profile()
    times, counts, windows, (week, month), decays, toxic, latest, new.ledger, new.texts, seen = state
    new.clock, new.first, new.spoke, new.reported, new.exposed = times
    new.events, new.sessions, new.first_session = counts
    for tiles, stored in zip((new.minutes, new.hour, new.day), windows, strict=True):
        _fill(tiles, stored)
    new.week = None if week is None else _fill(Tiles(WEEK_HOPS, 2), week)
    new.month = None if month is None else _fill(Tiles(MONTH_HOPS, 1), month)
    *messages, new.toxicity_decay, new.report_decay = decays
    new.message_decays = (messages[0], messages[1])
    new.toxic = None if toxic is None else Highest(DAY_HOPS, dict(toxic))
    new.channels, new.recipients, new.reporters = (Latest(dict(one)) for one in latest)
    new.seen = dict.fromkeys(seen)
    return new


def _tiles(tiles: Tiles) -> list[Any]:
    return [tiles.tile, tiles.totals, list(tiles.rows)]


def _fill(tiles: Tiles, state: list[Any]) -> Tiles:
    tiles.tile, tiles.totals, rows = state
    tiles.rows.extend(rows)
    return tiles
