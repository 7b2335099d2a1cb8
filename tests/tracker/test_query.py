from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

from timelapse.cli.main import main
from timelapse.errors import TimelapseError
from timelapse.reading.sql import run_query

if TYPE_CHECKING:
    from pathlib import Path

TABLE = pa.table({"step": [0, 10, 20], "prediction": ["goed", "went", None]})


def ask(query: str, **settings: Any) -> Any:
    found, more = run_query(TABLE, query, **{"max_rows": 10, "timeout": 20.0, **settings})
    return found.to_pydict(), more


def timelapse(place: Any, *arguments: str, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["query", *arguments, "--tracking-uri", place.uri])
    assert result.exit_code == exit_code, result.output
    return result


def test_a_query_sees_the_rows_as_the_view_predictions() -> None:
    result = ask("SELECT max(step) AS newest, count(prediction) FROM predictions -- the end")

    assert result == ({"newest": [20], "count(prediction)": [2]}, False)
    assert ask("FROM predictions", max_rows=2) == ({"step": [0, 10], "prediction": ["goed", "went"]}, True)
    assert ask("FROM predictions ORDER BY step DESC", max_rows=3)[0]["step"] == [20, 10, 0]
    assert not ask("FROM predictions", max_rows=3)[1]
    assert ask("DESCRIBE predictions")[0]["column_name"] == ["step", "prediction"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("COPY predictions TO '{here}/out.csv'", "Only SELECT is possible; this is COPY"),
        ("ATTACH '{here}/out.db'", "this is ATTACH"),
        ("EXPORT DATABASE '{here}/out'", "this is EXPORT"),
        ("INSTALL httpfs", "Only SELECT"),
        ("LOAD httpfs", "Only SELECT"),
        ("SET threads = 64", "this is SET"),
        ("SET enable_external_access = true", "this is SET"),
        ("RESET lock_configuration", "this is SET"),
        ("PRAGMA memory_limit='64GB'", "Only SELECT"),
        ("CREATE TABLE t AS SELECT 1", "this is CREATE"),
        ("INSERT INTO predictions VALUES (1, 'x')", "this is INSERT"),
        ("DROP VIEW predictions", "this is DROP"),
        ("CALL pragma_version()", "Only SELECT"),
        ("SELECT 1; DROP VIEW predictions", "Give one SELECT; here are 2 statements"),
        ("", "here are 0 statements"),
        ("SELECT * FROM read_csv('{here}/secret.csv')", "may only read the view `predictions`"),
        ("SELECT * FROM read_parquet('{here}/secret.parquet')", "may only read the view"),
        ("SELECT * FROM read_text('{here}/secret.csv')", "may only read the view"),
        ("SELECT * FROM glob('{here}/*')", "may only read the view"),
        ("SELECT * FROM '{here}/secret.csv'", "view `predictions`"),
        ("SELECT * FROM read_csv('http://127.0.0.1:1/x.csv')", "view `predictions`"),
        ("SELECT getenv('HOME')", "getenv does not exist"),
        ("SELECT * FROM TABLE", "SQL error"),
        ("SELECT * FROM local_table", "Table with name local_table does not exist"),
    ],
)
def test_a_query_reads_nothing_else_and_writes_nothing(query: str, said: str, tmp_path: Path) -> None:
    local_table = TABLE  # DuckDB would find a variable of Python's by its name
    secret = tmp_path / "secret.csv"
    secret.write_text("password\nhunter2\n")

    with pytest.raises(TimelapseError) as error:
        ask(query.replace("{here}", str(tmp_path)))

    assert said in str(error.value)
    assert "hunter2" not in str(error.value)
    assert "\n" not in str(error.value)
    assert [file.name for file in tmp_path.iterdir()] == ["secret.csv"]
    assert len(local_table) == 3


def test_an_error_says_where_and_which_columns_there_are() -> None:
    with pytest.raises(TimelapseError) as error:
        ask("SELECT step,\n  'é', predicton\nFROM predictions")

    assert str(error.value) == (
        'SQL error at line 2, column 8: Referenced column "predicton" not found in FROM clause. '
        "The view `predictions` has the columns: step, prediction."
    )
    with pytest.raises(TimelapseError, match="SQL error at line 1, column 1: syntax error at or near"):
        ask("SELEKT 1")
    with pytest.raises(TimelapseError, match=r"SQL error: .*parameters"):
        ask("SELECT $1")


def test_a_query_that_never_ends_is_ended() -> None:
    with pytest.raises(TimelapseError, match=r"longer than 0\.5 s and was ended.*--timeout"):
        ask(
            "SELECT count(*) FROM range(9000000000) a, range(9000000000) b WHERE a.range = -b.range",
            timeout=0.5,
        )


def test_a_result_without_end_is_cut_and_a_big_state_refused() -> None:
    assert ask("SELECT * FROM range(100000000000)", max_rows=2) == ({"range": [0, 1]}, True)
    with pytest.raises(TimelapseError, match=r"needs more than 1GB of memory|longer than"):
        ask("SELECT list(range::VARCHAR || repeat('x', 1000)) FROM range(10000000)")


def test_what_duckdb_cannot_bound_is_bounded_for_the_whole_program(place: Any) -> None:
    large = "SELECT list(range(60000000)) IS NULL"  # one value of 480 MB, built at twice that
    assert "of memory" in timelapse(place, large, "first", exit_code=2).stderr
    long = "SELECT levenshtein(repeat('a', 200000) || step, repeat('b', 200000)) FROM predictions"
    words = ["query", long, "first", "--timeout", "0.5", "--tracking-uri", place.uri]
    ended = subprocess.run(
        [sys.executable, "-m", "timelapse.cli.main", *words], capture_output=True, text=True, timeout=120
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "Error: The query took longer than 0.5 s and was ended." in ended.stderr


def test_the_command_shows_a_table(place: Any) -> None:
    sql = (
        "SELECT step, avg(exact_match) AS mean, any_value(prompt) AS p FROM predictions GROUP BY 1 ORDER BY 1"
    )
    lines = timelapse(place, sql, "first").stdout.splitlines()

    assert lines[0].split() == ["step", "mean", "p"]
    assert [line.split()[:2] for line in lines[2:5]] == [["0", "0"], ["10", "0.333333"], ["20", "1"]]
    assert lines[-1] == "3 rows"


def test_the_command_prints_json_and_csv(place: Any) -> None:
    sql = "SELECT step, prediction, exact_match, now() AS at FROM predictions ORDER BY 1 DESC, 2 LIMIT 2"
    rows = json.loads(timelapse(place, sql, "first", "--format", "json").stdout)
    assert [(row["step"], row["prediction"], row["exact_match"]) for row in rows] == [
        (20, "forgot", 1.0),
        (20, "went", 1.0),
    ]
    words = ["query", "SELECT '→😀' AS a", "first", "--format", "json", "--tracking-uri", place.uri]
    assert json.loads(CliRunner(charset="latin-1").invoke(main, words).stdout) == [{"a": "→😀"}]
    printed = timelapse(place, "SELECT 1 AS a, '=1+1' AS a, -2 AS b", "first", "--format", "csv").stdout
    assert printed == '"a","a_1","b"\n1,"\'=1+1",-2\n'


def test_the_command_takes_runs_and_an_experiment(place: Any) -> None:
    sql = "SELECT DISTINCT run_name FROM predictions ORDER BY 1"

    def found(*scope: str) -> list[str]:
        rows = json.loads(timelapse(place, sql, *scope, "--format", "json").stdout)
        return [row["run_name"] for row in rows]

    assert found() == ["first", "long", "twin"]
    assert found("--experiment", "verbs") == ["first", "twin"]
    assert found("last", "--experiment", "verbs") == ["twin"]
    assert found(place.ids["long"][:8], "first") == ["first", "long"]


def test_the_command_says_what_is_wrong_on_stderr(place: Any) -> None:
    wrong = timelapse(place, "SELECT stp FROM predictions", "first", exit_code=2)
    assert wrong.stdout == ""
    assert wrong.stderr.startswith('Error: SQL error at line 1, column 8: Referenced column "stp" not found')
    cut = timelapse(place, "FROM predictions", "first", "--limit", "2", "--format", "json")
    assert len(json.loads(cut.stdout)) == 2
    assert cut.stderr == "There are more than 2 rows: --limit shows more.\n"
    slow = timelapse(
        place,
        "SELECT count(*) FROM range(9000000000) a, range(9000000000) b",
        "first",
        "--timeout",
        "0.2",
        exit_code=2,
    )
    assert "was ended" in slow.stderr
    for seconds in ("nan", "inf", "1e30", "0"):
        timed = timelapse(place, "SELECT 1", "first", "--timeout", seconds, exit_code=2)
        assert "Invalid value for '--timeout'" in timed.stderr


def test_a_models_text_is_shown_and_not_obeyed(place: Any) -> None:
    text = timelapse(place, "SELECT prediction FROM predictions WHERE prediction LIKE '%evil'", "long").stdout

    assert r"\x1b[31mred\x07" in text
    assert not {"\x1b", "\x07", "\u202e"} & set(text)


def test_help_has_an_example() -> None:
    text = CliRunner().invoke(main, ["query", "--help"]).stdout

    assert 'Example: timelapse query "SELECT run_name' in " ".join(text.split())
