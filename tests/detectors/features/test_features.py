"""Features: their names, what cannot be declared, and the parts profiles are made of."""

from __future__ import annotations

import random
from math import isnan, nan
from typing import get_args

import pytest
from librt.vecs import vec
from mypy_extensions import i64

from detectors.base.vectors import vector_from
from detectors.features.catalogue import CANDIDATES, CATALOGUE, CODES, NAMES, NUMBERS
from detectors.features.declare import (
    HOPS,
    Aggregate,
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
from detectors.features.plan import compile_plan, tail_of
from detectors.features.signals import RECENT_TEXTS, SIGNALS, read_message, read_moderation, stable_hash
from detectors.features.strikes import LEDGER_CAP, Ledger
from detectors.features.upgrade import BEFORE_CODES, stored_vector
from detectors.features.window import DISTINCT_CAP, count_keys, forget_keys, raise_peak, row_at, see_key, trim
from detectors.profiles.user import CompiledPolicy, User
from schemas.records.events import Exposure, ModerationEvent
from tests.kit.streams import DAY, HOUR, START, exposure, message, place, policy, report, reversal, sanction


@pytest.mark.parametrize(
    ("feature", "name"),
    [
        (Window("report", "count", "24h"), "report_count_24h"),
        (Window("toxicity", "mean", "1h"), "toxicity_mean_1h"),
        (Decay("message", "7d"), "message_decay_7d"),
        (Since("report"), "report_since"),
        (Since("first"), "first_since"),
        (Ratio("repeat", "24h"), "repeat_ratio_24h"),
        (Trend("message", "1h", "24h"), "message_trend_1h_24h"),
        (Window("gap", "spread", "24h"), "gap_spread_24h"),
        (Shift("toxicity", "1h", "24h"), "toxicity_shift_1h_24h"),
        (Session("since"), "session_since"),
        (Session("first"), "first_session_count"),
        (ChannelFeature("newcomers"), "channel_newcomers"),
        (StrikeCount(), "strike_count"),
        (TokenNgram(3), "sequence_3"),
    ],
)
def test_a_features_name_derives_from_its_declaration(feature: Feature, name: str) -> None:
    """Nobody writes a column name by hand."""
    assert feature.name == name


def test_the_catalogue_covers_every_kind_of_feature_under_distinct_names() -> None:
    """Every kind there is is used, or was tried; n-grams come last."""
    declared = CATALOGUE + CANDIDATES
    assert len({feature.name for feature in declared}) == len(declared)
    assert {type(feature) for feature in declared} == set(get_args(Feature))
    aggregates = {feature.aggregate for feature in declared if isinstance(feature, Window)}
    assert aggregates == set(get_args(Aggregate))
    assert {getattr(feature, "signal", "first") for feature in declared} - {"first"} == set(SIGNALS)
    assert (*NUMBERS, *CODES) == NAMES
    assert CODES == ("sequence_4",)


@pytest.mark.parametrize(
    ("features", "sentence"),
    [
        ([Window("report", "count", "1h")] * 2, "feature report_count_1h is declared twice: remove one"),
        ([Window("mood", "count", "1h")], "feature mood_count_1h is over an unknown signal: choose one of message,"),
        ([Decay("first", "1h")], "feature first_decay_1h is over an unknown signal"),
        ([Window("report", "distinct", "1h")], "distinct counts go with channel, recipient, reporter"),
        ([Window("channel", "sum", "1h")], "distinct counts go with channel, recipient, reporter"),
        ([Decay("reporter", "1h")], "distinct counts go with channel, recipient, reporter"),
        ([Window("sanction", "max", "30d")], "sanctions are counted or summed, because they can be overturned"),
        ([Decay("sanction_severity", "7d")], "severities are only summed; declare it over sanction"),
        ([Since("sanction_severity")], "severities are only summed; declare it over sanction"),
        ([Ratio("repeat", "24h", per="mood")], "feature repeat_ratio_24h is per mood: choose one of message,"),
        ([Ratio("repeat", "2h")], "feature repeat_ratio_2h has span 2h: choose one of 5m, 1h, 24h, 7d, 30d"),
        ([Trend("message", "1h", "2d")], "feature message_trend_1h_2d has span 2d: choose one of"),
        ([TokenNgram(0)], "feature sequence_0 is over 0 tokens: choose 1 to 4"),
        ([TokenNgram(5)], "feature sequence_5 is over 5 tokens: choose 1 to 4"),
        ([Decay("message", "0h")], "feature message_decay_0h has no half-life: give one above zero"),
        ([Decay("message", "soon")], "'soon' is not a duration: write a whole number and a unit"),
    ],
)
def test_a_declaration_that_means_nothing_is_refused_with_a_sentence(features: list[Feature], sentence: str) -> None:
    """Before the first event, not with a wrong number later."""
    with pytest.raises(ValueError, match=sentence):
        compile_plan(features, DAY)


def test_a_window_of_an_odd_span_cannot_be_declared() -> None:
    """Spans are those that have hops."""
    with pytest.raises(ValueError, match="message_count_3h has span 3h: choose one of 5m, 1h, 24h, 7d, 30d"):
        Window("message", "count", "3h")


@pytest.mark.parametrize("span", HOPS)
def test_a_sawtooth_window_covers_at_least_its_span_and_less_than_a_hop_more(span: str) -> None:
    """An exact head, and a tail that advances in hops."""
    width, hop, tail = duration_ms(span), duration_ms(HOPS[span]), tail_of(span)
    for now in (0, 1, hop - 1, hop, width, START, START + 1, START + hop * 7 + 3):
        assert width <= now - tail(now) < width + hop
        assert tail(now) % hop == 0


@pytest.mark.parametrize("start", range(7))
def test_peaks_stay_bounded_where_nothing_is_ever_read(start: int) -> None:
    """An amount that finds too many tiles drops those the window has left behind."""
    peaks, limit = vec[float](), 12
    for tile in range(1_000 - start):
        peaks = raise_peak(peaks, float(tile), float(tile % 3), float(tile - 5), limit)
        assert len(peaks) <= 2 * limit
    kept = dict(zip(list(peaks)[::2], list(peaks)[1::2], strict=True))
    assert {tile: amount for tile, amount in kept.items() if tile >= 994 - start} == {
        tile: tile % 3 for tile in range(994 - start, 1_000 - start)
    }


def test_peaks_are_the_largest_of_their_tiles_in_whatever_order_they_came() -> None:
    """An amount that came late goes where its tile stands, one of before the window nowhere."""
    rng, peaks, truth = random.Random(3), vec[float](), {}
    for _ in range(300):
        tile, amount = float(rng.randrange(10, 30)), rng.random()
        peaks = raise_peak(peaks, tile, amount, 15.0, 100)
        if tile >= 15:
            truth[tile] = max(amount, truth.get(tile, 0.0))
    assert list(peaks) == [number for tile in sorted(truth) for number in (tile, truth[tile])]


@pytest.mark.parametrize("seed", range(3))
def test_a_windows_total_is_the_sum_of_its_rows_however_they_came(seed: int) -> None:
    """Rows made out of order stand in order, and dropping old ones leaves totals what the remaining rows add up to."""
    rng, rows, sums, fractions = random.Random(seed), vec[float](), vec[float]([5.0, 0.0, 0.0]), vec[i64]([1])
    for now in range(0, 400, 3):
        for tile in (now, max(0, now - rng.randrange(6))):
            rows, at = row_at(rows, float(tile), 3)
            for column, amount in enumerate((1.0, rng.random()), 1):
                rows[at + column] += amount
                sums[column] += amount
        rows = trim(rows, float(now - 6), 1, 3, fractions, sums)
        tiles, counts, amounts = (list(rows)[column::3] for column in range(3))
        assert tiles == sorted(set(tiles))
        assert min(tiles) >= now - 6
        assert sums[0] == 5.0
        assert sums[1] == sum(counts)
        assert sums[2] == pytest.approx(sum(amounts), rel=1e-12)
    rows = trim(rows, 1_000.0, 1, 3, fractions, sums)
    assert (list(rows), list(sums)) == ([], [5.0, 0, 0])


def test_the_most_recently_seen_keys_are_kept_whatever_the_order() -> None:
    """A distinct count over any window is the true count up to the cap."""
    rng = random.Random(4)
    for keys in (10, 64, 65, 400):
        seen, truth = vec[i64](), {}
        for _ in range(1_000):
            key, time = rng.randrange(keys), rng.randrange(5_000)
            seen = see_key(seen, key, time)
            truth[key] = max(time, truth.get(key, 0))
        assert len(seen) <= 2 * DISTINCT_CAP
        for since in (0, 2_500, 4_000, 4_990, 5_000):
            wanted = min(DISTINCT_CAP, sum(time >= since for time in truth.values()))
            assert count_keys(seen, since) == wanted
            assert len(forget_keys(seen, since)) == 2 * wanted


def test_a_ledger_forgets_its_oldest_sanctions_first() -> None:
    """Beyond the cap the latest are what still counts."""
    ledger = Ledger()
    for number in range(LEDGER_CAP + 10):
        ledger.add(number, START + number, 2)
    assert ledger.count(0) == LEDGER_CAP
    assert ledger.severity(0) == 2 * LEDGER_CAP
    assert ledger.overturn(LEDGER_CAP, START) is True
    assert ledger.overturn(LEDGER_CAP, START) is False
    assert ledger.overturn(3, START) is False  # forgotten


def test_what_is_read_off_each_kind_of_event() -> None:
    """Signals are a table of event to numbers and keys; sanctions go to the ledger instead."""
    scores = [{"scorer": "a", "version": "1", "value": 0.2}, {"scorer": "b", "version": "1", "value": 0.7}]
    chat = message("m", START, text="Hello There", recipients=["x", "y", "x"], scores=scores)
    here = ("channel", stable_hash("lobby"))
    assert read_message(chat, []) == (
        [("message", 1), ("length", 11), ("toxicity", 0.7)],
        [here, *(("recipient", stable_hash(one)) for one in "xyx")],
    )
    assert read_message(message("m", START), []) == ([("message", 1)], [here])
    assert read_moderation(report("r", START)) == ([("report", 1)], [("reporter", stable_hash("bob"))])
    assert read_moderation(report("r", START, reporter=None)) == ([("report", 1)], [])
    assert read_moderation(exposure("e", START)) == ([("exposure", 1)], [])
    assert read_moderation(sanction("s", START)) == ([], [])
    assert read_moderation(reversal("v", START, "s")) == ([("reversal", 1)], [])


@pytest.mark.parametrize("arm", ["shown", "control"])
def test_an_exposure_counts_whether_it_was_shown_or_held_back_as_control(arm: str) -> None:
    """The signal says that a decision about an intervention was made; the page of features says so of both arms."""
    shown = Exposure(intervention="hint", arm=arm, probability=0.5)
    event = ModerationEvent(event_id="e", event_time=START, user_id="ann", kind="exposure", exposure=shown)
    assert read_moderation(event) == ([("exposure", 1.0)], [])


def repeats(*lines: str) -> list[bool]:
    """Which of a user's lines are repeats."""
    texts: list[int] = []
    return [("repeat", 1) in read_message(message("m", START, text=line), texts)[0] for line in lines]


def test_a_line_said_again_is_a_repeat_however_it_is_spaced_and_cased() -> None:
    """Folded texts are compared; short ones never are."""
    assert repeats("buy my gold", "BUY   my\tGold", "buy my silver") == [False, True, False]
    assert repeats("ok", "ok", "1234567", "1234567", "12345678", "12345678") == [False] * 5 + [True]


def test_a_repeat_is_recognised_among_the_latest_texts_only() -> None:
    """A line said again stays recent; one crowded out by others is new again."""
    others = [f"line number {number}" for number in range(RECENT_TEXTS)]
    assert repeats("the first line", *others, "the first line")[-1] is False
    assert repeats("the first line", *others[1:], "the first line")[-1] is True
    refreshed = repeats("the first line", *others[1:], "the first line", *others[1:], "the first line")
    assert refreshed == [False] * RECENT_TEXTS + [True] * (RECENT_TEXTS + 1)


def test_hashes_are_the_same_in_every_process() -> None:
    """State on disk and samples of users depend on them, so the numbers themselves are fixed here."""
    assert stable_hash("") == 0xE4A6A0577479B2B4 >> 1
    assert 0 <= stable_hash("ann") < 2**63
    assert stable_hash("ann") != stable_hash("ann ")


@pytest.mark.parametrize(("later", "covered"), [(DAY, True), (DAY + HOUR - 1, True), (DAY + HOUR, False)])
def test_every_aggregate_of_a_window_covers_the_same_events(later: int, covered: bool) -> None:
    """An event on the edge of a tile is in a day's window until the tail passes it, in every aggregate."""
    user = User(CompiledPolicy(policy(target={"recurring": True})))
    scores = [{"scorer": "a", "version": "1", "value": 0.75}]
    user.step(message("before", START - 1, text="y" * 90, recipients=["q"], channel="near"), place(0))
    user.step(message("m", START, text="x" * 40, recipients=["r"], channel="far", scores=scores), place(0))
    user.step(report("r", START), place(1))
    step = user.step(exposure("x", START + later), place(2))
    assert step.point is not None
    served = dict(zip(NAMES, step.point.vector, strict=True))
    wanted = {
        "message_count": 1,
        "recipient_distinct": 1,
        "channel_distinct": 1,
        "reporter_distinct": 1,
        "report_count": 1,
    }
    for name, count in wanted.items():
        assert served[f"{name}_24h"] == (count if covered else 0), name
    for name, value in {"length_mean": 40, "toxicity_max": 0.75}.items():
        assert served[f"{name}_24h"] == value if covered else isnan(served[f"{name}_24h"]), name


STRIKE = NAMES.index("strike_count")
SEVERITY = NAMES.index("sanction_severity_sum_30d")
SINCE = NAMES.index("sanction_since")


def test_an_overturned_sanction_counts_for_nothing_from_its_reversal_on() -> None:
    """Strikes, severities, decays and the time since: all as if it had never been, at the reversal's own point too."""
    user = User(CompiledPolicy(policy(target={"recurring": True})))
    events = [
        sanction("s", START, 3),
        sanction("t", START + HOUR, 4),
        reversal("r", START + 2 * HOUR, "t"),
        message("m", START + 3 * HOUR),
    ]
    vectors = [step.point.vector for n, event in enumerate(events) if (step := user.step(event, place(n))).point]
    assert [vector[STRIKE] for vector in vectors] == [1, 2, 1, 1]
    assert [vector[SEVERITY] for vector in vectors] == [3, 7, 3, 3]
    assert isnan(vectors[0][SINCE])
    assert [vector[SINCE] for vector in vectors[1:]] == [3_600, 7_200, 10_800]


def test_a_strike_expires_but_its_sanction_is_still_known() -> None:
    """Strikes count for the policy's expiry, to the millisecond, and the time since runs on."""
    user = User(CompiledPolicy(policy(target={"recurring": True}, strike_expiry="2d")))
    user.step(sanction("s", START), place(0))
    for number, (time, strikes) in enumerate([(START + 2 * DAY, 1), (START + 2 * DAY + 1, 0)]):
        step = user.step(message(f"m{number}", time), place(number))
        assert step.point is not None
        assert step.point.vector[STRIKE] == strikes
        assert step.point.vector[SINCE] == (time - START) / 1000


def test_a_vector_stored_by_an_earlier_version_keeps_every_value_under_its_name() -> None:
    """What was declared since is absent; the codes stay last."""
    numbers = [float(number) for number in range(BEFORE_CODES)]
    for stored, code in ((numbers, nan), ([*numbers, 777.0], 777.0)):
        vector = stored_vector(vector_from(stored).tobytes())
        named = dict(zip(NAMES, vector, strict=True))
        assert [named[name] for name in NUMBERS[:BEFORE_CODES]] == numbers
        assert all(isnan(named[name]) for name in NUMBERS[BEFORE_CODES:])
        assert repr(named["sequence_4"]) == repr(code)
    assert repr(stored_vector(vector.tobytes())) == repr(vector)
