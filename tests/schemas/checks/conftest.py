"""A copy of the released files that a test may break."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.records import copy_of_released


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the released files that a test may break."""
    return copy_of_released(tmp_path)
