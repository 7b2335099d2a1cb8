"""A training that is resumed from a checkpoint goes on in its run, as a new attempt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from tiny import make_samples
from trainers import make_trainer, only_run
from transformers import TrainerCallback

from timelapse import TimelapseWarning, load_predictions, names
from timelapse.errors import RunError
from timelapse_training import PredictionsCallback


class Crash(TrainerCallback):
    def __init__(self, at: int) -> None:
        self.at = at

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.at:
            raise MemoryError("CUDA out of memory")


def callback(samples: Any = None, **settings: Any) -> PredictionsCallback:
    return PredictionsCallback(
        samples or make_samples(), max_new_tokens=2, sample_frequency="steps", step_interval=2, **settings
    )


@pytest.fixture
def crashed(tracking: mlflow.MlflowClient, tmp_path: Path) -> Path:
    """A training with a checkpoint at every step, that died after step 6 of 8."""
    with pytest.raises(MemoryError):
        make_trainer(tmp_path / "out", callback(), Crash(6)).train()
    return tmp_path / "out"


def test_the_run_goes_on_and_the_abandoned_branch_stays_readable(
    tracking: mlflow.MlflowClient, crashed: Path
) -> None:
    before = only_run(tracking).info.run_id
    make_trainer(crashed, callback()).train(resume_from_checkpoint=str(crashed / "checkpoint-4"))

    run = only_run(tracking)
    assert run.info.run_id == before
    assert run.info.status == "FINISHED"
    assert run.data.tags[names.TAG_STATUS] == "finished"
    assert run.data.tags[names.TAG_ROUNDS] == "6"
    every = load_predictions(before, attempts="all")
    assert sorted({*zip(every["step"], every["attempt"], strict=True)}) == [
        *((0, 0), (2, 0), (4, 0), (6, 0)),
        *((6, 1), (8, 1)),
    ]
    newest = load_predictions(before)
    shown = sorted({*zip(newest["step"], newest["attempt"], strict=True)})
    assert shown == [(0, 0), (2, 0), (4, 0), (6, 1), (8, 1)]
    churn = tracking.get_metric_history(before, "predictions/churn")
    assert sorted(point.step for point in churn) == [2, 4, 6, 6, 8], "also of the first round after"


def test_other_samples_are_refused_with_the_difference_or_kept_as_a_set(
    tracking: mlflow.MlflowClient, crashed: Path
) -> None:
    checkpoint = str(crashed / "checkpoint-6")
    with pytest.raises(RunError) as refused:
        make_trainer(crashed, callback(make_samples("go", "new"))).train(resume_from_checkpoint=checkpoint)
    assert "1 new, such as 'new'; 4 no longer there, such as " in str(refused.value)
    assert "sample_set='v2'" in str(refused.value)
    assert only_run(tracking).info.status == "FAILED", "as it was"

    again = callback(make_samples("go", "new"), sample_set="v2")
    make_trainer(crashed, again).train(resume_from_checkpoint=checkpoint)
    run = only_run(tracking)
    assert run.info.status == "FINISHED"
    frame = load_predictions(run.info.run_id)
    assert frame.groupby("set")["step"].unique().map(list).to_dict() == {"main": [0, 2, 4, 6], "v2": [8]}
    assert frame[frame["set"] == "v2"]["prompt"].tolist() == ["go", "new"]


def test_a_finished_run_stays_what_it_was_when_a_resumed_training_is_refused(
    tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    make_trainer(tmp_path / "out", callback()).train()
    before = only_run(tracking)
    shown = load_predictions(before.info.run_id)
    with pytest.raises(RunError, match="holds rounds of other samples"):
        make_trainer(tmp_path / "out", callback(make_samples("go", "new"))).train(
            resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-6")
        )
    after = only_run(tracking)
    assert after.info.status == "FINISHED"
    changed = {key for key, value in after.data.tags.items() if before.data.tags[key] != value}
    assert changed <= {names.TAG_TOKEN, names.TAG_MANIFEST}
    assert before.data.tags.keys() == after.data.tags.keys()
    pd.testing.assert_frame_equal(load_predictions(before.info.run_id), shown)
    assert mlflow.active_run() is None


def test_a_checkpoint_whose_run_is_gone_begins_a_new_one(
    tracking: mlflow.MlflowClient, crashed: Path
) -> None:
    mark = json.loads((crashed / "checkpoint-6" / "timelapse.json").read_text())
    gone = only_run(tracking).info.run_id
    assert mark == {"run_id": gone}
    tracking.delete_run(gone)
    with pytest.warns(TimelapseWarning) as warned:  # also that nothing more can be sent to the old one
        make_trainer(crashed, callback()).train(resume_from_checkpoint=str(crashed / "checkpoint-6"))
    assert any("The checkpoint's run cannot be resumed" in str(warning.message) for warning in warned)
    assert only_run(tracking).info.run_id != gone


def test_rounds_that_still_wait_are_sent_before_the_training_goes_on(
    tracking: mlflow.MlflowClient, crashed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The second part is trained without MLflow, dies, and its rounds wait when the third begins."""
    run_id = only_run(tracking).info.run_id
    monkeypatch.setenv("TIMELAPSE_OFFLINE", "1")
    with pytest.warns(TimelapseWarning, match="TIMELAPSE_OFFLINE is set"):
        make_trainer(crashed, callback()).train(resume_from_checkpoint=str(crashed / "checkpoint-4"))
    assert len(list((tmp_path / "spool").rglob("*-round-*"))) == 2
    monkeypatch.delenv("TIMELAPSE_OFFLINE")

    make_trainer(crashed, callback()).train(resume_from_checkpoint=str(crashed / "checkpoint-6"))

    every = load_predictions(run_id, attempts="all")
    assert sorted({*zip(every["step"], every["attempt"], strict=True)}) == [
        *((0, 0), (2, 0), (4, 0), (6, 0)),
        *((6, 1), (8, 1)),
        (8, 2),
    ]
    assert not list((tmp_path / "spool").iterdir())
