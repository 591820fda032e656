"""Every feature belongs to one family, so that one fact in several windows is told once."""

from __future__ import annotations

import pytest

from detectors.features.catalogue import CANDIDATES, NAMES
from detectors.features.families import FAMILIES, family_of


def test_every_feature_is_in_exactly_one_family_and_every_family_is_of_use() -> None:
    """Also those that are not served."""
    families = {family_of(name) for name in (*NAMES, *(one.name for one in CANDIDATES))}
    assert families == set(FAMILIES)


def test_reports_in_all_windows_are_one_family() -> None:
    """And the people who reported, too."""
    reports = {name for name in NAMES if family_of(name) == "reports"}
    assert reports == {name for name in NAMES if name.startswith("report")}


def test_a_feature_in_no_family_or_in_two_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """By name."""
    with pytest.raises(ValueError, match="karma_24h is in no family: FAMILIES must have it once"):
        family_of("karma_24h")
    monkeypatch.setitem(FAMILIES, "twice", ("strike*",))
    with pytest.raises(ValueError, match="strike_count is in sanctions, twice"):
        family_of("strike_count")
