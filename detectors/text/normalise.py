"""Two normalised forms of a text: plain, as it was meant to be read; and skeleton, without any disguise.

Training and scoring use both, so that what is lost in the skeleton (`noob` and `nob` are the same) is kept in the plain
form. `detectors.text.unicode_tables` lists the characters that are not letters, and the letters that look alike. All
functions take time proportional to the length of the text, whatever its characters.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator

from detectors.text import unicode_tables as tables

NORMALISATION = 2
"""The version of these forms; weights that were fitted on another version are meaningless."""
READ = 16_384
"""Maximum number of characters of a text that are normalised, because some take much work each: one decomposes into
eighteen. It is four times the longest message that chats allow."""

_LAST = 0x110000
"""One past the last code point."""


def _ranges(text: str) -> Iterator[tuple[int, int]]:
    for part in text.split():
        first, _, last = part.partition("-")
        yield int(first, 16), int(last or first, 16)


def _members(*texts: str, below: int = _LAST) -> str:
    """Return the inside of a regular expression's character class, with the characters in these ranges."""
    ranges = [(first, min(last, below - 1)) for text in texts for first, last in _ranges(text) if first < below]
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)


def _table(*texts: str) -> dict[int, str]:
    found: dict[int, str] = {}
    for entry in "; ".join(texts).split("; "):
        read, _, sources = entry.partition(" ")
        letters = "".join(part if len(part) == 1 else chr(int(part, 16)) for part in read.split("+"))
        found.update((point, letters) for first, last in _ranges(sources) for point in range(first, last + 1))
    return found


def _scripts(text: str) -> tuple[list[int], list[int], list[int]]:
    """Return the first and the last code points of all script ranges, in order, and the script's number of each."""
    found = sorted(
        (first, last, number)
        for number, entry in enumerate(text.split("; "))
        for first, last in _ranges(entry.partition(" ")[2])
    )
    return [first for first, _, _ in found], [last for _, last, _ in found], [number for _, _, number in found]


_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]+")
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")
"""Characters above U+FFFF. A class of characters below these is looked up in one step, so texts without any of these,
which most are, are searched with the smaller classes `*_BELOW`."""
_INVISIBLE, _INVISIBLE_BELOW = (re.compile(f"[{_members(tables.INVISIBLE, below=b)}]+") for b in (_LAST, 0x10000))
_MARK, _MARK_BELOW = (re.compile(f"[{_members(tables.MARKS, below=below)}]") for below in (_LAST, 0x10000))
_FIRSTS, _LASTS, _SCRIPT = _scripts(tables.SCRIPTS)
_DRESSED = _table(tables.NEWER, tables.DRESSED)
_DRESS_BELOW = re.compile("[" + "".join(chr(point) for point in _DRESSED if point < 0x10000) + "]")
_BRACKETED = {
    point: letter for point, letter in _DRESSED.items() if unicodedata.normalize("NFKD", chr(point))[0] == "("
}
"""Letters whose decomposition has brackets around them, so that they would no longer be recognised as letters."""
_BRACKETS = re.compile("[" + "".join(map(chr, _BRACKETED)) + "]")
_INDICATORS = _table(tables.INDICATORS)
_ALPHABETIC = _table(tables.ALPHABETIC) | _INDICATORS
_BESIDE_LATIN = _ALPHABETIC | _table(tables.BESIDE)

_LATIN = re.compile(r"[a-z]")
_APART = re.compile(
    rf"(?<![^\W_])[^\W_](?:(?:[^\w$@{_members(tables.MARKS, tables.SPACING_MARKS)}]|_){{1,8}}[^\W_](?![^\W_])){{2,}}"
)
_SIGNS = re.compile(r"[\W_]+")
_FLAGS = f"{chr(min(_INDICATORS))}-{chr(max(_INDICATORS))}"
_LONE_INDICATOR = re.compile(f"(?<![{_FLAGS}])[{_FLAGS}](?![{_FLAGS}])")
"""A regional indicator that is not part of a flag, and so stands for a letter."""
_LONG_RUN = re.compile(rf"([^\s\d{_FLAGS}])\1{{2,}}")
_RUN = re.compile(rf"([^\s\d{_FLAGS}])\1+")
_LEET = str.maketrans("013457@$", "oieastas")
_LEET_SIGN = re.compile(r"[013457@$!|]")
_I_BETWEEN = re.compile(r"(?<=[a-z])!(?=[a-z])")
_BLANK = "\u2800"
"""The braille pattern without dots: a symbol that looks like a space."""
_FLAG = 2
"""Number of regional indicators that make a flag instead of letters."""


def plain(text: str) -> str:
    """Return a message as it was meant to be read.

    The result has one case and no invisible characters or marks. Styled letters become ordinary letters, letters that
    stand apart become words, and white space becomes one space. Runs of a letter or sign are cut to two, because longer
    ones add no information.

    >>> plain("K I L L yourself, n\u200boooooob!!!")
    'kill yourself, noob!!'
    """
    return meant(visible(text))


def visible(text: str) -> str:
    """Return a text in one case, without invisible characters and marks, and with white space as one space."""
    if text.isascii():
        if not text.isprintable():
            text = _CONTROLS.sub("", text)
        return " ".join(text.casefold().split())
    text = unicodedata.normalize("NFKD", text.translate(_BRACKETED) if _BRACKETS.search(text) else text)
    astral = _ASTRAL.search(text) is not None
    if astral:
        text = _LONE_INDICATOR.sub(lambda found: _INDICATORS[ord(found[0])], text)
    text = (_INVISIBLE if astral else _INVISIBLE_BELOW).sub("", text.replace(_BLANK, " "))
    if (_MARK if astral else _MARK_BELOW).search(text):
        text = _without_foreign_marks(text)
    if astral or _DRESS_BELOW.search(text):
        text = text.translate(_DRESSED)
    return " ".join(text.casefold().split())


def meant(text: str) -> str:
    """Return the plain form of a text from `visible`.

    Letters that stand apart are joined, look-alikes beside Latin letters become Latin letters, and runs are cut.
    """
    text = _LONG_RUN.sub(r"\1\1", text)  # runs of signs between letters, too
    changed = _APART.sub(lambda found: _SIGNS.sub("", found[0]), text)
    if not changed.isascii():
        changed = " ".join(
            word.translate(_BESIDE_LATIN) if not word.isascii() and _LATIN.search(word) else word
            for word in changed.split(" ")
        )
    return text if changed == text else _LONG_RUN.sub(r"\1\1", changed)


def skeleton(form: str) -> str:
    """Return a plain message without any remaining disguise: it is the same for every way to write a word.

    A word becomes Latin if all of its letters look like Latin ones. Digits and signs inside words become the letters
    they stand for, and runs are cut to one.

    >>> skeleton(plain("k1ll y0urself n00b, 1000 times"))
    'kil yourself nob, 1000 times'
    """
    if not form.isascii():
        form = " ".join(word if word.isascii() else _as_latin(word) for word in form.split(" "))
    form = _RUN.sub(r"\1", form)
    if _LEET_SIGN.search(form):
        form = " ".join(_without_signs(word) if _LATIN.search(word) else word for word in form.split(" "))
    return _RUN.sub(r"\1", form)


def _as_latin(word: str) -> str:
    """Return the word in Latin letters if all of its letters look like Latin ones and it is not a flag."""
    if len(word) == _FLAG and all(ord(character) in _INDICATORS for character in word):
        return word
    if all(ord(character) in _ALPHABETIC or not character.isalpha() or character.isascii() for character in word):
        return word.translate(_ALPHABETIC)
    return word


def _without_signs(word: str) -> str:
    """Return the word with digits and signs as the letters they stand for; a leading `|` is markup."""
    if not word.startswith("|"):
        word = word.replace("|", "l")
    return _I_BETWEEN.sub("i", word.translate(_LEET))


def _without_foreign_marks(text: str) -> str:
    """Return the text without marks, except after a character of the mark's own script, where they are spelling."""
    kept: list[str] = []
    before = -1
    for character in text:
        script = _script_of(character)
        if _MARK.match(character) and script != before:
            continue
        kept.append(character)
        before = script
    return "".join(kept)


def _script_of(character: str) -> int:
    """Return the number of the character's script; -1 for scripts without such marks."""
    point = ord(character)
    place = bisect_right(_FIRSTS, point) - 1
    return _SCRIPT[place] if place >= 0 and point <= _LASTS[place] else -1
