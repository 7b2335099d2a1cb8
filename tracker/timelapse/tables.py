"""The tables of a run in the forms in which they are stored."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from timelapse.rounds import storable

if TYPE_CHECKING:
    import pyarrow as pa

    from timelapse.rounds import Round
    from timelapse.samples import Sample, SampleSet


_DIVERSE = frozenset(
    ("prediction", "scores", "mean_logprob", "least_confident_logprob", "reference_nll")
)  # columns whose values are mostly different
_SCORE_NAMES = "scores.key_value.key"


def parquet_bytes(table: pa.Table, *, repetitive: bool = False) -> bytes:
    """Return a table as one Parquet file, compressed with zstd.

    Without dictionaries and statistics a file of 100 rows is smaller, and made in a quarter of the time;
    where values are `repetitive` (all rounds of a run in one table), dictionaries pay, but for the answers
    and numbers that are mostly different: these are smaller without, and decoded in two thirds of the time.
    """
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    dictionaries = [*(set(table.column_names) - _DIVERSE), _SCORE_NAMES] if repetitive else False
    pq.write_table(
        table, buffer, compression="zstd", use_dictionary=dictionaries, write_statistics=repetitive
    )
    return buffer.getvalue()


def samples_schema() -> pa.Schema:
    """Return the Arrow schema of `samples.parquet`, in the order of its columns."""
    import pyarrow as pa

    text = pa.string()
    return pa.schema(
        [
            ("set", text),
            ("sample_id", text),
            ("index", pa.int32()),
            ("prompt", text),
            ("reference", text),
            ("messages", text),
            ("tools", text),
            ("rendered_prompt", text),
            ("tags", pa.list_(text)),
            ("metadata", text),
            ("source", text),
        ]
    )


def samples_table(sets: Iterable[SampleSet], rendered: Mapping[str, str]) -> pa.Table:
    """Return sample sets as a table: one row a sample, in order.

    `rendered` maps sample ids to the prompt as the model sees it. Messages, tools and metadata are JSON
    texts, because every source has its own columns.
    """
    import pyarrow as pa

    rows = [
        sample_row(sample, index, samples.name, rendered.get(sample.sample_id))
        for samples in sets
        for index, sample in enumerate(samples)
    ]
    return pa.Table.from_pylist(rows, schema=samples_schema())


def sample_row(sample: Sample, index: int, set_name: str, rendered: str | None = None) -> dict[str, Any]:
    """Return a sample as a row of `samples_schema`."""
    return {
        "set": set_name,
        "sample_id": sample.sample_id,
        "index": index,
        "prompt": storable(sample.prompt),
        "reference": storable(sample.reference),
        "messages": _json(sample.messages),
        "tools": _json(sample.tools),
        "rendered_prompt": storable(rendered),
        "tags": [storable(tag) for tag in sample.tags],
        "metadata": _json(sample.metadata),
        "source": storable(sample.source),
    }


def latest_table(round_: Round, samples: Iterable[Mapping[str, Any]]) -> bytes:
    """Return a round as a table that stock MLflow shows: the JSON that `mlflow.log_table` writes.

    Columns: prompt, reference, prediction, each score, finish_reason, status, error, step, epoch. `samples`
    are rows of `samples_schema`, in their order; answers to other samples come last, without a prompt.
    """
    rows = {row.sample_id: row for row in round_.predictions if row.generation == 0}
    asked = {row["sample_id"]: (row["prompt"], row["reference"]) for row in samples}
    scores = sorted({name for row in round_.predictions for name in row.scores})
    data = [
        [*asked.get(key, (None, None)), row.prediction]
        + [_finite(row.scores.get(name)) for name in scores]
        + [row.finish_reason, row.status, row.error, round_.step, _finite(round_.epoch)]
        for key in (*asked, *(key for key in rows if key not in asked))
        if (row := rows.get(key))
    ]
    answer = ("prompt", "reference", "prediction")
    columns = [*answer, *scores, "finish_reason", "status", "error", "step", "epoch"]
    return _json({"columns": columns, "data": data}).encode()


def _finite(value: float | None) -> float | None:
    """Return a number that JSON knows; NaN and infinities become null, as pandas writes them."""
    return value if value is not None and math.isfinite(value) else None


def _json(value: Any) -> str:
    # ASCII escapes keep even lone surrogates valid JSON; tuples become lists, dates their text.
    return json.dumps(value, default=str)
