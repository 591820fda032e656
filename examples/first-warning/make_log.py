"""Write log.csv: twelve days of a made-up game community, always the same bytes.

Run it with `python examples/first-warning/make_log.py`. Names are numbers; nobody in it exists.
"""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

START = datetime(2026, 3, 2, tzinfo=UTC)
DAYS = 12
ROOMS = ("lobby", "trade", "raid", "help")
FRIENDLY = (
    "anyone up for a raid tonight?",
    "thanks, that worked",
    "good game all",
    "selling 40 iron ore, fair price",
    "which quest gives the lantern?",
    "brb, dinner",
    "nice shot!",
    "the bridge is open again after the patch",
)
HARSH = (
    "uninstall, you are useless",
    "nobody wants you in this group",
    "learn to play or leave",
    "worst healer on this server, again",
)
CALM, DRIFTING = 56, 24
Row = tuple[datetime, str, str, str, str, str, str]


def calm(rng: Random, who: str) -> list[Row]:
    """Yield the events of a user who talks a little on most days and is reported now and then for no reason."""
    rows: list[Row] = []
    for day in range(DAYS):
        if rng.random() < 0.7:
            at = START + timedelta(days=day, minutes=rng.uniform(420, 1380))
            for _ in range(rng.randint(1, 5)):
                rows.append((at, "say", who, rng.choice(ROOMS), rng.choice(FRIENDLY), "", ""))
                at += timedelta(minutes=rng.expovariate(1 / 6))
            if rng.random() < 0.03:
                rows.append((at, "report", f"p{rng.randint(1, CALM):03d}", "", "rude", who, ""))
    return rows


def drifting(rng: Random, who: str) -> list[Row]:
    """Yield the events of a user who begins to quarrel: harsher messages, reports, a warning, at last a mute."""
    turns = rng.randint(1, DAYS - 3)
    rows = [row for row in calm(rng, who) if row[0] < START + timedelta(days=turns)]
    reforms = rng.random() < 0.25
    for quarrel in range(rng.randint(2, 3)):
        at = START + timedelta(days=turns, hours=10 + 9 * quarrel + rng.uniform(0, 2))
        for number in range(rng.randint(8, 16)):
            text = rng.choice(HARSH if rng.random() < 0.6 else FRIENDLY)
            rows.append((at, "say", who, "raid", text, "", ""))
            at += timedelta(minutes=rng.expovariate(1 / 1.5))
            if number % 5 == 4:
                rows.append((at, "report", f"p{rng.randint(1, CALM):03d}", "", "abuse", who, ""))
        if quarrel == 0:
            rows.append((at + timedelta(minutes=5), "act", "mod-1", "", "warning", who, "2"))
    if not reforms:
        rows.append((at + timedelta(hours=rng.uniform(0.5, 3)), "act", "mod-2", "", "mute", who, "3"))
    return rows


def main() -> None:
    """Write the log beside this file."""
    rng = Random(11)  # noqa: S311 - a log, not a secret
    rows: list[Row] = []
    for number in range(1, CALM + DRIFTING + 1):
        rows += (calm if number <= CALM else drifting)(rng, f"p{number:03d}")
    rows.sort()
    with Path(__file__).with_name("log.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("time", "kind", "who", "room", "text", "about", "severity"))
        writer.writerows((row[0].strftime("%Y-%m-%dT%H:%M:%SZ"), *row[1:]) for row in rows)


if __name__ == "__main__":
    main()
