"""Rounds on disk: what a prediction knows comes back, from files of an earlier version, too."""

from __future__ import annotations

from typing import Any

import mlflow
import pyarrow as pa
import pytest
from stored_runs import make_samples

from timelapse import Prediction, Round, as_arrow, load_predictions, start_run
from timelapse.reading.parquet import read_round
from timelapse.rounds import TOKEN_IDS, round_from_table, round_schema, round_table
from timelapse.scoring.validators import Validation
from timelapse.tables import parquet_bytes
from timelapse.writing.metrics import round_metrics

CONFIDENCE: dict[str, Any] = {
    "mean_logprob": -0.5,
    "least_confident_token": " went",
    "least_confident_position": 3,
    "least_confident_logprob": -2.5,
    "reference_nll": 1.5,
}
SURE = Prediction("a", "he went", **CONFIDENCE)
FAILED = Prediction("b", status="error", error="broken", finish_reason="error")


def test_confidence_comes_back_and_is_null_where_there_is_none() -> None:
    round_ = Round(3, (SURE, FAILED), epoch=0.5)
    table = round_table(round_)
    assert table.schema.names == round_schema().names
    assert round_from_table(table, 0.0) == round_
    assert [table.column(name).to_pylist() for name in CONFIDENCE] == [
        [value, None] for value in CONFIDENCE.values()
    ]


def test_files_of_an_earlier_version_are_read_without_it() -> None:
    old = round_table(Round(3, (SURE,))).drop_columns([*CONFIDENCE])
    read = read_round(parquet_bytes(old))
    assert read.schema == round_schema()
    assert [read.column(name).to_pylist() for name in CONFIDENCE] == [[None]] * 5
    [row] = round_from_table(old).predictions
    assert (row.prediction, row.mean_logprob, row.least_confident_token) == ("he went", None, None)


def test_half_a_character_is_storable() -> None:
    row = Prediction("a", "x", least_confident_token="\ud83d")
    assert round_table(Round(0, (row,))).column("least_confident_token").to_pylist() == ["�"]


def test_token_ids_are_columns_only_where_they_are_kept() -> None:
    kept = Prediction("a", "hi", prompt_token_ids=(7, 8, 9), prediction_token_ids=())
    round_ = Round(3, (kept, FAILED))
    table = round_table(round_)
    assert table.schema.names == [*round_schema().names, *TOKEN_IDS]
    assert table.schema.field("prompt_token_ids").type == pa.list_(pa.int32())
    assert table.column("prompt_token_ids").to_pylist() == [[7, 8, 9], None]
    assert table.column("prediction_token_ids").to_pylist() == [[], None]
    assert round_from_table(table, 0.0) == round_


def test_a_users_column_of_that_name_is_the_users() -> None:
    table = round_table(Round(3, (SURE,))).append_column("prompt_token_ids", pa.array(["7 8 9"]))
    [row] = round_from_table(table).predictions
    assert row.prompt_token_ids is None


def test_all_of_it_reaches_the_frame(tracking: mlflow.MlflowClient) -> None:
    samples = make_samples(2)
    first, second = (sample.sample_id for sample in samples)
    with start_run() as run:
        run.log_samples(samples, rendered={first: "<user>question 0<assistant>"})
        run.log_round(Round(0, (Prediction(first, "a"), Prediction(second, "b"))))
        rows = (
            Prediction(first, "he went", prompt_token_ids=(7, 8), prediction_token_ids=(9,), **CONFIDENCE),
            Prediction(second, "b", prompt_token_ids=(7,), prediction_token_ids=()),
        )
        run.log_round(Round(1, rows))
    frame = load_predictions("last")
    assert {name: frame[name][2] for name in CONFIDENCE} == CONFIDENCE
    assert frame[[*CONFIDENCE]].isna().all(axis=1).tolist() == [True, True, False, True]
    assert [str(frame[name].dtype) for name in CONFIDENCE] == [
        "float64",
        "str",
        "Int64",
        "float64",
        "float64",
    ]
    table = as_arrow("last", columns=["step", *TOKEN_IDS])
    assert table.column("prompt_token_ids").to_pylist() == [None, None, [7, 8], [7]]
    assert table.column("prediction_token_ids").to_pylist() == [None, None, [9], []]


def test_the_mean_loss_on_the_references_is_a_metric() -> None:
    losses = [1.0, None, 4.0, float("nan"), float("inf")]
    rows = tuple(Prediction(str(place), "x", reference_nll=loss) for place, loss in enumerate(losses))
    assert round_metrics(Round(0, rows))["reference_nll"] == pytest.approx(2.5)
    assert "reference_nll" not in round_metrics(Round(0, rows[1:2]))


FAR = Prediction(
    "a", "x", flags=("loop",), error="was", seconds=0.5, scores={"s": 1.0}, prompt_tokens=3, **CONFIDENCE
)
JUDGED = Prediction("a", "{}", validations=(Validation("json", "json", True, ()),))


@pytest.mark.parametrize(
    "predictions",
    [(Prediction("a"),), (SURE, FAILED), (FAR,), (JUDGED, FAILED), (FAILED, Prediction("c", "x"))],
)
@pytest.mark.parametrize("epochs", [(None, None), (None, 0.5), (1.0, 2.0)])
def test_a_compaction_reads_the_same_with_and_without_statistics(
    predictions: tuple[Prediction, ...], epochs: tuple[float | None, ...]
) -> None:
    """Columns that the statistics call empty are not decoded: nothing else may be lost by it."""
    rounds = [round_table(Round(step, predictions, epoch=epoch)) for step, epoch in enumerate(epochs)]
    own = pa.array([None] * len(predictions), pa.list_(pa.string()))
    table = pa.concat_tables([one.append_column("own", own) for one in rounds])
    with_statistics = read_round(parquet_bytes(table, repetitive=True))
    plain = read_round(parquet_bytes(table))
    assert with_statistics.schema == plain.schema
    for name in plain.column_names:
        found, expected = with_statistics.column(name).to_pylist(), plain.column(name).to_pylist()
        if name == "validations":  # nobody looked, or nothing was found: readers take both alike
            found, expected = [each or [] for each in found], [each or [] for each in expected]
        assert found == expected, name
