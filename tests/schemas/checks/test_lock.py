"""A released file never changes, and a change is caught by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.checks.lock import lock_problems
from schemas.released.catalogue import Catalogue
from tests.kit.records import release


def test_a_released_file_that_changed_is_caught(folder: Path) -> None:
    """Even by white space: the bytes are what was released."""
    file = folder / "avro" / "feature_row.v1.avsc"
    file.write_bytes(file.read_bytes() + b"\n")
    assert lock_problems(Catalogue(folder)) == [
        "avro/feature_row.v1.avsc changed after its release: restore it, and make a new version instead."
    ]


def test_a_released_file_that_went_or_came_or_is_misnamed_is_caught(folder: Path) -> None:
    """With the line to add where a new version is meant."""
    (folder / "avro" / "feature_row.v1.avsc").unlink()
    (folder / "avro" / "Reject.avsc").write_text("{}")
    problems = lock_problems(release(folder, "risk_event", 4, {}))
    assert problems == [
        "avro/Reject.avsc is not named <subject>.v<version>.avsc: rename or remove it.",
        (
            'avro/risk_event.v4.avsc is not locked: to release it, add "risk_event.v4.avsc": '
            '"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" to lock.json.'
        ),
        "avro/feature_row.v1.avsc is locked but gone: restore it, records written with it may still be read.",
        "risk_event has versions [1, 2, 4]: they count from 1 without gaps.",
    ]


@pytest.mark.parametrize("content", [None, b"{", b"[]"])
def test_a_broken_lock_is_caught(content: bytes | None, folder: Path) -> None:
    """A lock that says nothing locks nothing."""
    if content is None:
        (folder / "lock.json").unlink()
    else:
        (folder / "lock.json").write_bytes(content)
    assert lock_problems(Catalogue(folder))[0].startswith("lock.json ")
