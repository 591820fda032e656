"""What features, numbers and durations read like."""

import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.reports.formatting import describe_feature, describe_reason, name_feature
from dataflows.reports.numbers import duration, quantity, signed
from dataflows.runtime.escaping import visible
from detectors.features.catalogue import NAMES
from schemas.records.decisions import Reason


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("message_count_5m", 40.0, "40 messages in 5 min"),
        ("report_count_24h", 7.0, "7 reports in 24 h"),
        ("report_count_24h", 1.0, "1 report in 24 h"),
        ("message_decay_7d", 4.1666, "recent messages 4.17 (half-life 7 days)"),
        ("toxicity_mean_1h", 0.42, "mean toxicity 0.42 over 1 h"),
        ("toxicity_max_24h", 0.93, "highest toxicity 0.93 in 24 h"),
        ("length_mean_1h", 83.4, "mean message length 83.4 characters over 1 h"),
        ("reporter_distinct_24h", 5.0, "reports from 5 people in 24 h"),
        ("recipient_distinct_1h", 1.0, "1 person addressed in 1 h"),
        ("message_since", 40.0, "last message 40 s ago"),
        ("first_since", 0.0, "first seen just now"),
        ("first_since", 266_400.0, "first seen 3 days 2 h ago"),
        ("message_trend_1h_24h", 3.2, "message rate over 1 h is 3.2 times that over 24 h"),
        ("repeat_ratio_24h", 0.4, "40 % of messages in 24 h are repeats"),
        ("report_ratio_24h", 0.4, "0.4 reports per message in 24 h"),
        ("sanction_count_30d", 2.0, "2 sanctions in 30 days"),
        ("sanction_severity_sum_30d", 9.0, "sanction severity adding up to 9 in 30 days"),
        ("strike_count", 2.0, "2 strikes"),
        ("strike_count", 1.0, "1 strike"),
        ("session_number", 1.0, "1 session so far"),
        ("first_session_count", 5.0, "5 events in the first session"),
        ("channel_rate", 1.0, "1 recent message in the channel"),
        ("channel_share", 0.25, "25 % of the channel's recent messages"),
        ("channel_sanctions", 0.004, "0.4 sanctions in 100 messages of the channel"),
        ("quick_answer_ratio_24h", 0.5, "50 % of messages in 24 h come after a quick answer"),
        ("excess_mean_24h", -0.25, "toxicity less the channel's: \N{MINUS SIGN}0.25 over 24 h"),
        ("reversal_count_30d", 1.0, "1 sanction taken back in 30 days"),
        ("mention_count_1d", 3.0, "3 mention events in 1 day"),
        ("sequence_4", 3.0, "latest: message within 10 min"),
        ("sequence_4", float(0x02A9), "latest: message within 1 min, report within 10 s"),
        ("sequence_4", float(0x0823), "latest: message as first event, message elsewhere within 10 min"),
        ("sequence_4", float(0xC1), "sequence 4 193"),
        ("something_else", 3.0, "something else 3"),
    ],
)
def test_a_feature_reads_in_words(name: str, value: float, words: str) -> None:
    """Counts, people, shares, times and half-lives are said as people say them."""
    assert describe_feature(name, value) == words


def test_an_absent_feature_is_not_zero() -> None:
    """None reads as not known, and never as a number."""
    assert describe_feature("toxicity_mean_1h", None) == "mean toxicity over 1 h: not known"


@pytest.mark.parametrize("name", NAMES)
def test_every_declared_feature_has_words_of_its_own(name: str) -> None:
    """No declared feature falls through to its raw name, with a value or without."""
    raw = name.replace("_", " ")
    for said in (describe_feature(name, 3.0), name_feature(name)):
        assert "_" not in said
        assert not said.startswith(raw)


def test_no_two_declared_features_are_named_alike() -> None:
    """A bar's label tells which feature it is."""
    assert len({name_feature(name) for name in NAMES}) == len(NAMES)


@given(
    st.text(max_size=40) | st.from_regex(r"\w+_(count|decay|trend|ratio)_\d+[dhms]+(_\d+d)?"), st.floats() | st.none()
)
def test_any_name_and_any_value_have_words(name: str, value: float | None) -> None:
    """Whatever an older model called its columns, describing them never raises and shows no hidden character."""
    for said in (describe_feature(name, value), name_feature(name)):
        assert said == visible(said)


def test_a_models_reason_says_the_counter_and_its_contribution() -> None:
    """A contribution keeps its sign, with a true minus."""
    reason = Reason(detector="logistic", feature="message_count_1h", value=12.0, contribution=-0.5)
    assert describe_reason(reason) == "12 messages in 1 h (\N{MINUS SIGN}0.50)"


def test_a_rules_reason_says_which_rule() -> None:
    """A rule has no contribution."""
    reason = Reason(detector="report_burst", feature="reporter_distinct_24h", value=4.0, contribution=None)
    assert describe_reason(reason) == "reports from 4 people in 24 h (rule report burst)"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0, "0"),
        (157_474, "157,474"),
        (99.96, "100"),
        (-0.5, "\N{MINUS SIGN}0.5"),
        (1e300, "1.00e+300"),
        (math.nan, "not a number"),
    ],
)
def test_quantities_have_three_digits_and_no_more(value: float, words: str) -> None:
    """Enough digits to compare, separated by thousands."""
    assert quantity(value) == words


@pytest.mark.parametrize(
    ("ms", "words"),
    [
        (0, "0 s"),
        (250, "250 ms"),
        (59_999, "59 s"),
        (3_600_000, "1 h"),
        (86_400_000 + 7_200_000 + 60_000, "1 day 2 h"),
        (-5_000, "\N{MINUS SIGN}5 s"),
        (math.inf, "not a number"),
    ],
)
def test_durations_have_two_units_and_no_more(ms: float, words: str) -> None:
    """The two largest units, and never a zero of the smaller."""
    assert duration(ms) == words


def test_contributions_always_carry_a_sign() -> None:
    """Above zero speaks for, below zero against."""
    assert (signed(1.316), signed(-0.004)) == ("+1.32", "+0.00")


@given(st.text())
def test_visible_text_has_no_control_or_direction_marks(text: str) -> None:
    """Nothing is left that could steer a terminal or reverse the text around it; printable text stays."""
    shown = visible(text)
    assert all(character.isprintable() or unicodedata.category(character) == "Zs" for character in shown)
    if text.isascii() and text.isprintable():
        assert shown == text
