"""What disguises a word comes off by Unicode's own tables, and what spells one stays."""

from __future__ import annotations

import sys
import unicodedata
from itertools import combinations

import pytest

from detectors.text.normalise import plain, skeleton, visible

WORDS = "kill yourself"
CATEGORIES = ("Mn", "Me", "Cf", "Cc", "Cs")


def inside(character: str) -> str:
    """The words with a character between the letters of the first."""
    return character.join("kill") + " yourself"


def of_categories() -> list[str]:
    """Every character of those categories that is not white space."""
    white = {*range(0x09, 0x0E), 0x85}
    points = [point for point in range(sys.maxunicode + 1) if point not in white]
    return [chr(point) for point in points if unicodedata.category(chr(point)) in CATEGORIES]


def test_nothing_that_is_not_seen_is_left_between_the_letters_of_a_word() -> None:
    """Every mark, enclosing or not, format character, control character and surrogate, of whatever script."""
    characters = of_categories()
    assert len(characters) > 4_000
    assert [f"{ord(one):x}" for one in characters if plain(inside(one)) != WORDS] == []


@pytest.mark.parametrize(
    "points",
    [
        range(0xFE00, 0xFE10),  # variation selectors
        range(0xE0000, 0xE1000),  # tags, more variation selectors, and what is to be ignorable one day
        [0x115F, 0x1160, 0x3164, 0xFFA0],  # Hangul fillers
        [0x2800, 0x1D159],  # symbols without a picture
        [0x17B4, 0x17B5, 0x180B, 0x180E, 0x034F, 0x00AD, 0x2065, 0xFFF0, 0x1BCA0, 0x1D173],
        [0xFFFC, 0xFFFD],  # what stands for something that was not shown
        [0xE000, 0xF8FF, 0xF0000, 0x10FFFD],  # private use
        [0xFDD0, 0xFFFE, 0x1FFFF, 0x10FFFF],  # noncharacters
    ],
)
def test_what_is_ignorable_or_means_nothing_is_not_left_either(points: list[int]) -> None:
    """Whatever category it is of."""
    assert [f"{point:x}" for point in points if plain(inside(chr(point))) != WORDS] == []


@pytest.mark.parametrize(
    "dressed",
    [
        "ᴋɪʟʟ ʏᴏᴜʀꜱᴇʟꜰ",
        "🅚🅘🅛🅛 yourself",
        "🅺🅸🅻🅻 yourself",
        "🄺🄸🄻🄻 yourself",
        "⒦⒤⒧⒧ yourself",
        "🄚🄘🄛🄛 yourself",
        "ⓚⓘⓛⓛ yourself",
        "𝐤𝐢𝐥𝐥 𝓎𝓸𝔲𝕣𝖘𝗲𝘭𝙛",
        "ᵏⁱˡˡ yourself",
        "ｋｉｌｌ yourself",
        "kiłł ɏøurself",
        "kıll yourself",
        "kɨll yourself",
        "ķíľl yöürsëlf",
        "kіll yоursеlf",
        "КІLL yourself",
        "KΙLL yοurself",
        "🇰 🇮 🇱 🇱 yourself",
        "🇰\u200b🇮\u200b🇱\u200b🇱 yourself",
        "k🇮ll yourself",
        "ki∣∣ y০urself",
        "kill ÿo\u0336u\u0336rself",
    ],
)
def test_letters_in_another_dress_are_letters(dressed: str) -> None:
    """Small capitals, framed, barred and styled ones, and letters of other alphabets beside Latin ones."""
    assert plain(dressed) == WORDS


@pytest.mark.parametrize(
    "borrowed",
    [
        "ᏦᎥᏞᏞ yourself",
        "ꓗꓲꓡꓡ yourself",
        "🇰🇮🇱🇱 yourself",
        "ki|| yourself",
        "k!ll y0ur$elf",
    ],
)
def test_words_that_are_borrowed_whole_have_the_skeleton_of_what_they_look_like(borrowed: str) -> None:
    """Of another alphabet, of regional indicators, or with signs for letters."""
    assert skeleton(plain(borrowed)) == skeleton(plain(WORDS))


@pytest.mark.parametrize(
    "between",
    [*" \t\n\v\f\r/·•.,-_*~|+=:;'#&\u00a0\u2009\u3000\u2028–—・🙂", "❤️", " / ", " • ", ".\t.", "." * 40, " . . . ."],
)
def test_letters_kept_apart_are_a_word(between: str) -> None:
    """By whatever white space, sign or picture; up to three of them."""
    assert plain(between.join("kill") + " yourself") == WORDS


def test_white_space_is_one_space_and_none_at_the_ends() -> None:
    """All that Unicode calls so, and nothing that it does not."""
    assert visible(" a\tb\u2003\u3000c\u2028\u0085d\r\n") == "a b c d"
    assert visible("a\x1cb\x1fc") == "abc"


DIFFERENT = {
    "Devanagari": ["कि", "की", "कु", "के", "को", "क", "क्या", "कया", "कं"],
    "Bengali": ["বি", "বু", "বে", "ব", "ব্য"],
    "Tamil": ["கி", "கு", "கை", "க", "க்"],
    "Thai": ["กิ", "กี", "กึ", "กุ", "กู", "ก", "ไม่", "ไม้", "ไหม"],
    "Lao": ["ກິ", "ກີ", "ກຸ", "ກ"],
    "Khmer": ["កិ", "កុ", "ក", "ក្រ"],
    "Myanmar": ["ကိ", "ကု", "က", "က်"],
    "kana": ["が", "か", "ば", "ぱ", "は", "ガ", "カ"],
    "Hangul": ["한", "하", "핸", "각", "간"],
    "Russian": ["мир", "мор", "тыл", "хай", "привет"],
    "flags": ["🇩🇪", "🇫🇷", "de", "🇩🇰"],
}


@pytest.mark.parametrize("script", DIFFERENT)
def test_words_of_other_scripts_stay_different(script: str) -> None:
    """Marks that spell a word of their own script are none of a disguise, in either form."""
    words = DIFFERENT[script]
    assert [pair for pair in combinations(words, 2) if plain(pair[0]) == plain(pair[1])] == []
    assert [pair for pair in combinations(words, 2) if skeleton(plain(pair[0])) == skeleton(plain(pair[1]))] == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("한국어", unicodedata.normalize("NFD", "한국어")),
        ("がぎ", unicodedata.normalize("NFD", "がぎ")),
        ("ｶﾞ", "ガ"),
        ("مُحَمَّد", "محمد"),
        ("שָׁלוֹם", "שלום"),
        ("می‌خواهم", "میخواهم"),
        ("👩\u200d💻", "👩💻"),
        ("❤️", "❤"),
    ],
)
def test_ways_to_write_the_same_are_the_same(one: str, other: str) -> None:
    """Composed or not, with vowel points or without, joined or not."""
    assert plain(one) == plain(other)


def test_a_mark_of_another_script_is_a_disguise() -> None:
    """In its own word it is a vowel; between Latin letters, or in a word of a third script, it is nothing."""
    assert plain("กิน") != plain("กน")
    assert plain("kิiืll") == "kill"
    assert plain("क\u0e34ि") == plain("कि")


@pytest.mark.parametrize("harmless", ["hey!", "||spoiler||", "no! stop", "10:45", "a/b", "c++", "e.g. this", "$5 @ 10"])
def test_signs_that_stand_for_themselves_stay(harmless: str) -> None:
    """Also in the skeleton, where no word is one of letters and signs."""
    assert plain(harmless) == harmless
    assert skeleton("||so||") == "|so|"
