"""Tables in the files that other programs open: CSV, Parquet, JSON lines."""

from __future__ import annotations

import json
import math
import os
import uuid
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timelapse.errors import TimelapseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO

    import pyarrow as pa

FORMATS = ("csv", "parquet", "jsonl")
"""The formats, which are also the endings of the files."""

# What a spreadsheet takes for a formula, also behind blanks and marks that it drops, in half and full width.
_FORMULA = r"\A(?:[\s\p{Z}\p{C}]*[=+\-@＝＋－＠]|[\t\r])"
_BATCH_ROWS = 10_000


def format_of(path: Path) -> str:
    """Return the format that a file's ending names.

    Raises:
        TimelapseError: It names none.
    """
    ending = path.suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        given = f"'.{ending}'" if ending else "no ending"
        raise TimelapseError(
            f"{path} has {given}; an export ends in .csv, .parquet or .jsonl (or say --format)."
        )
    return ending


def export_file(table: pa.Table, path: Path, kind: str, *, force: bool = False) -> None:
    """Write a table to a file that appears whole or not at all.

    Args:
        table: The rows.
        path: Where to.
        kind: One of `FORMATS`.
        force: Replace a file that exists.

    Raises:
        TimelapseError: The file exists, or cannot be written.
    """
    write_file(path, lambda file: write_table(table, file, kind), force=force)


def write_file(path: Path, write: Callable[[BinaryIO], object], *, force: bool = False) -> None:
    """Have a file written that appears whole or not at all.

    Raises:
        TimelapseError: The file exists and may not be replaced, or cannot be written.
    """
    check_target(path, force=force)
    try:
        with _written_aside(path) as file:
            write(file)
    except OSError as error:
        raise TimelapseError(
            f"{path} cannot be written: {error.strerror or error}. Name another place with -o."
        ) from error


def check_target(path: Path, *, force: bool) -> None:
    """Check before the work that a file may be written there.

    Raises:
        TimelapseError: It exists and may not be replaced, or its folder does not exist.
    """
    if path.is_dir():
        raise TimelapseError(f"{path} is a folder; name a file in it.")
    if path.exists() and not force:
        raise TimelapseError(f"{path} exists. Name another file, or replace it with --force.")
    if not path.parent.is_dir():
        raise TimelapseError(f"The folder {path.parent} does not exist. Make it first, or name another.")


def write_table(table: pa.Table, file: BinaryIO, kind: str) -> None:
    """Write a table to an open file in one of `FORMATS`."""
    writers: dict[str, Callable[[pa.Table, BinaryIO], None]] = {
        "csv": _write_csv,
        "parquet": _write_parquet,
        "jsonl": _write_jsonl,
    }
    writers[kind](table, file)


def write_pieces(pieces: Iterable[pa.Table], file: BinaryIO, kind: str) -> None:
    """Write tables with the same columns, one below the other, to an open file in one of `FORMATS`."""
    if kind == "jsonl":
        for piece in pieces:
            _write_jsonl(piece, file)
        return
    open_writer = _csv_writer if kind == "csv" else _parquet_writer
    with ExitStack() as stack:
        writer = None
        for piece in pieces:
            table = harmless(piece) if kind == "csv" else piece
            writer = writer or stack.enter_context(open_writer(file, table.schema))
            writer.write_table(table)


def _csv_writer(file: BinaryIO, schema: pa.Schema) -> Any:
    import pyarrow.csv

    return pyarrow.csv.CSVWriter(file, schema)


def _parquet_writer(file: BinaryIO, schema: pa.Schema) -> Any:
    import pyarrow.parquet

    return pyarrow.parquet.ParquetWriter(file, schema, compression="zstd")


def harmless(table: pa.Table) -> pa.Table:
    """Return a table for CSV: a text that a spreadsheet would run as a formula gets an apostrophe in front.

    Numbers stay numbers; nested values become JSON. Source: OWASP, "CSV Injection".
    """
    import pyarrow as pa

    columns = [_harmless_column(column) for column in table.columns]
    names = _harmless_column(pa.chunked_array([pa.array(table.column_names, pa.string())])).to_pylist()
    return pa.Table.from_arrays(columns, names=names)


def _harmless_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    if pa.types.is_floating(column.type):
        return pc.if_else(pc.is_nan(column), None, column)
    if any(is_plain(column.type) for is_plain in _plain_types()):
        return column
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        values = [None if value is None else json_text(value) for value in column.to_pylist()]
        column = pa.chunked_array([values], pa.string())
    return _marked(column)


def _plain_types() -> Iterable[Callable[[pa.DataType], bool]]:
    """Return tests for the types that CSV has as they are: they hold no text, and Arrow can write them."""
    import pyarrow as pa

    kinds = pa.types
    numbers = (kinds.is_boolean, kinds.is_integer, kinds.is_decimal, kinds.is_null)
    return (*numbers, kinds.is_date, kinds.is_time, kinds.is_timestamp, kinds.is_duration)


def harmless_text(text: str) -> str:
    """Return a text for CSV, with an apostrophe in front if a spreadsheet would run it as a formula."""
    import pyarrow as pa

    marked: str = _marked(pa.scalar(text)).as_py()
    return marked


def _marked(texts: Any) -> Any:
    """Put an apostrophe before each formula; texts as an Arrow column or scalar."""
    import pyarrow.compute as pc

    return pc.replace_substring_regex(texts, _FORMULA, r"'\0", max_replacements=1)


def _write_csv(table: pa.Table, file: BinaryIO) -> None:
    import pyarrow.csv

    pyarrow.csv.write_csv(harmless(table), file)


def _write_parquet(table: pa.Table, file: BinaryIO) -> None:
    import pyarrow.parquet

    pyarrow.parquet.write_table(table, file, compression="zstd")


def _write_jsonl(table: pa.Table, file: BinaryIO) -> None:
    for batch in table.to_batches(_BATCH_ROWS):
        file.write("".join(f"{json_text(row)}\n" for row in batch.to_pylist()).encode())


def json_text(value: Any, *, indent: int | None = None, ascii: bool = False) -> str:  # noqa: A002
    """Return a value as JSON: no NaN (null instead), bytes in hexadecimal, dates as their text."""
    return json.dumps(_plain(value), ensure_ascii=ascii, allow_nan=False, default=_as_text, indent=indent)


def _plain(value: Any) -> Any:
    """Return a value without the numbers that JSON does not have."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _as_text(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


@contextmanager
def _written_aside(path: Path) -> Iterator[BinaryIO]:
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with aside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
