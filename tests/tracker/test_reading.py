from __future__ import annotations

import hashlib
import math
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from timelapse import Prediction, Round, TimelapseWarning, load_predictions, names, start_run
from timelapse.errors import RunError
from timelapse.reading.frames import COLUMNS
from timelapse.reading.loader import load_rounds
from timelapse.reading.records import latest_rounds, stored_samples
from timelapse.reading.runs import find_run, find_runs, list_runs
from timelapse.resting import RestingFiles
from timelapse.rounds import round_table

if TYPE_CHECKING:
    from pathlib import Path


def found(place: Any, selector: str, **scope: str) -> str:
    return find_run(selector, tracking_uri=place.uri, **scope).info.run_id


def test_a_run_is_found_by_id_prefix_name_and_last(place: Any) -> None:
    first = place.ids["first"]

    assert found(place, first) == first
    assert found(place, first[:8]) == first
    assert found(place, "first") == first
    assert found(place, "last") == place.ids["waiting"]
    assert found(place, "last", experiment="verbs") == place.ids["twin2"]


def test_an_exact_id_finds_even_a_run_without_predictions(place: Any) -> None:
    assert found(place, place.ids["untouched"]) == place.ids["untouched"]
    with pytest.raises(RunError, match="No run with predictions"):
        found(place, "untouched")


def test_a_name_used_twice_is_an_error_that_lists_both(place: Any) -> None:
    with pytest.raises(RunError) as error:
        found(place, "twin")

    for number in (1, 2):
        assert place.ids[f"twin{number}"][:8] in str(error.value)
    assert "'twin' could be 2 runs" in str(error.value)
    assert "experiment 'verbs'" in str(error.value)
    assert "started 20" in str(error.value)


@pytest.mark.parametrize(
    "selector", ["nobody", "go", "", "' OR 1=1", "quote \" and ' and \\", "%", "____", "fir"]
)
def test_what_is_not_there_is_an_error_that_says_where_it_was_sought(place: Any, selector: str) -> None:
    with pytest.raises(RunError, match="run `timelapse runs` to see them") as error:
        found(place, selector, experiment="verbs")

    assert "experiment 'verbs'" in str(error.value)
    assert place.uri in str(error.value)


def test_deleted_runs_are_never_found(place: Any) -> None:
    gone = place.ids["gone"]
    for selector in (gone, gone[:8], "gone"):
        with pytest.raises(RunError):
            found(place, selector)

    assert gone not in {run.info.run_id for run in list_runs(tracking_uri=place.uri)}


def test_the_experiment_bounds_every_way_of_finding(place: Any) -> None:
    for selector in ("first", place.ids["first"], place.ids["first"][:8]):
        with pytest.raises(RunError):
            found(place, selector, experiment="chat")
    with pytest.raises(RunError, match=r"no experiment 'chess'.* are 'Default', 'chat', 'verbs'"):
        found(place, "first", experiment="chess")


def test_several_selectors_keep_their_order_and_name_each_run_once(place: Any) -> None:
    runs = find_runs(["long", "first", place.ids["long"][:6]], tracking_uri=place.uri)

    assert [run.info.run_id for run in runs] == [place.ids["long"], place.ids["first"]]


@pytest.mark.parametrize("runs", [5, ["first", 5], [None]])
def test_what_is_no_name_of_a_run_is_refused(place: Any, runs: Any) -> None:
    with pytest.raises(RunError, match=r"names no runs: give an id, a name or 'last'"):
        find_runs(runs, tracking_uri=place.uri)


def test_runs_are_listed_newest_first_and_only_with_predictions(place: Any) -> None:
    expected = [place.ids[name] for name in ("waiting", "off", "long", "twin2", "twin1", "first")]

    assert [run.info.run_id for run in list_runs(tracking_uri=place.uri)] == expected
    assert [run.info.run_id for run in list_runs(tracking_uri=place.uri, limit=2)] == expected[:2]
    assert [run.info.run_id for run in list_runs("verbs", place.uri)] == expected[3:]


def test_pages_are_followed(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = [run.info.run_id for run in list_runs(tracking_uri=place.uri)]
    monkeypatch.setattr("timelapse.reading.runs._PAGE", 1)

    assert [run.info.run_id for run in list_runs(tracking_uri=place.uri)] == everything
    assert [run.info.run_id for run in list_runs(tracking_uri=place.uri, limit=3)] == everything[:3]


def test_an_id_comes_before_a_name_and_a_name_before_a_prefix(own_place: Any) -> None:
    with start_run("target", experiment="own", tracking_uri=own_place.uri) as target:
        target.log_samples(own_place.samples)
    assert target.run_id
    for name in (target.run_id, target.run_id[:8]):
        with start_run(name, experiment="own") as other:
            other.log_samples(own_place.samples)

        expected = target.run_id if name == target.run_id else other.run_id
        assert found(own_place, name) == expected


def test_a_name_with_quotes_is_found(own_place: Any) -> None:
    name = """it's a "run" 100% \\ ok"""
    with start_run(name, experiment="own", tracking_uri=own_place.uri) as run:
        run.log_samples(own_place.samples)

    assert found(own_place, name) == run.run_id


def test_reading_leaves_mlflows_settings_alone(place: Any) -> None:
    before = mlflow.get_tracking_uri(), dict(os.environ), mlflow.active_run()
    random_state = np.random.get_state()[1].tolist()  # type: ignore[union-attr]
    assert before[0] != "sqlite:///elsewhere.db"
    mlflow.set_tracking_uri("sqlite:///elsewhere.db")
    try:
        load_predictions("first", tracking_uri=place.uri)
        assert mlflow.get_tracking_uri() == "sqlite:///elsewhere.db"
    finally:
        mlflow.set_tracking_uri(before[0])

    assert (mlflow.get_tracking_uri(), dict(os.environ), mlflow.active_run()) == before
    assert np.random.get_state()[1].tolist() == random_state  # type: ignore[union-attr]
    assert not [thread for thread in threading.enumerate() if "ThreadPoolExecutor" in thread.name]


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(RunError) as error:
        list_runs(tracking_uri=f"http://ada:secret@127.0.0.1:{port}")

    assert f"MLflow at http://127.0.0.1:{port} does not answer" in str(error.value)
    assert "secret" not in str(error.value)


def test_reading_makes_no_database(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"There is no MLflow database .*nothing\.db"):
        list_runs(tracking_uri=f"sqlite:///{tmp_path}/nothing.db")

    assert not list(tmp_path.iterdir())


def test_rounds_and_samples_come_back_as_they_were_written(place: Any) -> None:
    loaded = load_rounds(place.client, place.ids["first"])
    rounds = latest_rounds(loaded.rounds)

    assert loaded.problems == ()
    assert [(round_.step, round_.trigger, round_.epoch) for round_ in rounds] == [
        (0, "baseline", 0.0),
        (10, "epoch", 1.0),
        (20, "epoch", 2.0),
    ]
    assert [row.prediction for row in rounds[2].predictions] == ["went", "forgot", None]
    assert rounds[2].predictions[2].error == "RuntimeError: out of memory"
    assert rounds[1].predictions[1].scores["exact_match"] == 0.0
    samples = stored_samples(loaded.samples, rounds)
    assert [(sample.index, sample.reference) for sample in samples] == [
        (0, "went"),
        (1, "forgot"),
        (2, "sang"),
    ]


def test_a_finished_runs_tag_says_what_its_files_hold(own_place: Any) -> None:
    with start_run("rested", experiment="own", tracking_uri=own_place.uri) as run:
        run.log_samples(own_place.samples)
        run.log_round(own_place.round(0, ["went", "forgot", "sang"]))
    with start_run("no rounds", experiment="own", tracking_uri=own_place.uri) as empty:
        empty.log_samples(own_place.samples)
    kept = (names.MANIFEST_FILE, names.SAMPLES_FILE, names.ROUNDS_FILE)
    tags, digests = [], []
    for each in (run, empty):
        tags.append(own_place.client.get_run(each.run_id).data.tags[names.TAG_MANIFEST])
        folder = next((own_place.folder / "artifacts").rglob(f"{each.run_id}/artifacts/timelapse"))
        files = [folder / name for name in kept if (folder / name).exists()]
        digests.append([hashlib.sha256(file.read_bytes()).hexdigest() for file in files])

    assert tags == [",".join(digests[0]), digests[1][0]]
    assert RestingFiles.parse(tags[0]) == RestingFiles(*digests[0])
    assert RestingFiles.parse(tags[1]) == RestingFiles(digests[1][0], None, None)


A_DIGEST = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "tag", ["", "live", A_DIGEST[1:], f"{A_DIGEST},{A_DIGEST}", f"{A_DIGEST},,", f"{A_DIGEST}\n", "A" * 64]
)
def test_a_tag_that_is_no_digests_says_nothing(tag: str) -> None:
    assert RestingFiles.parse(tag) is None


def test_every_attempt_is_kept_and_the_latest_counts(place: Any) -> None:
    loaded = load_rounds(place.client, place.ids["long"])

    assert sorted(
        zip(*(loaded.rounds.column(name).to_pylist() for name in ("step", "attempt")), strict=True)
    ) == ([(0, 0)] * 3 + [(7, 0)] * 3 + [(7, 1)] * 3)
    assert next(row.prediction for row in latest_rounds(loaded.rounds)[1].predictions) == "cut"


def test_one_tidy_frame(place: Any) -> None:
    frame = load_predictions("first", tracking_uri=place.uri)

    assert list(frame.columns) == [*COLUMNS, "exact_match", "edit_similarity"]
    assert frame["step"].tolist() == [0] * 3 + [10] * 3 + [20] * 3
    assert frame["reference"].tolist() == ["went", "forgot", "sang"] * 3
    assert frame["prediction"].tolist()[:8] == (
        ["goed", "forgetted", "the", "went", "forgetted", "sanged", "went", "forgot"]
    )
    assert frame["prompt"][0] == "What is the past tense of go?"
    assert frame["exact_match"].tolist()[:8] == [0, 0, 0, 1, 0, 0, 1, 1]
    last = frame.iloc[-1]
    assert (last["status"], last["error"]) == ("error", "RuntimeError: out of memory")
    assert math.isnan(last["exact_match"])
    assert frame["run_name"].unique().tolist() == ["first"]
    assert frame["trigger"].tolist()[::3] == ["baseline", "epoch", "epoch"]
    assert frame["prompt_tokens"].sum() == 8 * 9
    assert frame.attrs["problems"] == []
    assert frame.groupby("step")["exact_match"].mean().tolist() == [0, 1 / 3, 1]


def test_types_are_the_same_with_rows_and_without(place: Any) -> None:
    full = load_predictions("first", tracking_uri=place.uri)
    with pytest.warns(TimelapseWarning, match="waiting.* holds no rounds"):
        empty = load_predictions("waiting", tracking_uri=place.uri)

    assert len(empty) == 0
    assert empty.dtypes.to_dict() == full[list(COLUMNS)].dtypes.to_dict()
    assert {name: str(kind) for name, kind in empty.dtypes.items()} == dict(COLUMNS)


def test_attempts(place: Any) -> None:
    latest = load_predictions("long", tracking_uri=place.uri)
    everything = load_predictions("long", tracking_uri=place.uri, attempts="all")

    assert latest[["step", "attempt"]].drop_duplicates().to_numpy().tolist() == [[0, 0], [7, 1]]
    at_seven = everything[everything["step"] == 7]
    assert at_seven["attempt"].tolist() == [0, 1] * 3
    assert at_seven["prediction"].tolist()[:2] == ["old attempt", "cut"]
    with pytest.raises(RunError, match="'latest' or 'all'"):
        load_predictions("long", tracking_uri=place.uri, attempts="best")  # type: ignore[arg-type]


def test_all_runs_and_an_experiments_runs(place: Any) -> None:
    everything = load_predictions(tracking_uri=place.uri)
    chosen = load_predictions(["first", place.ids["twin2"]], tracking_uri=place.uri)

    order = [place.ids[name] for name in ("long", "twin2", "twin1", "first")]
    assert everything["run_id"].unique().tolist() == order
    assert (
        load_predictions(experiment="verbs", tracking_uri=place.uri)["run_id"].unique().tolist() == order[1:]
    )
    assert chosen["run_id"].unique().tolist() == [place.ids["first"], place.ids["twin2"]]
    assert chosen["run_id"].tolist() == [place.ids["first"]] * 9 + [place.ids["twin2"]] * 3


def test_a_score_named_like_a_column_gets_a_prefix(own_place: Any) -> None:
    samples = own_place.samples
    rows = tuple(
        Prediction(sample.sample_id, "x", scores={"seconds": 0.5, "mine": 2.0}) for sample in samples
    )
    with start_run("scores", experiment="own", tracking_uri=own_place.uri) as run:
        run.log_samples(samples)
        run.log_round(Round(0, rows))

    frame = load_predictions("scores", tracking_uri=own_place.uri)

    own = ["exact_match", "edit_similarity", "score_seconds", "mine"]
    assert list(frame.columns)[len(COLUMNS) :] == own
    assert frame["score_seconds"].tolist() == [0.5] * 3
    assert frame["seconds"].isna().all()


def test_damage_is_reported_and_the_rest_is_read(own_place: Any) -> None:
    with start_run("torn", experiment="own", tracking_uri=own_place.uri) as run:
        run.log_samples(own_place.samples)
        for step in (0, 1, 2, 3):
            run.log_round(own_place.round(step, ["went", "forgot", "sang"]))
    folder = next((own_place.folder / "artifacts").rglob(f"{run.run_id}/artifacts/timelapse"))
    whole = (folder / "round-00000001.parquet").read_bytes()
    (folder / "round-00000001.parquet").write_bytes(whole[: len(whole) // 2])
    pq.write_table(pa.table({"something": [1]}), folder / "round-00000002.parquet")
    (folder / names.SAMPLES_FILE).write_bytes(b"not parquet")
    for file in (names.MANIFEST_FILE, names.ROUNDS_FILE):  # as while the training still runs
        (folder / file).unlink(missing_ok=True)

    with pytest.warns(TimelapseWarning, match=r"Not everything could be read: .*and 2 more") as caught:
        frame = load_predictions("torn", tracking_uri=own_place.uri)

    assert len([warning for warning in caught if warning.category is TimelapseWarning]) == 1
    assert caught[0].filename == __file__
    assert frame["step"].unique().tolist() == [0, 3]
    assert frame["prompt"].isna().all()
    told = "\n".join(frame.attrs["problems"])
    for file in ("round-00000001.parquet cannot", "round-00000002.parquet cannot", "samples.parquet cannot"):
        assert file in told
    assert "it has no column sample_id and step" in told
    assert f"run {run.run_id[:8]} (torn)" in told  # type: ignore[index]


def test_columns_of_the_users_survive_even_where_their_types_differ(own_place: Any, tmp_path: Path) -> None:
    with start_run("extra", experiment="own", tracking_uri=own_place.uri) as run:
        run.log_samples(own_place.samples)
        run.log_round(own_place.round(0, ["a", "b", "c"]))
    for step, temperature, mood in ((1, 1, "calm"), (2, 0.5, 7)):
        table = round_table(own_place.round(step, ["a", "b", "c"]))
        table = table.append_column("temperature", pa.array([temperature] * 3))
        table = table.append_column("mood", pa.array([mood] * 3))
        file = tmp_path / names.round_file(step)
        pq.write_table(table, file)
        own_place.client.log_artifact(run.run_id, str(file), names.ARTIFACT_FOLDER)
    own_place.client.set_tag(run.run_id, names.TAG_MANIFEST, "live")

    loaded = load_rounds(own_place.client, run.run_id)

    assert loaded.rounds.column("temperature").to_pylist() == [None] * 3 + [1.0] * 3 + [0.5] * 3
    assert loaded.rounds.column("mood").to_pylist() == [None] * 3 + ["calm"] * 3 + ["7"] * 3
    assert loaded.problems == ("column 'mood' has types that do not fit together: read as text",)


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("127.0.0.1:5000", r"does not say how to get there: write http://127\.0\.0\.1:5000"),
        ("htp://127.0.0.1:5000", r"MLflow knows no place such as 'htp://127\.0\.0\.1:5000'\. Give http://"),
        (
            "http://ada:secret@127.0.0.1:9",
            r":9 does not answer: Connection refused\. Is it running, at",
        ),
    ],
)
def test_a_wrong_tracking_uri_is_told_in_words(uri: str, told: str) -> None:
    with pytest.raises(RunError, match=told) as error:
        load_predictions("last", tracking_uri=uri)
    assert "secret" not in str(error.value)
    assert "HTTPConnectionPool" not in str(error.value)
