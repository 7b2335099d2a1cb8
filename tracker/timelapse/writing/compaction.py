"""Compaction: all rounds of a run in one file, so that a finished run is read with one request."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from timelapse.analysis.learning import stored_onsets
from timelapse.reading.choice import main_set, rounds_by_step
from timelapse.tables import parquet_bytes

MOST_BYTES = 1 << 30
"""What all rounds may take in the training's memory for this; a run with more is read round by round."""

_ORDER = [("set", "ascending"), ("step", "ascending"), ("attempt", "ascending")]


def compacted(files: Iterable[Path]) -> bytes:
    """Return round files as one Parquet file: their rows by set, step and attempt, else in their order.

    Columns that only some have are filled with nulls; types that differ are widened.

    Raises:
        pyarrow.ArrowInvalid, pyarrow.ArrowTypeError: Columns of one name have types that do not fit together.
        ValueError: They are more than `MOST_BYTES`.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    tables, room = [], MOST_BYTES
    for file in files:
        tables.append(pq.ParquetFile(file).read(use_threads=False))
        room -= tables[-1].nbytes
        if room < 0:
            raise ValueError(f"they take more than {MOST_BYTES >> 20:,} MiB of memory")
    whole = pa.concat_tables(tables, promote_options="permissive")
    place = pa.array(range(len(whole)), pa.int64())
    order = pc.sort_indices(whole.append_column("#", place), sort_keys=[*_ORDER, ("#", "ascending")])
    return parquet_bytes(whole.take(order), repetitive=True)


def main_onsets(data: bytes) -> dict[str, int]:
    """Return the onsets of the main set in a file of all rounds; see `timelapse.scoring.health.onsets`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = ["set", "step", "attempt", "status", "flags"]
    table = pq.ParquetFile(pa.BufferReader(data)).read(columns=columns, use_threads=False)
    chosen = main_set(table)
    return stored_onsets(rounds_by_step(table, chosen)) if chosen else {}
