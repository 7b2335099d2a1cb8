"""Stored files as Arrow tables: checked, with the types that they should have, one below the other."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from timelapse.reading.bounds import ExcessError
from timelapse.reading.pages import decoded_bytes
from timelapse.rounds import round_schema
from timelapse.tables import samples_schema

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    import pyarrow as pa
    import pyarrow.parquet as pq

    from timelapse.reading.bounds import Budget

_KEY = ("sample_id", "step")
_METADATA_LIMITS = {"thrift_string_size_limit": 10 << 20, "thrift_container_size_limit": 1_000_000}
# Columns that a round may leave empty, by the path of the leaf whose statistics say so. Not among them:
# `flags` and `scores`, where an empty list says something else than null does.
_MAY_BE_EMPTY = frozenset(
    (
        *("epoch", "error", "finish_reason", "prompt_tokens", "prediction_tokens", "mean_logprob", "seconds"),
        *("least_confident_token", "least_confident_position", "least_confident_logprob", "reference_nll"),
        "validations.list.element.name",
    )
)


def read_round(content: bytes, skip: Collection[str] = (), budget: Budget | None = None) -> pa.Table:
    """Return the rows of one or several rounds: `round_schema`'s columns, then the user's, without `skip`.

    Raises:
        ValueError: It is no Parquet file, has no `sample_id` or `step`, or rows without them; or it is more
            than the budget allows.
    """
    table = read_table(content, skip, budget)
    _check_key(table, _KEY)
    return _completed(table, no_rounds(skip).schema)


def no_rounds(skip: Collection[str] = ()) -> pa.Table:
    """Return the columns of rounds that are not in `skip`, without rows."""
    return _no_rounds(frozenset(skip))


@cache
def _no_rounds(skip: frozenset[str]) -> pa.Table:
    schema = round_schema()
    return schema.empty_table().select([name for name in schema.names if name not in skip])


def read_samples(content: bytes, budget: Budget | None = None) -> pa.Table:
    """Return a run's samples with the columns of `samples_schema`; one that the file lacks is null.

    Raises:
        ValueError: It is no Parquet file, or has no `sample_id` or rows without it; or it is more than the
            budget allows.
    """
    table = read_table(content, (), budget)
    _check_key(table, ("sample_id",))
    return _completed(table, samples_schema())


def stacked(tables: Sequence[pa.Table]) -> tuple[pa.Table, list[str]]:
    """Return tables one below the other with the union of their columns, and what did not fit together.

    A column whose types cannot be united becomes text, and a sentence says so.
    """
    import pyarrow as pa

    if all(table.schema == tables[0].schema for table in tables):
        return pa.concat_tables(tables), []
    types: dict[str, set[pa.DataType]] = {}
    for table in tables:
        for field in table.schema:
            types.setdefault(field.name, set()).add(field.type)
    torn = sorted(name for name, found in types.items() if not _unite(found))
    whole = pa.concat_tables([_as_text(table, torn) for table in tables], promote_options="permissive")
    return whole, [f"column '{name}' has types that do not fit together: read as text" for name in torn]


def texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of any type as text, nulls kept; nested values in Python's notation."""
    import pyarrow as pa

    return pa.chunked_array(
        [[None if value is None else str(value) for value in column.to_pylist()]], pa.string()
    )


def read_table(content: bytes, skip: Collection[str] = (), budget: Budget | None = None) -> pa.Table:
    """Return what a Parquet file holds, but for the columns in `skip` and those of rounds without values.

    Raises:
        ValueError: It is no Parquet file, or more than the budget allows: nothing is decoded then.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if budget is None:
        file = pq.ParquetFile(pa.BufferReader(content))
        return file.read(columns=_wanted(file, skip), use_threads=False)  # small, and read side by side
    if len(content) > budget.bounds.file_bytes:
        raise ExcessError(f"it has {len(content):,} bytes; {budget.bounds.file_bytes:,} are read here")
    with budget.turn:
        file = pq.ParquetFile(pa.BufferReader(content), **_METADATA_LIMITS)
        wanted = _wanted(file, skip)
        rows = _rows(file.metadata)
        budget.check(rows, 0)
        budget.check(rows, decoded_bytes(file, content, wanted, budget.decoded_bytes))
        table = file.read(columns=wanted, use_threads=False)
        budget.spend(table)
        return table


def _wanted(file: pq.ParquetFile, skip: Collection[str]) -> list[str]:
    left_out = {*skip, *_without_values(file.metadata)}
    return [name for name in file.schema_arrow.names if name not in left_out]


def _rows(metadata: pq.FileMetaData) -> int:
    """Return how many rows there are, by whichever part of the footer says more."""
    groups: list[int] = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    return max(int(metadata.num_rows), sum(groups))


def _without_values(metadata: pq.FileMetaData) -> set[str]:
    """Return which columns of rounds hold no value, by the file's statistics.

    Most trainings leave several empty, and decoding them takes a good part of reading many runs. A user's
    own columns are always read: the file alone knows their types.
    """
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    empty = [
        {
            chunk.path_in_schema.partition(".")[0]
            for chunk in map(group.column, range(group.num_columns))
            if chunk.path_in_schema in _MAY_BE_EMPTY and _is_empty(chunk.statistics)
        }
        for group in groups
    ]
    return set.intersection(*empty) if empty else set()


def _is_empty(statistics: pq.Statistics | None) -> bool:
    return statistics is not None and statistics.has_null_count and not statistics.num_values


def _check_key(table: pa.Table, key: Iterable[str]) -> None:
    missing = [name for name in key if name not in table.column_names]
    if missing:
        raise ValueError(f"it has no column {' and '.join(missing)}")
    empty = [name for name in key if table.column(name).null_count]
    if empty:
        raise ValueError(f"it has rows without {' and '.join(empty)}")


def _completed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with a schema's columns first, in its order and types; missing ones are null."""
    import pyarrow as pa

    if table.schema.equals(schema):
        return table
    present, expected = dict(zip(table.column_names, table.columns, strict=True)), set(schema.names)
    columns = [
        _typed(present[field.name], field.type) if field.name in present else pa.nulls(len(table), field.type)
        for field in schema
    ]
    extra = [field for field in table.schema if field.name not in expected]
    columns += [present[field.name] for field in extra]
    return pa.Table.from_arrays(columns, schema=pa.schema([*schema, *extra]) if extra else schema)


def _typed(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    return column if column.type.equals(kind) else column.cast(kind)


def _unite(types: set[pa.DataType]) -> bool:
    import pyarrow as pa

    if len(types) == 1:
        return True
    schemas = [pa.schema([("column", kind)]) for kind in types]
    try:
        pa.unify_schemas(schemas, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return False
    return True


def _as_text(table: pa.Table, columns: Iterable[str]) -> pa.Table:
    for name in columns:
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, texts(table.column(name)))
    return table
