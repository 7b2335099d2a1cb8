"""Reading a run's rounds from its artifacts."""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from timelapse import names
from timelapse.fence import attempt, describe
from timelapse.reading.runs import ask
from timelapse.rounds import round_schema
from timelapse.writing.client import polite_requests
from timelapse.writing.tables import samples_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from mlflow import MlflowClient

_KEY = ("sample_id", "step")
_DOWNLOADS = 8
_PROGRESS_BAR = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"


@dataclass(frozen=True, slots=True)
class RunRounds:
    """What a run holds: rounds, samples, and what could not be read."""

    rounds: pa.Table
    """A row a prediction, of every round and attempt: the columns of `round_schema`, then any others."""
    samples: pa.Table
    """A row a sample, in the set's order, as `samples_table` makes it."""
    problems: tuple[str, ...] = ()
    """A sentence for every file that is damaged or vanished; its rows are missing above."""


def load_rounds(client: MlflowClient, run_id: str) -> RunRounds:
    """Read all rounds of a run, and its samples. A file that cannot be read is reported, not fatal.

    Raises:
        RunError: MLflow does not answer when asked which files there are.
    """
    listed = ask(client.tracking_uri, lambda: client.list_artifacts(run_id, names.ARTIFACT_FOLDER))
    paths = {PurePosixPath(item.path).name: item.path for item in listed if not item.is_dir}
    wanted = [
        file for file in sorted(paths) if fnmatch(file, "round-*.parquet") or file == names.SAMPLES_FILE
    ]
    tables, problems = _read_all(client, run_id, {file: paths[file] for file in wanted})
    samples = tables.pop(names.SAMPLES_FILE, None)
    rounds, conflicts = _stacked(list(tables.values()))
    problems += conflicts
    if samples is None:
        samples = samples_table([], {})
        if tables and names.SAMPLES_FILE not in paths:
            problems.append(f"{names.SAMPLES_FILE} is missing: prompts and references are not known")
    return RunRounds(rounds, samples, tuple(problems))


def _read_all(
    client: MlflowClient, run_id: str, paths: dict[str, str]
) -> tuple[dict[str, pa.Table], list[str]]:
    """Return the tables of these files by name, and a problem for each that has none."""
    with (
        tempfile.TemporaryDirectory(prefix="timelapse-") as folder,
        polite_requests(),
        _no_progress_bar(),
        ThreadPoolExecutor(_DOWNLOADS) as pool,
    ):

        def read(file: str) -> tuple[pa.Table | None, BaseException | None]:
            return attempt(lambda: _read(client.download_artifacts(run_id, paths[file], folder), file))

        results = dict(zip(paths, pool.map(read, paths), strict=True))
    tables = {file: table for file, (table, _) in results.items() if table is not None}
    return tables, [
        f"{file} cannot be read: {describe(error)}" for file, (_, error) in results.items() if error
    ]


def _read(path: str, file: str) -> pa.Table:
    """Return a Parquet file in memory; a round's known columns get the types that they should have."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path, memory_map=False)
    wanted = samples_table([], {}).schema if file == names.SAMPLES_FILE else round_schema()
    missing = [name for name in _KEY if name in wanted.names and name not in table.column_names]
    if missing:
        raise ValueError(f"it has no column {' and '.join(missing)}")
    empty = [name for name in _KEY if name in wanted.names and table.column(name).null_count]
    if empty:
        raise ValueError(f"it has rows without {' and '.join(empty)}")
    for field in wanted:
        if field.name in table.column_names and table.schema.field(field.name).type != field.type:
            index = table.column_names.index(field.name)
            table = table.set_column(index, field, table.column(field.name).cast(field.type))
        elif field.name not in table.column_names and file == names.SAMPLES_FILE:
            table = table.append_column(field, pa.nulls(len(table), field.type))
    return table


def _stacked(tables: list[pa.Table]) -> tuple[pa.Table, list[str]]:
    """Return tables one below the other, with the union of their columns.

    A column of the user's whose types cannot be united becomes text, which is reported.
    """
    import pyarrow as pa

    types: dict[str, set[pa.DataType]] = {}
    for table in tables:
        for field in table.schema:
            types.setdefault(field.name, set()).add(field.type)
    torn = sorted(name for name, found in types.items() if not _unite(found))
    tables = [_as_text(table, torn) for table in tables]
    stacked = pa.concat_tables([round_schema().empty_table(), *tables], promote_options="permissive")
    return stacked, [f"column '{name}' has types that do not fit together: read as text" for name in torn]


def _unite(types: set[pa.DataType]) -> bool:
    import pyarrow as pa

    schemas = [pa.schema([("column", kind)]) for kind in types]
    try:
        pa.unify_schemas(schemas, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return False
    return True


def _as_text(table: pa.Table, columns: list[str]) -> pa.Table:
    import pyarrow as pa

    for name in columns:
        if name in table.column_names:
            values = [None if value is None else str(value) for value in table.column(name).to_pylist()]
            index = table.column_names.index(name)
            table = table.set_column(index, name, pa.array(values, pa.string()))
    return table


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Keep MLflow from drawing a progress bar for every file, unless the user asked for it."""
    if _PROGRESS_BAR in os.environ:
        yield
        return
    os.environ[_PROGRESS_BAR] = "false"
    try:
        yield
    finally:
        os.environ.pop(_PROGRESS_BAR, None)
