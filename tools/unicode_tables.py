"""Generator of `detectors/text/unicode_tables.py` from the files of the Unicode Consortium, given by path.

    python -m tools.unicode_tables UCD [CONFUSABLES]

UCD is a folder with UnicodeData.txt, DerivedCoreProperties.txt, PropList.txt, Scripts.txt, DerivedAge.txt and
IndicSyllabicCategory.txt; Debian's package unicode-data installs them into /usr/share/unicode. CONFUSABLES is the file
confusables.txt of UTS 39; its relevant rows are stored in `tools/confusables.txt`. Without CONFUSABLES the stored rows
are read.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path

from tools.docs.repository import ROOT

KEPT = ROOT / "tools/confusables.txt"
TARGET = ROOT / "detectors/text/unicode_tables.py"
LAST = 0x10FFFF
REPLACED = frozenset({0xFFFC, 0xFFFD})
"""Characters that replace what could not be shown; a client or a decoder may insert them anywhere."""
BLANK = frozenset({0x2800, 0x1D159})
"""Symbols whose glyph is empty: the braille pattern without dots, and the null notehead."""
UNWRITTEN = frozenset({"Hangul", "Han", "Hiragana", "Katakana", "Bopomofo"})
"""Scripts without a letter that is read as a Latin one."""
DRESSED = re.compile(
    r"(?:MODIFIER LETTER|LATIN LETTER) SMALL CAPITAL (?P<small>[A-Z])"
    r"|LATIN SMALL CAPITAL LETTER (?P<middle>[A-Z])(?: WITH .*)?"
    r"|(?:NEGATIVE |CROSSED NEGATIVE |RAISED )?(?:CIRCLED|SQUARED|PARENTHESIZED) LATIN (?:CAPITAL|SMALL) LETTER"
    r" (?P<framed>[A-Z])"
    r"|(?:LATIN|MODIFIER LETTER|MATHEMATICAL ITALIC) (?:SMALL|CAPITAL)(?: LETTER)?"
    r"(?: (?:DOTLESS|SCRIPT|BARRED|INSULAR|AFRICAN|OPEN|BLACKLETTER))? (?P<plain>[A-Z])(?: WITH .*)?"
    r"|LATIN LETTER SMALL CAPITAL (?:BARRED )?(?P<barred>[A-Z])(?: WITH .*)?"
)
"""Names of characters that are a styled Latin letter. They are not confusables, because they are that letter."""
REGIONAL = re.compile(r"REGIONAL INDICATOR SYMBOL LETTER (?P<letter>[A-Z])")
BY_HAND = {"\N{GREEK SMALL LETTER BETA}": "b", "\N{LATIN SMALL LETTER KRA}": "k"}
"""Letters whose class in UTS 39 is not their reading. Beta is read as b, but UTS 39 maps it to an eszett. Kra is the
UTS 39 name of the class of the small capital k."""


def main() -> None:
    """Write the tables from the files named in the arguments."""
    if len(sys.argv) not in (2, 3):
        raise SystemExit("say where the Unicode files are: python -m tools.unicode_tables UCD [CONFUSABLES]")
    ucd = Path(sys.argv[1])
    if len(sys.argv) == 3:
        KEPT.write_text(kept_rows(ucd, Path(sys.argv[2])))
    TARGET.write_text(module(ucd, KEPT))


def kept_rows(ucd: Path, confusables: Path) -> str:
    """Return the rows for characters that look like a Latin letter, below the file's own header."""
    text = _read(confusables)
    alphabets, others = look_alikes(ucd, confusables)
    rows = dict(_confusables(confusables))
    wanted = {point: chr(point) for point in (*alphabets, *others)}
    letters = {chr(point) for point in dressed(ucd)[0]}
    kept = [source for source in rows if source.casefold() in wanted.values() or source in letters]
    head = [line for line in text.splitlines()[:10] if line.startswith("#")]
    head.append(f"# Those rows only that tools/unicode_tables.py uses, of a file with SHA-256 {_digest(text)}")
    for source in sorted(kept):
        target, way = rows[source]
        head.append(f"{_points(source)} ; {_points(target)} ; MA #" + (f" →{way}→" if way else ""))
    return "\n".join(head) + "\n"


def _points(text: str) -> str:
    return " ".join(f"{ord(character):04X}" for character in text)


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def module(ucd: Path, confusables: Path) -> str:
    """Return the text of the generated module."""
    version = re.search(r"DerivedCoreProperties-([0-9.]+)\.txt", _read(ucd / "DerivedCoreProperties.txt"))
    listed = _read(confusables)
    listed_version = re.search(r"^# Version: ([0-9.]+)", listed, re.MULTILINE)
    if version is None or listed_version is None:
        raise SystemExit("the files do not say which version of Unicode they are of")
    letters, indicators = dressed(ucd)
    marks, scripts = spelling_marks(ucd)
    alphabets, others = look_alikes(ucd, confusables)
    return (
        "\n".join(
            [
                '"""What Unicode says of characters that disguise a word: made by `python -m tools.unicode_tables`.',
                "",
                f"From the Unicode Character Database {version[1]} and confusables.txt of UTS 39 {listed_version[1]},",
                "of which tools/confusables.txt has the rows that matter.",
                "Copyright 1991-2025 Unicode, Inc., used under the Unicode License (https://www.unicode.org/license.txt).",
                '"""',
                "",
                f'VERSION = "{version[1]}"',
                f'CONFUSABLES_VERSION = "{listed_version[1]}"',
                "",
                *_text("INVISIBLE", _ranges(invisible(ucd) - marks), "Characters that nobody sees, as ranges."),
                *_text("MARKS", _ranges(marks), "Marks that belong to the spelling of words of their own script."),
                *_text("SPACING_MARKS", _ranges(spacing_marks(ucd)), "Marks that take a place of their own."),
                *_text("SCRIPTS", scripts, "The scripts of those marks, each with its characters."),
                *_text("NEWER", _pairs(newer(ucd)), "Decompositions that a Python of 3.11 does not know yet."),
                *_text("DRESSED", _pairs(letters), "Latin letters in another dress, and the letter each of them is."),
                *_text("INDICATORS", _pairs(indicators), "Regional indicators, two of which make a flag."),
                *_text(
                    "ALPHABETIC", _pairs(alphabets), "Letters of other alphabets, and the Latin ones they look like."
                ),
                *_text(
                    "BESIDE",
                    _pairs(others),
                    "Signs, digits and letters of syllabic scripts that do so beside Latin ones.",
                ),
            ]
        ).rstrip("\n")
        + "\n"
    )


def invisible(ucd: Path) -> set[int]:
    """Return the code points to remove from text: marks, format and control characters, private and ignorable ones.

    White space is not included, whatever its category.
    """
    category = categories(ucd)
    kinds = {"Mn", "Me", "Cf", "Cc", "Co", "Cs"}
    found = {point for point in range(LAST + 1) if category.get(point) in kinds}
    found |= properties(ucd / "DerivedCoreProperties.txt", "Default_Ignorable_Code_Point")
    found |= properties(ucd / "PropList.txt", "Noncharacter_Code_Point")
    return (found | REPLACED | BLANK) - white_space(ucd)


def white_space(ucd: Path) -> set[int]:
    """Return the code points that are white space."""
    return properties(ucd / "PropList.txt", "White_Space")


def spelling_marks(ucd: Path) -> tuple[set[int], str]:
    """Return the nonspacing marks that are part of the spelling in their script, and those scripts' code points.

    They are the marks of syllabic scripts (which have an Indic syllabic category) and the voicing marks of kana.
    Harakat, niqqud and the accents of alphabets can be left out in writing, so they are not included.
    """
    category, script_of = categories(ucd), values(ucd / "Scripts.txt")
    indic = values(ucd / "IndicSyllabicCategory.txt")
    kana = {0x3099, 0x309A}
    shared = {"Common", "Inherited"}
    marks = {point for point in indic if category.get(point) == "Mn" and script_of.get(point) not in shared}
    scripts: dict[str, set[int]] = defaultdict(set)
    wanted = {script_of[point] for point in marks}
    for point, script in script_of.items():
        if script in wanted:
            scripts[script].add(point)
        elif script in ("Hiragana", "Katakana"):
            scripts["Kana"].add(point)
    scripts["Kana"] |= kana
    return marks | kana, "; ".join(f"{name} {_ranges(points)}" for name, points in sorted(scripts.items()))


def spacing_marks(ucd: Path) -> set[int]:
    """Return the marks of category Mc."""
    return {point for point, category in categories(ucd).items() if category == "Mc"}


def newer(ucd: Path) -> dict[int, str]:
    """Return the decompositions of characters newer than Unicode 14, which the Python that runs this may lack.

    They are read from the files, not from Python, so that every Python version writes and reads the same.
    """
    age = values(ucd / "DerivedAge.txt")
    return {
        point: "".join(map(chr, parts))
        for point, parts in decompositions(ucd).items()
        if float(age.get(point, "0")) > 14
    }


def dressed(ucd: Path) -> tuple[dict[int, str], dict[int, str]]:
    """Return the plain letter of each styled Latin letter, and that of each regional indicator."""
    letters: dict[int, str] = {}
    indicators: dict[int, str] = {}
    decomposed = decompositions(ucd)
    for point, name in names(ucd).items():
        if (match := REGIONAL.fullmatch(name)) is not None:
            indicators[point] = match["letter"].lower()
        elif (match := DRESSED.fullmatch(name)) is not None and point > 0x7F:
            letter = next(group for group in match.groups() if group).lower()
            parenthesised = name.startswith("PARENTHESIZED")  # its decomposition keeps the parentheses
            if parenthesised or point not in decomposed:
                letters[point] = letter
    return letters, indicators


def look_alikes(ucd: Path, confusables: Path) -> tuple[dict[int, str], dict[int, str]]:
    """Return case-folded letters that UTS 39 calls confusable with Latin ones: those of alphabets, and all others.

    Each has the Latin letter it looks like. The others are letters of syllabic scripts, digits and signs; they spell no
    word of their own that looks Latin.

    Right-to-left letters are left out: among Latin letters they are not displayed in their place.
    """
    script_of, indic = values(ucd / "Scripts.txt"), values(ucd / "IndicSyllabicCategory.txt")
    syllabic = {script_of.get(point) for point in indic}
    category = categories(ucd)
    direction = {point: fields[4] for point, fields in _unicode_data(ucd)}
    letters, _ = dressed(ucd)
    decomposed = decompositions(ucd)
    targets = dict(_confusables(confusables))
    classes: dict[str, str] = {}
    for source, (target, _) in targets.items():  # a class is named after any member that is a Latin letter
        letter = letters.get(ord(source)) if len(source) == 1 else None
        if letter is not None and not _latin(target, letters):
            classes.setdefault(target, letter)
    targets = {target: (target, "") for target in classes} | targets
    alphabets: dict[int, str] = {}
    others: dict[int, str] = {}
    for source, (target, first) in targets.items():
        folded = source.casefold()
        if len(folded) != 1 or folded.isascii() or ord(folded) in letters or ord(folded) in decomposed:
            continue
        script = script_of.get(ord(folded), "Common")
        if script in UNWRITTEN or direction.get(ord(folded)) in ("R", "AL", "AN"):
            continue
        kind = category.get(ord(folded), "Cn")[0]
        if kind not in "LNS":
            continue
        letter = BY_HAND.get(source) or BY_HAND.get(target) or classes.get(target) or _latin(target, letters)
        if first == "I":  # UTS 39 has one class for I and l; `first` shows which of them a member looks like
            letter = "i"
        if letter and (folded == source or ord(folded) not in alphabets):
            (alphabets if kind == "L" and script not in syllabic else others)[ord(folded)] = letter
    return alphabets, others


def _latin(target: str, letters: dict[int, str]) -> str | None:
    """Return the one ASCII letter in a target, without its marks; None if it is anything else."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", target) if not unicodedata.category(c).startswith("M"))
    bare = "".join(letters.get(ord(c), c) for c in bare).casefold()
    return bare if len(bare) == 1 and "a" <= bare <= "z" else None


def _confusables(path: Path) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield every source with its target and the first character on the path between them."""
    for line in _read(path).splitlines():
        fields = line.partition("#")[0].split(";")
        if len(fields) == 3:
            source, target = ("".join(chr(int(point, 16)) for point in field.split()) for field in fields[:2])
            way = line.rpartition("#")[2].strip().strip("→").split("→")
            yield source, (target, way[0].strip("\u200e"))


def categories(ucd: Path) -> dict[int, str]:
    """Return the general category of every assigned code point."""
    return {point: fields[2] for point, fields in _unicode_data(ucd)}


def names(ucd: Path) -> dict[int, str]:
    """Return the name of every assigned code point."""
    return {point: fields[1] for point, fields in _unicode_data(ucd)}


def decompositions(ucd: Path) -> dict[int, tuple[int, ...]]:
    """Return the decompositions, canonical and compatibility, one step deep."""
    found = {}
    for point, fields in _unicode_data(ucd):
        if fields[5]:
            found[point] = tuple(int(part, 16) for part in fields[5].split() if not part.startswith("<"))
    return found


def _unicode_data(ucd: Path) -> Iterator[tuple[int, list[str]]]:
    first = 0
    for line in _read(ucd / "UnicodeData.txt").splitlines():
        fields = line.split(";")
        point = int(fields[0], 16)
        if fields[1].endswith(", First>"):
            first = point
        elif fields[1].endswith(", Last>"):
            yield from ((within, fields) for within in range(first, point + 1))
        else:
            yield point, fields


def values(path: Path) -> dict[int, str]:
    """Return the value of each code point that a property file lists."""
    return dict(_listed(path))


def properties(path: Path, name: str) -> set[int]:
    """Return the code points for which a file lists a property of that name."""
    return {point for point, value in _listed(path) if value == name}


def _listed(path: Path) -> Iterator[tuple[int, str]]:
    for line in _read(path).splitlines():
        fields = [field.strip() for field in line.partition("#")[0].split(";")]
        if len(fields) >= 2:
            first, _, last = fields[0].partition("..")
            yield from ((point, fields[1]) for point in range(int(first, 16), int(last or first, 16) + 1))


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8-sig")


def _ranges(points: Iterable[int]) -> str:
    """Return code points as hexadecimal ranges: `0-8 e-1f ad`."""
    found: list[list[int]] = []
    for point in sorted(points):
        if found and found[-1][1] == point - 1:
            found[-1][1] = point
        else:
            found.append([point, point])
    return " ".join(f"{first:x}" if first == last else f"{first:x}-{last:x}" for first, last in found)


def _pairs(table: dict[int, str]) -> str:
    """Format code points, grouped after what they are read as: `a 1d00 1f150`; join several characters by `+`."""
    sources: dict[str, list[int]] = defaultdict(list)
    for point, read in table.items():
        sources["+".join(f"{ord(one):x}" if not one.isascii() else one for one in read)].append(point)
    return "; ".join(f"{read} {_ranges(points)}" for read, points in sorted(sources.items()))


def _text(name: str, content: str, doc: str) -> list[str]:
    """Return the source lines of a constant with its doc; wrap its text over as many lines as needed."""
    words, lines, line = content.split(" "), [], ""
    for word in words:
        if len(line) + len(word) > 110:
            lines.append(line)
            line = ""
        line += f"{word} "
    lines.append(line.rstrip())
    if len(lines) == 1:
        return [f'{name} = "{lines[0]}"', f'"""{doc}"""']
    return [f"{name} = (", *(f'    "{line}"' for line in lines), ")", f'"""{doc}"""']


if __name__ == "__main__":
    main()
