"""A locked DuckDB session: it reads LOG and nothing else, writes nothing but spilled rows, and has no network."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb

from dataflows.mapping.errors import MappingError
from dataflows.mapping.sql import SqlMapping
from dataflows.sources.files.rows import LogError
from dataflows.sources.sql.errors import MEMORY, refused
from dataflows.sources.sql.statements import Statement, extensions, statements, with_log

NUMBER = """
CREATE MACRO number(x) AS CASE WHEN CAST(x AS VARCHAR) <> '' THEN coalesce(TRY_CAST(x AS DOUBLE), 'nan'::DOUBLE) END
"""
"""A macro for every mapping: a cell as a number, NULL if empty, NaN if it cannot be read, so that this is counted."""


class Session:
    """An in-memory database with the views, tables and macros of a mapping; one thread, so that rows have one order.

    With `check` the tables stay empty, so that the mapping can be checked without reading the log.

    Raises:
        MappingError: if the mapping cannot be used.
        LogError: if there is no LOG.
    """

    def __init__(self, mapping: SqlMapping, log: Path, *, check: bool = False) -> None:
        if not log.exists():
            raise LogError(f"{log}: there is no such file or directory: name a log")
        self.mapping, self.log = mapping, log.absolute()
        parsed = statements(mapping)
        self.selects = [self._placed(one) for one in parsed if one.kind == "SELECT"]
        self._spill = _spill_directory()
        self.connection = _connected(self._spill)
        try:
            _load(self.connection, mapping, extensions(parsed))
            _lock(self.connection, self.log)
            self.connection.execute(NUMBER)
            for one in parsed:
                if one.kind != "SELECT":
                    empty = "\nWITH NO DATA" if check and one.kind == "TABLE" else ""
                    self.run(_at_its_line(self._placed(one)) + empty)
        except BaseException:
            self.close()
            raise

    def _placed(self, statement: Statement) -> Statement:
        return statement._replace(text=with_log(statement.text, str(self.log)))

    def run(self, sql: str) -> list[tuple[object, ...]]:
        """Return the rows of a statement that gives few.

        Raises:
            MappingError, LogError: if DuckDB refuses it.
        """
        try:
            return self.connection.execute(sql).fetchall()
        except duckdb.Error as error:
            raise refused(error, self.mapping.path, self.log) from None
        except RuntimeError as error:
            raise KeyboardInterrupt from error  # DuckDB's answer to Ctrl-C

    def described(self, select: Statement) -> dict[str, str]:
        """Return the columns of a SELECT with their types, without running it."""
        columns = [(str(row[0]), str(row[1])) for row in self.run(f"DESCRIBE {_at_its_line(select)}")]
        names = [name for name, _ in columns]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise MappingError(
                [f"{self.mapping.path}: the SELECT on line {select.line} has column {twice!r} twice: rename one"]
            )
        return dict(columns)

    def close(self) -> None:
        """Close the database and remove what it spilled."""
        self.connection.close()
        if self._spill is not None:
            self._spill.cleanup()

    def __enter__(self) -> Self:
        """Return the session."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the session."""
        self.close()


def _at_its_line(statement: Statement) -> str:
    """Return a statement moved down to its line, so that DuckDB's errors name the line of the mapping."""
    return "\n" * (statement.line - 1) + statement.text


def _spill_directory() -> tempfile.TemporaryDirectory[str] | None:
    try:
        return tempfile.TemporaryDirectory(prefix="forewarn-sql-", ignore_cleanup_errors=True)
    except OSError:
        return None  # nothing can be written anywhere: what does not fit into memory is an error then


def _connected(spill: tempfile.TemporaryDirectory[str] | None) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(
        ":memory:",
        config={
            "threads": 1,
            "memory_limit": MEMORY,
            "temp_directory": "" if spill is None else spill.name,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
            "allow_persistent_secrets": False,
        },
    )


def _load(connection: duckdb.DuckDBPyConnection, mapping: SqlMapping, names: list[str]) -> None:
    """Load extensions that somebody has installed on this machine; none is fetched."""
    for name in names:
        try:
            connection.load_extension(name)
        except duckdb.Error:
            install = f"python -c \"import duckdb; duckdb.execute('INSTALL {name}')\""
            problem = f"{mapping.path}: needs DuckDB's extension {name}, which is not installed: install it once with "
            raise MappingError([f"{problem}{install}, or save the log as CSV in UTF-8"]) from None


def _lock(connection: duckdb.DuckDBPyConnection, log: Path) -> None:
    """Confine the session to the log; nothing can be changed back."""
    # DuckDB follows links before it asks what is allowed.
    places = {str(log), str(log.resolve())}
    allowed = "allowed_directories" if log.is_dir() else "allowed_paths"
    ending = "/" if log.is_dir() else ""
    listed = ", ".join("'" + f"{place}{ending}".replace("'", "''") + "'" for place in sorted(places))
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")
    connection.execute(f"SET {allowed} = [{listed}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
