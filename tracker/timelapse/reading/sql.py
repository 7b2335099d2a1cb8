"""SQL over one table of predictions, by somebody whom we need not trust: bounded, and without the world."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from timelapse.errors import TimelapseError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb
    import pyarrow as pa

VIEW = "predictions"
"""The only table there is."""
MEMORY = "1GB"
"""How much memory a query may use."""
THREADS = 2
"""How many cores a query may use."""

_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_persistent_secrets": "false",
    "python_enable_replacements": "false",  # else a variable of ours would be a table
    "temp_directory": "",
    "errors_as_json": "true",
    "memory_limit": MEMORY,
    "threads": str(THREADS),
}


_EXPLAIN = "EXPLAIN "
_NARROW = "Narrow it (WHERE, LIMIT)."


def run_query(table: pa.Table, query: str, *, max_rows: int, timeout: float) -> tuple[pa.Table, bool]:
    """Run one SELECT over `table`, which it sees as the view `predictions`.

    The query sees registered Arrow only: no file, no network, no extension, no variable of Python's; its
    settings are locked, its memory bounded.

    Args:
        table: The rows.
        query: One statement that reads, in DuckDB's SQL.
        max_rows: How many rows to return.
        timeout: After how many seconds the query is ended.

    Returns:
        The first rows, and whether there are more. A column's name that occurs again gets a number.

    Raises:
        TimelapseError: The query is not SQL, does more than read, or is too big or too slow; says where it
            is wrong, and which columns there are.
    """
    import duckdb

    with _database(table) as connection, _time_limit(connection, timeout) as is_over:
        try:
            _check_reads(connection, query)
            connection.execute(_EXPLAIN + query)  # its errors say where; those of a relation do not
            found = connection.sql(query).limit(max_rows + 1).to_arrow_table()
        except duckdb.InterruptException as error:
            if not is_over.is_set():
                raise KeyboardInterrupt from error
            raise TimelapseError(too_slow(timeout)) from error
        except MemoryError as error:  # Arrow's, for the result
            raise TimelapseError(f"The result needs too much memory: {error}. {_NARROW}") from error
        except duckdb.Error as error:
            raise TimelapseError(_explained(error, query, table)) from error
    return found.slice(0, max_rows), len(found) > max_rows


def too_slow(seconds: float) -> str:
    """Return what is to be said of a query that was ended after some seconds."""
    return (
        f"The query took longer than {seconds:g} s and was ended. Narrow it (WHERE, LIMIT), or give it more "
        "time with --timeout."
    )


@contextmanager
def _database(table: pa.Table) -> Iterator[duckdb.DuckDBPyConnection]:
    import duckdb

    with duckdb.connect(":memory:", config=_SETTINGS) as connection:
        connection.register(VIEW, table)
        connection.execute("SET lock_configuration = true")
        yield connection


@contextmanager
def _time_limit(connection: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[threading.Event]:
    """Interrupt what the connection does after some seconds; the event says that this happened."""
    over = threading.Event()

    def end() -> None:
        over.set()
        connection.interrupt()

    timer = threading.Timer(seconds, end)
    timer.name = "timelapse-query-timer"
    timer.start()
    try:
        yield over
    finally:
        timer.cancel()
        timer.join()


def _check_reads(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    import duckdb

    statements = connection.extract_statements(query)
    kinds = [statement.type for statement in statements]
    if len(kinds) != 1:
        raise TimelapseError(f"Give one SELECT; here are {len(kinds)} statements.")
    if kinds[0] != duckdb.StatementType.SELECT:
        raise TimelapseError(
            f"Only SELECT is possible; this is {kinds[0].name}. The view `{VIEW}` can be read, not changed."
        )


def _explained(error: duckdb.Error, query: str, table: pa.Table) -> str:
    """Return DuckDB's error in one line: what is wrong, where, and which columns there are."""
    import duckdb

    said = _details(error)
    message = said.get("exception_message", str(error)).strip().split("\n")[0].rstrip(".!")
    if isinstance(error, duckdb.OutOfMemoryException):
        return f"The query needs more than {MEMORY} of memory: {message}. {_NARROW}"
    if isinstance(error, duckdb.PermissionException):
        return f"The query may only read the view `{VIEW}`: {message}."
    where = _place(query, said.get("position"))
    return f"SQL error{where}: {message}. The view `{VIEW}` has the columns: {', '.join(table.column_names)}."


def _details(error: duckdb.Error) -> dict[str, str]:
    """Return the fields of an error that DuckDB wrote as JSON behind its kind."""
    start = str(error).find("{")
    try:
        found = json.loads(str(error)[start:]) if start >= 0 else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _place(query: str, position: str | None) -> str:
    """Return where in the query an error is; its position is in bytes, from the start of the EXPLAIN."""
    if position is None or not position.isdecimal() or int(position) > len(_EXPLAIN + query):
        return ""
    before = (_EXPLAIN + query).encode()[: int(position)].decode(errors="ignore").removeprefix(_EXPLAIN)
    return f" at line {before.count(chr(10)) + 1}, column {len(before) - (before.rfind(chr(10)) + 1) + 1}"
