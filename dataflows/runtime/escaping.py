r"""Escaping of text from outside, so that it cannot control a terminal, hide characters or start a new line."""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Callable

_HIDDEN = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}
"""Unicode categories without a glyph: control, format, unassigned, private use, surrogate, line separators."""

_PLAIN = str.maketrans({"\N{MINUS SIGN}": "-"})
"""ASCII replacements for the non-ASCII characters in our own output."""


def visible(text: str) -> str:
    r"""Return text with every control, format and unassigned character written as an escape.

    A user id may contain terminal escapes, or marks that reverse the surrounding text.

    >>> visible("a\u202eb\x1b[31m")
    'a\\u202eb\\u001b[31m'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(c) if unicodedata.category(c) in _HIDDEN else c for c in text)


def visible_json(text: str, encoding: str = "utf-8") -> str:
    r"""Return a JSON document with hidden characters, and those that an encoding cannot represent, as JSON escapes.

    Line breaks between elements are kept, and a JSON parser reads the same values.

    >>> visible_json('{"id": "a\u202e zoë"}', "ascii")
    '{"id": "a\\u202e zo\\u00eb"}'
    """
    if text.isascii() and "\x7f" not in text:  # JSON escapes all other ASCII controls
        return text
    keep = _carries(encoding)
    return "".join(
        c if c == "\n" or (unicodedata.category(c) not in _HIDDEN and keep(c)) else _json_escape(c) for c in text
    )


def printable(text: str, encoding: str) -> str:
    r"""Return text with characters that an encoding cannot represent replaced or written as escapes.

    >>> printable("\N{MINUS SIGN}0.5 of zoë", "ascii")
    '-0.5 of zo\\xeb'
    """
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    return text


def _carries(encoding: str) -> Callable[[str], bool]:
    def carries(character: str) -> bool:
        try:
            character.encode(encoding)
        except UnicodeEncodeError:
            return False
        return True

    return carries if codecs.lookup(encoding).name not in ("utf-8", "utf-16", "utf-32") else lambda _: True


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))
