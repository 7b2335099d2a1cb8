"""`timelapse config plan`: what it says is what a training then does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow
import pytest
from click.testing import CliRunner, Result
from program import declared_program
from projects import VERBS, make_project, questions
from tiny import make_tokenizer
from trainers import make_trainer

from timelapse import load_predictions
from timelapse.config.file import load_config
from timelapse_training.counting import count_training
from timelapse_training.probe import STEPS, Stopwatch

SEVEN = VERBS | {"forget": "forgot"}


@pytest.fixture
def project(tracking: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a tiny model, data, and a configuration."""
    monkeypatch.setenv("PREDICTIONS_MIN_STEP_INTERVAL", "1")
    monkeypatch.setenv("COLUMNS", "80")
    sing = [{"role": "user", "content": "sing"}, {"role": "assistant", "content": "sang"}]
    chats = [{"messages": sing}, {"messages": [{"role": "user", "content": "why"}]}]
    make_project(tmp_path, questions(SEVEN), chats, predictions={"max_new_tokens": 6, "batch_size": 2})
    return tmp_path


def invoke(project: Path, *words: str, settings: tuple[str, ...] = (), exit_code: int = 0) -> Result:
    command = [word for word in words if not word.startswith("--")]
    options = [word for word in words if word.startswith("--")] + [f"--set={each}" for each in settings]
    result = CliRunner().invoke(declared_program(), [*command, str(project / "config.yaml"), *options])
    assert result.exit_code == exit_code, result.output
    return result


def plan(project: Path, *settings: str, options: tuple[str, ...] = ()) -> dict[str, Any]:
    result = invoke(project, "config", "plan", "--format=json", *options, settings=settings)
    made: dict[str, Any] = json.loads(result.stdout)
    return made


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("training.gradient_accumulation_steps=3",),
        ("training.max_steps=6", "predictions.baseline=false"),
        ("training.num_train_epochs=1.6", "predictions.end=false"),
        ("predictions.sample_frequency=steps", "predictions.step_interval=3"),
        ("predictions.sample_frequency=steps", "predictions.step_interval=4", "training.num_train_epochs=1"),
        ("predictions.sample_frequency=eval", "training.eval_strategy=steps", "training.eval_steps=0.3"),
        (
            "predictions.sample_frequency=eval",
            "training.eval_strategy=epoch",
            "training.max_steps=5",
            "training.arguments.eval_delay=1",
        ),
        (
            "predictions.sample_frequency=eval",
            "predictions.baseline=false",
            "training.eval_strategy=steps",
            "training.eval_steps=3",
            "training.arguments.eval_on_start=true",
            "training.arguments.dataloader_drop_last=true",
        ),
        (
            "predictions.eval_score=edit_similarity",
            "predictions.base_model=true",
            "training.eval_strategy=steps",
            "training.eval_steps=3",
            "lora.r=2",
            "lora.alpha=4",
        ),
    ],
    ids=lambda settings: " ".join(each.rpartition(".")[2] for each in settings) or "as it is",
)
def test_the_plan_is_what_the_training_does(project: Path, settings: tuple[str, ...]) -> None:
    planned = plan(project, *settings)
    invoke(project, "train", settings=settings)

    made = load_predictions("tiny")
    rounds = made.groupby(["set", "step"]).agg({"epoch": "first", "trigger": "first", "prompt_tokens": "sum"})
    assert {
        (each["set"], each["step"]): (each["epoch"], each["trigger"], each["prompt_tokens"])
        for each in planned["rounds"]
    } == {place: tuple(row) for place, *row in rounds.itertuples(name=None)}
    assert len(rounds) == len(planned["rounds"])
    assert len(rounds) > 1
    assert {each["samples"] for each in planned["rounds"]} == {made["sample_id"].nunique()}
    for each in planned["rounds"]:
        rows = made[(made["step"] == each["step"]) & (made["set"] == each["set"])]
        assert rows["prediction_tokens"].sum() <= each["most_new_tokens"]


def test_tokens_are_counted_exactly(project: Path) -> None:
    made = plan(project)
    tokenizer = make_tokenizer()
    texts = [f"<user>{verb}<end><assistant>{past}<end>" for verb, past in SEVEN.items()]
    tokens = sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts)
    assert made["training"] == {
        "steps": 8, "epochs": 2.0, "steps_per_epoch": 4, "batches_per_epoch": 4, "tokens": 2 * tokens,
        "seconds": None,
    }  # fmt: skip
    base, *later = made["rounds"]
    prompts = ["<user>sing<end><assistant>", "<user>why<end><assistant>"]
    asked = sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in prompts)
    assert (base["prompt_tokens"], base["new_tokens"], base["most_new_tokens"]) == (asked, 12, 12)
    # "sang" and its end once the model knows it; the sample without reference may go to the limit
    assert {(each["new_tokens"], each["most_new_tokens"]) for each in later} == {(5 + 6, 12)}
    assert made["predictions"]["rounds"] == 3
    assert made["predictions"]["new_tokens"] == 12 + 2 * 11


def test_rows_that_training_leaves_out_are_not_counted(project: Path) -> None:
    result = invoke(project, "config", "plan", settings=("training.max_length=8",))
    assert "Note: data.train: " in result.stderr
    counted = count_training(load_config(project / "config.yaml", ["training.max_length=8"]).config)
    assert counted.counts.rows == len(counted.rows) < len(SEVEN)
    assert counted.counts.row_tokens == sum(len(row["input_ids"]) for row in counted.rows)


def test_a_probe_measures_and_leaves_nothing(project: Path, tracking: mlflow.MlflowClient) -> None:
    before = {path: path.stat().st_mtime_ns for path in project.rglob("*") if path.is_file()}
    made = plan(
        project,
        "training.gradient_accumulation_steps=2",
        "training.save_strategy=epoch",
        "training.eval_strategy=epoch",
        "training.arguments.load_best_model_at_end=true",
        "lora.r=2",
        "lora.alpha=4",
        options=("--probe",),
    )
    assert {path: path.stat().st_mtime_ns for path in project.rglob("*") if path.is_file()} == before
    assert tracking.search_runs([each.experiment_id for each in tracking.search_experiments()]) == []
    cost = made["predictions"]
    assert made["training"]["seconds"] > 0
    assert 0 < cost["seconds"] <= cost["most_seconds"]
    assert cost["seconds"] == pytest.approx(sum(each["seconds"] for each in made["rounds"]))
    whole = cost["seconds"] + made["training"]["seconds"]
    assert cost["share_of_training_time"] == pytest.approx(cost["seconds"] / whole)
    warned = cost["share_of_training_time"] > 0.2
    assert [text.startswith("predictions take ") for text in made["warnings"]] == [True] * warned


def test_a_plan_is_a_table_that_shows_the_ends_of_a_long_one(project: Path) -> None:
    shown = invoke(project, "config", "plan", settings=("training.num_train_epochs=30",)).stdout
    lines = shown.splitlines()
    assert lines[0].startswith("training: 120 steps in 30 epochs of 4, ")
    assert lines[1].startswith("set main: 2 samples, ")
    assert "15 rounds left out here" in shown
    assert [line.split()[0] for line in lines[5:22]] == [
        *map(str, range(0, 32, 4)), "…", *map(str, range(92, 124, 4)),
    ]  # fmt: skip
    assert lines[5].split()[1:3] == ["0.00", "baseline"]
    assert lines[5].endswith("the base model, before the first step")
    assert "epoch 30 is done" in lines[21]
    assert "31 rounds" in lines[23]
    assert "--probe" in shown
    assert len(plan(project, "training.num_train_epochs=30")["rounds"]) == 31
    timed = invoke(project, "config", "plan", "--probe").stdout
    assert "seconds" in timed
    assert "of the training time (at most" in " ".join(timed.split())
    off = invoke(project, "config", "plan", settings=("predictions.enabled=false",)).stdout
    assert off.endswith("No rounds: predictions.enabled is false.\n")


def test_ranks_share_the_rows(project: Path) -> None:
    made = plan(project, options=("--ranks=2",))
    assert made["training"]["batches_per_epoch"] == 2
    assert [each["step"] for each in made["rounds"]] == [0, 2, 4]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.arguments.learnig=1", "--set: training.arguments.learnig: TRL's SFTConfig has no such"),
        ("training.arguments.packing=true", "--set: training.arguments.packing: rows are trained one by one"),
        ("training.lr_scheduler_type=liner", "--set: training.lr_scheduler_type: 'liner' is not known. Did"),
        ("training.max_length=3", "data.train: none of its 7 examples has an answer within"),
        ("model.name=nobody/nothing", "--set: model.name: 'nobody/nothing' cannot be loaded"),
        ("predictions.sample_count=0", "--set: predictions.sample_count: expected at least 1, got 0"),
    ],
)
def test_errors_stand_at_their_field(
    project: Path, monkeypatch: pytest.MonkeyPatch, setting: str, message: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # read at its import
    result = invoke(project, "config", "plan", settings=(setting,), exit_code=2)
    assert message in result.stderr
    assert result.stdout == ""
    where = f"{project / 'config.yaml'}:4: " if message.startswith("data") else ""
    assert f"Error: {where}{message}" in result.stderr


def test_a_probe_is_short(tmp_path: Path) -> None:
    hasty = Stopwatch(longest=0)
    trainer = make_trainer(tmp_path / "a", hasty, gradient_accumulation_steps=4, save_strategy="no")
    trainer.train()
    assert len(hasty.batches) == 1
    assert hasty.steps == []
    assert hasty.step_seconds(4) == 4 * hasty.batches[0]

    patient = Stopwatch()
    options: dict[str, Any] = {"gradient_accumulation_steps": 2, "save_strategy": "no", "max_steps": STEPS}
    make_trainer(tmp_path / "b", patient, **options).train()
    assert (len(patient.batches), len(patient.steps)) == (2 * STEPS, STEPS)
    assert sum(patient.batches) == pytest.approx(sum(patient.steps))
    assert patient.step_seconds(2) == pytest.approx(sum(patient.steps[1:]) / (STEPS - 1))
