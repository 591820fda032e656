"""What `forewarn schemas check` says."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from schemas.checks.check import check_all
from schemas.released.catalogue import Catalogue
from tests.kit.broken_schemas import Edit, broken, change, field, without


def test_everything_released_is_good() -> None:
    """What `forewarn schemas check` says of this very distribution."""
    assert check_all() == []


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{", "avro/feature_row.v2.avsc is not JSON"),
        (
            b'{"type":"record","name":"A","fields":[{"name":"a","type":["null","A"]}]}',
            "avro/feature_row.v2.avsc is not safe to decode: it contains itself.",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_named_by_the_check(content: bytes, sentence: str, folder: Path) -> None:
    """Beside the lock's own complaint, and before anything that would stumble over it."""
    (folder / "avro" / "feature_row.v2.avsc").write_bytes(content)
    locked, unusable = check_all(Catalogue(folder))
    assert locked.startswith("avro/feature_row.v2.avsc is not locked")
    assert sentence in unusable


@pytest.mark.slow
@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda s: s["fields"].append({"name": "region", "type": "string", "doc": "Where."}), "v2 cannot read v1"),
        (lambda s: field(s, "locale").update(type=["null", "bytes"]), "locale is bytes in Avro and str in the record"),
        (without("locale"), "every_field.pass.json does not come back through the Avro of v2"),
    ],
)
def test_the_check_looks_at_readers_records_and_corpus(edit: Edit, sentence: str, folder: Path) -> None:
    """A version that is locked and parses is not yet a good one."""
    catalogue = broken(edit, "chat_message")(folder)
    digest = sha256((folder / "avro" / "chat_message.v2.avsc").read_bytes()).hexdigest()
    change(folder / "lock.json", lambda lock: lock.update({"chat_message.v2.avsc": digest}))
    assert [problem for problem in check_all(catalogue) if sentence in problem]
