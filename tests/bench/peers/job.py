"""The benchmark's job, written by hand: what somebody who needs speed would write who does not use forewarn.

An event is checked, counted into its user's windows, scored by the model as it is now, learnt from, and answered with
a risk event where the user's tier changes. Nothing here imports forewarn.
"""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b
from typing import Any

from tests.bench.peers.checks import CHAT, MODERATION
from tests.bench.peers.labels import HORIZON, Labels
from tests.bench.peers.model import Features, Model, squash
from tests.bench.peers.profile import Profile

LATENESS = 3_600_000
PROFILE_TTL = 31_536_000_000
EXPIRY, COOLDOWN = 86_400_000, 3_600_000
TIERS = ("none", "watch", "elevated", "high")
ENTER, LEAVE = (0.01, 0.05, 0.15), (0.005, 0.03, 0.10)
QUIET = LEAVE[0]
POLICY = "ubuntu_irc"

Standing = tuple[int, int, int, int]
"""A tier, until when it holds, and when which was last entered."""
CLEAR: Standing = (0, 0, -1, 0)
Answer = dict[str, Any]
"""A risk event; or a tombstone, which says so."""


class User:
    """All that is kept of one user: aggregates, points that wait, and the tier they are in."""

    __slots__ = ("labels", "profile", "standing")

    def __init__(self, vectors: Any = None) -> None:
        self.profile = Profile()
        self.labels = Labels(vectors)
        self.standing = CLEAR


class Job:
    """Every user and the one model. Whoever keeps users elsewhere calls `step`."""

    def __init__(self) -> None:
        self.users: dict[str, User] = {}
        self.model = Model()
        self.counts: Counter[str] = Counter()
        self.x: Features = {}  # the latest event's features, as counted

    def handle(self, subject: str, event: dict[str, Any]) -> Answer | None:
        """What one event comes to: a risk event if its user's tier changes, a tombstone after an erasure."""
        user_id = event["user_id"]
        if subject == MODERATION and event["kind"] == "erasure":
            self.users.pop(user_id, None)
            return tombstone(event)
        user = self.users.get(user_id)
        if user is None:
            user = self.users[user_id] = User()
        return self.step(user, subject, event)

    def step(self, user: User, subject: str, event: dict[str, Any]) -> Answer | None:
        """The same for a user, in place."""
        x = self.features(user, subject, event)
        if x is None:
            return None
        model, labels, profile = self.model, user.labels, user.profile
        if subject != CHAT:
            for z, weight in relabel(user, event):
                if weight > 0:
                    model.learn(z, label=True, weight=weight)
                else:
                    model.take_back(z, -weight)
        z = squash(x)
        probability = model.probability(z)
        if labels.offer(event["user_id"], profile.clock, profile.events, z):
            model.learn(z, label=False)
        changed = decide(user.standing, probability, profile.clock)
        if changed is None:
            return None
        tiers, user.standing = changed
        return risk_event(event, profile.clock, tiers, user.standing, probability, model.reasons(x, z))

    def features(self, user: User, subject: str, event: dict[str, Any]) -> Features | None:
        """Count an event, and read the features; None for one that is late or was there before."""
        profile, time = user.profile, event["event_time"]
        clock = profile.clock
        if time < clock - LATENESS:
            self.counts["late"] += 1
            return None
        if 0 <= clock < time - PROFILE_TTL:
            profile = user.profile = Profile()
            user.labels.clear()
        if profile.repeated(event["event_id"]):
            self.counts["duplicate"] += 1
            return None
        self.counts["seen"] += 1
        self.x = x = profile.features(profile.count(subject, event))
        return x


def relabel(user: User, event: dict[str, Any]) -> list[tuple[Features, float]]:
    """The positives that a moderation event makes known, with their weights; less than zero to take one back."""
    labels, kind = user.labels, event["kind"]
    if kind == "report" or (kind == "sanction" and user.profile.stands(event["event_id"])):
        reporter = event["report"].get("reporter_id") if kind == "report" else None
        due = labels.count(event["event_id"], event["event_time"], event["event_id"] if reporter is None else reporter)
        return [(z, labels.weight) for z in due]
    if kind == "reversal":
        return [(z, -weight) for z, weight in labels.overturn(event["reversal"]["sanction_id"])]
    return []


def decide(standing: Standing, probability: float | None, now: int) -> tuple[tuple[int, int], Standing] | None:
    """If a user's tier changes: the tiers before and after, and where the user stands from now on."""
    tier, expires, entered_at, entered = standing
    if now >= expires:
        tier = 0
    if probability is None or (not tier and probability < QUIET):
        return None
    asked = 0
    for rank in (1, 2, 3):
        if probability >= (LEAVE if rank <= tier else ENTER)[rank - 1]:
            asked = rank
    if asked < tier:
        return (tier, asked), (asked, now + EXPIRY if asked else 0, entered_at, entered)
    if asked > tier and not (asked <= entered and entered_at >= 0 and now < entered_at + COOLDOWN):
        return (tier, asked), (asked, now + EXPIRY, now, asked)
    return None


def risk_event(
    event: dict[str, Any],
    now: int,
    changed: tuple[int, int],
    standing: Standing,
    probability: float | None,
    reasons: list[dict[str, Any]],
) -> Answer:
    """What is published of a change of tier."""
    before, after = changed
    identity = f"{event['user_id']}\0{event['event_id']}\0{POLICY}+logistic".encode("utf-8", "surrogatepass")
    return {
        "risk_event_id": blake2b(identity, digest_size=16).hexdigest(),
        "user_id": event["user_id"],
        "as_of": now,
        "tier": TIERS[after],
        "previous_tier": TIERS[before],
        "probability": probability,
        "target": "offends_again",
        "horizon_ms": HORIZON,
        "expires_at": standing[1] if after else now,
        "reasons": reasons,
        "model": "logistic",
        "policy": POLICY,
        "trigger": event["event_id"],
    }


def tombstone(event: dict[str, Any]) -> Answer:
    """What is published of a user who asked to be forgotten."""
    return {"user_id": event["user_id"], "as_of": event["event_time"], "tombstone": True}
