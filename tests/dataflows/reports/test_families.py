"""Every feature belongs to a family, so that one fact in several windows is told once."""

from __future__ import annotations

from dataflows.reports.families import OTHER, family_of
from detectors.features.catalogue import CANDIDATES, NAMES


def test_every_declared_feature_has_a_family() -> None:
    """Also those that are not served; a name of no known signal is among the others."""
    assert [name for name in (*NAMES, *(one.name for one in CANDIDATES)) if family_of(name) == OTHER] == []
    assert family_of("vibes_count_24h") == OTHER


def test_reports_in_all_windows_are_one_family() -> None:
    """And the people who reported, too."""
    reports = {name for name in NAMES if family_of(name) == "reports"}
    assert reports == {name for name in NAMES if name.startswith("report")}
