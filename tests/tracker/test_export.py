from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from stored_runs import finished_files, make_round, make_samples, round_files, store_run

from timelapse import load_predictions
from timelapse.cli.main import main
from timelapse.errors import TimelapseError
from timelapse.reading.export import export_file, write_table

if TYPE_CHECKING:
    import mlflow


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def export(place: Any, *arguments: str, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["export", *arguments, "--tracking-uri", place.uri])
    assert result.exit_code == exit_code, result.output
    return result


def as_csv(table: pa.Table) -> list[list[str]]:
    buffer = io.BytesIO()
    write_table(table, buffer, "csv")
    return list(csv.reader(io.StringIO(buffer.getvalue().decode(), newline="")))


def test_every_format_holds_the_same_rows(place: Any) -> None:
    expected = load_predictions("first", tracking_uri=place.uri)
    for kind in ("csv", "parquet", "jsonl"):
        result = export(place, "first", "-o", f"out.{kind}")
        assert result.stderr == f"out.{kind}: 9 rows\n"

    read = {
        "csv": pd.read_csv("out.csv"),
        "parquet": pd.read_parquet("out.parquet"),
        "jsonl": pd.read_json("out.jsonl", lines=True),
    }
    for kind, frame in read.items():
        assert list(frame.columns) == list(expected.columns), kind
        for name in ("step", "prediction", "prompt", "exact_match", "error", "prediction_tokens"):
            pd.testing.assert_series_equal(
                frame[name].astype(expected[name].dtype), expected[name], check_exact=True
            )
    assert [path.name for path in sorted(Path().iterdir())] == ["out.csv", "out.jsonl", "out.parquet"]


def test_rounds_and_columns_are_chosen(place: Any) -> None:
    export(place, "first", "-o", "a.csv", "--rounds", "0,20", "--columns", "step, prediction")
    assert Path("a.csv").read_text().splitlines()[:3] == ['"step","prediction"', '0,"goed"', '0,"forgetted"']
    assert pd.read_csv("a.csv")["step"].unique().tolist() == [0, 20]
    export(place, "first", "-o", "b.csv", "--rounds", "best")
    assert pd.read_csv("b.csv")["step"].unique().tolist() == [20]
    wrong = export(place, "first", "-o", "c.csv", "--rounds", "bset", exit_code=2)
    assert "'bset' is neither all, last nor best" in wrong.stderr
    wrong = export(place, "first", "-o", "c.csv", "--columns", "stp", exit_code=2)
    assert "There is no column 'stp'. Did you mean 'step'?" in wrong.stderr
    assert not Path("c.csv").exists()


def test_a_file_that_exists_is_kept_unless_forced(place: Any) -> None:
    Path("out.csv").write_text("precious")

    refused = export(place, "first", "-o", "out.csv", exit_code=2)

    assert "out.csv exists. Name another file, or replace it with --force" in refused.stderr
    assert Path("out.csv").read_text() == "precious"
    export(place, "first", "-o", "out.csv", "--force")
    assert len(pd.read_csv("out.csv")) == 9


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("out.xlsx", "out.xlsx has '.xlsx'; an export ends in .csv, .parquet or .jsonl"),
        ("out", "out has no ending"),
        ("no/out.csv", "The folder no does not exist"),
        (".", "has no ending"),
    ],
)
def test_a_target_that_cannot_be_is_an_error(place: Any, target: str, said: str) -> None:
    assert said in export(place, "first", "-o", target, exit_code=2).stderr
    assert not list(Path().iterdir())


def test_nothing_half_written_is_left() -> None:
    table = pa.table({"a": pa.array([b"\xff"], pa.binary())})
    broken = pa.table({"a": pa.array([1], pa.decimal256(50))}).set_column(
        0, "a", pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])
    )
    export_file(table, Path("fine.jsonl"), "jsonl")
    assert json.loads(Path("fine.jsonl").read_text()) == {"a": "ff"}

    Path("out.parquet").write_text("precious")
    with pytest.raises(pa.ArrowNotImplementedError):
        export_file(broken, Path("out.parquet"), "parquet", force=True)

    assert Path("out.parquet").read_text() == "precious"
    assert sorted(path.name for path in Path().iterdir()) == ["fine.jsonl", "out.parquet"]
    with pytest.raises(TimelapseError, match="is a folder"):
        export_file(table, Path(), "csv")


def test_standard_output_in_the_asked_format(place: Any) -> None:
    rows = ["--rounds", "0", "--columns", "step,prediction"]

    assert export(place, "first", "-o", "-", *rows).stdout == '"step","prediction"\n' + "".join(
        f'0,"{text}"\n' for text in ("goed", "forgetted", "the")
    )
    lines = export(place, "first", "-o", "-", "--format", "jsonl", *rows).stdout.splitlines()
    assert json.loads(lines[0]) == {"step": 0, "prediction": "goed"}
    data = export(place, "first", "-o", "-", "--format", "parquet", *rows).stdout_bytes
    assert pq.read_table(pa.BufferReader(data)).column("step").to_pylist() == [0, 0, 0]


DANGEROUS = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\tx",
    "\rx",
    "  =1",
    "\n=1",
    "\ufeff=1",
    "\u00a0=1",
    "\u200b=1",
    "\x00=1",
    "＝1",
]
HARMLESS = ["went", "a=b", "1-2", "", "'=1", 'say "hi", he said', "two\nlines", "é漢😀"]


def test_texts_are_no_formulas_and_numbers_stay_numbers() -> None:
    texts = DANGEROUS + HARMLESS
    table = pa.table(
        {"=name": texts, "number": [-1.5] * len(texts), "large": pa.array(texts, pa.large_string())}
    )
    rows = as_csv(table)

    assert rows[0] == ["'=name", "number", "large"]
    assert [row[0] for row in rows[1:]] == [f"'{text}" for text in DANGEROUS] + HARMLESS
    assert {row[1] for row in rows[1:]} == {"-1.5"}
    assert [row[2] for row in rows[1:]] == [row[0] for row in rows[1:]]


def test_a_text_of_any_type_is_no_formula_and_every_type_can_be_written() -> None:
    days = pa.array([pa.MonthDayNano([0, 3, 0])], pa.month_day_nano_interval())
    table = pa.table(
        {
            "category": pa.array(["=1"]).dictionary_encode(),
            "level": pa.array([-1]).dictionary_encode(),
            "view": pa.array(["=1"], pa.string_view()),
            "bytes": pa.array([b"=1"], pa.binary(2)),
            "days": days,
        }
    )

    assert as_csv(table) == [list(table.column_names), ["'=1", "-1", "'=1", '"3d31"', "[0, 3, 0]"]]


def test_missing_values_and_nested_ones() -> None:
    table = pa.table(
        {
            "score": [float("nan"), None, float("inf")],
            "text": [None, "", "x"],
            "list": pa.array([["=1"], None, []], pa.list_(pa.string())),
            "map": pa.array([[("a", 1.0)], None, []], pa.map_(pa.string(), pa.float64())),
        }
    )
    rows = as_csv(table)[1:]
    assert [row[0] for row in rows] == ["", "", "inf"]
    assert [row[2] for row in rows] == ['["=1"]', "", "[]"]
    buffer = io.BytesIO()
    write_table(table, buffer, "jsonl")
    lines = [json.loads(line, parse_constant=pytest.fail) for line in buffer.getvalue().decode().splitlines()]
    assert [line["score"] for line in lines] == [None, None, None]
    assert lines[0]["list"] == ["=1"]
    assert lines[0]["map"] == [["a", 1.0]]


def test_users_columns_are_exported(tracking: mlflow.MlflowClient) -> None:
    samples = make_samples()
    files = finished_files([samples], round_files([make_round(samples, 0)], note=["=x", None, "fine"]))
    store_run(tracking, "0", files)

    result = CliRunner().invoke(main, ["export", "last", "-o", "-", "--columns", "note"])

    assert result.stdout == '"note"\n"\'=x"\n\n"fine"\n'


def test_help_has_an_example() -> None:
    assert "Example: timelapse export last -o answers.csv" in " ".join(
        CliRunner().invoke(main, ["export", "--help"]).stdout.split()
    )
