"""Columns: a table in any of the forms in which people hold one, column by column."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from timelapse.errors import SampleError
from timelapse.fence import attempt
from timelapse.formats.turns import without_none
from timelapse.rounds import storable

if TYPE_CHECKING:
    import pyarrow as pa

_EXPECTED = "Give a frame, an Arrow table, a list of mappings, or a mapping of columns"
_MISSING = ("NAType", "NaTType")


@dataclass(frozen=True, slots=True)
class Columns:
    """A table's columns by name. Rows are counted from 0; NaN, NA and NaT are missing values."""

    cells: Mapping[str, Any]
    """The columns as they came, all of one length: a list of anything, or an Arrow array."""

    def __len__(self) -> int:
        return len(next(iter(self.cells.values()), ()))

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return list(self.cells)

    def values(self, name: str) -> list[Any]:
        """Return a column as Python's own values; None where it has none."""
        column = self.cells[name]
        if isinstance(column, list):
            return [plain(cell) for cell in column]
        # Arrow gives every object in a column the keys of all, None where it has none.
        return [plain(without_none(cell)) for cell in column.to_pylist()]

    def typed(self, name: str) -> pa.Array | pa.ChunkedArray:
        """Return a column in its type: the given one, or the one that its values share.

        Categories become their values; what only an extension type can hold (UUIDs, periods) becomes text.

        Raises:
            SampleError: Its values share no type, or one that no Parquet file can hold.
        """
        column = self.cells[name]
        column = _common(_array(name, column) if isinstance(column, list) else column)
        _none, error = attempt(partial(_try_parquet, column))
        if error is not None:
            raise SampleError(
                f"The column '{name}' holds values of the type {column.type}, which cannot be stored: "
                f"{error} Give numbers, texts, dates, lists or mappings with keys, or leave it out."
            )
        return column


def read_columns(data: Any) -> Columns:
    """Return the columns of a pandas or polars frame, an Arrow table, rows, or a mapping of columns.

    Rows are mappings, of which some may lack a column; they may come from a generator.

    Raises:
        SampleError: It is none of these, holds no rows, or names a column twice.
    """
    columns: dict[str, Any] = {}
    for name, cells in _named(data):
        if name in columns:
            raise SampleError(f"Two columns are named '{name}'. Rename one of them, or leave it out.")
        columns[name] = cells
    _check_lengths(columns)
    return Columns(columns)


def plain(value: Any) -> Any:
    """Return a value made of Python's own types where numpy, pandas, torch or Arrow made it; None for NaN."""
    if isinstance(value, str):
        return value if value.isascii() else storable(value)
    if isinstance(value, Mapping):
        return {storable(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(without_none(value.tolist()))
    missing = type(value).__name__ in _MISSING or (isinstance(value, float) and math.isnan(value))
    return None if missing else value


def _named(data: Any) -> Iterable[tuple[str, Any]]:
    """Return the names and cells of all columns."""
    import pyarrow as pa

    if _is_pandas(data, "DataFrame"):
        return [(_name(name), _series(series)) for name, series in data.items()]
    if hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"):
        table, error = attempt(partial(pa.table, data))
        if table is None:
            raise SampleError(f"The {type(data).__name__} cannot be read as a table: {error}. {_EXPECTED}.")
        return list(zip(map(_name, table.column_names), table.columns, strict=True))
    if isinstance(data, Mapping):
        return [(_name(name), _cells(_name(name), cells)) for name, cells in data.items()]
    return _from_rows(data)


def _from_rows(data: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(data, str | bytes) or not isinstance(data, Iterable):
        raise SampleError(
            f"Predictions cannot be read from a value of type {type(data).__name__}. {_EXPECTED}."
        )
    rows = list(data)
    for place, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise SampleError(
                f"Row {place} is a value of type {type(row).__name__}, not a mapping of columns such as "
                "{'prompt': '…', 'prediction': '…'}."
            )
    names = dict.fromkeys(name for row in rows for name in row)
    return [(_name(name), [row.get(name) for row in rows]) for name in names]


def _cells(name: str, cells: Any) -> Any:
    """Return one column of a mapping of columns."""
    if _is_pandas(cells, "Series"):
        return _series(cells)
    if hasattr(cells, "__arrow_c_stream__") or hasattr(cells, "__arrow_c_array__"):
        import pyarrow as pa

        return pa.chunked_array(cells) if hasattr(cells, "__arrow_c_stream__") else pa.array(cells)
    if isinstance(cells, str | bytes | Mapping) or not isinstance(cells, Iterable):
        raise SampleError(
            f"The column '{name}' is a value of type {type(cells).__name__}, not a list of a value per row. "
            "A single row is given as a list: [{…}]."
        )
    return list(cells)


def _series(series: Any) -> Any:
    """Return a pandas column in its type; one of objects as it is."""
    import pyarrow as pa

    array = None if series.dtype == object else attempt(partial(pa.chunked_array, series))[0]
    if array is not None and isinstance(array.type, pa.BaseExtensionType):  # periods, intervals
        return [None if plain(cell) is None else str(cell) for cell in series]
    return list(series) if array is None else array


def _is_pandas(value: Any, kind: str) -> bool:
    # Whoever holds a frame has imported pandas: nobody else need wait for it.
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, getattr(pandas, kind))


def _name(name: Any) -> str:
    return storable(str(name)) or ""


def _check_lengths(columns: Mapping[str, Any]) -> None:
    lengths = {name: len(cells) for name, cells in columns.items()}
    if not any(lengths.values()):
        raise SampleError("There are no predictions to log: the table has no rows. Log at least one.")
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"'{name}' {length}" for name, length in lengths.items())
        raise SampleError(f"The columns differ in their number of rows: {listed}. Give each a value per row.")


def _array(name: str, cells: list[Any]) -> pa.Array:
    """Return cells as an Arrow array: as they are, which keeps their types, or else made plain."""
    import pyarrow as pa

    array, error = attempt(partial(pa.array, cells, from_pandas=True))
    if error is not None:
        cells = [plain(cell) for cell in cells]
        array, error = attempt(partial(pa.array, cells, from_pandas=True))
    if error is not None:
        raise SampleError(_misfit(name, cells, error)) from error
    return array


def _misfit(name: str, cells: list[Any], error: BaseException) -> str:
    """Return what is wrong with cells that are no column: one of them, or that they differ."""
    import pyarrow as pa

    kinds: dict[str, int] = {}
    for place, cell in enumerate(cells):
        if attempt(partial(pa.array, [cell]))[1] is not None:
            return (
                f"Row {place} of the column '{name}' holds a {type(cell).__name__}, which cannot be stored: "
                f"{error}. Give a number, a text, a date, a list or a mapping, or leave it out."
            )
        if cell is not None:
            kinds.setdefault(type(cell).__name__, place)
    found = " and ".join(f"{kind} (row {place})" for kind, place in kinds.items())
    return f"The column '{name}' mixes types: {found}; {error}. Give all its values one type."


def _common(column: Any) -> Any:
    """Return a column in a type that every program knows, if it has one of Arrow's special ones."""
    import pyarrow as pa

    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return pa.array([None if cell is None else str(cell) for cell in column.to_pylist()], pa.string())
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        kind = kind.value_type
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        kind = pa.list_(kind.value_type)
    kind = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}.get(kind, kind)
    return column if kind == column.type else pa.array(column.to_pylist(), kind)


def _try_parquet(column: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"column": column.slice(0, 0)}), io.BytesIO())
