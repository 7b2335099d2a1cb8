"""Every kind of trainer, in every precision that runs here: the same training, all its rounds, one run."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from batches import stacked
from cells import BF16, FP32, HALF, MATRIX, ONE_RANK, PLAIN, REFUSED, Cell
from datasets import IterableDataset
from identity import assert_same, left_by
from kinds import BUILDERS, settings
from tiny import make_gpt2, make_samples, make_tokenizer, training_set
from trainers import make_trainer, only_run
from transformers import (
    EarlyStoppingCallback,
    GPT2ForSequenceClassification,
    Trainer,
    TrainingArguments,
    set_seed,
)

from timelapse import load_predictions, names
from timelapse.errors import ConfigError
from timelapse_training import PredictionsCallback

OPTIONS: dict[str, dict[str, Any]] = {FP32: {"bf16": False}, BF16: {"bf16": True}, HALF: {"bf16": True}}


def callback(**given: Any) -> PredictionsCallback:
    return PredictionsCallback(
        make_samples(),
        **{"sample_frequency": "steps", "step_interval": 2, "max_new_tokens": 3, "do_sample": True, **given},
    )


def train(kind: str, folder: Path, *callbacks: Any, precision: str = FP32, **options: Any) -> dict[str, Any]:
    set_seed(3)
    trainer = BUILDERS[kind](folder, callbacks, precision, OPTIONS[precision] | options)
    trainer.train()
    return left_by(trainer)


def rounds_of(run_id: str) -> dict[int, str]:
    """The trigger of each round by its step; every one of them is complete."""
    frame = load_predictions(run_id)
    assert frame["status"].eq("ok").all(), frame["error"].dropna().unique()
    assert frame.groupby("step").size().eq(len(make_samples())).all()
    return dict(zip(frame["step"], frame["trigger"], strict=True))


@pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning")  # peft, of prompt tuning
@pytest.mark.parametrize(
    "cell",
    [cell for cell in ONE_RANK if cell.test == MATRIX and cell.outcome == "works"],
    ids=lambda cell: f"{cell.trainer}-{cell.precision}".replace("`", ""),
)
def test_the_training_is_the_same_and_its_rounds_are_complete_in_one_run(
    tracking: mlflow.MlflowClient, tmp_path: Path, cell: Cell
) -> None:
    """In bfloat16 with Transformers' own reporting to MLflow, which then opens the run; else without."""
    reporting = "none" if cell.precision == FP32 else "mlflow"
    bare = train(cell.trainer, tmp_path / "bare", precision=cell.precision)
    watched = train(
        cell.trainer, tmp_path / "watched", callback(), precision=cell.precision, report_to=reporting
    )
    if reporting == "mlflow":  # makes up its run's name with Python's generator
        del bare["random"], watched["random"]
    assert_same(bare, watched)
    assert len(bare["losses"]) == 4
    assert len(set(bare["losses"])) > 1
    run = only_run(tracking)
    assert rounds_of(run.info.run_id) == {0: "baseline", 2: "steps", 4: "steps"}
    assert run.info.status == "FINISHED"
    assert run.data.tags[names.TAG_STATUS] == "finished"
    assert run.data.metrics["predictions/error_rate"] == 0
    assert ("loss" in run.data.metrics) == (reporting == "mlflow")


def test_a_model_without_a_language_modelling_head_is_refused(
    tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    [cell] = [cell for cell in ONE_RANK if cell.trainer == REFUSED]
    trainer = Trainer(
        GPT2ForSequenceClassification(make_gpt2().config),
        args=TrainingArguments(**settings(tmp_path, {})),
        train_dataset=training_set(make_tokenizer()),
        processing_class=make_tokenizer(),
        callbacks=[callback()],
    )
    assert cell.message is not None
    with pytest.raises(ConfigError, match=cell.message):
        trainer.train()
    assert tracking.search_runs(["0"]) == []


def test_fp16_is_set_aside_on_a_cpu_and_the_rounds_with_it(
    tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    """accelerate trains in float32 then; answers in another precision would not be the model's."""
    train(PLAIN, tmp_path, callback(experiment="plain"))
    train(PLAIN, tmp_path, callback(experiment="half"), fp16=True)
    texts = [load_predictions(experiment=name)["prediction"].tolist() for name in ("plain", "half")]
    assert texts[0] == texts[1]


def _endless(tokenizer: Any) -> Iterator[dict[str, Any]]:
    yield from training_set(tokenizer)


def _iterable() -> IterableDataset:
    return IterableDataset.from_generator(partial(_endless, make_tokenizer()))


@pytest.mark.parametrize(
    ("options", "asked", "expected"),
    [
        (
            {"gradient_accumulation_steps": 3},
            {},
            {0: ("baseline", 0), 2: ("steps", 6 / 8), 4: ("steps", 1 + 3 / 8)},
        ),
        (
            # Four batches a pass; of a stream the trainer only knows max_steps, and counts epochs in them.
            {"train_dataset": _iterable, "max_steps": 6, "per_device_train_batch_size": 4},
            {"sample_frequency": "epoch", "step_interval": None},
            {0: ("baseline", 0), 4: ("epoch", 4 / 6), 6: ("end", 1 + 2 / 6)},
        ),
        (
            {"train_dataset": _iterable, "max_steps": 3, "per_device_train_batch_size": 4},
            {"sample_frequency": "epoch", "step_interval": None},
            {0: ("baseline", 0), 3: ("epoch", 1)},
        ),
        (
            {
                "early_stopping": True,
                "eval_strategy": "steps",
                "eval_steps": 1,
                "save_strategy": "steps",
                "save_steps": 1,
                "load_best_model_at_end": True,
                "metric_for_best_model": "loss",
                "greater_is_better": True,
            },
            {"step_interval": 1},
            {0: ("baseline", 0), 1: ("steps", 1 / 8), 2: ("steps", 2 / 8)},
        ),
    ],
    ids=["accumulation", "stream read twice", "stream cut short", "early stop, best model"],
)
def test_the_ways_of_a_plain_trainer(
    tracking: mlflow.MlflowClient,
    tmp_path: Path,
    options: dict[str, Any],
    asked: dict[str, Any],
    expected: dict[int, tuple[str, float]],
) -> None:
    def run(folder: str, *callbacks: Any) -> dict[str, Any]:
        set_seed(3)
        given = dict(options)
        rows = given.pop("train_dataset", lambda: training_set(make_tokenizer()))()
        stop = [EarlyStoppingCallback(1)] if given.pop("early_stopping", False) else []
        trainer = Trainer(
            make_gpt2(dropout=0.1),
            args=TrainingArguments(**settings(tmp_path / folder, given)),
            train_dataset=rows,
            eval_dataset=training_set(make_tokenizer()).select(range(4)),
            processing_class=make_tokenizer(),
            callbacks=[*callbacks, *stop],
        )
        trainer.train()
        return left_by(trainer)

    assert_same(run("bare"), run("watched", callback(**asked)))
    run_id = only_run(tracking).info.run_id
    assert rounds_of(run_id) == {step: trigger for step, (trigger, _epoch) in expected.items()}
    frame = load_predictions(run_id)
    epochs = dict(zip(frame["step"], frame["epoch"], strict=True))
    assert epochs == pytest.approx({step: epoch for step, (_trigger, epoch) in expected.items()})


@pytest.mark.parametrize("reporting", ["none", "mlflow"])
def test_each_train_without_a_run_around_it_is_a_run(
    tracking: mlflow.MlflowClient, tmp_path: Path, reporting: str
) -> None:
    """A run around both makes attempts of them: see test_callback. Nothing of the first sticks."""
    trainer = make_trainer(
        tmp_path,
        callback(sample_frequency="epoch", step_interval=None),
        report_to=reporting,
        eval_strategy="steps",
        eval_steps=4,
    )
    trainer.train()
    trainer.train()
    found = tracking.search_runs(["0"])
    assert [run.info.status for run in found] == ["FINISHED"] * 2
    for run in found:
        assert rounds_of(run.info.run_id) == {0: "baseline", 4: "epoch", 8: "epoch"}
        assert run.data.tags[names.TAG_STATUS] == "finished"


@pytest.mark.parametrize(("method", "epochs"), [("fork", 2), ("spawn", 1)])
def test_workers_of_a_data_loader_disturb_nothing(
    tracking: mlflow.MlflowClient, tmp_path: Path, method: str, epochs: int
) -> None:
    """They start, and at each epoch's end stop, while our thread is sending. A warning would be an error."""
    tokenizer = make_tokenizer()
    rows: list[Any] = [
        {key: torch.tensor(value) for key, value in row.items()} for row in training_set(tokenizer)
    ]

    def run(folder: str, *callbacks: Any) -> dict[str, Any]:
        set_seed(3)
        # A spawned worker imports torch and transformers anew, which takes long: once is enough.
        arguments = settings(tmp_path / folder, {"max_steps": -1, "num_train_epochs": epochs})
        workers = {"dataloader_num_workers": 2, "dataloader_multiprocessing_context": method}
        trainer = Trainer(
            make_gpt2(dropout=0.1),
            args=TrainingArguments(**arguments | (workers if callbacks else {})),
            train_dataset=rows,  # type: ignore[arg-type] # a list is a data set to torch
            data_collator=stacked,
            processing_class=tokenizer,
            callbacks=list(callbacks),
        )
        trainer.train()
        return left_by(trainer)

    assert_same(run("bare"), run("watched", callback(step_interval=1)))
    stored = only_run(tracking)
    assert rounds_of(stored.info.run_id) == {
        0: "baseline",
        **dict.fromkeys(range(1, 8 * epochs + 1), "steps"),
    }
    assert stored.info.status == "FINISHED"
    assert stored.data.tags[names.TAG_STATUS] == "finished"
