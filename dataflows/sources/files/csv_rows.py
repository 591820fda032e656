"""Rows of a CSV or TSV file.

In a format with quoting, an unclosed quote must not swallow the rows after it. A quoted cell may span lines, but not a
line that looks like a row of the log: then the row with the unclosed quote is a bad row, and the lines after it are
read as rows. Each line is examined a bounded number of times.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from dataflows.runtime.text_files import MARK
from dataflows.sources.files.rows import ROW_BYTES, BadRow, Cells, LogError, Rows, Stream, lines, shown
from schemas.records.rejects import RejectReason

_RETURN = "\udc0d"
"""Replaces a carriage return within a line, which the csv module takes for a row end; no decoded text contains it."""
_LOST = "\N{REPLACEMENT CHARACTER}"
_UNCLOSED = "a quote is opened and not closed: quote it twice, or say quote = false if the log has no quoting"


class CsvRows(Rows):
    """A CSV file with a header line; blank lines are skipped.

    A row with another number of cells than the header is a bad row. `quote` is the quoting character, None if the
    format has no quoting.
    """

    def __init__(self, path: Path, delimiter: str, quote: str | None) -> None:
        super().__init__(path)
        self._delimiter, self._quote = delimiter, quote
        csv.field_size_limit(ROW_BYTES)  # csv's default limit is lower than ROW_BYTES; it is process-wide
        self.columns = ()  # until the header is read
        with self._open() as stream:
            header = next(self._records(stream), None)
        if isinstance(header, BadRow) or (header is not None and any("\r" in column for column in header[0])):
            raise LogError(
                f"{path}: the header line cannot be read: save the log as UTF-8 CSV, end lines with a line feed, "
                "and close every quote"
            )
        if header is None:
            raise LogError(f"{path}: is empty: a CSV log starts with a header line that names its columns")
        columns = header[0]
        twice = next((column for column in columns if columns.count(column) > 1), None)
        if twice is not None:
            raise LogError(f"{path}: the header names column {twice!r} twice: rename one of them")
        self.columns = tuple(columns)

    def __iter__(self) -> Iterator[Cells | BadRow]:
        """Yield the rows; undecodable or misshapen ones as `BadRow` with the bytes of their lines."""
        width = len(self.columns)
        with self._open() as stream:
            records = self._records(stream)
            next(records)
            for record in records:
                if isinstance(record, BadRow):
                    yield record
                elif len(record[0]) == width:
                    yield record[0]
                else:
                    detail = f"the row has {len(record[0])} cells under a header of {width}"
                    yield BadRow(RejectReason.UNMAPPED_ROW, detail, record[1])

    def as_json(self, row: Cells) -> bytes:
        """Return the row as a JSON object keyed by column."""
        return shown(dict(zip(self.columns, row, strict=True)))

    def _records(self, stream: Stream) -> Iterator[tuple[list[str], bytes] | BadRow]:
        """Yield each row's cells, whatever their number, with its bytes; an unreadable row as `BadRow`."""
        quote, delimiter = self._quote, self._delimiter
        again: deque[bytes | BadRow] = deque()  # lines examined for the end of a quote, to be read as rows
        source = lines(stream)
        quotes = None if quote is None else _Quotes(self, delimiter, quote, again, source)
        while True:
            line = again.popleft() if again else next(source, None)
            if line is None:
                return
            if isinstance(line, BadRow):
                yield line
                continue
            line = line.removeprefix(MARK)  # concatenated files may have a mark inside
            text = _decoded(line)
            if quotes is not None and quotes.quote in text:
                yield quotes.record(line, text)
                continue
            bare = text.rstrip("\r\n")
            if _LOST in bare and not _is_utf8(line):
                yield BadRow(RejectReason.INVALID_UTF8, "the row is not UTF-8", line)
            elif bare:
                yield bare.split(delimiter), line


class _Quotes:
    """Parser of rows that contain a quote, over as many lines as the quoted cells span.

    `again` receives the lines that were examined and do not belong to the row.
    """

    def __init__(
        self,
        rows: CsvRows,
        delimiter: str,
        quote: str,
        again: deque[bytes | BadRow],
        source: Iterator[bytes | BadRow],
    ) -> None:
        self._rows, self._delimiter, self.quote = rows, delimiter, quote
        self._again, self._source = again, source
        self._text: str | None = None
        self._reader = self._new_reader()

    def record(self, line: bytes, text: str) -> tuple[list[str], bytes] | BadRow:
        """Return the row that begins with `line`, whose text is `text`."""
        try:
            cells = self._cells(text)
        except csv.Error as error:
            return BadRow(RejectReason.UNMAPPED_ROW, f"the row is not CSV ({error})", line)
        if cells is None:
            found = self._over_lines(line, text)
            if isinstance(found, BadRow):
                return found
            cells, line = found
        if any(_LOST in cell for cell in cells) and not _is_utf8(line):
            return BadRow(RejectReason.INVALID_UTF8, "the row is not UTF-8", line)
        return cells, line

    def _cells(self, text: str) -> list[str] | None:
        """Return the cells of a single line, or None if it ends inside a quote."""
        self._text = _within(text)
        try:
            return _restored(next(self._reader))
        except _OpenQuoteError:
            self._reader = self._new_reader()
            return None
        except csv.Error:
            self._reader = self._new_reader()
            raise

    def _new_reader(self) -> Iterator[list[str]]:
        """Return a csv reader that parses one line at a time from `_text`.

        If that line ends inside a quote, the reader requests a second line, and `_OpenQuoteError` is raised.
        """

        def given() -> Iterator[str]:
            while self._text is not None:
                text, self._text = self._text, None
                yield text
            raise _OpenQuoteError

        return csv.reader(given(), delimiter=self._delimiter, quotechar=self.quote)

    def _over_lines(self, line: bytes, text: str) -> tuple[list[str], bytes] | BadRow:
        """Return the row whose quote is still open at the end of its first line.

        The quote must close before a line that looks like a row, before a closing quote that is followed by anything
        but a delimiter or a line end, and before the row is longer than `ROW_BYTES`. Otherwise return a `BadRow` of the
        first line, and put the other lines back to be read as rows.
        """
        taken: list[bytes | BadRow] = []
        texts, size = [text], len(line)
        while (after := self._next()) is not None:
            taken.append(after)
            if isinstance(after, BadRow):
                break
            size += len(after)
            text = _decoded(after)
            end = self._end_of_quote(text)
            if size > ROW_BYTES or end is None or self._is_row(text, closes=end >= 0):
                break
            texts.append(text)
            try:
                # The text after the quote is parsed as a line of its own: its cells may be quoted in turn.
                open_ = end < 0 or (end > 0 and self._cells(text[end:]) is None)
            except csv.Error:
                break
            if not open_:
                (cells,) = csv.reader(map(_within, texts), delimiter=self._delimiter, quotechar=self.quote)
                return _restored(cells), b"".join([line, *(piece for piece in taken if isinstance(piece, bytes))])
        self._again.extendleft(reversed(taken))
        return BadRow(RejectReason.UNMAPPED_ROW, _UNCLOSED, line)

    def _next(self) -> bytes | BadRow | None:
        return self._again.popleft() if self._again else next(self._source, None)

    def _end_of_quote(self, text: str) -> int | None:
        """Return the index after the closing quote of the quoted cell in which the line begins.

        Return 0 if the quote closes at the end of the line, -1 if it does not close in this line, and None if other
        text than the delimiter follows it.
        """
        quote, at = self.quote, 0
        while (at := text.find(quote, at)) >= 0:
            at += 1
            if text[at : at + 1] != quote:
                if not text[at:].rstrip("\r\n"):
                    return 0
                return at if text[at] == self._delimiter else None
            at += 1
        return -1

    def _is_row(self, text: str, *, closes: bool) -> bool:
        """Return whether a line inside a quote looks like a row by itself.

        Without `Rows.resembles`, the criterion is the number of cells. The line that closes the quote then never counts
        as a row, since the rest of its row may have the same number of cells.
        """
        try:
            cells = self._cells(text)
        except csv.Error:
            return False
        if cells is None:  # the line opens a quote of its own, in its last cell
            cells = next(csv.reader((_within(text),), delimiter=self._delimiter, quotechar=self.quote))
        resembles = self._rows.resembles
        if len(cells) != len(self._rows.columns) or (closes and resembles is None):
            return False
        return len(cells) > 1 if resembles is None else resembles(cells)


class _OpenQuoteError(Exception):
    """The first line of a row ends inside a quote."""


def _within(text: str) -> str:
    """Return a line with `_RETURN` in place of the carriage returns before its end."""
    bare = text.rstrip("\r\n")
    return bare.replace("\r", _RETURN) + text[len(bare) :] if "\r" in bare else text


def _restored(cells: list[str]) -> list[str]:
    """Return cells with their carriage returns restored."""
    return [cell.replace(_RETURN, "\r") for cell in cells] if any(_RETURN in cell for cell in cells) else cells


def _decoded(line: bytes) -> str:
    """Return a line as text, with U+FFFD for bytes that are not UTF-8."""
    return line.decode(errors="replace")


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
