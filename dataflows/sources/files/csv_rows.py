"""The rows of a CSV or TSV file.

Where a format has quotes, one that is opened and never closed must not swallow the rows behind it. A quote may run over
lines of text, but not over a line that looks like a row by itself: then the row that opened it is a bad one, and the
lines behind it are read as rows. Each line is looked at a bounded number of times.
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
"""Stands for a carriage return within a line, which would end a row for csv; no decoded text holds it."""
_LOST = "\N{REPLACEMENT CHARACTER}"
_UNCLOSED = "a quote is opened and not closed: quote it twice, or say quote = false if the log has no quoting"


class CsvRows(Rows):
    """A CSV file with a header line. Blank lines are no rows; a row of another width than the header is a bad one.

    `quote` is the character that cells may be quoted with, None where the format has no quoting.
    """

    def __init__(self, path: Path, delimiter: str, quote: str | None) -> None:
        super().__init__(path)
        self._delimiter, self._quote = delimiter, quote
        csv.field_size_limit(ROW_BYTES)  # the row's own bound holds; csv's is lower, and process-wide
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
        """The rows; undecodable or misshapen ones as `BadRow` with the bytes of their lines."""
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
        """The row as an object of its columns."""
        return shown(dict(zip(self.columns, row, strict=True)))

    def _records(self, stream: Stream) -> Iterator[tuple[list[str], bytes] | BadRow]:
        """Yield each row's cells, of whatever number, with its bytes."""
        quote, delimiter = self._quote, self._delimiter
        again: deque[bytes | BadRow] = deque()  # lines looked at in vain for the end of a quote
        source = lines(stream)
        quotes = None if quote is None else _Quotes(self, delimiter, quote, again, source)
        while True:
            line = again.popleft() if again else next(source, None)
            if line is None:
                return
            if isinstance(line, BadRow):
                yield line
                continue
            line = line.removeprefix(MARK)  # files with a mark may have been joined
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
    """Reads rows that hold a quote, over as many lines as the quote does.

    `again` takes the lines that were looked at and turn out to be no part of the row.
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
        """Return the row that begins with a line."""
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
        """Return the cells of a line by itself, None where it ends inside a quote."""
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
        """Return a parser that takes one line at a time from `_text`, and is given no second one inside a quote."""

        def given() -> Iterator[str]:
            while self._text is not None:
                text, self._text = self._text, None
                yield text
            raise _OpenQuoteError

        return csv.reader(given(), delimiter=self._delimiter, quotechar=self.quote)

    def _over_lines(self, line: bytes, text: str) -> tuple[list[str], bytes] | BadRow:
        """Return the row whose quote is still open at the end of its first line.

        The quote has to be closed before a line that looks like a row, before anything but a delimiter or an end of
        line follows a closing quote, and before the row is too long.
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
                # What follows the quote is a line of its own: the first cells of it may be quoted in turn.
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
        """Return where the open quote that a line begins in ends, -1 if nowhere, None if it does not end as it should.

        0 stands for the end of the line.
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
        """Whether a line inside a quote looks like a row by itself.

        Without anybody to ask, that is its width; the line that closes the quote then has the benefit of the doubt,
        since the rest of its row may be as wide.
        """
        try:
            cells = self._cells(text)
        except csv.Error:
            return False
        if cells is None:  # it opens a quote of its own, whose cell is the last of the line
            cells = next(csv.reader((_within(text),), delimiter=self._delimiter, quotechar=self.quote))
        resembles = self._rows.resembles
        if len(cells) != len(self._rows.columns) or (closes and resembles is None):
            return False
        return len(cells) > 1 if resembles is None else resembles(cells)


class _OpenQuoteError(Exception):
    """The line that a row begins with ends inside a quote."""


def _within(text: str) -> str:
    """Return a line with what stands for carriage returns in place of those before its end."""
    bare = text.rstrip("\r\n")
    return bare.replace("\r", _RETURN) + text[len(bare) :] if "\r" in bare else text


def _restored(cells: list[str]) -> list[str]:
    """Return cells with their carriage returns."""
    return [cell.replace(_RETURN, "\r") for cell in cells] if any(_RETURN in cell for cell in cells) else cells


def _decoded(line: bytes) -> str:
    """Return a line as text, with U+FFFD for what is not UTF-8."""
    return line.decode(errors="replace")


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
