"""The run wrapper and what a run holds, against a real MLflow."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest

from timelapse import names
from timelapse.attach import RunTarget, open_run, start_run
from timelapse.errors import RunError, TimelapseWarning
from timelapse.rounds import Prediction, Round
from timelapse.run import TrainingRun
from timelapse.samples import Sample, SampleSet
from timelapse.writing.entries import entry_at, unpack_table


def make_samples() -> SampleSet:
    questions = [("go", "went"), ("sing", "sang"), ("why?", None)]
    return SampleSet(
        tuple(
            Sample(
                ({"role": "user", "content": question},),
                reference=reference,
                metadata={"verb": question, "rank": 3},
                tags=("irregular",),
                source="eval.jsonl:1",
            )
            for question, reference in questions
        )
    )


def make_round(samples: SampleSet, texts: list[str | None], step: int, **options: Any) -> Round:
    def row(sample: Sample, text: str | None) -> Prediction:
        if text is None:
            error = "ValueError: no answer"
            return Prediction(sample.sample_id, status="error", error=error, finish_reason="error")
        return Prediction(sample.sample_id, text, finish_reason="stop", prompt_tokens=4, prediction_tokens=2)

    rows = tuple(map(row, samples, texts))
    return Round(step, rows, epoch=step / 10, trigger="manual", seconds=2.0, **options)


def artifacts(client: mlflow.MlflowClient, run_id: str) -> list[str]:
    return sorted(file.path for file in client.list_artifacts(run_id, names.ARTIFACT_FOLDER))


def read_round(run_id: str, file: str) -> pd.DataFrame:
    return pd.read_parquet(
        mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=f"timelapse/{file}")
    )


def test_a_run_holds_samples_rounds_metrics_and_a_table(tracking: mlflow.MlflowClient) -> None:
    samples = make_samples()
    with start_run("first", experiment="verbs", tags={"team": "words"}) as run:
        assert run.run_id
        run.log_samples(
            samples, rendered={samples[0].sample_id: "<user>go<end>"}, decoding={"max_new_tokens": 8}
        )
        assert run.flush()
        assert tracking.get_run(run.run_id).data.tags[names.TAG_STATUS] == "live"
        run.log_round(make_round(samples, ["goed", "sang", "because"], 0))
        run.log_round(make_round(samples, ["went", "sang", "because"], 10), {"share_of_training_time": 0.25})

    stored = tracking.get_run(run.run_id)
    assert stored.info.status == "FINISHED"
    assert stored.info.run_name == "first"
    assert stored.data.tags["team"] == "words"
    assert stored.data.tags[names.TAG_STATUS] == "finished"
    assert stored.data.tags[names.TAG_ROUNDS] == "2"
    assert stored.data.tags[names.TAG_SAMPLE_SET] == samples.fingerprint
    assert artifacts(tracking, run.run_id) == [
        "timelapse/environment.json",
        "timelapse/latest.json",
        "timelapse/manifest.json",
        "timelapse/report.html",
        "timelapse/round-00000000.parquet",
        "timelapse/round-00000010.parquet",
        "timelapse/rounds.parquet",
        "timelapse/samples.parquet",
    ]
    frame = read_round(run.run_id, "round-00000010.parquet")
    assert frame["prediction"].tolist() == ["went", "sang", "because"]
    assert frame["step"].tolist() == [10, 10, 10]
    assert dict(frame["scores"][0]) == {"exact_match": 1.0, "edit_similarity": 1.0}
    history = {m.step: m.value for m in tracking.get_metric_history(run.run_id, "predictions/exact_match")}
    assert history == {0: 0.5, 10: 1.0}
    churn = tracking.get_metric_history(run.run_id, "predictions/churn")
    assert [(m.step, m.value) for m in churn] == [(10, pytest.approx(1 / 3))]
    assert stored.data.metrics["predictions/share_of_training_time"] == 0.25
    assert not list((Path.cwd() / "spool").rglob("*.parquet")), "everything was delivered"


def test_stock_mlflow_shows_the_latest_round_as_a_table(tracking: mlflow.MlflowClient) -> None:
    samples = make_samples()
    with start_run() as run:
        mlflow.log_table({"a": [1]}, "mine.json")  # a table of the user's own stays listed
        run.log_samples(samples)
        run.log_round(make_round(samples, ["goed", "sang", "x"], 0))
        run.log_round(make_round(samples, ["went", None, "x"], 10))
    listed = json.loads(tracking.get_run(run.run_id).data.tags["mlflow.loggedArtifacts"])
    assert [entry["path"] for entry in listed] == ["mine.json", "timelapse/latest.json"]
    table = mlflow.load_table("timelapse/latest.json", run_ids=[run.run_id])
    assert table["prompt"].tolist() == ["go", "sing", "why?"]
    assert table["prediction"].fillna("").tolist() == ["went", "", "x"]
    assert table["error"].fillna("").tolist() == ["", "ValueError: no answer", ""]
    assert table["step"].tolist() == [10, 10, 10]


def test_samples_keep_all_that_their_source_had(tracking: mlflow.MlflowClient) -> None:
    samples = make_samples()
    with start_run() as run:
        run.log_samples(samples, rendered={samples[0].sample_id: "<user>go<end>"}, chat_template="abc")
    frame = read_round(str(run.run_id), "samples.parquet")
    first = frame.iloc[0].to_dict()
    assert (first["prompt"], first["reference"], first["rendered_prompt"]) == ("go", "went", "<user>go<end>")
    assert json.loads(first["messages"]) == [{"role": "user", "content": "go"}]
    assert json.loads(first["metadata"]) == {"verb": "go", "rank": 3}
    assert list(first["tags"]) == ["irregular"]
    manifest = json.loads(mlflow.artifacts.load_text(f"runs:/{run.run_id}/timelapse/manifest.json"))
    assert manifest["schema"] == 1
    assert manifest["sample_sets"] == {"main": {"fingerprint": samples.fingerprint, "count": 3}}
    assert manifest["chat_template"] == "abc"
    assert manifest["packages"]["mlflow"] == mlflow.__version__
    inputs = tracking.get_run(str(run.run_id)).inputs.dataset_inputs
    assert [(i.dataset.digest, i.tags[0].value) for i in inputs] == [(samples.fingerprint, "predictions")]


def test_failed_rows_are_rows_and_degrade_the_run(tracking: mlflow.MlflowClient) -> None:
    samples = make_samples()
    with start_run() as run:
        run.log_samples(samples)
        run.log_round(make_round(samples, ["went", None, None], 5))
        assert run.run_id
        assert run.flush()
        status = tracking.get_run(run.run_id).data.tags[names.TAG_STATUS]
        assert status == "degraded: 2 of 3 rows failed at step 5"
    assert tracking.get_run(run.run_id).data.tags[names.TAG_STATUS] == status
    assert tracking.get_run(run.run_id).data.metrics["predictions/error_rate"] == pytest.approx(2 / 3)
    errors = read_round(run.run_id, "round-00000005.parquet")["error"]
    assert errors.fillna("").tolist() == ["", "ValueError: no answer", "ValueError: no answer"]


def test_failed_rows_of_ones_own_inference_degrade_the_run_too(tracking: mlflow.MlflowClient) -> None:
    with start_run() as run:
        rows = [{"prompt": "a", "prediction": "b"}, {"prompt": "c", "error": TimeoutError("30 s")}]
        run.log_predictions(rows, step=5)
        run.log_predictions([{"prompt": "a", "prediction": "b"}, {"prompt": "c", "prediction": None}], step=6)
        assert run.run_id
    status = tracking.get_run(run.run_id).data.tags[names.TAG_STATUS]
    assert status == "degraded: 1 of 2 rows failed at step 5"


def test_an_error_fails_the_run_and_passes(tracking: mlflow.MlflowClient) -> None:
    with pytest.raises(ZeroDivisionError), start_run() as run:
        _ = 1 / 0
    stored = tracking.get_run(str(run.run_id))
    assert stored.info.status == "FAILED"
    assert stored.data.tags[names.TAG_STATUS] == "failed: ZeroDivisionError: division by zero"


def test_an_interrupt_kills_the_run(tracking: mlflow.MlflowClient) -> None:
    with pytest.raises(KeyboardInterrupt), start_run() as run:
        raise KeyboardInterrupt
    assert tracking.get_run(str(run.run_id)).info.status == "KILLED"


def test_the_active_run_is_joined_and_left_open(tracking: mlflow.MlflowClient) -> None:
    with mlflow.start_run() as outer:
        with start_run() as run:
            assert run.run_id == outer.info.run_id
            assert not run.owned
        assert tracking.get_run(outer.info.run_id).info.status == "RUNNING"
    assert tracking.get_run(outer.info.run_id).info.status == "FINISHED"


def test_an_explicit_run_comes_before_the_active_one(tracking: mlflow.MlflowClient) -> None:
    other = tracking.create_run("0").info.run_id
    with mlflow.start_run() as outer, start_run(run_id=other) as run:
        assert run.run_id == other != outer.info.run_id
    assert tracking.get_run(other).info.status == "FINISHED"


def test_mlflow_run_id_is_used_and_not_ended_by_a_callback(
    tracking: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tracking.create_run("0").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", given)
    run = open_run(RunTarget(), activate=False)
    run.finish()
    assert run.run_id == given
    assert tracking.get_run(given).info.status == "RUNNING"


def test_start_run_makes_the_run_active(tracking: mlflow.MlflowClient) -> None:
    with start_run() as run:
        mlflow.log_metric("loss", 0.5)  # what transformers' own reporting does
    assert tracking.get_run(str(run.run_id)).data.metrics == {"loss": 0.5}


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (lambda run: run.degrade("a row failed"), "degraded: a row failed"),
        (lambda run: run.give_up("three rounds failed"), "degraded: three rounds failed"),
        (
            lambda run: run.limit("rounds", "2 rounds left out"),
            "finished: no round was made; 2 rounds left out",
        ),
        (lambda run: run.disable("switched off"), "disabled: switched off"),
    ],
)
def test_whatever_is_said_first_opens_the_run(
    tracking: mlflow.MlflowClient, use: Callable[[TrainingRun], None], said: str
) -> None:
    run = start_run()
    use(run)
    run.finish()
    assert run.run_id
    assert tracking.get_run(run.run_id).data.tags[names.TAG_STATUS] == said


def test_a_run_that_does_not_exist_is_a_clear_error(tracking: mlflow.MlflowClient) -> None:
    with pytest.raises(RunError, match=r"MLflow refuses the run (0123){8}: .*not found. Name one"):
        start_run(run_id="0123" * 8).flush()


def test_an_error_about_a_run_says_where_its_id_comes_from(
    tracking: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "4567" * 8)
    with pytest.raises(
        RunError, match=r"refuses the run (4567){8} \(of MLFLOW_RUN_ID\): .*none for a new run"
    ):
        start_run().flush()
    monkeypatch.delenv("MLFLOW_RUN_ID")
    tracking.delete_experiment(tracking.create_experiment("gone"))
    with pytest.raises(RunError, match=r"refuses the run: .*is deleted. Name an experiment that is there"):
        start_run(experiment="gone").flush()


def test_an_epoch_that_is_no_number_leaves_the_latest_table_readable(tracking: mlflow.MlflowClient) -> None:
    with start_run() as run:
        run.log_predictions([{"prompt": "q", "prediction": "a"}], step=1, epoch=float("nan"))
    path = mlflow.artifacts.download_artifacts(
        run_id=run.run_id, artifact_path=f"{names.ARTIFACT_FOLDER}/{names.LATEST_FILE}"
    )
    assert "NaN" not in Path(path).read_text()


def test_parameters_have_a_prefix_and_metrics_their_own_names(tracking: mlflow.MlflowClient) -> None:
    with start_run() as run:
        run.log_params({"training.learning_rate": 0.1, "long": "x" * 9000})
        run.log_metrics({"loss": 2.0}, 3)
        run.log_text("seed: 1\n", "config.yaml")
    data = tracking.get_run(str(run.run_id)).data
    assert data.params["timelapse.training.learning_rate"] == "0.1"
    assert len(data.params["timelapse.long"]) == 6000
    assert data.metrics["loss"] == 2.0
    assert mlflow.artifacts.load_text(f"runs:/{run.run_id}/timelapse/config.yaml") == "seed: 1\n"


def test_several_sets_lie_side_by_side(tracking: mlflow.MlflowClient) -> None:
    main, probe = (
        make_samples(),
        SampleSet((Sample(({"role": "user", "content": "be"},), "was"),), name="probe"),
    )
    with start_run() as run:
        run.log_samples(main)
        run.log_samples(probe)
        run.log_round(make_round(main, ["went", "sang", "x"], 5))
        run.log_round(make_round(probe, ["is"], 5, set_name="probe"))
    metrics = tracking.get_run(str(run.run_id)).data.metrics
    assert metrics["predictions/exact_match"] == 1.0
    assert metrics["predictions/probe/exact_match"] == 0.0
    assert "timelapse/round-00000005-probe.parquet" in artifacts(tracking, str(run.run_id))
    assert read_round(str(run.run_id), "samples.parquet")["set"].tolist() == ["main"] * 3 + ["probe"]
    manifest = json.loads(mlflow.artifacts.load_text(f"runs:/{run.run_id}/timelapse/manifest.json"))
    assert set(manifest["sample_sets"]) == {"main", "probe"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_without_mlflow_the_rounds_are_kept_on_disk(
    tracking: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, state = make_samples(), random.getstate()
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"http://127.0.0.1:{free_port()}")
    try:
        with pytest.warns(TimelapseWarning) as warned, start_run() as run:
            run.log_samples(samples)
            run.log_round(make_round(samples, ["went", "sang", "x"], 7))
    finally:
        mlflow.set_tracking_uri(before)
    texts = [str(warning.message) for warning in warned]
    assert len(texts) == 2
    assert texts[0].startswith("Sending to MLflow failed: MlflowException: API request to http://127.0.0.1:")
    assert "what is logged waits on disk" in texts[0]
    assert "1 round waits, and" in texts[1]
    assert "`timelapse sync` sends them" in texts[1]
    [file] = (Path.cwd() / "spool").rglob("*-round-*")
    table, _about = unpack_table(entry_at(file).read())  # type: ignore[union-attr]
    assert table.column("prediction").to_pylist() == ["went", "sang", "x"]
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert random.getstate() == state, "MLflow's retries and names must not draw from the user's generator"


def test_a_run_name_is_not_drawn_from_the_users_generator(tracking: mlflow.MlflowClient) -> None:
    state = random.getstate()
    with start_run():
        pass
    assert random.getstate() == state


def test_a_user_who_makes_warnings_errors_is_not_harmed(tracking: mlflow.MlflowClient) -> None:
    """Under `python -W error` a warning of ours would otherwise end the training."""
    samples = make_samples()
    mlflow.set_tracking_uri(f"http://127.0.0.1:{free_port()}")
    run = open_run(RunTarget(), activate=False)
    run.log_samples(samples)
    run.log_round(make_round(samples, ["a", "b", "c"], 1))
    run.finish()  # warnings are errors in these tests; what is not delivered is said, and not raised
