"""One run's rounds as tidy rows: named, ordered, with prompt, reference, and a column for each score."""

from __future__ import annotations

from typing import TYPE_CHECKING

from timelapse.names import DEFAULT_SET
from timelapse.reading.judged import JUDGED, judged_column
from timelapse.reading.scores import score_columns
from timelapse.rounds import round_schema

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    import numpy as np
    import pyarrow as pa
    from mlflow.entities import Run

COLUMNS: Mapping[str, str] = {
    "run_id": "str",
    "run_name": "str",
    "step": "int64",
    "epoch": "float64",
    "trigger": "str",
    "set": "str",
    "sample_id": "str",
    "generation": "int64",
    "attempt": "int64",
    "prompt": "str",
    "reference": "str",
    "prediction": "str",
    "status": "str",
    "error": "str",
    "finish_reason": "str",
    "prompt_tokens": "Int64",
    "prediction_tokens": "Int64",
    "mean_logprob": "float64",
    "least_confident_token": "str",
    "least_confident_position": "Int64",
    "least_confident_logprob": "float64",
    "reference_nll": "float64",
    "seconds": "float64",
    "valid": "boolean",
    "findings": "str",
    "flags": "str",
}
"""The columns that a frame of predictions always has, with their types; scores and users' columns follow."""

KEY = ("set", "sample_id", "generation", "attempt", "step")
"""The stored columns without which rows have no place."""

SCORE, USER = "score/", "user/"
"""What stands before the names of scores and of users' columns until all runs' names are known."""


def fixed_schema() -> pa.Schema:
    """Return the Arrow schema of `COLUMNS`."""
    import pyarrow as pa

    kinds = {"str": pa.string(), "int64": pa.int64(), "Int64": pa.int64(), "float64": pa.float64()}
    kinds |= {"boolean": pa.bool_()}
    return pa.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])


def tidy(run: Run, rounds: pa.Table, samples: pa.Table, fixed: Collection[str]) -> pa.Table:
    """Return a run's rows ordered by step, sample, generation and attempt.

    Columns: those of `COLUMNS` that `fixed` names, `score/<name>` for each score, `user/<name>` for each
    column of the user's. The columns `KEY` must be there, the other stored ones may be missing.
    """
    import pyarrow as pa

    rounds = _keyed(rounds)
    places = _places(rounds, samples)
    order = _order(rounds, places)
    if order is not None:
        rounds, places = rounds.take(order), places.take(pa.array(order))
    columns = {
        field.name: _fixed(field, run, rounds, samples, places)
        for field in fixed_schema()
        if field.name in fixed
    }
    if "scores" in rounds.column_names:
        columns |= {SCORE + name: values for name, values in score_columns(rounds).items()}
    ours = set(round_schema().names)
    columns |= {USER + name: rounds.column(name) for name in rounds.column_names if name not in ours}
    return pa.table(columns)


def pieces(run: Run, rounds: pa.Table, samples: pa.Table, most_bytes: int) -> Iterator[pa.Table]:
    """Yield a run's rows with the columns of `load_predictions`, so many at a time that memory is bounded.

    A prompt stands in every row of its sample: all rows at once may be a thousand times what is stored.

    Args:
        run: The run.
        rounds: Its rows.
        samples: Its samples.
        most_bytes: About how large a piece is in memory; one row at least.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    asked = ("prompt", "reference")
    stored = tidy(run, rounds, samples, [name for name in COLUMNS if name not in asked])
    places = _places(stored, samples)
    names = final_names(stored.column_names)
    stored = stored.rename_columns([names[name] for name in stored.column_names])
    order = [*COLUMNS, *(name for name in stored.column_names if name not in COLUMNS)]
    sizes = np.zeros(len(stored)) + stored.nbytes / max(1, len(stored))
    for name in asked:
        lengths = pc.fill_null(pc.binary_length(samples.column(name)).take(places), 0)
        sizes += np.asarray(lengths, dtype=float)
    ends = np.cumsum(sizes)
    start = 0
    while start == 0 or start < len(stored):
        limit = (ends[start - 1] if start else 0) + most_bytes
        count = max(1, int(np.searchsorted(ends, limit)) - start)
        piece, mine = stored.slice(start, count), places.slice(start, count)
        for name in asked:
            piece = piece.append_column(name, pa.chunked_array(samples.column(name).take(mine)))
        yield piece.select(order)
        start += count


def final_names(names: Collection[str]) -> dict[str, str]:
    """Return what each column of tidy rows is called in the end: fixed ones, then scores, then the users'.

    A name that is taken gets the prefix `score_` or `user_`.
    """
    final = {name: name for name in COLUMNS}
    taken = set(COLUMNS)
    for kind in (SCORE, USER):
        for name in (name for name in names if name.startswith(kind)):
            column = name.removeprefix(kind)
            while column in taken:
                column = f"{kind[:-1]}_{column}"
            final[name] = column
            taken.add(column)
    return final


def _keyed(rounds: pa.Table) -> pa.Table:
    """Return rounds whose key has no nulls: rows of before there were sets, attempts and generations."""
    import pyarrow.compute as pc

    for name, default in (("set", DEFAULT_SET), ("attempt", 0), ("generation", 0)):
        column = rounds.column(name)
        if column.null_count:
            filled = pc.fill_null(column, default)
            rounds = rounds.set_column(rounds.column_names.index(name), rounds.schema.field(name), filled)
    return rounds


def _places(rounds: pa.Table, samples: pa.Table) -> pa.ChunkedArray:
    """Return the place of each row's sample in the table of samples; null where that does not have it."""
    import pyarrow.compute as pc

    name = _only_set(samples)
    if name is not None and name == _only_set(rounds):  # the same as below, faster
        return pc.index_in(rounds.column("sample_id"), value_set=samples.column("sample_id"))
    known, asked = (
        pc.binary_join_element_wise(
            pc.fill_null(table.column("set"), DEFAULT_SET), table.column("sample_id"), "/"
        )
        for table in (samples, rounds)
    )
    return pc.index_in(asked, value_set=known)


def _only_set(table: pa.Table) -> str | None:
    """Return the name of the set that all rows belong to; None if there are several, or no rows."""
    import pyarrow.compute as pc

    names = pc.unique(table.column("set")).to_pylist()
    return (names[0] or DEFAULT_SET) if len(names) == 1 else None


def _order(rounds: pa.Table, places: pa.ChunkedArray) -> np.ndarray | None:
    """Return the order of the rows; None if they are in order already, as a finished run's mostly are."""
    import numpy as np
    import pyarrow.compute as pc

    place = pc.fill_null(places, np.iinfo(np.int32).max).to_numpy()
    keys = [rounds.column(name).to_numpy() for name in ("attempt", "generation")]
    order = np.lexsort([*keys, place, rounds.column("step").to_numpy()])
    return None if (order[:-1] < order[1:]).all() else order


def _fixed(
    field: pa.Field, run: Run, rounds: pa.Table, samples: pa.Table, places: pa.ChunkedArray
) -> pa.ChunkedArray:
    import pyarrow as pa

    if field.name in ("run_id", "run_name"):
        value = run.info.run_id if field.name == "run_id" else run.info.run_name
        return pa.chunked_array([pa.repeat(pa.scalar(value, pa.string()), len(rounds))])
    if field.name in ("prompt", "reference"):
        return samples.column(field.name).take(places)
    if field.name in JUDGED:
        return judged_column(field.name, rounds)
    return rounds.column(field.name).cast(field.type)
