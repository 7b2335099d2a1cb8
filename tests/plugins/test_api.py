"""The API before a real MLflow app: what it tells of runs is what the library reads of the same runs."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pyarrow.parquet as pq
import pytest
from inner_mlflow import Place, served
from stored_runs import finished_files, make_round, make_samples, put_files, round_files, store_run

from timelapse import Prediction, Round, SampleSet, load_predictions, names, start_run
from timelapse.analysis.comparison import compare
from timelapse.config.model import json_schema
from timelapse.reading.loader import load_rounds
from timelapse.report.run_view import RunView
from timelapse.rescoring import rescore
from timelapse.scoring.builtin import SCORERS
from timelapse.scoring.findings import Finding
from timelapse.scoring.validators import Validation

# Starlette's bridge, on which MLflow's server is built, leaves files that it has sent to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PROBE = make_samples(2, "probe")
SAMPLES = SampleSet(
    tuple(replace(each, tags=("hard", "long")[: place % 3]) for place, each in enumerate(make_samples(4)))
)
IDS = [each.sample_id for each in SAMPLES]
BAD = Validation("json", "json", False, (Finding("$", "expected an object"),))


def answers(step: int, right: list[float | None], **more: Any) -> Round:
    """A round with a score a sample: None is a failed answer; every sample has two generations."""
    rows = [
        Prediction(
            IDS[place],
            None if score is None else f"=answer {place} at {step} ünïcode",
            status="error" if score is None else "ok",
            error="RuntimeError: out of memory" if score is None else None,
            finish_reason="length" if place == 3 else "stop",
            scores={} if score is None else {"exact_match": score, "chrf": score / 2},
            validations=(BAD,) if place == 2 else (),
            reference_nll=math.nan if place == 1 else 0.5,
            generation=generation,
        )
        for place, score in enumerate(right)
        for generation in range(2)
    ]
    return Round(step, tuple(rows), epoch=step / 10, trigger="epoch", **more)


ROUNDS = [
    answers(0, [0.0, 0.0, 1.0, None]),
    answers(10, [1.0, 0.0, 1.0, 0.0]),
    answers(20, [1.0, 0.0, 0.0, 0.5]),
    answers(20, [1.0, 1.0, 0.0, 0.5], attempt=1),
    make_round(PROBE, 20),
]


@pytest.fixture(scope="module")
def place(new_store: Callable[[Path], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("api")
    with served(new_store(folder), folder / "mlruns") as place:
        yield place


@pytest.fixture(scope="module")
def run_id(place: Place) -> str:
    """A finished run: two sets, two attempts, two generations, failures."""
    tables = round_files(ROUNDS)
    for name, table in tables.items():
        tables[name] = table.append_column("mine", [list(range(len(table)))])
    found = store_run(place.client, "0", finished_files([SAMPLES, PROBE], tables), name="../fox; rm")
    place.client.set_tag(found, names.TAG_JOB, 'job\'s "42"%_')
    place.client.set_tag(found, names.TAG_JOB_USER, "ada")
    return found


@pytest.fixture(scope="module")
def other_id(place: Place) -> str:
    files = finished_files([SAMPLES], round_files([answers(0, [0.0] * 4), answers(30, [1.0, 1.0, 0.0, 1.0])]))
    return store_run(place.client, "0", files, name="hare")


def same(one: Any, other: Any) -> bool:
    return one == other or (one is None and (other is None or other != other)) or one is other


def assert_rows_of_the_frame(rows: list[dict[str, Any]], frame: pd.DataFrame) -> None:
    assert len(rows) == len(frame)
    told = json.loads(frame.to_json(orient="records", date_format="iso", double_precision=15))
    for row, expected in zip(rows, told, strict=True):
        for name in frame.columns:
            assert same(row[name], expected[name]), (name, row[name], expected[name])


def test_a_runs_summary_comes_from_mlflow(place: Place, run_id: str) -> None:
    told = place.get(f"/runs/{run_id}")
    run = place.client.get_run(run_id)
    assert told["run"] | {"state": 0} == {
        "run_id": run_id,
        "name": "../fox; rm",
        "experiment_id": "0",
        "experiment": "Default",
        "status": "FINISHED",
        "state": 0,
        "start_time": run.info.start_time,
        "end_time": run.info.end_time,
        "job_id": 'job\'s "42"%_',
        "claimed_by": "ada",
        "share_of_training_time": None,
    }
    assert told["rounds"] is None


@pytest.mark.parametrize(("set_name", "attempt"), [(None, None), ("main", 0), ("main", 1), ("probe", None)])
def test_the_documents_are_those_of_the_library(
    place: Place, run_id: str, set_name: str | None, attempt: int | None
) -> None:
    query = {"set": set_name or "", "attempt": "" if attempt is None else attempt}
    view = RunView(load_rounds(place.client, run_id), set_name, attempt)
    overview = place.get(f"/runs/{run_id}/overview", **query)
    assert overview["lanes"] == view.grid.lanes.tolist()
    assert overview["marks"] == view.marks.tolist()
    assert overview["run"]["claimed_by"] == "ada"
    assert [each["sample_id"] for each in overview["samples"]] == list(view.grid.sample_ids)
    rounds = place.get(f"/runs/{run_id}/rounds", **query)
    assert rounds["rounds"] == overview["rounds"]
    assert rounds["sets"] == ["main", "probe"]
    trends = place.get(f"/runs/{run_id}/trends", **query)
    assert trends["steps"] == view.steps == [each["step"] for each in rounds["rounds"]]
    assert trends["trends"] == overview["trends"]
    score = place.get(f"/runs/{run_id}/matrix", **query)
    assert score["score"] == "exact_match"
    assert score == place.get(f"/runs/{run_id}/matrix", score="exact_match", **query)
    lanes = list(range(len(overview["lanes"])))[::-1]
    texts = place.get(f"/runs/{run_id}/texts", lane=lanes, **query)
    assert [each["lane"] for each in texts["lanes"]] == lanes
    assert [each["predictions"] for each in texts["lanes"]] == view.grid.texts(lanes)
    found = place.get(f"/runs/{run_id}/search", text="STEP 20" if set_name == "probe" else "AT 20", **query)
    assert found["always"] == []
    assert sum(map(len, found["rounds"])) > 0
    sample_id = overview["samples"][0]["sample_id"]
    timeline = place.get(f"/runs/{run_id}/samples/{sample_id}", **query)
    assert timeline["sample"]["reference"] == "answer 0"
    assert [each["step"] for each in timeline["rounds"]] == view.steps
    assert timeline["rounds"][0]["answers"][0]["prediction"] == view.grid.texts([0])[0][0]


def test_predictions_are_those_of_load_predictions(place: Place, run_id: str) -> None:
    frame = load_predictions(run_id, tracking_uri=place.uri)
    told = place.get(f"/runs/{run_id}/predictions", limit=500)
    main = frame[frame["set"] == "main"]
    assert told["columns"] == [*frame.columns, "sample_class"]
    assert told["total"] == len(main) == 24
    assert told["next_cursor"] is None
    assert_rows_of_the_frame(told["rows"], main)
    probe = place.get(f"/runs/{run_id}/predictions", set="probe")
    assert_rows_of_the_frame(probe["rows"], frame[frame["set"] == "probe"].drop(columns="chrf"))
    old = place.get(f"/runs/{run_id}/predictions", attempt=0, step=20)["rows"]
    assert [row["exact_match"] for row in old] == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.5]


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ({"step": [0, 20]}, lambda row: row["step"] in (0, 20)),
        ({"epoch": [1.0]}, lambda row: row["epoch"] == 1.0),
        ({"sample": [IDS[1]]}, lambda row: row["sample_id"] == IDS[1]),
        ({"text": "AT 10 ÜNÏ"}, lambda row: "at 10 ünï" in (row["prediction"] or "")),
        ({"text": "question 2"}, lambda row: row["sample_id"] == IDS[2]),
        ({"status": "error"}, lambda row: row["status"] == "error"),
        ({"status": "nonsense"}, lambda row: False),
        ({"mark": ["truncated"]}, lambda row: row["finish_reason"] == "length" and row["status"] == "ok"),
        ({"mark": ["invalid", "failed"]}, lambda row: row["valid"] is False or row["status"] == "error"),
        ({"class": "learned"}, lambda row: row["sample_id"] in IDS[:2]),
        (
            {"step": [20], "status": "ok", "mark": "right"},
            lambda row: (row["step"], row["exact_match"]) == (20, 1),
        ),
        ({"tag": "hard"}, lambda row: row["sample_id"] in IDS[1:3]),
        ({"tag": ["long", "none"]}, lambda row: row["tags"] == ["hard", "long"]),
    ],
)
def test_a_filter_takes_what_it_says_and_counts_it(
    place: Place, run_id: str, query: dict[str, Any], where: Callable[[dict[str, Any]], bool]
) -> None:
    everything = place.get(f"/runs/{run_id}/predictions", limit=500)["rows"]
    told = place.get(f"/runs/{run_id}/predictions", limit=500, **query)
    expected = [row for row in everything if where(row)]
    assert told["rows"] == expected
    assert told["total"] == len(expected)
    few = place.get(f"/runs/{run_id}/predictions", limit=1, **query)
    assert few["total"] == len(expected)
    statuses = [row["status"] for row in expected]
    assert told["counts"]["status"] == {each: statuses.count(each) for each in dict.fromkeys(statuses)}
    for name, count in told["counts"]["mark"].items():
        assert count == sum(name in row["marks"] for row in expected), name


@pytest.mark.parametrize(
    "column", ["exact_match", "prompt", "reference_nll", "mine", "sample_class", "error", "valid"]
)
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_rows_are_sorted_by_any_column_the_missing_last(
    place: Place, run_id: str, column: str, order: str
) -> None:
    told = [row[column] for row in place.get(f"/runs/{run_id}/predictions", sort=column, order=order)["rows"]]
    known = [value for value in told if value is not None]
    assert known == sorted(known, reverse=order == "desc")
    assert told == known + [None] * (len(told) - len(known))


def test_exports_hold_what_load_predictions_does(place: Place, run_id: str) -> None:
    frame = load_predictions(run_id, tracking_uri=place.uri)
    answer = place.api.get(f"/runs/{run_id}/export")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == f'attachment; filename="fox-rm-{run_id[:8]}.csv"'
    assert answer.headers["content-length"] == str(len(answer.content))
    read = pd.read_csv(io.BytesIO(answer.content))
    assert list(read.columns) == list(frame.columns)
    assert len(read) == len(frame) == 26
    texts = read["prediction"].dropna().tolist()
    assert texts[0] == "'=answer 0 at 0 ünïcode", "no spreadsheet runs it"
    parquet = place.api.get(f"/runs/{run_id}/export", params={"format": "parquet", "attempts": "all"})
    everything = load_predictions(run_id, attempts="all", tracking_uri=place.uri)
    table = pq.read_table(io.BytesIO(parquet.content))
    assert table.column_names == list(everything.columns)
    assert table.column("prediction").to_pylist() == [
        None if pd.isna(text) else text for text in everything["prediction"]
    ]
    lines = place.api.get(f"/runs/{run_id}/export?format=jsonl").text.splitlines()
    assert_rows_of_the_frame([json.loads(line) for line in lines], frame)


def test_a_comparison_is_that_of_the_library(place: Place, run_id: str, other_id: str) -> None:
    told = place.get("/compare", run=[run_id, other_id], round="last")
    expected = compare([run_id, other_id], "last", tracking_uri=place.uri)
    assert [each["label"] for each in told["runs"]] == [each.label for each in expected.rounds]
    assert [each["step"] for each in told["runs"]] == [20, 30]
    result = expected.result(expected.rounds[1].label)
    assert result is not None
    cell = told["scoreboard"]["exact_match"][1]["paired"]
    assert (cell["wins"], cell["losses"], cell["ties"]) == (result.wins, result.losses, result.ties)
    assert cell["difference"] == result.difference
    assert [row["sample_id"] for row in told["rows"]] == [pair.sample_id for pair in expected.pairs]
    assert [row["answers"][1]["text"] for row in told["rows"]] == [
        pair.after.prediction for pair in expected.pairs
    ]
    assert told["runs"][0]["trends"] == place.get(f"/runs/{run_id}/trends")["trends"]
    within = place.get(
        "/compare", run=[f"{run_id}@first", f"{run_id}@20"], against=f"{run_id}@20", score="chrf"
    )
    assert [each["step"] for each in within["runs"]] == [0, 20]
    assert within["against"] == 1
    assert within["score"] == "chrf"


def test_a_comparison_and_a_run_can_be_taken_along(place: Place, run_id: str, other_id: str) -> None:
    expected = compare([run_id, other_id], "last", tracking_uri=place.uri)
    query = {"run": [run_id, other_id], "round": "last"}
    csv_file = place.api.get("/compare/export", params={**query, "format": "csv"})
    assert csv_file.headers["content-disposition"] == 'attachment; filename="comparison.csv"'
    lines = pd.read_csv(io.BytesIO(csv_file.content))
    assert lines["sample_id"].tolist() == [pair.sample_id for pair in expected.pairs]
    whole = place.api.get("/compare/export", params={**query, "format": "json"}).json()
    assert whole["against"] == expected.against
    same = {"if-none-match": csv_file.headers["etag"]}
    assert (
        place.api.get("/compare/export", params={**query, "format": "csv"}, headers=same).status_code == 304
    )
    page = place.api.get(f"/runs/{run_id}/report")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-disposition"].startswith("attachment; ")
    assert "default-src 'none'" in page.text
    assert load_predictions(run_id, tracking_uri=place.uri)["sample_id"][0] in page.text


def test_an_experiments_runs_come_page_by_page_with_their_curves(place: Place) -> None:
    experiment = place.client.create_experiment("curves")
    ids = []
    for number in range(3):
        with start_run(f"run {number}", experiment="curves", tracking_uri=place.uri) as run:
            run.log_samples(SAMPLES)
            for step in (0, 5):
                run.log_round(make_round(SAMPLES, step, right=number * step / 10))
            ids.append(run.run_id)
    plain = place.client.create_run(experiment)
    gone = place.client.create_run(experiment, tags={names.TAG_SCHEMA: "1"})
    place.client.delete_run(gone.info.run_id)
    pages, cursor = [], ""
    while True:
        page = place.get(f"/experiments/{experiment}/runs", limit=2, cursor=cursor, sample=IDS[0])
        assert page["experiment"] == "curves"
        pages.append(page["runs"])
        cursor = page["next_cursor"]
        if not cursor:
            break
    lines = [line for page in pages for line in page]
    assert [line["run"]["run_id"] for line in lines] == ids[::-1]
    assert plain.info.run_id not in str(lines)
    assert {line["main_score"] for line in lines} == {"exact_match"}
    assert [[point["value"] for point in line["series"]] for line in lines] == [[0, 1.0], [0, 0.5], [0, 0.0]]
    assert [line["rounds"] for line in lines] == [2, 2, 2]
    assert lines[0]["learned"] == 4.0
    assert lines[0]["last_text"] == {"step": 5, "prediction": "step 5 attempt 0 sample 0", "problem": None}
    without = place.get(f"/experiments/{experiment}/runs", sample="nobody")["runs"][0]["last_text"]
    assert without["prediction"] is None
    assert without["problem"] == "The run has no answer to this sample."


def test_the_runs_of_a_job_are_found_by_its_exact_id(place: Place, run_id: str, other_id: str) -> None:
    place.client.set_tag(other_id, names.TAG_JOB, "job's x42x%_")
    told = place.get('/jobs/job\'s "42"%25_/runs')
    assert [line["run"]["run_id"] for line in told["runs"]] == [run_id]
    assert told["runs"][0]["run"]["claimed_by"] == "ada"
    assert place.get("/jobs/' OR '1'='1/runs")["runs"] == []
    place.client.set_tag(other_id, names.TAG_JOB, "team/7")
    assert [line["run"]["run_id"] for line in place.get("/jobs/team%2F7/runs")["runs"]] == [other_id]


def test_a_sample_of_any_id_has_a_timeline(place: Place) -> None:
    with start_run(tracking_uri=place.uri) as run:
        run.log_predictions([{"sample_id": "a/b c?#%", "prompt": "Say it", "prediction": "It"}], step=1)
    told = place.get(f"/runs/{run.run_id}/samples/a%2Fb%20c%3F%23%25")
    assert told["sample"]["sample_id"] == "a/b c?#%"
    assert place.get(f"/runs/{run.run_id}/timeline", sample="a/b c?#%") == told


@pytest.mark.parametrize("id_", ["..", "two\nlines", "\u554f" * 1_000])
def test_ids_that_no_path_can_hold_are_found_by_query(place: Place, id_: str) -> None:
    with start_run(experiment="odd ids", tracking_uri=place.uri) as run:
        run.log_predictions([{"sample_id": id_, "prompt": "Say it", "prediction": "It"}], step=1)
    assert place.get(f"/runs/{run.run_id}/timeline", sample=id_)["sample"]["sample_id"] == id_
    assert place.get(f"/runs/{run.run_id}/predictions", sample=id_)["total"] == 1
    experiment = place.client.get_run(run.run_id).info.experiment_id
    newest = place.get(f"/experiments/{experiment}/runs", sample=id_)["runs"][0]
    assert newest["last_text"]["prediction"] == "It"


def test_a_configuration_is_checked_and_nothing_that_it_names_is_read(place: Place, tmp_path: Path) -> None:
    assert place.get("/config/schema") == json.loads(json.dumps(json_schema()))
    secret = tmp_path / "secret.jsonl"
    secret.write_text("never read")
    text = f"model: x\ndata:\n  train: {secret}\ntraining:\n  learning_rate: fast\n"
    told = place.get("/config/check", config=text)
    assert told["problems"][0]["path"] == ["training", "learning_rate"]
    assert told["problems"][0]["line"] == 5
    assert "never" not in str(told)
    good = place.get(
        "/config/check", config=f"model: x\ndata:\n  train: {secret}\n", rows=160, prompt_tokens=7
    )
    assert good["problems"] == []
    assert good["plan"]["steps"] > 0
    assert good["plan"]["prompt_tokens"] % 7 == 0
    assert place.api.get("/config/check?rows=0").status_code == 422


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/overview",
        "/matrix",
        "/texts?lane=0",
        "/search?text=x",
        f"/samples/{IDS[0]}",
        "/predictions",
        "/export",
    ],
)
def test_what_has_not_changed_is_304(place: Place, run_id: str, path: str) -> None:
    first = place.api.get(f"/runs/{run_id}{path}")
    assert first.status_code == 200
    assert first.headers["cache-control"] == "private, no-cache"
    assert first.headers["vary"] == "Cookie, Authorization, X-MLFLOW-WORKSPACE"
    again = place.api.get(f"/runs/{run_id}{path}", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    other = place.api.get(f"/runs/{run_id}{path}", headers={"if-none-match": '"other"'})
    assert other.content == first.content
    head = place.api.head(f"/runs/{run_id}{path}")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == first.headers["content-length"]


def test_a_live_run_grows_and_only_what_is_new_is_fetched(place: Place) -> None:
    run = place.client.create_run(
        "0", run_name="live", tags={names.TAG_SCHEMA: "1", names.TAG_STATUS: "live"}
    )
    live = run.info.run_id
    files = finished_files([SAMPLES], round_files([answers(0, [0.0] * 4)]))
    put_files(place.client, live, {name: files[name] for name in (names.SAMPLES_FILE, names.round_file(0))})
    first = place.api.get(f"/runs/{live}/overview")
    assert first.json()["run"]["state"]["kind"] == "live"
    assert [each["step"] for each in first.json()["rounds"]] == [0]
    unchanged = place.api.get(f"/runs/{live}/overview", headers={"if-none-match": first.headers["etag"]})
    assert unchanged.status_code == 304
    kept = Path(
        mlflow.artifacts.download_artifacts(
            run_id=live, artifact_path="timelapse/round-00000000.parquet", tracking_uri=place.uri
        )
    )
    size = kept.stat().st_size
    kept.write_bytes(b"x" * size)  # never asked for again: its name and size say which content it had
    put_files(place.client, live, _round(10))
    grown = place.api.get(f"/runs/{live}/overview", headers={"if-none-match": first.headers["etag"]})
    assert grown.status_code == 200
    assert [each["step"] for each in grown.json()["rounds"]] == [0, 10]
    assert grown.json()["problems"] == []
    page = place.get(f"/runs/{live}/predictions", limit=6)
    put_files(place.client, live, _round(5))
    rest = place.get(f"/runs/{live}/predictions", limit=500, cursor=page["next_cursor"])
    seen = [(row["step"], row["sample_id"], row["generation"]) for row in page["rows"] + rest["rows"]]
    assert len(set(seen)) == len(seen) == 24, "a round in between neither hides a row nor shows one twice"
    place.client.set_terminated(live, "KILLED")
    assert place.get(f"/runs/{live}/overview")["run"]["state"]["kind"] == "killed"


def _round(step: int) -> dict[str, bytes]:
    files = finished_files([SAMPLES], round_files([answers(step, [1.0] * 4)]))
    return {names.round_file(step): files[names.round_file(step)]}


def test_a_rescored_run_shows_its_new_scores(place: Place) -> None:
    files = finished_files([SAMPLES], round_files([make_round(SAMPLES, 0)]))
    run_id = store_run(place.client, "0", files, name="rescored")
    assert "token_f1" not in place.get(f"/runs/{run_id}/overview")["trends"]
    rescore(place.client, place.client.get_run(run_id), {"token_f1": SCORERS["token_f1"]})
    assert place.get(f"/runs/{run_id}/overview")["trends"]["token_f1"][0] is not None
    assert place.get(f"/runs/{run_id}/predictions")["rows"][0]["token_f1"] is not None


@pytest.mark.parametrize("path", ["/predictions", "/export?format=jsonl", "/overview"])
def test_a_renamed_run_has_its_new_name_in_every_row(place: Place, path: str) -> None:
    files = finished_files([SAMPLES], round_files([make_round(SAMPLES, 0)]))
    run_id = store_run(place.client, "0", files, name="first-name")
    first = place.api.get(f"/runs/{run_id}{path}")
    place.client.update_run(run_id, name="second-name")
    again = place.api.get(f"/runs/{run_id}{path}", headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 200
    assert "second-name" in again.text
    assert "first-name" not in again.text


def test_a_deleted_run_is_gone_at_once_and_back_when_restored(place: Place) -> None:
    files = finished_files([SAMPLES], round_files([make_round(SAMPLES, 0)]))
    run_id = store_run(place.client, "0", files)
    tag = place.api.get(f"/runs/{run_id}/overview").headers["etag"]
    place.client.delete_run(run_id)
    for path in ("", "/overview", "/export", "/predictions"):
        answer = place.api.get(f"/runs/{run_id}{path}", headers={"if-none-match": tag})
        assert answer.status_code == 404
        assert answer.json()["detail"] == f"Run {run_id} is deleted."
    assert place.api.get("/compare", params={"run": [run_id, f"{run_id}@0"]}).status_code == 404
    place.client.restore_run(run_id)
    assert place.get(f"/runs/{run_id}/overview")["rounds"]


def test_a_run_without_predictions_says_so(place: Place) -> None:
    run_id = place.client.create_run("0").info.run_id
    told = place.get(f"/runs/{run_id}/overview")
    assert told["run"]["state"]["kind"] == "not_started"
    assert told["rounds"] == told["samples"] == []
    assert place.get(f"/runs/{run_id}/predictions")["rows"] == []
    assert place.api.get(f"/runs/{run_id}/matrix").status_code == 404
    assert place.api.get(f"/runs/{run_id}/export").status_code == 200
    assert place.get(f"/runs/{run_id}/search", text="x") == {"always": [], "rounds": []}
