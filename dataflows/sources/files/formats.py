"""Selection of a log file's reader by suffix, and the check for the required columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dataflows.mapping.errors import did_you_mean
from dataflows.sources.files.csv_rows import CsvRows
from dataflows.sources.files.json_rows import SNIFF, JsonRows
from dataflows.sources.files.parquet_rows import ParquetRows
from dataflows.sources.files.rows import LogError, Rows, whole


def open_rows(
    path: Path,
    columns: Sequence[str],
    *,
    delimiter: str | None = None,
    quote: str | None = None,
    sparse: Sequence[str] = (),
) -> Rows:
    """Return the rows of the log at `path`, after checking that it has all of `columns`.

    `quote` is the quoting character, empty for none. By default it depends on the suffix: TSV has no quoting (its IANA
    registration, text/tab-separated-values), and CSV has double quotes (RFC 4180). Columns in `sparse` count as present
    in a JSONL log.

    Raises:
        LogError: if the file is missing, damaged, of an unknown kind, or without a required column.
    """
    kind = log_kind(path)
    shown: Sequence[str]
    with whole(path, lambda: 0):
        if kind == "jsonl":
            rows: Rows = (lines := JsonRows(path, columns))
            shown = sorted(lines.shown() | set(sparse))
        elif kind == "parquet":
            rows = (table := ParquetRows(path, columns))
            shown = table.shown
        else:
            quote = ("" if kind == "tsv" else '"') if quote is None else quote
            rows = CsvRows(path, delimiter or ("\t" if kind == "tsv" else ","), quote or None)
            shown = rows.columns
    for column in columns:
        if column not in shown:
            rarely = f" (or list it under sparse if the first {SNIFF} rows lack it)" if kind == "jsonl" else ""
            raise LogError(
                f"{path}: has no column {column!r}, which the mapping names: {did_you_mean(column, shown)}{rarely}"
            )
    return rows


def log_kind(path: Path) -> str:
    """Return `csv`, `tsv`, `jsonl` or `parquet` by the suffix, whose case is ignored.

    Raises:
        LogError: if the file is missing or the suffix is none of these.
    """
    if not path.is_file():
        raise LogError(f"{path}: there is no such file: name a log")
    zipped = path.suffix.lower() == ".gz"
    suffix = (Path(path.stem) if zipped else path).suffix.lower()
    kind = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}.get(suffix)
    if kind is None or (kind == "parquet" and zipped):
        raise LogError(
            f"{path}: is of no known kind: a log ends in .csv, .tsv or .jsonl (each also with .gz) or .parquet"
        )
    return kind
