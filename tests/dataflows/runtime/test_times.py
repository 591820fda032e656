"""ISO 8601 times: every form people and programs write, read alike wherever one is written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from click import BadParameter
from hypothesis import given
from hypothesis import strategies as st

from dataflows.cli.common import TIME
from dataflows.mapping.cells import as_time
from dataflows.mapping.mapping import Time
from dataflows.runtime.times import epoch_ms, iso_datetime, iso_ms

NOON = 1_709_294_400_000  # 2024-03-01T12:00:00Z


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2024-03-01T12:00:00Z", NOON),
        ("2024-03-01t12:00:00z", NOON),
        ("2024-03-01 12:00:00z", NOON),
        ("2024-03-01 12:00:00", NOON),
        ("2024-03-01T12:00", NOON),
        ("2024-03-01T12", NOON),
        ("20240301T120000Z", NOON),
        ("20240301t120000z", NOON),
        ("2024-03-01T13:30:00+01:30", NOON),
        ("2024-03-01T13:30:00+0130", NOON),
        ("2024-03-01T13:00:00+01", NOON),
        ("2024-03-01 13:00:00 +0100", NOON),
        ("2024-03-01T10:30:00-01:30", NOON),
        ("2024-03-01T12:00:00-00:00", NOON),
        ("2024-03-01T12:00:00.5Z", NOON + 500),
        ("2024-03-01T12:00:00,5z", NOON + 500),
        ("2024-03-01T12:00:00.12Z", NOON + 120),
        ("2024-03-01T12:00:00,123+0000", NOON + 123),
        ("2024-03-01T12:00:00.123456", NOON + 123),
        ("2024-03-01T12:00:00.123456789Z", NOON + 123),
        ("2024-03-01t12:00:00,999999999z", NOON + 999),
        ("2024-W09-5T12:00:00Z", NOON),
        ("2024w095t12:00:00z", NOON),
        ("2024-03-01", NOON - 43_200_000),
        ("20240301", NOON - 43_200_000),
        ("2024-03-01Z", NOON - 43_200_000),
        ("2024-03-01+05:00", NOON - 43_200_000 - 5 * 3_600_000),
        ("2024-02-29T24:00:00", NOON - 43_200_000),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000),
        ("2016-12-31t23:59:60z", 1_483_228_800_000),
        ("2016-12-31T23:59:60.25Z", 1_483_228_800_250),
        ("2017-01-01T00:59:60+01:00", 1_483_228_800_000),
        ("2016-12-31T18:59:60-05:00", 1_483_228_800_000),
        (" 2024-03-01T12:00:00Z ", NOON),
        ("1969-12-31T23:59:59.999Z", -1),
        ("0001-01-01T00:00:00+05:00", -62_135_614_800_000),
    ],
)
def test_every_form_of_iso_8601_is_the_same_time(text: str, wanted: int) -> None:
    """Case, separators, offsets with and without a colon, fractions of any length, leap seconds."""
    assert iso_ms(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "2024-13-01",
        "2024-02-30T00:00:00Z",
        "2024-03-01T25:00:00Z",
        "2024-03-01T24:00:01Z",
        "2024-03-01T12:60:00Z",
        "2024-03-01T12:00:60Z",
        "2024-03-01T12:00:61Z",
        "2024-03-01T12:00:00+24:00",
        "10000-01-01T00:00:00Z",
        "2024-03-01T12:00:00ZZ",
        "2024-03-01x12:00:00",
        "\uff12024-03-01T12:00:00z",
        "2024-03-01T12:00:00." + "1" * 1_000_000,
        "1709294400",
    ],
)
def test_what_is_no_time_is_an_error(text: str) -> None:
    """A second 60 belongs to the last minute of a day in UTC, and nothing is guessed."""
    with pytest.raises(ValueError, match=r".+"):
        iso_ms(text if len(text) < 100 else text.replace("T", "t"))


@given(
    st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(9998, 1, 1)),  # noqa: DTZ001 - zoned below
    st.integers(-23 * 60, 23 * 60),
    st.sampled_from(["T", "t", " "]),
    st.sampled_from([".", ","]),
    st.booleans(),
)
def test_any_way_of_writing_a_moment_is_that_moment(
    moment: datetime, minutes: int, separator: str, point: str, colon: bool
) -> None:
    """Against datetime's own arithmetic."""
    zoned = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    hours, rest = divmod(abs(minutes), 60)
    offset = f"{'-' if minutes < 0 else '+'}{hours:02}{':' if colon else ''}{rest:02}"
    text = f"{moment:%Y-%m-%d}{separator}{moment:%H:%M:%S}{point}{moment.microsecond:06}{offset}"
    text = text.replace(f"{moment:%Y}", f"{moment.year:04}", 1)
    assert iso_ms(text) == (zoned - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


@given(st.text(max_size=80))
def test_any_text_is_a_time_or_a_value_error(text: str) -> None:
    """Nothing else is raised."""
    try:
        iso_ms(text)
        iso_datetime(text)
    except ValueError:
        pass


@pytest.mark.parametrize("text", ["2024-03-01t12:00z", "2024-03-01 13:00 +0100", "20240301T120000,0Z"])
def test_times_of_commands_and_mappings_are_read_by_the_same_rule(text: str) -> None:
    """An option, a mapping's origin, and a cell."""
    assert epoch_ms(TIME.convert(text, None, None)) == NOON
    assert Time.model_validate({"column": "t", "unit": "s", "origin": text}).origin_ms == NOON
    assert as_time(text, "t") == NOON
    with pytest.raises(BadParameter, match="'soon' is no ISO time: write it as 2024-03-01T09:30Z"):
        TIME.convert("soon", None, None)
    with pytest.raises(ValueError, match="must be an ISO time such as 2024-03-01T00:00:00Z, not 'soon'"):
        Time.model_validate({"column": "t", "unit": "s", "origin": "soon"})
