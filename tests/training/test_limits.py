"""What rounds may cost: fewer samples, fewer rounds, and an end after too many failures; never in silence."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import mlflow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import make_samples
from trainers import make_trainer, only_run
from transformers import TrainerCallback

from timelapse import load_predictions, names
from timelapse.errors import ConfigError, TimelapseWarning
from timelapse.rounds import Prediction, Round
from timelapse_training import PredictionsCallback
from timelapse_training.budget import Budget, Clock, nested, with_skipped

QUESTIONS = tuple(f"question {n}" for n in range(8))


class SlowAnswers(TrainerCallback):
    """Makes each forward pass of a generation take this long."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        def slow(module: Any, inputs: Any) -> None:
            if not module.training:
                time.sleep(self.seconds)

        model.register_forward_pre_hook(slow)


def trained(folder: Path, *before: TrainerCallback, **settings: Any) -> list[str]:
    """Train with a round every two steps, and return what was said."""
    callback = PredictionsCallback(
        make_samples(*QUESTIONS), max_new_tokens=2, sample_frequency="steps", step_interval=2, **settings
    )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", TimelapseWarning)
        trainer = make_trainer(folder, *before, callback)
        trainer.train()
    assert trainer.state.global_step == 8
    return [str(each.message) for each in said if issubclass(each.category, TimelapseWarning)]


def test_a_round_that_would_take_too_long_asks_a_fixed_part_of_the_samples(
    tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    said = trained(tmp_path / "out", max_seconds_per_round=0.0001)
    run = only_run(tracking)
    frame = load_predictions(run.info.run_id)
    rounds = dict(iter(frame.groupby("step")))
    assert sorted(rounds) == [0, 2, 4, 6, 8]
    assert rounds[0]["status"].tolist() == ["ok"] * 8, "nothing has been measured yet"
    lowest = min(sample.sample_id for sample in make_samples(*QUESTIONS))
    for step in (2, 4, 6, 8):
        assert len(rounds[step]) == 8
        answered = rounds[step][rounds[step]["status"] == "ok"]
        assert answered["sample_id"].tolist() == [lowest], "the same one in every round"
        skipped = rounds[step][rounds[step]["status"] == "skipped"]
        assert set(skipped["error"]) == {"1 of 8 samples are asked to keep max_seconds_per_round = 0.0001"}
        assert skipped["prediction"].isna().all()
    assert said == [
        "The round of set 'main' at step 2 asks 1 of 8 samples to keep max_seconds_per_round = 0.0001. The "
        "rows of the others are 'skipped'."
    ]
    assert run.data.tags[names.TAG_STATUS] == (
        "finished: as few as 1 of 8 samples of set 'main' to keep max_seconds_per_round = 0.0001"
    )
    assert run.data.metrics["predictions/error_rate"] == 0


def test_rounds_beyond_the_share_are_left_out_but_not_the_first_and_the_last(
    tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    said = trained(tmp_path / "out", SlowAnswers(0.2), max_share_of_training_time=0.01)
    run = only_run(tracking)
    assert sorted(set(load_predictions(run.info.run_id)["step"])) == [0, 8]
    assert said == [
        "The round of set 'main' at step 2 is left out to keep max_share_of_training_time = 0.01, and so are "
        "others until there is time for them again. The run's status counts them."
    ]
    # At step 8 the round of the frequency is left out, and that of the end is made.
    assert run.data.tags[names.TAG_STATUS] == (
        "finished: 4 rounds of set 'main' left out to keep max_share_of_training_time = 0.01"
    )
    assert run.data.tags[names.TAG_ROUNDS] == "2"


def test_a_budget_that_is_kept_changes_nothing(tracking: mlflow.MlflowClient, tmp_path: Path) -> None:
    said = trained(tmp_path / "out", max_share_of_training_time=1.0, max_seconds_per_round=1000)
    run = only_run(tracking)
    frame = load_predictions(run.info.run_id)
    assert sorted(set(frame["step"])) == [0, 2, 4, 6, 8]
    assert set(frame["status"]) == {"ok"}
    assert run.data.tags[names.TAG_STATUS] == "finished"
    assert said == []


class Breaks(TrainerCallback):
    """Makes every answer to one set's questions fail from a step on."""

    def __init__(self, step: int, until: int = 99, width: int | None = None) -> None:
        self.step, self.until, self.width = step, until, width
        self.asked = 0

    def on_step_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if state.global_step == self.step:

            def fail(module: Any, args: Any, given: Any) -> None:
                width = given["input_ids"].shape[1] if given.get("input_ids") is not None else None
                if module.training or state.global_step >= self.until or self.width not in (None, width):
                    return
                self.asked += 1
                raise RuntimeError("no inference today")

            model.register_forward_pre_hook(fail, with_kwargs=True)


def test_after_three_failed_rounds_in_a_row_no_more_are_tried(
    tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    callback = PredictionsCallback(
        make_samples("go", "be"), max_new_tokens=2, sample_frequency="steps", step_interval=1, baseline=False
    )
    broken = Breaks(2)
    trainer = make_trainer(tmp_path / "out", broken, callback)
    with pytest.warns(TimelapseWarning) as warned:
        trainer.train()
    assert trainer.state.global_step == 8
    run = only_run(tracking)
    frame = load_predictions(run.info.run_id)
    assert sorted(set(frame["step"])) == [1, 2, 3, 4, 5]
    assert broken.asked == 3 * 3, "a batch of two, then each alone, three times"
    assert [str(each.message) for each in warned] == [
        "Answering samples failed: 2 of 2 at step 3, first RuntimeError: no inference today. Their rows hold "
        "the error. The training goes on.",
        "Answering set 'main' failed: 3 rounds in a row without an answer, last RuntimeError: no inference "
        "today. No more of its rounds are tried. The training goes on.",
    ]
    assert run.data.tags[names.TAG_STATUS] == (
        "degraded: gave up on set 'main' at step 5: 3 rounds in a row without an answer, last RuntimeError: "
        "no inference today (and 3 more)"
    )
    assert run.info.status == "FINISHED"


def test_a_round_that_works_again_begins_the_count_anew(
    tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    callback = PredictionsCallback(
        make_samples("go", "be"), max_new_tokens=2, sample_frequency="steps", step_interval=1
    )
    with pytest.warns(TimelapseWarning, match="Answering samples failed"):
        make_trainer(tmp_path / "out", Breaks(2, until=5), callback).train()
    frame = load_predictions(only_run(tracking).info.run_id)
    status = frame.groupby("step")["status"].first().to_dict()
    assert status == dict.fromkeys((0, 1, 2, 5, 6, 7, 8), "ok") | {3: "error", 4: "error"}


def test_one_set_gives_up_and_the_others_go_on(tracking: mlflow.MlflowClient, tmp_path: Path) -> None:
    """Only prompts of one length fail: those of one set."""
    callback = PredictionsCallback(
        {"main": make_samples("a question of thirty letters"), "probe": make_samples("go")},
        max_new_tokens=1,
        sample_frequency="steps",
        step_interval=1,
    )
    width = len("a question of thirty letters") + 3
    with pytest.warns(TimelapseWarning):
        make_trainer(tmp_path / "out", Breaks(1, width=width), callback).train()
    run = only_run(tracking)
    frame = load_predictions(run.info.run_id)
    steps = {name: sorted(set(rows["step"])) for name, rows in frame.groupby("set")}
    assert steps == {"main": [0, 1, 2, 3, 4], "probe": list(range(9))}
    assert set(frame[frame["set"] == "probe"]["status"]) == {"ok"}
    assert "gave up on set 'main' at step 4" in run.data.tags[names.TAG_STATUS]


@given(count=st.integers(1, 100), pace=st.floats(1e-4, 10), limit=st.floats(1e-3, 100))
def test_a_round_asks_the_largest_part_that_fits(count: int, pace: float, limit: float) -> None:
    asked = Budget(max_seconds=limit).samples(count, pace)
    assert 1 <= asked <= count
    assert asked * pace <= limit or asked == 1
    if asked < count:  # twice as many would not have fitted
        assert min(2 * asked, count) * pace > limit
    assert Budget().samples(count, pace) == count
    assert Budget(max_seconds=limit).samples(count, None) == count


def test_smaller_parts_lie_in_larger_ones_and_no_sample_lacks_its_row() -> None:
    samples = make_samples(*QUESTIONS)
    before: set[str] = set()
    for count in (1, 2, 4, 8):
        part = {sample.sample_id for sample in nested(samples, count)}
        assert len(part) == count
        assert before <= part
        before = part
    some = nested(samples, 2)
    rows = tuple(Prediction(sample.sample_id, "a", generation=n) for sample in some for n in range(2))
    whole = with_skipped(Round(3, rows), samples, "why")
    first = [row.sample_id for row in whole.predictions if row.generation == 0]
    assert first == [sample.sample_id for sample in samples]
    assert {row.error for row in whole.predictions if row.status == "skipped"} == {"why"}
    assert whole.answered == rows


def test_the_share_of_all_rounds_is_what_is_bounded() -> None:
    clock = Clock(spent=2.0)
    clock.began -= 10.0
    assert Budget(max_share=0.5).allows(clock, 3.0)
    assert not Budget(max_share=0.5).allows(clock, 7.0)
    assert not Budget(max_share=0.1).allows(clock, 0.0)
    assert Budget().allows(clock, 1e9)


def test_budgets_are_checked_where_they_are_given() -> None:
    with pytest.raises(ConfigError, match=r"max_seconds_per_round: expected a number above 0, got 0"):
        PredictionsCallback(make_samples(), max_seconds_per_round=0)
    with pytest.raises(ConfigError, match=r"max_share_of_training_time: expected at most 1, got 20"):
        PredictionsCallback(make_samples(), max_share_of_training_time=20)
