"""One user's aggregates: counted event by event, read as a dict of features, absent ones left out.

Everything in it is plain data: see `state` for how it is stored.
"""

from __future__ import annotations

from math import exp2
from typing import Any
from zlib import crc32

from detectors.text.normalise import meant, visible
from tests.bench.peers.checks import CHAT
from tests.bench.peers.window import Highest, Latest, Tiles

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
WEEK = 7 * DAY
# windows of 5 minutes, an hour, a day, a week and 30 days: the length of a tile, and how many of them
MINUTES_HOP, HOUR_HOP, DAY_HOP, WEEK_HOP, MONTH_HOP = 15_000, 5 * MINUTE, HOUR, 6 * HOUR, DAY
MINUTES_HOPS, HOUR_HOPS, DAY_HOPS, WEEK_HOPS, MONTH_HOPS = 20, 12, 24, 28, 30
STRIKE_EXPIRY = 90 * DAY
PAUSE = 30 * MINUTE
LEDGER_CAP, TEXTS, SHORTEST, SEEN_CAP = 64, 8, 8, 64
# columns of the windows: the hour and the day begin alike, the week counts reports and exposures
MESSAGES, LENGTH, LENGTHS, REPEATS, TOXICITY, TOXICITIES = range(6)
REPORTS = 4


class Profile:
    """What is kept of one user to make features of. Windows of what is rare are made when it happens."""

    __slots__ = (
        "channels",
        "clock",
        "day",
        "events",
        "exposed",
        "first",
        "first_session",
        "hour",
        "ledger",
        "message_decays",
        "minutes",
        "month",
        "recipients",
        "report_decay",
        "reported",
        "reporters",
        "seen",
        "sessions",
        "spoke",
        "texts",
        "toxic",
        "toxicity_decay",
        "week",
    )

    def __init__(self) -> None:
        self.clock = self.first = self.spoke = self.reported = self.exposed = -1
        self.events = self.sessions = self.first_session = 0
        self.minutes, self.hour, self.day = Tiles(MINUTES_HOPS, 1), Tiles(HOUR_HOPS, 6), Tiles(DAY_HOPS, 5)
        self.week: Tiles | None = None
        self.month: Tiles | None = None
        self.message_decays = (0.0, 0.0)  # half-lives of 10 minutes and a week, as of the clock
        self.toxicity_decay = self.report_decay = 0.0  # a week's half-life, as of the clock
        self.toxic: Highest | None = None
        self.channels, self.recipients, self.reporters = Latest(), Latest(), Latest()
        self.ledger: list[list[Any]] = []  # sanctions: id, time, severity, whether it stands
        self.texts: list[int] = []
        self.seen: dict[str, None] = {}

    def repeated(self, event_id: str) -> bool:
        """Whether the event is among the user's latest 64; remembers it if not."""
        seen = self.seen
        if event_id in seen:
            return True
        seen[event_id] = None
        if len(seen) > SEEN_CAP:
            del seen[next(iter(seen))]
        return False

    def count(self, subject: str, event: dict[str, Any]) -> dict[str, float]:
        """Count one event; the features that look at what was before it."""
        time: int = event["event_time"]
        if time > self.clock:
            self._move(time)
        if self.first < 0 or time < self.first:
            self.first = time
        self.events += 1
        if self.sessions == 1:
            self.first_session += 1
        now, x = self.clock, {}
        if self.spoke >= 0:
            x["message_since"] = (now - self.spoke) / 1000
        if self.reported >= 0:
            x["report_since"] = (now - self.reported) / 1000
        if self.exposed >= 0:
            x["exposure_since"] = (now - self.exposed) / 1000
        if self.ledger and (last := self._last_sanction()) is not None:
            x["sanction_since"] = (now - last) / 1000
        if subject == CHAT:
            self._message(event, time)
        else:
            self._moderation(event, time)
            if event["kind"] == "reversal" and (last := self._last_sanction()) is None:
                x.pop("sanction_since", None)
            elif event["kind"] == "reversal":
                x["sanction_since"] = (now - last) / 1000
        return x

    def _move(self, now: int) -> None:
        """Bring everything to a later time."""
        clock = self.clock
        if clock < 0 or now - clock > PAUSE:
            self.sessions += 1
        if (tile := now // MINUTES_HOP) != self.minutes.tile:
            self.minutes.advance(tile)
            if (tile := now // HOUR_HOP) != self.hour.tile:
                self.hour.advance(tile)
                if (tile := now // DAY_HOP) != self.day.tile:
                    self.day.advance(tile)
        if self.week is not None:
            self.week.advance(now // WEEK_HOP)
        if self.month is not None:
            self.month.advance(now // MONTH_HOP)
        if clock >= 0:
            age = clock - now
            week = exp2(age / WEEK)
            short, long = self.message_decays
            self.message_decays = (short * exp2(age / (10 * MINUTE)), long * week)
            self.toxicity_decay *= week
            self.report_decay *= week
        self.clock = now

    def _message(self, event: dict[str, Any], time: int) -> None:
        now = self.clock
        self.spoke = max(self.spoke, time)
        self.channels.add(event["channel"], time, now)
        for recipient in event.get("recipients") or ():
            self.recipients.add(recipient, time, now)
        age = time - now
        short, long = self.message_decays
        self.message_decays = (
            (short + 1.0, long + 1.0) if not age else (short + exp2(age / (10 * MINUTE)), long + exp2(age / WEEK))
        )
        counted: list[tuple[int, float]] = [(MESSAGES, 1)]
        text = event.get("text")
        if text is not None:
            counted += ((LENGTH, len(text)), (LENGTHS, 1))
            if self._repeats(text):
                counted.append((REPEATS, 1))
        self.minutes.add(time // MINUTES_HOP, MESSAGES)
        for tiles, tile in ((self.hour, time // HOUR_HOP), (self.day, time // DAY_HOP)):
            row = tiles.row(tile)
            if row is not None:
                totals = tiles.totals
                for column, amount in counted:
                    row[column + 1] += amount
                    totals[column] += amount
        if event.get("scores"):
            toxicity = max([score["value"] for score in event["scores"]])
            self.hour.add(time // HOUR_HOP, TOXICITY, toxicity)
            self.hour.add(time // HOUR_HOP, TOXICITIES)
            self.toxicity_decay += toxicity * exp2(age / WEEK)
            if self.toxic is None:
                self.toxic = Highest(DAY_HOPS)
            self.toxic.add(time // DAY_HOP, toxicity, now // DAY_HOP)

    def _repeats(self, text: str) -> bool:
        """Whether it is one of the user's last few texts, as both were meant to be seen."""
        shown = visible(text)
        if len(shown) < SHORTEST:
            return False
        data, texts = meant(shown).encode("utf-8", "surrogatepass"), self.texts
        print_ = len(data) << 32 | crc32(data)
        known = print_ in texts
        if known:
            texts.remove(print_)
        elif len(texts) >= TEXTS:
            del texts[0]
        texts.append(print_)
        return known

    def _moderation(self, event: dict[str, Any], time: int) -> None:
        now, kind = self.clock, event["kind"]
        if kind == "report":
            self._rare(time, 0)
            self.day.add(time // DAY_HOP, REPORTS)
            self.report_decay += exp2((time - now) / WEEK)
            self.reported = max(self.reported, time)
            if event["report"].get("reporter_id") is not None:
                self.reporters.add(event["report"]["reporter_id"], time, now)
        elif kind == "exposure":
            self._rare(time, 1)
            self.exposed = max(self.exposed, time)
        elif kind == "reversal":
            if self.month is None:
                self.month = Tiles(MONTH_HOPS, 1)
                self.month.advance(now // MONTH_HOP)
            self.month.add(time // MONTH_HOP, 0)
            self._enter(event["reversal"]["sanction_id"], time, 0, stands=False)
        else:
            self._enter(event["event_id"], time, event["sanction"]["severity"], stands=True)

    def _rare(self, time: int, column: int) -> None:
        if self.week is None:
            self.week = Tiles(WEEK_HOPS, 2)
            self.week.advance(self.clock // WEEK_HOP)
        self.week.add(time // WEEK_HOP, column)

    def _enter(self, sanction: str, time: int, severity: int, *, stands: bool) -> None:
        """Enter a sanction or a reversal, whichever comes first."""
        for entry in self.ledger:
            if entry[0] == sanction:
                if stands:
                    entry[1], entry[2] = time, severity
                else:
                    entry[3] = False
                return
        self.ledger.append([sanction, time, severity, stands])
        if len(self.ledger) > LEDGER_CAP:
            self.ledger.remove(min(self.ledger, key=lambda entry: (entry[1], entry[0])))

    def stands(self, sanction: str) -> bool:
        """Whether a sanction was not reversed."""
        return any(entry[3] for entry in self.ledger if entry[0] == sanction)

    def _last_sanction(self) -> int | None:
        return max([time for _, time, _, stands in self.ledger if stands], default=None)

    def features(self, x: dict[str, float]) -> dict[str, float]:
        """All features as of the clock, beside those read before the event was counted."""
        now, hour, day = self.clock, self.hour.totals, self.day.totals
        x["message_count_5m"] = self.minutes.totals[MESSAGES]
        x["message_count_1h"] = in_hour = hour[MESSAGES]
        x["message_count_24h"] = in_day = day[MESSAGES]
        x["message_decay_10m"], x["message_decay_7d"] = self.message_decays
        if in_day:
            x["message_trend_1h_24h"] = 24.0 * in_hour / in_day
            x["repeat_ratio_24h"] = day[REPEATS] / in_day
        x["first_since"] = (now - self.first) / 1000
        if hour[LENGTHS]:
            x["length_mean_1h"] = hour[LENGTH] / hour[LENGTHS]
        if day[LENGTHS]:
            x["length_mean_24h"] = day[LENGTH] / day[LENGTHS]
        x["repeat_count_1h"] = hour[REPEATS]
        if hour[TOXICITIES]:
            x["toxicity_mean_1h"] = hour[TOXICITY] / hour[TOXICITIES]
        if self.toxic is not None and (highest := self.toxic.read(now // DAY_HOP)) == highest:
            x["toxicity_max_24h"] = highest
        x["toxicity_decay_7d"] = self.toxicity_decay
        since_hour, since_day = now // HOUR_HOP * HOUR_HOP - HOUR, now // DAY_HOP * DAY_HOP - DAY
        x["channel_distinct_24h"] = self.channels.drop(since_day)
        x["channel_distinct_1h"] = self.channels.count(since_hour)
        x["recipient_distinct_24h"] = self.recipients.drop(since_day)
        x["recipient_distinct_1h"] = self.recipients.count(since_hour)
        x["report_count_24h"] = day[REPORTS]
        x["report_count_7d"], x["exposure_count_7d"] = (0, 0) if self.week is None else self.week.totals
        x["reporter_distinct_7d"] = self.reporters.drop(now // WEEK_HOP * WEEK_HOP - WEEK)
        x["reporter_distinct_24h"] = self.reporters.count(since_day)
        x["report_decay_7d"] = self.report_decay
        x["reversal_count_30d"] = 0 if self.month is None else self.month.totals[0]
        x["session_number"], x["first_session_count"] = self.sessions, self.first_session
        x["sanction_count_30d"] = x["sanction_severity_sum_30d"] = x["strike_count"] = 0
        x["sanction_decay_7d"] = 0.0
        if self.ledger:
            since_month = now // MONTH_HOP * MONTH_HOP - 30 * DAY
            for _, time, severity, stands in self.ledger:
                if stands:
                    x["sanction_decay_7d"] += exp2((time - now) / WEEK)
                    x["strike_count"] += time >= now - STRIKE_EXPIRY
                    if time >= since_month:
                        x["sanction_count_30d"] += 1
                        x["sanction_severity_sum_30d"] += severity
        return x
