"""What must not happen, and once did: rounds written over, lanes blocked, runs ended by somebody else."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import mlflow
import pytest

from timelapse import Prediction, Round, Sample, SampleSet, load_predictions, names, start_run
from timelapse import attempts as asking
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
    assert len(run.fence.failures) == 3


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
