from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from stored_runs import finished_files, make_round, make_samples, put_files, round_files, store_run

from timelapse import TimelapseWarning, as_arrow, as_duckdb, evolution, load_predictions, names, sample
from timelapse.errors import RunError
from timelapse.reading.choice import best_step, choose_step
from timelapse.reading.frames import COLUMNS
from timelapse.reading.loader import load_rounds
from timelapse.tables import parquet_bytes

if TYPE_CHECKING:
    import mlflow

SAMPLES = make_samples()


def finished(client: mlflow.MlflowClient, *rounds: Any, name: str = "stored", **extra: Any) -> str:
    files = finished_files([SAMPLES], round_files(rounds or [make_round(SAMPLES, 0)], **extra))
    return store_run(client, "0", files, name=name)


def test_a_finished_run_is_read_from_its_compaction_alone(tracking: mlflow.MlflowClient) -> None:
    files = finished_files([SAMPLES], round_files([make_round(SAMPLES, step) for step in (0, 10)]))
    kept = {name: files[name] for name in (names.MANIFEST_FILE, names.SAMPLES_FILE, names.ROUNDS_FILE)}
    run_id = store_run(tracking, "0", kept)

    loaded = load_rounds(tracking, run_id)

    assert loaded.problems == ()
    assert loaded.manifest == json.loads(files[names.MANIFEST_FILE])
    assert loaded.rounds.column("step").to_pylist() == [0] * 3 + [10] * 3
    assert loaded.samples.column("reference").to_pylist() == ["answer 0", "answer 1", "answer 2"]


def test_a_tag_with_the_manifests_digest_alone_is_understood(tracking: mlflow.MlflowClient) -> None:
    files = finished_files([SAMPLES], round_files([make_round(SAMPLES, 0), make_round(SAMPLES, 10)]))
    kept = {name: files[name] for name in (names.MANIFEST_FILE, names.SAMPLES_FILE, names.ROUNDS_FILE)}
    run_id = store_run(tracking, "0", kept)
    tag = tracking.get_run(run_id).data.tags[names.TAG_MANIFEST]
    tracking.set_tag(run_id, names.TAG_MANIFEST, tag.partition(",")[0])

    frame = load_predictions(run_id)

    assert frame["step"].tolist() == [0] * 3 + [10] * 3
    assert frame["reference"].tolist() == ["answer 0", "answer 1", "answer 2"] * 2
    assert frame.attrs["problems"] == []


def test_a_reopened_run_is_read_with_what_came_after_its_compaction(tracking: mlflow.MlflowClient) -> None:
    run_id = finished(tracking, make_round(SAMPLES, 0), make_round(SAMPLES, 10, right=0))
    tracking.set_tag(run_id, names.TAG_MANIFEST, "live")
    late = [make_round(SAMPLES, 5), make_round(SAMPLES, 20), make_round(SAMPLES, 10, attempt=1)]
    put_files(tracking, run_id, {name: parquet_bytes(t) for name, t in round_files(late).items()})

    frame = load_predictions(run_id, attempts="all")

    found = frame[["step", "attempt"]].drop_duplicates().to_numpy().tolist()
    assert found == [[0, 0], [5, 0], [10, 0], [10, 1], [20, 0]]
    assert len(frame) == 15
    assert load_predictions(run_id).groupby("step")["exact_match"].mean().to_dict() == dict.fromkeys(
        (0, 5, 10, 20), 1.0
    )


def test_a_round_that_was_replaced_since_counts_once_and_as_it_is_now(tracking: mlflow.MlflowClient) -> None:
    run_id = finished(tracking, make_round(SAMPLES, 0), make_round(SAMPLES, 10, right=0))
    tracking.delete_tag(run_id, names.TAG_MANIFEST)
    again = round_files([make_round(SAMPLES, 10, epoch=1.5)])
    put_files(tracking, run_id, {name: parquet_bytes(table) for name, table in again.items()})

    frame = load_predictions(run_id)

    assert frame["step"].tolist() == [0] * 3 + [10] * 3
    assert frame["epoch"].tolist()[3:] == [1.5] * 3
    assert frame["exact_match"].tolist()[3:] == [1.0] * 3


@pytest.mark.parametrize("tag", ["live", None])
def test_a_compaction_that_is_not_the_manifests_is_not_used(
    tracking: mlflow.MlflowClient, tag: str | None
) -> None:
    run_id = finished(tracking, make_round(SAMPLES, 0), make_round(SAMPLES, 10))
    other = round_files([make_round(SAMPLES, 99)])[names.round_file(99)]
    put_files(tracking, run_id, {names.ROUNDS_FILE: parquet_bytes(other)})
    if tag:
        tracking.set_tag(run_id, names.TAG_MANIFEST, tag)

    frame = load_predictions(run_id)

    assert frame["step"].tolist() == [0] * 3 + [10] * 3
    assert frame.attrs["problems"] == []


def test_rounds_that_only_a_damaged_compaction_holds_are_reported(tracking: mlflow.MlflowClient) -> None:
    files = finished_files([SAMPLES], round_files([make_round(SAMPLES, 0), make_round(SAMPLES, 10)]))
    del files[names.round_file(10)]
    files[names.ROUNDS_FILE] = files[names.ROUNDS_FILE][:-9]
    run_id = store_run(tracking, "0", files)

    with pytest.warns(TimelapseWarning, match=r"alone holds round-00000010\.parquet"):
        frame = load_predictions(run_id)

    assert frame["step"].unique().tolist() == [0]


def test_a_manifest_that_is_none_is_a_problem_and_no_end(tracking: mlflow.MlflowClient) -> None:
    run_id = finished(tracking)
    tracking.set_tag(run_id, names.TAG_MANIFEST, "live")
    put_files(tracking, run_id, {names.MANIFEST_FILE: b'{"covers": [1]}'})

    with pytest.warns(TimelapseWarning, match="manifest.json cannot be read: .*'covers' does not map"):
        frame = load_predictions(run_id)

    assert len(frame) == 3


def test_users_columns_are_part_of_the_frame_and_clashes_are_solved(tracking: mlflow.MlflowClient) -> None:
    extra = {
        "temperature": [0.5, None, 1.0],
        "votes": [1, None, 3],
        "correct": [True, None, False],
        "prompt": ["a", "b", "c"],
        "exact_match": ["x", "y", "z"],
        "steps": [["think"], [], ["a", "b"]],
    }
    finished(tracking, name="with", **extra)
    finished(tracking, name="without")

    frame = load_predictions(["without", "with"])

    users = ["temperature", "votes", "correct", "user_prompt", "user_exact_match", "steps"]
    assert list(frame.columns) == [*COLUMNS, "exact_match", *users]
    kinds = [str(frame[name].dtype) for name in users]
    assert kinds[:5] == ["float64", "Int64", "boolean", "str", "str"]
    assert frame["votes"].tolist()[3:] == [1, pd.NA, 3]
    assert frame["user_prompt"].tolist()[3:] == ["a", "b", "c"]
    assert frame["user_prompt"].isna().tolist()[:3] == [True] * 3
    assert frame["steps"].tolist()[5] == ["a", "b"]
    chosen = load_predictions("with", columns=["user_exact_match", "step", "exact_match"])
    assert chosen.to_numpy().tolist() == [["x", 0, 1.0], ["y", 0, 1.0], ["z", 0, 1.0]]


def test_columns_are_chosen_and_an_unknown_one_names_the_nearest(tracking: mlflow.MlflowClient) -> None:
    finished(tracking)

    frame = load_predictions(columns=["prediction", "step"])
    assert list(frame.columns) == ["prediction", "step"]
    assert frame["prediction"][2] == "step 0 attempt 0 sample 2"
    with pytest.raises(
        RunError, match=r"no column 'exact_mach'. Did you mean 'exact_match'\?.*reference_nll"
    ):
        load_predictions(columns=["exact_mach"])
    assert list(load_predictions(columns=frame.columns).columns) == ["prediction", "step"]
    with pytest.raises(RunError, match="no list of column names"):
        load_predictions(columns="step")


def test_the_best_round_is_chosen_per_run(tracking: mlflow.MlflowClient) -> None:
    first = finished(
        tracking, *(make_round(SAMPLES, s, right=r) for s, r in ((0, 0), (10, 0.67), (20, 0.67)))
    )
    second = finished(tracking, make_round(SAMPLES, 0), make_round(SAMPLES, 10, right=0.3), name="other")

    best = load_predictions([first, second], rounds="best")
    last = load_predictions([first, second], rounds="last")

    assert best.groupby("run_id")["step"].unique().map(list).to_dict() == {first: [10], second: [0]}
    assert last.groupby("run_id")["step"].unique().map(list).to_dict() == {first: [20], second: [10]}
    assert load_predictions(rounds=[20, 0])["step"].unique().tolist() == [0, 20]
    with pytest.raises(RunError, match=r"no score 'exact_mtch'. Did you mean 'exact_match'"):
        load_predictions(rounds="best", score="exact_mtch")
    with pytest.raises(
        RunError, match=r"No run has a round at step 7\. There are rounds at steps: 0, 10, 20"
    ):
        load_predictions(rounds=[10, 7])
    known = last["step"].unique()  # as a notebook has them: an array of numpy's numbers
    for some in (known, list(known), pd.Series(known), set(known)):
        assert sorted(load_predictions(rounds=some)["step"].unique()) == [10, 20]
    assert load_predictions(rounds=known[0])["step"].unique().tolist() == [known[0]]
    with pytest.raises(RunError, match=r"No run has a round at step 99999999999999999999\."):
        load_predictions(rounds=10**20 - 1)
    for wrong in (10.0, [10.5], ["last"], "10", None, np.array([])):
        with pytest.raises(RunError, match="'all', 'last', 'best', or a list of steps"):
            load_predictions(rounds=wrong)  # type: ignore[arg-type]
    with pytest.raises(RunError, match="'all', 'last', 'best', or a list of steps"):
        load_predictions(rounds="bset")  # type: ignore[arg-type]
    with pytest.raises(RunError, match="use it with rounds='best'"):
        load_predictions(score="exact_match")


def test_only_the_newest_attempt_and_the_main_set_decide_what_is_best() -> None:
    probe = make_samples(name="probe")
    rounds = [
        make_round(SAMPLES, 10),
        make_round(SAMPLES, 10, right=0, attempt=1),
        make_round(SAMPLES, 20, right=0.34),
        make_round(probe, 30),
    ]
    table = pa.concat_tables(round_files(rounds).values())

    assert best_step(table) == 20
    assert best_step(table, set_name="probe") == 30
    assert (choose_step(table, "first"), choose_step(table, "last")) == (10, 20)
    with pytest.raises(RunError, match=r"no round at step 30\. There are rounds at steps: 10, 20"):
        choose_step(table, 30)
    with pytest.raises(RunError, match="no scores"):
        place = table.column_names.index("scores")
        best_step(table.set_column(place, "scores", pa.nulls(len(table), table.schema.field("scores").type)))
    with pytest.raises(RunError, match="no round of set 'other'"):
        choose_step(table, "last", set_name="other")


def test_a_run_without_scores_among_others_is_a_problem(tracking: mlflow.MlflowClient) -> None:
    finished(tracking)
    bare = round_files([make_round(SAMPLES, 0)])
    kind = bare[names.round_file(0)].schema.field("scores").type
    place = bare[names.round_file(0)].column_names.index("scores")
    bare = {name: table.set_column(place, "scores", pa.nulls(3, kind)) for name, table in bare.items()}
    store_run(tracking, "0", finished_files([SAMPLES], bare), name="bare")

    with pytest.warns(TimelapseWarning, match=r"\(bare\): The rounds have no scores"):
        frame = load_predictions(rounds="best")

    assert frame["run_name"].unique().tolist() == ["stored"]


def test_runs_are_found_by_mlflows_filter(tracking: mlflow.MlflowClient) -> None:
    small, large = finished(tracking, name="small"), finished(tracking, name="large")
    for run_id, rate in ((small, "0.1"), (large, "0.5")):
        tracking.log_param(run_id, "lr", rate)
        tracking.log_metric(run_id, "loss", float(rate))

    assert load_predictions(filter="params.lr = '0.5'")["run_id"].unique().tolist() == [large]
    assert load_predictions(filter="metrics.loss < 0.3")["run_id"].unique().tolist() == [small]
    assert len(load_predictions(filter="params.lr = '7'")) == 0
    with pytest.raises(RunError, match=r"refuses the filter 'lr is small': .*mlflow\.search_runs"):
        load_predictions(filter="lr is small")
    with pytest.raises(RunError, match="not both"):
        load_predictions("small", filter="metrics.loss < 0.3")


def test_several_sets_are_ordered_as_in_the_samples(tracking: mlflow.MlflowClient) -> None:
    probe = make_samples(2, name="probe")
    rounds = [make_round(probe, 0), make_round(SAMPLES, 0), make_round(SAMPLES, 10)]
    store_run(tracking, "0", finished_files([SAMPLES, probe], round_files(rounds)))

    frame = load_predictions("last")

    assert frame["set"].tolist() == ["main"] * 3 + ["probe"] * 2 + ["main"] * 3
    assert frame["prompt"].tolist()[2:5] == ["main question 2", "probe question 0", "probe question 1"]


def test_arrow_has_nulls_where_a_score_is_missing_and_tells_its_problems(place: Any) -> None:
    table = as_arrow("first", tracking_uri=place.uri, columns=["step", "exact_match"], rounds="last")

    assert table.to_pydict() == {"step": [20] * 3, "exact_match": [1.0, 1.0, None]}
    assert json.loads(table.schema.metadata[b"problems"]) == []
    with pytest.warns(TimelapseWarning, match="waiting.* holds no rounds") as caught:
        empty = as_arrow("waiting", tracking_uri=place.uri)
    assert caught[0].filename == __file__
    assert empty.column_names == list(COLUMNS)


def test_duckdb_sees_the_rows_as_a_view(place: Any) -> None:
    with as_duckdb(["first", "long"], tracking_uri=place.uri) as connection:
        rows = connection.sql(
            "SELECT run_name, step, avg(exact_match) FROM predictions "
            "WHERE status = 'ok' GROUP BY ALL ORDER BY ALL"
        ).fetchall()

    assert rows == [
        ("first", 0, 0.0),
        ("first", 10, pytest.approx(1 / 3)),
        ("first", 20, 1.0),
        ("long", 0, pytest.approx(0.5)),
        ("long", 7, pytest.approx(0.5)),
    ]


def test_evolution_has_a_row_a_sample_and_a_column_a_step(place: Any) -> None:
    frame = load_predictions("first", tracking_uri=place.uri)

    texts = evolution(frame)
    scores = evolution(frame, "exact_match")

    assert texts.columns.tolist() == [0, 10, 20]
    assert texts.index.names == ["run_id", "set", "sample_id", "generation", "prompt"]
    assert texts.index.get_level_values("prompt").tolist()[1] == "What is the past tense of forget?"
    assert texts.iloc[1].tolist() == ["forgetted", "forgetted", "forgot"]
    assert scores.iloc[:2].to_numpy().tolist() == [[0, 1, 1], [0, 0, 1]]
    assert scores[20].isna().tolist() == [False, False, True]
    with pytest.raises(RunError, match=r"no column 'exact_mtch'. Did you mean 'exact_match'\?"):
        evolution(frame, "exact_mtch")


def test_evolution_takes_the_newest_attempt(place: Any) -> None:
    frame = load_predictions("long", tracking_uri=place.uri, attempts="all")

    assert evolution(frame)[7].iloc[0] == "cut"
    assert evolution(frame.iloc[:0]).empty


def test_one_samples_rows(place: Any) -> None:
    frame = load_predictions(["first", place.ids["twin1"]], tracking_uri=place.uri)
    wanted = place.samples[1].sample_id

    assert sample(frame, wanted[:9])["prediction"].tolist() == ["forgetted", "forgetted", "forgot", "forgot"]
    with pytest.raises(RunError, match=f"no sample 'nothing'.*{wanted}"):
        sample(frame, "nothing")
    with pytest.raises(RunError, match="id=3 is no text: give a sample's id"):
        sample(frame, 3)  # type: ignore[arg-type]
    with pytest.raises(RunError, match="no sample ''"):
        sample(frame, "")
    twice = pd.DataFrame({"sample_id": ["ab1", "ab2"]})
    with pytest.raises(RunError, match="Several samples have ids that begin with 'ab': ab1, ab2"):
        sample(twice, "ab")
