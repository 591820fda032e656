"""Two forms for the many ways to write a word: as it was meant to be seen, and as nothing can disguise it.

Training and scoring see both, so that what is lost in the second (`noob` and `nob` are alike) is kept in the first.
`detectors.text.unicode_tables` says what is no letter, and which letters look alike. Everything here takes time in
proportion to the length of the text, whatever it is made of.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator

from detectors.text import unicode_tables as tables

NORMALISATION = 2
"""The version of these forms: weights that were fitted on others mean nothing."""
READ = 16_384
"""Characters of a text that are normalised, because some take much work each: one decomposes into eighteen. It is four
times what chats let anybody say at once."""

_LAST = 0x110000
"""After the last code point."""


def _ranges(text: str) -> Iterator[tuple[int, int]]:
    for part in text.split():
        first, _, last = part.partition("-")
        yield int(first, 16), int(last or first, 16)


def _members(*texts: str, below: int = _LAST) -> str:
    """The inside of a character class."""
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
    """The first and last characters of the ranges of scripts, in order, and which script each range is of."""
    found = sorted(
        (first, last, number)
        for number, entry in enumerate(text.split("; "))
        for first, last in _ranges(entry.partition(" ")[2])
    )
    return [first for first, _, _ in found], [last for _, last, _ in found], [number for _, _, number in found]


_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]+")
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")
"""A class of which all is below these is looked up in one step, so that most texts are spared the ranges above."""
_INVISIBLE, _INVISIBLE_BELOW = (re.compile(f"[{_members(tables.INVISIBLE, below=b)}]+") for b in (_LAST, 0x10000))
_MARK, _MARK_BELOW = (re.compile(f"[{_members(tables.MARKS, below=below)}]") for below in (_LAST, 0x10000))
_FIRSTS, _LASTS, _SCRIPT = _scripts(tables.SCRIPTS)
_DRESSED = _table(tables.NEWER, tables.DRESSED)
_DRESS_BELOW = re.compile("[" + "".join(chr(point) for point in _DRESSED if point < 0x10000) + "]")
_BRACKETED = {
    point: letter for point, letter in _DRESSED.items() if unicodedata.normalize("NFKD", chr(point))[0] == "("
}
"""Letters whose decomposition has brackets around them, which would hide that they are letters."""
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
"""A regional indicator that is no part of a flag, and so a letter."""
_LONG_RUN = re.compile(rf"([^\s\d{_FLAGS}])\1{{2,}}")
_RUN = re.compile(rf"([^\s\d{_FLAGS}])\1+")
_LEET = str.maketrans("013457@$", "oieastas")
_LEET_SIGN = re.compile(r"[013457@$!|]")
_I_BETWEEN = re.compile(r"(?<=[a-z])!(?=[a-z])")
_BLANK = "\u2800"
"""The braille pattern without dots: a symbol that looks like a space."""
_FLAG = 2
"""Regional indicators that make a flag, and no letters."""


def plain(text: str) -> str:
    """Return a message as it was meant to be seen.

    That is in one case, without invisible characters and marks, with letters in another dress as letters and letters
    that stand apart as words, and with one space for white space. Runs of a letter or sign are cut to two, because more
    of them say nothing more.

    >>> plain("K I L L yourself, n\u200boooooob!!!")
    'kill yourself, noob!!'
    """
    return meant(visible(text))


def visible(text: str) -> str:
    """Return a text in one case, without invisible characters and marks, and with one space for white space."""
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
    """Return a visible text as it was meant: its plain form.

    Letters that stand apart are put together, look-alikes beside Latin letters are read as those, and runs are cut.
    """
    text = _LONG_RUN.sub(r"\1\1", text)  # of the signs between letters, too
    changed = _APART.sub(lambda found: _SIGNS.sub("", found[0]), text)
    if not changed.isascii():
        changed = " ".join(
            word.translate(_BESIDE_LATIN) if not word.isascii() and _LATIN.search(word) else word
            for word in changed.split(" ")
        )
    return text if changed == text else _LONG_RUN.sub(r"\1\1", changed)


def skeleton(form: str) -> str:
    """Return a plain message with all that remains of disguise taken off: it is the same for every way to write a word.

    A word all of whose letters look like Latin ones is read as Latin, digits and signs inside words are read as the
    letters they stand for, and runs are cut to one.

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
    """The word in Latin letters, if all of its letters look like some and it is no flag."""
    if len(word) == _FLAG and all(ord(character) in _INDICATORS for character in word):
        return word
    if all(ord(character) in _ALPHABETIC or not character.isalpha() or character.isascii() for character in word):
        return word.translate(_ALPHABETIC)
    return word


def _without_signs(word: str) -> str:
    """The word with digits and signs as the letters they stand for; a `|` in front is markup."""
    if not word.startswith("|"):
        word = word.replace("|", "l")
    return _I_BETWEEN.sub("i", word.translate(_LEET))


def _without_foreign_marks(text: str) -> str:
    """The text without marks that do not follow a character of their own script, where they belong to the spelling."""
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
    """The number of the script, -1 for all that have no such marks."""
    point = ord(character)
    place = bisect_right(_FIRSTS, point) - 1
    return _SCRIPT[place] if place >= 0 and point <= _LASTS[place] else -1
