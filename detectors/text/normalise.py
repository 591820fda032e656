"""Two forms for the many ways to write a word: as it was meant to be seen, and as nothing can disguise it.

Training and scoring see both, so that what is lost in the second (`noob` and `nob` are alike) is kept in the first.
"""

from __future__ import annotations

import re
import unicodedata

_INVISIBLE = dict.fromkeys(
    [0x00AD, 0x034F, 0x061C, 0x180E, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF]
)
_LOOK_ALIKES = str.maketrans("аеорсухіѕјԁһкмтвнβκντο", "aeopcyxisjdhkmtbhbkvto")
"""Cyrillic and Greek letters that nobody tells from Latin ones, in Latin words."""
_LEET = str.maketrans("013457@$", "oieastas")
_WITH_LETTER = re.compile(r"\S*[a-z]\S*")
_LEET_SIGN = re.compile(r"[013457@$]")
_APART = re.compile(r"(?<![^\W_])[^\W_](?:([ .\-_*~]{1,3})[^\W_](?![^\W_])){2,}")
_GAP = re.compile(r"[ .\-_*~]+")
_LONG_RUN = re.compile(r"([^\s\d])\1{2,}")
_RUN = re.compile(r"([^\s\d])\1+")


def plain(text: str) -> str:
    """A message as it was meant to be seen: one case, no marks or invisible characters, no letters that stand apart.

    Runs of a letter or sign are cut to two, because more of them say nothing more.

    >>> plain("K I L L yourself, n\u200boooooob!!!")
    'kill yourself, noob!!'
    """
    if text.isascii():
        text = text.lower()
    else:
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
        text = text.translate(_INVISIBLE).casefold().translate(_LOOK_ALIKES)
    return _LONG_RUN.sub(r"\1\1", _APART.sub(lambda found: _GAP.sub("", found[0]), text))


def skeleton(form: str) -> str:
    """A plain message with all that remains of disguise taken off: it is the same for every way to write a word.

    Digits and signs inside words are read as the letters they stand for, and runs are cut to one.

    >>> skeleton(plain("k1ll y0urself n00b, 1000 times"))
    'kil yourself nob, 1000 times'
    """
    if _LEET_SIGN.search(form):
        form = _WITH_LETTER.sub(lambda word: word[0].translate(_LEET), form)
    return _RUN.sub(r"\1", form)
