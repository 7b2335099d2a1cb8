"""What must not happen, and once did: rounds written over, lanes blocked, runs ended by somebody else."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

from timelapse import (
    Prediction,
    Round,
    Sample,
    SampleSet,
    TimelapseWarning,
    load_predictions,
    names,
    start_run,
)
from timelapse import attempts as asking
from timelapse.run import TrainingRun
from timelapse.writing import compaction, recorder, spool
from timelapse.writing.artifacts import RunArtifacts
from timelapse.writing.sync import sync

SAMPLES = SampleSet(tuple(Sample(({"role": "user", "content": verb},), verb) for verb in ("go", "sing")))

pytestmark = pytest.mark.filterwarnings("ignore::timelapse.errors.TimelapseWarning")


def round_at(step: int, text: str = "go", attempt: int = 0) -> Round:
    rows = tuple(Prediction(sample.sample_id, text) for sample in SAMPLES)
    return Round(step, rows, seconds=1.0, attempt=attempt)


def test_a_listing_that_fails_once_does_not_let_a_stored_round_be_written_over(
    tracking: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start_run() as first:
        first.log_samples(SAMPLES)
        first.log_round(round_at(10, "first"))
    real, asked = asking.stored, []

    def stored(*arguments: Any) -> Any:
        asked.append(arguments)
        if len(asked) == 1:
            raise ConnectionResetError("just this once")
        return real(*arguments)

    monkeypatch.setattr(asking, "stored", stored)
    with start_run(run_id=first.run_id) as again:
        number = again.next_attempt(SAMPLES, 5)
        again.log_samples(SAMPLES)
        again.log_round(round_at(10, "second", number))
    assert len(asked) == 1, "it is not asked again, and nobody waits for it"
    every = load_predictions(str(first.run_id), attempts="all")
    assert list(zip(every["attempt"], every["prediction"], strict=True)) == [
        *((0, "first"), (1, "second")),
        *((0, "first"), (1, "second")),
    ]


def test_nothing_that_is_logged_can_block_what_comes_after_it(tracking: mlflow.MlflowClient) -> None:
    with start_run() as run:
        run.log_samples(SAMPLES)
        run.log_text("hi", "no/such/folder.txt")
        run.log_text("no name", "")
        run.log_text("too long a name", "x" * 300)
        run.log_text("not the manifest", names.MANIFEST_FILE)
        run.log_params({"first": 1, "list[0]": 2, "last": 3})
        run.log_metrics({"loss@train": 0.25}, 1)
        run.log_text("caf\udce9", "odd.txt")
        run.log_tags({"odd": "caf\udce9"})
        run.log_metrics({"loss": None}, 1)  # type: ignore[dict-item]
        run.log_metrics({"loss": 0.5}, 2)
        run.log_round(Round(1, ()))
        run.log_round(round_at(2), {"pass@1": 0.5})
    stored = tracking.get_run(str(run.run_id))
    assert stored.info.status == "FINISHED"
    assert stored.data.metrics["loss"] == 0.5
    assert stored.data.metrics["predictions/pass_1"] == 0.5
    assert stored.data.tags["odd"] == "caf\ufffd"
    assert load_predictions(str(run.run_id))["step"].unique().tolist() == [2]
    assert stored.data.metrics["loss_train"] == 0.25
    assert stored.data.params == {"timelapse.first": "1", "timelapse.list_0_": "2", "timelapse.last": "3"}
    assert len(run.fence.failures) == 6


def test_what_is_logged_after_the_end_is_sent_and_leaves_the_end_alone(tracking: mlflow.MlflowClient) -> None:
    with start_run() as run:
        run.log_samples(SAMPLES)
        run.log_round(round_at(1))
    run.log_round(round_at(2))
    assert run.flush()
    assert load_predictions(str(run.run_id))["step"].unique().tolist() == [1, 2]
    assert tracking.get_run(str(run.run_id)).info.status == "FINISHED"
    run._recorder.close(done=True)


def test_questions_that_came_with_answers_are_a_data_set_of_the_run(tracking: mlflow.MlflowClient) -> None:
    with start_run() as run:
        for step, verbs in enumerate((["go"], ["go", "sing"])):
            run.log_predictions([{"prompt": verb, "prediction": verb} for verb in verbs], step=step)
    [found] = tracking.get_run(str(run.run_id)).inputs.dataset_inputs
    assert (found.dataset.name, found.dataset.profile) == ("predictions-main", '{"num_rows": 2}')
    assert found.dataset.digest == tracking.get_run(str(run.run_id)).data.tags[names.TAG_SAMPLE_SET]


def test_an_answer_by_id_alone_does_not_wipe_its_question(
    tracking: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start_run() as first:
        first.log_predictions(
            [{"sample_id": "q1", "prompt": "go", "reference": "went", "prediction": "x"}], step=1
        )

    def unreadable(*_arguments: Any) -> Any:
        raise ConnectionResetError("the samples cannot be read")

    monkeypatch.setattr(asking, "stored_samples", unreadable)
    with start_run(run_id=first.run_id) as again:
        again.log_predictions([{"sample_id": "q1", "prediction": "went"}], step=2)
    frame = load_predictions(str(first.run_id))
    assert frame["prompt"].tolist() == ["go", "go"]
    assert frame["reference"].tolist() == ["went", "went"]


def test_a_late_sync_does_not_end_a_run_that_another_process_has_finished(
    tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    """The spool of a killed process turns up after its run was resumed and finished elsewhere."""
    run = start_run()
    run.log_samples(SAMPLES)
    run.log_round(round_at(1))
    assert run.flush()
    [folder] = (tmp_path / "spool").iterdir()
    left = shutil.copytree(folder, tmp_path / "left", ignore=shutil.ignore_patterns("lock"))
    run.finish()
    with start_run(run_id=run.run_id) as again:
        again.log_round(round_at(2))
    left.rename(folder)
    folder.chmod(0o700)

    [outcome] = sync(tracking)

    assert (outcome.state, outcome.reason) == ("sent", "")
    stored = tracking.get_run(str(run.run_id))
    assert stored.info.status == "FINISHED"
    assert stored.data.tags[names.TAG_STATUS] == "finished"
    assert load_predictions(str(run.run_id))["step"].unique().tolist() == [1, 2]


def test_a_full_disk_costs_no_round_and_never_a_training(
    tracking: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The spool's first file fits and nothing after it, not even the run's id; MLflow takes everything."""
    real, fitted, fetched = spool._write, list[str](), list[Path]()
    fetch, write_bytes = RunArtifacts._fetch, Path.write_bytes

    def write(folder: Path, name: str, data: bytes) -> Path:
        if fitted:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fitted.append(name)
        return real(folder, name, data)

    def keep(path: Path, data: bytes) -> int:
        if path.parent.name == spool.STORED_FOLDER:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_bytes(path, data)

    def look(artifacts: RunArtifacts, file: str) -> Path:
        fetched.append(fetch(artifacts, file))
        return fetched[-1]

    monkeypatch.setattr(spool, "_write", write)
    monkeypatch.setattr(Path, "write_bytes", keep)
    monkeypatch.setattr(RunArtifacts, "_fetch", look)
    monkeypatch.setattr(recorder, "MOST_IN_MEMORY", 2)
    with start_run() as run:
        run.log_samples(SAMPLES)
        for step in range(1, 6):  # more than the memory holds at once, but never all together
            run.log_round(round_at(step))
            assert run.flush()
    stored = tracking.get_run(str(run.run_id))
    assert stored.info.status == "FINISHED"
    assert stored.data.tags[names.TAG_STATUS].startswith("degraded: the spool takes nothing: OSError")
    assert sorted(set(load_predictions(str(run.run_id))["step"])) == [1, 2, 3, 4, 5]
    files = [item.path for item in tracking.list_artifacts(str(run.run_id), names.ARTIFACT_FOLDER)]
    assert f"{names.ARTIFACT_FOLDER}/{names.ROUNDS_FILE}" in files
    assert fetched, "what the disk did not keep is fetched for the file of all rounds"
    assert spool.STORED_FOLDER not in {path.parent.name for path in fetched}, "but not onto that disk"


def test_room_that_another_process_makes_in_the_spool_is_used(
    tracking: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMELAPSE_SPOOL_MB", "0.05")
    root = spool.spool_root()
    root.mkdir(parents=True, mode=0o700)
    others = root / "what-another-run-has-left"
    others.write_bytes(bytes(50_000))
    with start_run() as run:
        run.log_samples(SAMPLES)
        assert any("has reached its limit of 0.05 MB" in failure for failure in run.fence.failures)
        others.unlink()
        before = len(run.fence.failures)
        run.log_round(round_at(1))
    assert len(run.fence.failures) == before


def test_a_spool_size_that_is_none_does_not_stop_a_training(
    tracking: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMELAPSE_SPOOL_MB", "lots")
    with (
        pytest.warns(TimelapseWarning, match=r"TIMELAPSE_SPOOL_MB='lots' is no size: .* it is 4096 MB"),
        start_run() as run,
    ):
        run.log_round(round_at(1))
    assert load_predictions(str(run.run_id))["step"].unique().tolist() == [1]


def test_a_folder_outside_the_spool_is_named_in_the_command_that_sends_it(
    tracking: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TIMELAPSE_SPOOL", str(tmp_path / "file" / "spool"))
    monkeypatch.setenv("TIMELAPSE_OFFLINE", "1")
    with pytest.warns(TimelapseWarning) as warnings, start_run() as run:
        run.log_round(round_at(1))
    folder = run._recorder.folder
    assert any(f"`timelapse sync {folder}` sends them" in str(each.message) for each in warnings)
    [outcome] = sync(tracking, folders=[folder])
    assert (outcome.state, outcome.rounds) == ("sent", 1)


@pytest.mark.parametrize("file", [names.MANIFEST_FILE, names.SAMPLES_FILE])
def test_a_file_that_was_cut_off_in_the_store_does_not_hold_up_a_run(
    tracking: mlflow.MlflowClient, file: str
) -> None:
    """A process that writes a file into a store of files may be killed in the middle of it."""
    with start_run() as first:
        first.log_samples(SAMPLES)
        first.log_round(round_at(1))
    artifacts = Path(str(tracking.get_run(str(first.run_id)).info.artifact_uri).removeprefix("file://"))
    cut = artifacts / names.ARTIFACT_FOLDER / file
    cut.write_bytes(cut.read_bytes()[:20])
    with start_run(run_id=first.run_id) as again:
        again.log_samples(SAMPLES)
        again.log_round(round_at(2))
    assert again._recorder.waiting() == []
    assert any(f"reading the run's {file}" in failure for failure in again.fence.failures)
    frame = load_predictions(str(first.run_id))
    assert frame[["step", "prompt"]].values.tolist() == [[1, "go"], [1, "sing"], [2, "go"], [2, "sing"]]


@pytest.mark.parametrize("first_to_end", [0, 1])
def test_who_writes_to_the_same_run_keeps_the_prompts_of_the_others(
    tracking: mlflow.MlflowClient, first_to_end: int
) -> None:
    """Two processes with one run, or a parent and its fork: each has a spool and writes samples.parquet."""
    run_id = tracking.create_run("0").info.run_id
    runs = [start_run(run_id=run_id, nested=True) for _ in range(2)]
    for step in (1, 2):
        for run, name in zip(runs, ("left", "each"), strict=True):
            run.log_predictions([{"prompt": f"{name}{step}", "prediction": "x"}], step=step, set=name)
            assert run.flush()
    for run in (runs[first_to_end], runs[1 - first_to_end]):
        run.finish()
    frame = load_predictions(run_id, attempts="all")
    assert sorted(frame["prompt"]) == ["each1", "each2", "left1", "left2"]


def test_a_forked_child_keeps_its_prompts_when_its_parent_goes_on(tracking: mlflow.MlflowClient) -> None:
    with start_run() as run:
        run.log_predictions([{"prompt": "before", "prediction": "x"}], step=1)
        assert run.flush()
        child = os.fork()
        if child == 0:
            run.log_predictions([{"prompt": "in the child", "prediction": "x"}], step=1, set="child")
            run.finish()
            os._exit(0)
        os.waitpid(child, 0)
        run.log_predictions([{"prompt": "after", "prediction": "x"}], step=2)
    assert sorted(load_predictions(str(run.run_id))["prompt"]) == ["after", "before", "in the child"]


def test_a_run_made_just_before_a_kill_is_found_again_behind_a_thousand_experiments(
    tracking: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as away:
        away.setenv("TIMELAPSE_OFFLINE", "1")
        with start_run(experiment="late") as run:
            run.log_samples(SAMPLES)
            run.log_round(round_at(1))
    [folder] = spool.spool_folders()
    late = tracking.create_experiment("late")
    made = tracking.create_run(late, tags={names.TAG_TOKEN: spool.read_header(folder).token})
    monkeypatch.setattr(mlflow.MlflowClient, "search_experiments", lambda *_arguments, **_options: [])
    assert [outcome.state for outcome in sync(tracking)] == ["sent"]
    assert [each.info.run_id for each in tracking.search_runs([late])] == [made.info.run_id]
    assert load_predictions(made.info.run_id)["step"].unique().tolist() == [1]


def test_a_run_does_not_say_for_ever_that_rounds_wait_which_were_sent_after_all(
    tracking: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow refuses a round at first; its end has to go before it, and then it takes the round, too."""
    put_round, end_before_rounds = RunArtifacts.put_round, TrainingRun._end_before_rounds
    refuses = [True]

    def put(artifacts: RunArtifacts, *arguments: Any) -> Round:
        if refuses:
            raise MlflowException("not yet", PERMISSION_DENIED)
        return put_round(artifacts, *arguments)

    def end(run: TrainingRun, patience: float, longest: float) -> bool:
        refuses.clear()
        return end_before_rounds(run, patience, longest)

    monkeypatch.setattr(RunArtifacts, "put_round", put)
    monkeypatch.setattr(TrainingRun, "_end_before_rounds", end)
    with start_run() as run:
        run.log_samples(SAMPLES)
        run.log_round(round_at(1))
    assert refuses == []
    stored = tracking.get_run(str(run.run_id))
    assert (stored.info.status, stored.data.tags[names.TAG_STATUS]) == ("FINISHED", "finished")


def test_a_run_whose_end_alone_waited_is_as_good_as_any_other_after_a_sync(
    tracking: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_arguments: Any, **_settings: Any) -> None:
        raise MlflowException("MLflow is being updated", PERMISSION_DENIED)

    with monkeypatch.context() as meanwhile, start_run() as run:
        run.log_samples(SAMPLES)
        run.log_round(round_at(1))
        assert run.flush()
        for request in ("log_batch", "set_terminated", "log_artifact", "set_tag"):
            meanwhile.setattr(mlflow.MlflowClient, request, away)
        run.finish()
    assert [outcome.state for outcome in sync(tracking)] == ["sent"]
    stored = tracking.get_run(str(run.run_id))
    assert (stored.info.status, stored.data.tags[names.TAG_STATUS]) == ("FINISHED", "finished")


def test_a_sync_that_can_send_nothing_more_leaves_the_run_degraded(tracking: mlflow.MlflowClient) -> None:
    with start_run() as run:
        run.log_samples(SAMPLES)
        run.log_text("never taken", "a\0b")
    before = tracking.get_run(str(run.run_id)).data.tags[names.TAG_STATUS]
    assert before.startswith("degraded: not everything could be sent: ")
    assert [outcome.state for outcome in sync(tracking)] == ["damaged"]
    assert tracking.get_run(str(run.run_id)).data.tags[names.TAG_STATUS] == before


def test_rounds_that_would_not_fit_into_memory_together_are_read_one_by_one(
    tracking: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "MOST_BYTES", 100)
    with start_run() as run:
        run.log_samples(SAMPLES)
        for step in (1, 2):
            run.log_round(round_at(step))
    assert any("writing all rounds into one file" in failure for failure in run.fence.failures)
    stored = tracking.get_run(str(run.run_id))
    assert stored.data.tags[names.TAG_STATUS] == "finished"
    files = [item.path for item in tracking.list_artifacts(str(run.run_id), names.ARTIFACT_FOLDER)]
    assert f"{names.ARTIFACT_FOLDER}/{names.ROUNDS_FILE}" not in files
    assert load_predictions(str(run.run_id))["step"].unique().tolist() == [1, 2]
