"""Reading of text files written by people: UTF-8, without byte order mark; errors name another encoding."""

from __future__ import annotations

import codecs
from pathlib import Path

MARK = codecs.BOM_UTF8
"""The byte order mark that Windows programs write before UTF-8 text."""

LARGEST = 16 << 20
"""Largest size (bytes) of a settings, policy, mapping or secret file."""

_FOREIGN = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


class TextError(ValueError):
    """Bytes that are not acceptable text. `what` is a predicate, such as `UTF-16`; no content is quoted."""

    def __init__(self, what: str, advice: str = "save it as UTF-8 text") -> None:
        super().__init__(f"is {what}: {advice}")
        self.what = what


def foreign_encoding(data: bytes) -> str | None:
    """Return the encoding of a byte order mark at the start of `data`; None for UTF-8 or no mark.

    >>> foreign_encoding("a".encode("utf-16"))
    'UTF-16'
    """
    return next((name for mark, name in _FOREIGN if data.startswith(mark)), None)


def decode_text(data: bytes) -> str:
    """Return the text of a whole file, without a byte order mark.

    Raises:
        TextError: if it is not UTF-8.
    """
    foreign = foreign_encoding(data)
    if foreign is not None:
        raise TextError(foreign)
    try:
        return data.removeprefix(MARK).decode()
    except UnicodeDecodeError:
        raise TextError("not UTF-8") from None


def read_text(path: Path) -> str:
    """Return the text of a file, without a byte order mark.

    Raises:
        OSError: if it cannot be read.
        TextError: if it is not UTF-8, or larger than `LARGEST`.
    """
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise TextError(f"larger than {LARGEST:,} bytes", "name the right file")
    return decode_text(data)
