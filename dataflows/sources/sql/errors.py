"""Errors of DuckDB as sentences: what is wrong, where in the SQL, what to do; never a value of the log."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb

from dataflows.mapping.errors import MappingError
from dataflows.sources.files.rows import LogError

MEMORY = "1GiB"
"""Memory that DuckDB may use; what does not fit is written to a temporary directory."""

_LINE = re.compile(r"\nLINE (\d+):")
_CSV_LINE = re.compile(r"CSV Error on Line: (\d+)")
_FILE = re.compile(r"(?:^ {2}file = |[Ff]ile ['\"]|GZIP stream: |pattern \")([^'\"\n]+?)(?:['\"]|$)", re.MULTILINE)
_KIND = re.compile(r"^[A-Za-z ]+ Error: ")
_MEANT = re.compile(r"Did you mean \"([^\"\n]+)\"")


def refused(error: duckdb.Error, path: Path, log: Path) -> MappingError | LogError:
    """Return an error of DuckDB about the mapping at `path` or about the files of `log` as one sentence."""
    text = str(error)
    at = _LINE.search(text)
    where = f"{path}: line {at[1]}: " if at else f"{path}: "
    first = _KIND.sub("", text.partition("\n")[0]).strip().rstrip(".!")
    if isinstance(error, duckdb.PermissionException):
        if "Cannot access" in first:
            first = first.partition(" - ")[0]
            return MappingError([f"{where}{first}: a mapping reads only LOG, as read_csv($log) or $log || '/name'"])
        return MappingError([f"{where}{first}: a mapping reads only LOG and runs SELECT statements"])
    if isinstance(error, duckdb.ParserException | duckdb.BinderException | duckdb.CatalogException):
        meant = _MEANT.search(text) if isinstance(error, duckdb.CatalogException) else None
        if "exists in the" in first:
            return MappingError([f"{where}{first}: a mapping loads no extension but excel and encodings"])
        advice = f"did you mean {meant[1]!r}?" if meant else "correct the SQL"
        return MappingError([f"{where}{first}: {advice}"])
    if isinstance(error, duckdb.OutOfMemoryException):
        return LogError(
            f"{where}needs more than {MEMORY} of memory, or more room for temporary files: set TMPDIR to a directory "
            "with room, or select less"
        )
    if isinstance(error, duckdb.InternalException | duckdb.FatalException):
        return LogError(f"{where}DuckDB {duckdb.__version__} failed ({type(error).__name__}): simplify the SQL")
    return LogError(where + _data_sentence(text, error, log))


def _data_sentence(text: str, error: duckdb.Error, log: Path) -> str:
    """Return the sentence for an error about the log's content, whose own text may contain values."""
    file = _FILE.search(text)
    name = log if file is None else file[1]
    if "GZIP stream" in text:
        return f"{name} is damaged, or not gzip: fetch the file again, or correct its suffix"
    if "No files found" in text:
        return f"there is no file {name}: correct the pattern"
    if found := _CSV_LINE.search(text):
        return (
            f"line {found[1]} of {name} does not fit the columns: write store_rejects = true into read_csv, and such "
            "rows become rejects"
        )
    if "sniffing file" in text:
        return (
            f"the layout of {name} cannot be detected: write auto_detect = false and give delim, quote, header and "
            "columns"
        )
    if "schema mismatch" in text:
        return f"the files do not have the same columns ({name}): write union_by_name = true, or read them apart"
    if "Malformed JSON" in text or "JSON transform" in text:
        return f"a row of {name} is not the JSON expected: use read_json_objects(..., ignore_errors = true)"
    if "UTF-8" in text or "utf-8" in text or "unicode" in text:
        return f"{name} is not UTF-8: give its encoding, such as encoding = 'latin-1'"
    if "Parquet" in text or "parquet" in text:
        return f"{name} is not Parquet, or is damaged: correct the pattern or the file"
    if isinstance(error, duckdb.IOException):
        return f"{name} cannot be read, or is damaged: fetch the file again"
    return (
        f"a value cannot be converted ({type(error).__name__.removesuffix('Exception')}): use TRY_CAST, try_strptime "
        "or TRY(...), and such rows become rejects"
    )
