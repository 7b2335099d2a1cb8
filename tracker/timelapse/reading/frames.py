"""Predictions for notebooks: as a pandas frame, as an Arrow table, as a table for SQL."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, Unpack

from timelapse.fence import warn
from timelapse.reading.evolution import evolution, sample
from timelapse.reading.gathering import Rounds, Selection, gather
from timelapse.reading.memory import system_memory
from timelapse.reading.tidy import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb
    import pandas as pd
    import pyarrow as pa

__all__ = ["COLUMNS", "as_arrow", "as_duckdb", "evolution", "load_predictions", "sample"]


def load_predictions(
    runs: str | Sequence[str] | None = None,
    *,
    experiment: str | None = None,
    filter: str | None = None,  # noqa: A002 - MLflow's word
    rounds: Rounds = "all",
    columns: Sequence[str] | None = None,
    score: str | None = None,
    attempts: Literal["latest", "all"] = "latest",
    tracking_uri: str | None = None,
) -> pd.DataFrame:
    """Return the predictions of runs as one tidy frame: a row per run, round, sample and generation.

    Args:
        runs: One or several runs, each by full id, run name, unique beginning of an id, or `last`. By
            default every run with predictions, newest first.
        experiment: Name of the experiment to look in; all experiments by default.
        filter: Which runs, in MLflow's language, as for `mlflow.search_runs`: `metrics.loss < 0.5`.
        rounds: `all`; `last` or `best`: one round of each run; or steps, of which a run may lack some. The
            set `main` (or the first by name) decides which step is last or best; all sets are returned.
        columns: The columns to return, in this order; all by default. What is not asked for is not decoded.
        score: The score whose mean makes a round the best: higher is better, of equals the earliest. By
            default `exact_match`, else the first there is.
        attempts: `latest`: where a resumed training came by a step again, only the newest round at that
            step. `all`: every round; the column `attempt` tells them apart.
        tracking_uri: MLflow's tracking URI; MLflow's own setting by default. The setting is not changed.

    Returns:
        A frame with the columns of `COLUMNS`, then a float column per score, then those that users logged.
        A score whose name is taken gets the prefix `score_`, a user's column `user_`. Rows are ordered by
        run (as given), step, sample (in the set's order) and generation. A score that a row does not have
        is NaN. Types do not depend on what is in the runs. What could not be read stands in
        `frame.attrs["problems"]`, a list of sentences, and in one `TimelapseWarning`.

    Raises:
        RunError: A run, the experiment, a step, score or column cannot be found, the filter is wrong, or
            MLflow does not answer.

    Example:
        >>> import timelapse
        >>> frame = timelapse.load_predictions("last")  # doctest: +SKIP
        >>> frame.groupby("step")["exact_match"].mean()  # doctest: +SKIP
    """
    gathered = gather(
        runs,
        experiment=experiment,
        filter=filter,
        rounds=rounds,
        columns=columns,
        score=score,
        attempts=attempts,
        tracking_uri=tracking_uri,
    )
    with system_memory():
        frame = to_pandas(gathered.table)
    frame.attrs["problems"] = gathered.problems
    if gathered.problems:
        warn(gathered.warning())
    return frame


def as_arrow(runs: str | Sequence[str] | None = None, **selection: Unpack[Selection]) -> pa.Table:
    """Return the predictions of runs as an Arrow table; arguments and errors as for `load_predictions`.

    A score that a row does not have is null. What could not be read stands in the schema's metadata under
    `problems`, a JSON list of sentences, and in one `TimelapseWarning`.
    """
    gathered = gather(runs, **selection)
    if gathered.problems:
        warn(gathered.warning().replace("frame.attrs['problems']", "table.schema.metadata"))
    return gathered.table.replace_schema_metadata({"problems": json.dumps(gathered.problems)})


def as_duckdb(
    runs: str | Sequence[str] | None = None, **selection: Unpack[Selection]
) -> duckdb.DuckDBPyConnection:
    """Return a DuckDB connection in memory with the predictions of runs as the view `predictions`.

    Arguments and errors as for `load_predictions`. The connection is the caller's, without restrictions; for
    SQL from elsewhere there is `timelapse query`.

    Example:
        >>> import timelapse
        >>> connection = timelapse.as_duckdb("last")  # doctest: +SKIP
        >>> connection.sql("SELECT step, avg(exact_match) FROM predictions GROUP BY step")  # doctest: +SKIP
    """
    import duckdb

    gathered = gather(runs, **selection)
    if gathered.problems:
        warn(gathered.warning().replace(", in frame.attrs['problems']", ""))
    connection = duckdb.connect()
    connection.register("predictions", gathered.table)
    return connection


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """Return a table of predictions in pandas' types, which are the same with rows and without.

    Texts are `str`, a user's integers `Int64` and truths `boolean` (they may be missing), other numbers
    float64, everything else (dates, lists, structs) `ArrowDtype`.
    """
    import pandas as pd

    columns = {name: _series(table.column(name), COLUMNS.get(name)) for name in table.column_names}
    return pd.DataFrame(columns, columns=table.column_names)


def _series(column: pa.ChunkedArray, dtype: str | None) -> pd.Series:
    import pyarrow as pa

    if pa.types.is_floating(column.type):
        column = column.cast(pa.float64())
    plain = dtype == "int64" or pa.types.is_floating(column.type)
    series: pd.Series = column.to_pandas(types_mapper=None if plain else _pandas_type)
    return series


def _pandas_type(kind: pa.DataType) -> Any:
    """Return the pandas type for an Arrow type whose values may be missing."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pd.StringDtype(na_value=np.nan)
    if pa.types.is_integer(kind):
        return pd.Int64Dtype()
    return pd.BooleanDtype() if pa.types.is_boolean(kind) else pd.ArrowDtype(kind)
