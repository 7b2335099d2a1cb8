"""The callback in real trainers: what it stores is what the model says, and it never stops a training."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import torch
from tiny import QUESTIONS, greedy_oracle, make_llama, make_samples, make_tokenizer
from trainers import make_trainer, only_run
from transformers import (
    AutoModelForCausalLM,
    EarlyStoppingCallback,
    TrainerCallback,
)

from timelapse import load_predictions, names
from timelapse.attach import start_run
from timelapse.errors import ConfigError, RunError, SampleError, ScheduleError, TimelapseWarning
from timelapse.samples import SampleSet
from timelapse_training import PredictionsCallback

TOKENS = 6


def rounds_of(run_id: str) -> dict[int, pd.DataFrame]:
    folder = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=names.ARTIFACT_FOLDER)
    files = sorted(Path(folder).glob("round-*.parquet"))
    return {int(frame["step"][0]): frame for frame in map(pd.read_parquet, files)}


def texts_of_checkpoint(folder: Path) -> list[str]:
    """What the weights saved at a step answer, one sample at a time, with none of our code."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), make_tokenizer()
    texts = []
    for question in QUESTIONS:
        ids = tokenizer(f"<user>{question}<end><assistant>", add_special_tokens=False)["input_ids"]
        texts.append(tokenizer.decode(greedy_oracle(model, ids, TOKENS)[0], skip_special_tokens=True))
    return texts


@pytest.mark.parametrize(
    ("settings", "options", "expected"),
    [
        ({}, {}, {0: "baseline", 4: "epoch", 8: "epoch"}),
        (
            {"sample_frequency": "steps", "step_interval": 3},
            {},
            {0: "baseline", 3: "steps", 6: "steps", 8: "end"},
        ),
        (
            {"sample_frequency": "eval"},
            {"eval_strategy": "steps", "eval_steps": 3},
            {0: "baseline", 3: "eval", 6: "eval", 8: "eval"},
        ),
        ({"sample_frequency": "eval"}, {"eval_strategy": "epoch"}, {0: "baseline", 4: "eval", 8: "eval"}),
        ({"baseline": False, "end": False}, {}, {4: "epoch", 8: "epoch"}),
        ({}, {"max_steps": 6}, {0: "baseline", 4: "epoch", 6: "end"}),
    ],
    ids=["epoch", "steps", "eval-steps", "eval-epochs", "epochs-only", "stopped-inside-an-epoch"],
)
def test_each_round_holds_what_the_weights_of_its_step_answer(
    tracking: mlflow.MlflowClient,
    tmp_path: Path,
    settings: dict[str, Any],
    options: dict[str, Any],
    expected: dict[int, str],
) -> None:
    callback = PredictionsCallback(make_samples(), max_new_tokens=TOKENS, batch_size=2, **settings)
    make_trainer(tmp_path / "out", callback, **options).train()

    run = only_run(tracking)
    rounds = rounds_of(run.info.run_id)
    assert {step: frame["trigger"][0] for step, frame in rounds.items()} == expected
    make_llama().save_pretrained(tmp_path / "out" / "checkpoint-0")
    for step, frame in rounds.items():
        assert frame["prediction"].tolist() == texts_of_checkpoint(tmp_path / "out" / f"checkpoint-{step}")
        assert frame["status"].tolist() == ["ok"] * len(QUESTIONS)
        assert frame["epoch"].tolist() == [step / 4] * len(QUESTIONS)
    assert len({tuple(frame["prediction"]) for frame in rounds.values()}) > 1, "training changed the answers"
    assert run.info.status == "FINISHED"
    assert run.data.tags[names.TAG_STATUS] == "finished"
    history = tracking.get_metric_history(run.info.run_id, "predictions/edit_similarity")
    assert sorted(metric.step for metric in history) == sorted(expected)
    assert 0 < run.data.metrics["predictions/share_of_training_time"] < 1


def test_the_last_round_is_that_of_the_last_step_even_if_the_best_model_is_loaded(
    tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    callback = PredictionsCallback(
        make_samples(), max_new_tokens=TOKENS, sample_frequency="steps", step_interval=5
    )
    trainer = make_trainer(
        tmp_path / "out",
        callback,
        eval_strategy="steps",
        eval_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="loss",
        greater_is_better=True,  # the worst, so that it is not the last
    )
    trainer.train()
    assert trainer.state.best_global_step != 8
    rounds = rounds_of(only_run(tracking).info.run_id)
    assert sorted(rounds) == [0, 5, 8]
    assert rounds[8]["prediction"].tolist() == texts_of_checkpoint(tmp_path / "out" / "checkpoint-8")


def test_early_stopping_gets_its_last_round(tracking: mlflow.MlflowClient, tmp_path: Path) -> None:
    callback = PredictionsCallback(
        make_samples(), max_new_tokens=2, sample_frequency="steps", step_interval=5
    )
    trainer = make_trainer(
        tmp_path / "out",
        EarlyStoppingCallback(early_stopping_patience=1),
        callback,
        eval_strategy="steps",
        eval_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="loss",
        greater_is_better=True,
    )
    trainer.train()
    last = trainer.state.global_step
    assert last < 5
    rounds = rounds_of(only_run(tracking).info.run_id)
    assert {step: frame["trigger"][0] for step, frame in rounds.items()} == {0: "baseline", last: "end"}


class BreaksGeneration(TrainerCallback):
    """Makes every forward pass in evaluation mode fail from a given step on."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if state.global_step == self.step:

            def fail(module: Any, inputs: Any) -> None:
                if not module.training:
                    raise RuntimeError("no inference today")

            model.register_forward_pre_hook(fail)


def test_a_failing_round_leaves_rows_a_metric_a_status_and_one_warning(
    tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    callback = PredictionsCallback(
        make_samples(), max_new_tokens=TOKENS, sample_frequency="steps", step_interval=3
    )
    trainer = make_trainer(tmp_path / "out", BreaksGeneration(3), callback)
    with pytest.warns(TimelapseWarning) as warned:
        trainer.train()
    assert trainer.state.global_step == 8
    assert [str(warning.message) for warning in warned] == [
        "Answering samples failed: 5 of 5 at step 6, first RuntimeError: no inference today. Their rows hold "
        "the error. The training goes on."
    ]
    run = only_run(tracking)
    rounds = rounds_of(run.info.run_id)
    assert rounds[3]["status"].tolist() == ["ok"] * 5
    for step in (6, 8):
        assert rounds[step]["error"].tolist() == ["RuntimeError: no inference today"] * 5
        assert rounds[step]["prediction"].isna().all()
    rates = tracking.get_metric_history(run.info.run_id, "predictions/error_rate")
    assert [metric.value for metric in sorted(rates, key=lambda m: m.step)] == [0, 0, 1, 1]
    assert run.data.tags[names.TAG_STATUS] == "degraded: 5 of 5 rows failed at step 6 (and 1 more)"
    assert run.info.status == "FINISHED"


def test_a_model_that_cannot_generate_at_all_still_trains(
    tracking: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one batch but the whole pass fails: the rows are there all the same."""
    trainer = make_trainer(tmp_path / "out", PredictionsCallback(make_samples(), max_new_tokens=2))
    assert trainer.model is not None
    trainer.model.get_input_embeddings = lambda: None  # type: ignore[method-assign, union-attr]
    with pytest.warns(TimelapseWarning) as warned:
        trainer.train()
    assert "5 of 5 at step 0" in str(warned[0].message)
    assert "3 rounds in a row without an answer" in str(warned[1].message)
    rounds = rounds_of(only_run(tracking).info.run_id)
    assert all(frame["status"].tolist() == ["error"] * 5 for frame in rounds.values())


def test_a_schedule_that_never_fires_is_an_error_before_the_first_step(
    tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    for settings, message in [
        ({"sample_frequency": "eval"}, "the trainer does not evaluate"),
        ({"sample_frequency": "steps", "step_interval": 9}, "never happens in a training of 8 steps"),
    ]:
        trainer = make_trainer(tmp_path / "out", PredictionsCallback(make_samples(), **settings))
        with pytest.raises(ScheduleError, match=message):
            trainer.train()
        assert trainer.state.global_step == 0
    assert tracking.search_runs(["0"]) == []


def test_mistakes_are_errors_when_the_callback_is_made(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match=r"nowhere\.jsonl"):
        PredictionsCallback(tmp_path / "nowhere.jsonl")
    with pytest.raises(ConfigError, match=r"'max_tokens' is no setting.*Did you mean 'max_new_tokens'"):
        PredictionsCallback(make_samples(), max_tokens=3)
    with pytest.raises(ConfigError, match=r"predictions\.max_new_tokens: .*got 0"):
        PredictionsCallback(make_samples(), max_new_tokens=0)
    with pytest.raises(ConfigError, match=r"step_interval: 5 has no effect.*sample_frequency='steps'"):
        PredictionsCallback(make_samples(), step_interval=5)
    with pytest.raises(ConfigError, match=r"samples_path: eval\.jsonl has no effect.*Remove one"):
        PredictionsCallback(make_samples(), samples_path="eval.jsonl")
    with pytest.raises(ConfigError, match=r"'blue' is not known\. Did you mean 'bleu'"):
        PredictionsCallback(make_samples(), scorers=["blue"])
    with pytest.raises(ConfigError, match="has no samples"):
        PredictionsCallback()
    with pytest.raises(SampleError, match="The sample set 'main' is empty"):
        PredictionsCallback(SampleSet(()))
    assert not len(PredictionsCallback(SampleSet(()), enabled=False).samples)


@pytest.mark.parametrize("as_file", [False, True])
def test_a_count_beside_samples_that_are_used_whole_is_told_to_have_no_effect(
    tmp_path: Path, as_file: bool
) -> None:
    file = tmp_path / "eval.jsonl"
    file.write_text('{"question": "go", "answer": "went"}\n{"question": "be", "answer": "was"}\n')
    with pytest.warns(TimelapseWarning, match=r"sample_count: 1 has no effect.*used whole"):
        callback = PredictionsCallback(str(file) if as_file else make_samples(), sample_count=1)
    assert len(callback.samples) > 1


def test_a_trainer_without_tokenizer_is_an_error_before_the_first_step(
    tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    trainer = make_trainer(tmp_path / "out", PredictionsCallback(make_samples()))
    trainer.callback_handler.processing_class = None
    with pytest.raises(ConfigError, match="pass processing_class=tokenizer to the trainer, or tokenizer="):
        trainer.train()


def test_samples_come_from_a_file_and_bad_lines_are_named(
    tracking: mlflow.MlflowClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "eval.jsonl"
    file.write_text('{"question": "go", "answer": "went"}\n\n{"question": \n')
    with pytest.warns(TimelapseWarning, match=r"1 of 3 rows usable.*line 2.*line 3"):
        callback = PredictionsCallback(str(file), max_new_tokens=2)
    make_trainer(tmp_path / "out", callback).train()
    run = only_run(tracking)
    assert rounds_of(run.info.run_id)[8]["sample_id"].tolist() == [callback.samples[0].sample_id]
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Timelapse:")]
    assert len(lines) == 2
    assert all(run.info.run_id in line and f"timelapse show {run.info.run_id[:8]}" in line for line in lines)
    assert "1 sample, rounds at the start, after each epoch, at the end" in lines[0]
    assert "3 rounds in run" in lines[1]
    cost = r"rounds took [\d.]+ s of \d+ s \(\d+%\), work beside the answers [\d.]+ s \([\d.]+%\)"
    assert re.search(cost, lines[1])


def test_samples_are_drawn_from_a_data_set(tmp_path: Path) -> None:
    from datasets import Dataset

    data = Dataset.from_list([{"question": f"q{n}", "answer": f"a{n}"} for n in range(300)])
    drawn = PredictionsCallback(data, sample_count=7, seed=5).samples
    assert len(drawn) == 7
    assert drawn == PredictionsCallback(data, sample_count=7, seed=5).samples
    assert drawn != PredictionsCallback(data, sample_count=7, seed=6).samples
    rows = [{"question": f"q{n}", "answer": f"a{n}"} for n in range(101)]
    with pytest.raises(SampleError, match="PREDICTIONS_MAX_SAMPLE_COUNT"):
        PredictionsCallback(rows)


def test_transformers_own_reporting_goes_to_the_same_run(
    tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    """Its callback ends the run before our last round; that round is written all the same."""
    callback = PredictionsCallback(
        make_samples(), max_new_tokens=2, sample_frequency="steps", step_interval=3
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make_trainer(tmp_path / "out", callback, report_to="mlflow").train()
        mlflow.flush_async_logging()
    run = only_run(tracking)
    assert "loss" in run.data.metrics
    assert sorted(rounds_of(run.info.run_id)) == [0, 3, 6, 8]
    assert run.info.status == "FINISHED"


def test_a_run_of_the_users_is_not_ended(tracking: mlflow.MlflowClient, tmp_path: Path) -> None:
    with mlflow.start_run() as outer:
        make_trainer(tmp_path / "out", PredictionsCallback(make_samples(), max_new_tokens=2)).train()
        assert tracking.get_run(outer.info.run_id).info.status == "RUNNING"
    assert sorted(rounds_of(outer.info.run_id)) == [0, 4, 8]


def test_training_twice_keeps_both_attempts(tracking: mlflow.MlflowClient, tmp_path: Path) -> None:
    with start_run() as run:
        callback = PredictionsCallback(make_samples(), max_new_tokens=2, run=run)
        trainer = make_trainer(tmp_path / "out", callback)
        trainer.train()
        trainer.train()
    found = sorted(
        Path(file.path).name
        for file in tracking.list_artifacts(str(run.run_id), names.ARTIFACT_FOLDER)
        if "round-" in file.path
    )
    steps = (0, 4, 8)
    assert found == sorted(
        [f"round-{step:08d}.parquet" for step in steps] + [f"round-{step:08d}-a1.parquet" for step in steps]
    )


def test_a_training_that_finds_its_batch_size_is_one_run(
    tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    callback = PredictionsCallback(
        make_samples(), max_new_tokens=2, sample_frequency="steps", step_interval=2
    )
    trainer = make_trainer(tmp_path, callback, num_train_epochs=1, auto_find_batch_size=True)
    step, calls = trainer.training_step, iter(range(100))

    def too_much(*args: Any, **settings: Any) -> Any:
        if next(calls) == 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. ")
        return step(*args, **settings)

    trainer.training_step = too_much  # type: ignore[method-assign]
    trainer.train()
    run = only_run(tracking)
    assert (run.info.status, run.data.tags[names.TAG_STATUS]) == ("FINISHED", "finished")
    frame = load_predictions(run.info.run_id, attempts="all")
    made = frame.groupby("attempt")["step"].unique().map(sorted).to_dict()
    assert made == {0: [0, 2], 1: list(range(0, trainer.state.global_step + 1, 2))}


def test_two_callbacks_in_a_trainer_need_one_run(tracking: mlflow.MlflowClient, tmp_path: Path) -> None:
    two = [PredictionsCallback(make_samples(text), max_new_tokens=2) for text in ("go", "be")]
    with pytest.raises(ConfigError, match="Two PredictionsCallbacks watch the same training"):
        make_trainer(tmp_path / "out", *two, save_strategy="no").train()
    assert only_run(tracking).info.status == "FAILED"
    with start_run("both") as run:
        two = [
            PredictionsCallback(make_samples(text), max_new_tokens=2, run=run, sample_set=f"set-{text}")
            for text in ("go", "be")
        ]
        make_trainer(tmp_path / "out", *two, save_strategy="no").train()
    frame = load_predictions(str(run.run_id))
    assert frame.groupby("set")["step"].agg(list).to_dict() == {"set-be": [0, 4, 8], "set-go": [0, 4, 8]}
    assert tracking.get_run(str(run.run_id)).info.status == "FINISHED"


def test_a_callback_that_is_given_twice_has_one_run(tracking: mlflow.MlflowClient, tmp_path: Path) -> None:
    callback = PredictionsCallback(make_samples("go"), max_new_tokens=2)
    make_trainer(tmp_path / "out", callback, callback, save_strategy="no").train()
    run = only_run(tracking)
    assert run.info.status == "FINISHED"
    assert sorted(rounds_of(run.info.run_id)) == [0, 4, 8]


def test_predictions_that_are_off_do_nothing(tracking: mlflow.MlflowClient, tmp_path: Path) -> None:
    make_trainer(tmp_path / "out", PredictionsCallback(make_samples(), enabled=False)).train()
    assert tracking.search_runs(["0"]) == []


def test_evaluations_outside_a_training_make_no_round(tracking: mlflow.MlflowClient, tmp_path: Path) -> None:
    callback = PredictionsCallback(make_samples(), sample_frequency="eval", max_new_tokens=2)
    trainer = make_trainer(tmp_path / "out", callback, eval_strategy="epoch")
    trainer.evaluate()
    trainer.train()
    trainer.evaluate()
    assert sorted(rounds_of(only_run(tracking).info.run_id)) == [0, 4, 8]


@pytest.mark.parametrize("ours_first", [True, False])
def test_the_last_round_does_not_depend_on_the_order_of_callbacks(
    tracking: mlflow.MlflowClient, tmp_path: Path, ours_first: bool
) -> None:
    ours = PredictionsCallback(make_samples(), max_new_tokens=2, sample_frequency="steps", step_interval=7)
    callbacks = [ours, EarlyStoppingCallback(early_stopping_patience=1)]
    trainer = make_trainer(
        tmp_path / "out",
        *(callbacks if ours_first else reversed(callbacks)),
        num_train_epochs=4,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="loss",
        greater_is_better=True,
    )
    trainer.train()
    assert trainer.state.global_step == 8
    assert sorted(rounds_of(only_run(tracking).info.run_id)) == [0, 7, 8]


def test_an_evaluation_that_is_put_off_past_the_end_never_fires(
    tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    callback = PredictionsCallback(make_samples(), sample_frequency="eval")
    trainer = make_trainer(tmp_path / "out", callback, eval_strategy="epoch", eval_delay=10)
    with pytest.raises(ScheduleError, match="eval_delay puts the first evaluation off to step 40"):
        trainer.train()


def test_a_resumed_training_writes_over_nothing(tracking: mlflow.MlflowClient, tmp_path: Path) -> None:
    def train(**options: Any) -> None:
        callback = PredictionsCallback(make_samples(), max_new_tokens=2)
        make_trainer(tmp_path / "out", callback, num_train_epochs=3).train(**options)

    with mlflow.start_run() as run:
        train()
        before = {
            file.path: Path(
                mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/{file.path}")
            ).read_bytes()
            for file in tracking.list_artifacts(run.info.run_id, names.ARTIFACT_FOLDER)
            if "round-" in file.path
        }
        train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-8"))
        train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-4"))
        for path, content in before.items():
            stored = Path(mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/{path}"))
            assert stored.read_bytes() == content
    found = sorted(
        Path(file.path).name
        for file in tracking.list_artifacts(run.info.run_id, names.ARTIFACT_FOLDER)
        if "round-" in file.path
    )
    assert found == [
        "round-00000000.parquet",
        "round-00000004.parquet",
        "round-00000008-a2.parquet",
        "round-00000008.parquet",
        "round-00000012-a1.parquet",
        "round-00000012-a2.parquet",
        "round-00000012.parquet",
    ]
    assert tracking.get_run(run.info.run_id).data.tags[names.TAG_ROUNDS] == "7"


def test_other_samples_in_a_run_that_has_rounds_are_refused(
    tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    with mlflow.start_run():
        make_trainer(tmp_path / "out", PredictionsCallback(make_samples(), max_new_tokens=2)).train()
        trainer = make_trainer(tmp_path / "out", PredictionsCallback(make_samples("other")))
        message = r"holds rounds of other samples in its set 'main'\. The difference: 1 new, such as 'other'"
        with pytest.raises(RunError, match=message):
            trainer.train()
