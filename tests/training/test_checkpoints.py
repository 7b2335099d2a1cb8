"""Checkpoints: the best by its answers, linked to their rounds, and rounds made from them afterwards."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
import yaml
from click.testing import CliRunner, Result
from peft import LoraConfig, get_peft_model
from tiny import QUESTIONS, greedy_oracle, make_llama, make_samples, make_tokenizer
from trainers import make_trainer, only_run
from transformers import AutoModelForCausalLM, EarlyStoppingCallback, TrainerCallback

from timelapse import load_predictions, names
from timelapse.attach import start_run
from timelapse.errors import ConfigError, ScheduleError, TimelapseWarning
from timelapse.samples import Sample, SampleSet
from timelapse.writing.checkpoints import link_checkpoint
from timelapse_training import PredictionsCallback
from timelapse_training.cli.backfill import backfill

TOKENS = 6
METRIC = "eval_predictions_edit_similarity"


def watching(**settings: Any) -> PredictionsCallback:
    return PredictionsCallback(make_samples(), max_new_tokens=TOKENS, **settings)


def scores_of(run_id: str) -> dict[int, float]:
    frame = load_predictions(run_id)
    return frame.groupby("step")["edit_similarity"].mean().to_dict()


class Remembers(TrainerCallback):
    """Keeps the metrics that an evaluation hands to callbacks."""

    def __init__(self) -> None:
        self.seen: list[dict[str, float]] = []

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        self.seen.append(dict(metrics))


@pytest.mark.parametrize("ours_first", [True, False])
def test_the_best_model_is_the_one_with_the_best_answers(
    tracking: mlflow.MlflowClient, tmp_path: Path, ours_first: bool
) -> None:
    """The references are what the weights of step 6 answer: there, and only there, every answer is right."""
    make_trainer(tmp_path / "bare", save_steps=6).train()
    wanted = texts_of_checkpoint(tmp_path / "bare" / "checkpoint-6")
    samples = [replace(sample, reference=text) for sample, text in zip(make_samples(), wanted, strict=True)]
    ours = PredictionsCallback(
        SampleSet(tuple(samples)), max_new_tokens=TOKENS, eval_score="exact_match", sample_frequency="eval"
    )
    others = Remembers()
    trainer = make_trainer(
        tmp_path / "out",
        *([ours, others] if ours_first else [others, ours]),
        eval_strategy="steps",
        eval_steps=2,
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_predictions_exact_match",
    )
    trainer.train()
    run = only_run(tracking)
    frame = load_predictions(run.info.run_id)
    scores = frame.groupby("step")["exact_match"].mean().to_dict()
    assert sorted(scores) == [0, 2, 4, 6, 8]
    assert scores[6] == 1.0
    assert all(scores[step] < 1 for step in (2, 4, 8))
    seen = [each["eval_predictions_exact_match"] for each in others.seen]
    assert seen == pytest.approx([scores[step] for step in (2, 4, 6, 8)])
    assert (trainer.state.best_global_step, trainer.state.best_metric) == (6, 1.0)
    best = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "checkpoint-6").state_dict()
    assert trainer.model is not None
    loaded = trainer.model.state_dict()
    assert all(torch.equal(best[name], loaded[name]) for name in best), "the best is loaded at the end"
    logged = [
        each["eval_predictions_exact_match"] for each in trainer.state.log_history if "eval_loss" in each
    ]
    assert logged == pytest.approx(seen)
    triggers = frame.groupby("step")["trigger"].first().to_dict()
    assert triggers == {0: "baseline", 2: "eval", 4: "eval", 6: "eval", 8: "eval"}
    trainer.evaluate()  # by the best weights: what those of the last step have answered is not their score
    assert "eval_predictions_exact_match" not in trainer.state.log_history[-1]


@pytest.mark.parametrize("ours_first", [True, False])
def test_early_stopping_reads_the_score_whichever_callback_comes_first(
    tracking: mlflow.MlflowClient, tmp_path: Path, ours_first: bool
) -> None:
    """Answers cannot get better than by this much: the second evaluation is no improvement."""
    callbacks = [
        watching(eval_score="edit_similarity", sample_frequency="epoch"),
        EarlyStoppingCallback(early_stopping_patience=1, early_stopping_threshold=1.0),
    ]
    trainer = make_trainer(
        tmp_path / "out",
        *(callbacks if ours_first else reversed(callbacks)),
        eval_strategy="steps",
        eval_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model=METRIC,
    )
    trainer.train()
    assert trainer.state.global_step == 2
    assert sorted(scores_of(only_run(tracking).info.run_id)) == [0, 1, 2]


def test_an_epochs_round_serves_its_evaluation_too(tracking: mlflow.MlflowClient, tmp_path: Path) -> None:
    others = Remembers()
    trainer = make_trainer(
        tmp_path / "out",
        watching(eval_score="edit_similarity"),
        others,
        eval_strategy="epoch",
        save_strategy="best",
        metric_for_best_model=METRIC,
    )
    trainer.train()
    run = only_run(tracking)
    triggers = load_predictions(run.info.run_id).groupby("step")["trigger"].first().to_dict()
    assert triggers == {0: "baseline", 4: "epoch", 8: "epoch"}
    scores = scores_of(run.info.run_id)
    assert [each[METRIC] for each in others.seen] == pytest.approx([scores[4], scores[8]])
    saved = {int(path.name.rpartition("-")[2]) for path in (tmp_path / "out").glob("checkpoint-*")}
    assert saved == ({4, 8} if scores[8] > scores[4] else {4})


@pytest.mark.parametrize(
    ("settings", "options", "error", "message"),
    [
        ({}, {}, ConfigError, r"needs the score 'edit_similarity' at each evaluation, and none is\. Set"),
        (
            {"eval_score": "exact_match"},
            {},
            ConfigError,
            r"it is 'exact_match' now\. Set predictions\.eval_score: edit_similarity",
        ),
        ({"enabled": False}, {}, ConfigError, "predictions are off"),
        (
            {"eval_score": "edit_similarity"},
            {"eval_strategy": "no", "load_best_model_at_end": False},
            ScheduleError,
            "'edit_similarity' is never computed, because the trainer does not evaluate",
        ),
        (
            {"eval_score": "edit_similarity"},
            {"eval_steps": 9, "save_steps": 9},
            ScheduleError,
            "the first evaluation would be at step 9 of a training of 8 steps",
        ),
        (
            {"eval_score": "edit_similarity"},
            {"greater_is_better": False},
            ConfigError,
            "would make the model with the worst 'edit_similarity' the best. Set greater_is_better=True",
        ),
    ],
    ids=["not-asked-for", "another-score", "off", "no-evaluation", "too-late", "the-worst"],
)
def test_a_score_that_will_not_be_there_is_an_error_before_the_first_step(
    tracking: mlflow.MlflowClient,
    tmp_path: Path,
    settings: dict[str, Any],
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    given: dict[str, Any] = {
        "eval_strategy": "steps",
        "eval_steps": 2,
        "save_steps": 2,
        "load_best_model_at_end": True,
        "metric_for_best_model": METRIC.removeprefix("eval_"),
    }
    trainer = make_trainer(tmp_path / "out", watching(**settings), **given | options)
    with pytest.raises(error, match=message):
        trainer.train()
    assert trainer.state.global_step == 0
    assert tracking.search_runs(["0"]) == []


def test_a_score_that_cannot_be_is_an_error_when_the_callback_is_made() -> None:
    with pytest.raises(ConfigError, match=r"'exact_mach' is no score.*Did you mean 'exact_match'"):
        watching(eval_score="exact_mach")
    unanswered = SampleSet((Sample(({"role": "user", "content": "why"},)),))
    with pytest.raises(ConfigError, match="no sample of set 'main' has one"):
        PredictionsCallback(unanswered, eval_score="exact_match")


class Breaks(TrainerCallback):
    """Makes generation, not evaluation, fail from the first step on."""

    def on_step_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if state.global_step == 0:

            def fail(*args: Any, **kwargs: Any) -> None:
                raise RuntimeError("no inference today")

            model.generate = fail


def test_without_answers_the_score_is_never_the_best_and_the_training_goes_on(
    tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    others = Remembers()
    trainer = make_trainer(
        tmp_path / "out",
        Breaks(),
        watching(eval_score="edit_similarity"),
        others,
        eval_strategy="steps",
        eval_steps=2,
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model=METRIC,
    )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        trainer.train()
    assert trainer.state.global_step == 8
    assert all(math.isnan(each[METRIC]) for each in others.seen)
    assert len(others.seen) == 4
    assert trainer.state.best_global_step is None
    texts = [str(each.message) for each in said if issubclass(each.category, TimelapseWarning)]
    assert sum("It is NaN, which is never the best" in text for text in texts) == 1
    assert not any(METRIC in each for each in trainer.state.log_history)


def test_budgets_leave_the_deciding_set_whole(tracking: mlflow.MlflowClient, tmp_path: Path) -> None:
    callback = PredictionsCallback(
        {"main": make_samples(), "probe": make_samples("do", "sing")},
        max_new_tokens=2,
        eval_score="edit_similarity",
        max_seconds_per_round=1e-4,
        max_share_of_training_time=1e-6,
    )
    with pytest.warns(TimelapseWarning, match="'probe'"):
        make_trainer(tmp_path / "out", callback, eval_strategy="steps", eval_steps=2).train()
    frame = load_predictions(only_run(tracking).info.run_id)
    steps = {name: sorted(set(rows["step"])) for name, rows in frame.groupby("set")}
    assert steps == {"main": [0, 2, 4, 6, 8], "probe": [0, 8]}
    assert set(frame[frame["set"] == "main"]["status"]) == {"ok"}


def test_scoring_and_linking_leave_the_training_as_it_is(
    tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    def trained(folder: str, *callbacks: TrainerCallback) -> dict[str, Any]:
        torch.manual_seed(5)
        trainer = make_trainer(
            tmp_path / folder, *callbacks, eval_strategy="steps", eval_steps=2, metric_for_best_model="loss"
        )
        trainer.train()
        assert trainer.model is not None
        losses = [each.get("loss", each.get("eval_loss")) for each in trainer.state.log_history]
        return {"losses": losses, "drawn": torch.rand(3).tolist()} | {
            name: value.tolist() for name, value in trainer.model.state_dict().items()
        }

    callback = watching(eval_score="edit_similarity", do_sample=True, temperature=2.0)
    assert trained("watched", callback) == trained("bare")
    run = only_run(tracking)
    assert sorted(scores_of(run.info.run_id)) == [0, 2, 4, 6, 8]
    assert sorted(models_of(tracking, run)) == [2, 4, 6, 8]


def models_of(client: mlflow.MlflowClient, run: Any) -> dict[int, Any]:
    linked = {output.step: client.get_logged_model(output.model_id) for output in run.outputs.model_outputs}
    assert len(linked) == len(run.outputs.model_outputs)
    return linked


@pytest.mark.parametrize("save_steps", [2, 4], ids=["before-or-after-the-round", "epochs"])
def test_a_checkpoint_of_a_rounds_step_is_an_output_of_the_run(
    tracking: mlflow.MlflowClient, tmp_path: Path, save_steps: int
) -> None:
    """At step 4 the checkpoint is saved before the epoch's round, and nothing is saved of the base."""
    make_trainer(tmp_path / "out", watching(), save_steps=save_steps).train()
    run = only_run(tracking)
    linked = models_of(tracking, run)
    assert sorted(linked) == [4, 8]
    for step, model in linked.items():
        assert model.name == f"checkpoint-{step}"
        assert model.source_run_id == run.info.run_id
        assert str(model.status) == "READY"
        assert model.tags[names.TAG_CHECKPOINT] == str(tmp_path / "out" / f"checkpoint-{step}")
        assert model.tags[names.TAG_CHECKPOINT_STEP] == str(step)
        place = Path(model.artifact_location.removeprefix("file://"))
        assert not [path for path in place.rglob("*") if path.is_file()], "no copy of the weights"
    stored = {path.suffix for path in (tmp_path / "mlruns").rglob("*") if path.is_file()}
    assert stored <= {".parquet", ".json", ".html"}


def test_linking_again_changes_nothing(tracking: mlflow.MlflowClient, tmp_path: Path) -> None:
    run = tracking.create_run("0")
    about = {"path": "/somewhere/checkpoint-5", "step": 5, "attempt": 0}
    for _ in range(2):
        link_checkpoint(tracking, run.info.run_id, about)
    [model] = models_of(tracking, tracking.get_run(run.info.run_id)).values()
    again = about | {"attempt": 1}
    link_checkpoint(tracking, run.info.run_id, again)
    found = tracking.get_run(run.info.run_id).outputs.model_outputs
    assert len(found) == 2
    assert model.model_id in {output.model_id for output in found}


def test_links_can_be_switched_off(tracking: mlflow.MlflowClient, tmp_path: Path) -> None:
    make_trainer(tmp_path / "out", watching(link_checkpoints=False)).train()
    run = only_run(tracking)
    assert not (run.outputs and run.outputs.model_outputs)


def test_links_wait_on_disk_like_everything_else(
    tracking: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from timelapse.writing.sync import sync

    monkeypatch.setenv("TIMELAPSE_OFFLINE", "1")
    with pytest.warns(TimelapseWarning, match="TIMELAPSE_OFFLINE is set"):
        make_trainer(tmp_path / "out", watching()).train()
    assert len(list((tmp_path / "spool").rglob("*-checkpoint-*"))) == 2
    monkeypatch.delenv("TIMELAPSE_OFFLINE")
    [outcome] = sync(tracking)
    assert outcome.state == "sent"
    assert sorted(models_of(tracking, only_run(tracking))) == [4, 8]


@pytest.fixture
def silent(tracking: mlflow.MlflowClient, tmp_path: Path) -> str:
    """A finished run of a training that had no callback, whose checkpoints are in `out`; its id."""
    with mlflow.start_run(run_name="silent") as run:
        make_trainer(tmp_path / "out", save_steps=4).train()
    return str(run.info.run_id)


def samples_file(folder: Path, *questions: str) -> str:
    path = folder / "eval.jsonl"
    rows = [{"question": each, "answer": each.upper()} for each in questions or QUESTIONS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def filled(*arguments: str) -> Result:
    return CliRunner().invoke(backfill, list(arguments))


def texts_of_checkpoint(folder: Path, tokens: int = TOKENS) -> list[str]:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), make_tokenizer()
    texts = []
    for question in QUESTIONS:
        ids = tokenizer(f"<user>{question}<end><assistant>", add_special_tokens=False)["input_ids"]
        texts.append(tokenizer.decode(greedy_oracle(model, ids, tokens)[0], skip_special_tokens=True))
    return texts


def test_a_run_without_rounds_gets_them_from_its_checkpoints(
    tracking: mlflow.MlflowClient, tmp_path: Path, silent: str
) -> None:
    given = ("silent", "--checkpoints", str(tmp_path / "out"), "--max-new-tokens", str(TOKENS))
    refused = filled(*given)
    assert "holds no samples. Say what to ask: --samples FILE or --config FILE" in str(refused.exception)

    result = filled(*given, "--samples", samples_file(tmp_path))
    assert result.exit_code == 0, result.output
    assert "2 rounds made from 2 checkpoints" in result.output
    frame = load_predictions(silent)
    for step, rows in frame.groupby("step"):
        assert rows["prediction"].tolist() == texts_of_checkpoint(tmp_path / "out" / f"checkpoint-{step}")
        assert set(rows["trigger"]) == {"backfill"}
        assert set(rows["epoch"]) == {step / 4}
    assert sorted(set(frame["step"])) == [4, 8]
    run = tracking.get_run(silent)
    assert run.info.status == "FINISHED"
    assert run.data.tags[names.TAG_STATUS] == "finished"
    assert "predictions/edit_similarity" in run.data.metrics
    assert "predictions/share_of_training_time" not in run.data.metrics
    assert sorted(models_of(tracking, run)) == [4, 8]

    again = filled("last", "--checkpoints", str(tmp_path / "out"))
    assert again.exit_code == 0, again.output
    assert "step 4 is left alone: there is a round of set 'main'" in again.output
    assert "0 rounds made from 2 checkpoints" in again.output
    assert tracking.get_run(silent).data.tags[names.TAG_ROUNDS] == "2"


def test_missing_rounds_ask_what_the_run_has_asked_and_as_it_did(
    tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    """The stored samples and decoding are used; what is there, and the run's own status, stay."""
    with start_run("partly") as run:
        callback = watching(run=run, sample_frequency="steps", step_interval=8, baseline=False)
        make_trainer(tmp_path / "out", callback, save_steps=2).train()
    run_id = str(run.run_id)
    tracking.set_terminated(run_id, "FAILED")
    before = {
        file.path: Path(mlflow.artifacts.download_artifacts(f"runs:/{run_id}/{file.path}")).read_bytes()
        for file in tracking.list_artifacts(run_id, names.ARTIFACT_FOLDER)
        if "round-0" in file.path
    }
    assert list(before) == ["timelapse/round-00000008.parquet"]
    result = filled(run_id[:8], "--checkpoints", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    assert "step 8 is left alone" in result.output
    frame = load_predictions(run_id)
    triggers = frame.groupby("step")["trigger"].first().to_dict()
    assert triggers == {2: "backfill", 4: "backfill", 6: "backfill", 8: "steps"}
    for step, rows in frame.groupby("step"):
        assert rows["prediction"].tolist() == texts_of_checkpoint(tmp_path / "out" / f"checkpoint-{step}")
        assert set(rows["attempt"]) == {0}
    for path, content in before.items():
        stored = Path(mlflow.artifacts.download_artifacts(f"runs:/{run_id}/{path}"))
        assert stored.read_bytes() == content
    assert tracking.get_run(run_id).info.status == "FAILED"


def test_several_answers_and_token_ids_are_asked_for_again(
    tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    drawn = {"do_sample": True, "temperature": 0.9, "generations": 3, "keep_tokens": True}
    callback = PredictionsCallback(
        make_samples("go", "be"),
        sample_frequency="steps",
        step_interval=8,
        baseline=False,
        max_new_tokens=TOKENS,
        reference_nll=False,
        **drawn,
    )
    make_trainer(tmp_path / "out", callback, save_steps=4).train()
    result = filled("last", "--checkpoints", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    frame = load_predictions(only_run(tracking).info.run_id)
    assert frame.groupby(["step", "sample_id"])["generation"].agg(list).tolist() == [[0, 1, 2]] * 4
    assert frame["prompt_token_ids"].notna().all()
    assert frame["reference_nll"].isna().all()


def test_what_the_base_has_answered_is_not_asked_of_checkpoints(
    tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    make_llama().save_pretrained(base)
    make_tokenizer().save_pretrained(base)
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora)
    callback = watching(base_model=True, baseline=False, sample_frequency="steps", step_interval=8)
    make_trainer(tmp_path / "out", callback, save_steps=4, model=adapted).train()
    result = filled("last", "--checkpoints", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    frame = load_predictions(only_run(tracking).info.run_id)
    steps = {name: sorted(set(rows["step"])) for name, rows in frame.groupby("set")}
    assert steps == {"main": [4, 8], "main-base": [0]}
    asked = filled("last", "--checkpoints", str(tmp_path / "out"), "--set-name", "main-base")
    assert "holds no samples of set 'main-base'" in str(asked.exception)


def test_a_run_whose_training_is_at_work_is_left_alone(
    tracking: mlflow.MlflowClient, tmp_path: Path, silent: str
) -> None:
    given = (silent, "--checkpoints", str(tmp_path / "out"), "--samples", samples_file(tmp_path))
    with start_run(run_id=silent) as run:
        run.log_predictions([{"prompt": "go", "prediction": "went"}], step=0, set="other")
        assert run.flush()
        refused = filled(*given)
        assert "once it is over, but its training is at work on this machine" in str(refused.exception)
        assert tracking.get_run(silent).data.tags[names.TAG_STATUS] == "live"
    assert filled(*given, "--max-new-tokens", str(TOKENS)).exit_code == 0
    # Elsewhere, by what its tags say.
    tracking.set_tag(silent, names.TAG_STATUS, "live")
    tracking.update_run(silent, status="RUNNING")
    again = filled(*given, "--set-name", "again")
    assert "its training may be at work on another machine. If it is not" in str(again.exception)


def test_other_samples_do_not_mix_with_a_sets_own(tracking: mlflow.MlflowClient, tmp_path: Path) -> None:
    with start_run("asked") as run:
        make_trainer(tmp_path / "out", watching(run=run, baseline=False), save_steps=2).train()
    given = (
        str(run.run_id),
        "--checkpoints",
        str(tmp_path / "out"),
        "--samples",
        samples_file(tmp_path, "new"),
    )
    refused = filled(*given)
    assert "holds rounds of other samples in its set 'main'" in str(refused.exception)
    result = filled(*given, "--set-name", "other")
    assert result.exit_code == 0, result.output
    frame = load_predictions(str(run.run_id))
    steps = {name: sorted(set(rows["step"])) for name, rows in frame.groupby("set")}
    assert steps == {"main": [4, 8], "other": [2, 4, 6, 8]}
    assert set(frame[frame["set"] == "other"]["prompt"]) == {"new"}


def test_adapters_answer_on_their_base(tracking: mlflow.MlflowClient, tmp_path: Path) -> None:
    base = tmp_path / "base"
    make_llama().save_pretrained(base)
    make_tokenizer().save_pretrained(base)
    trainer = make_trainer(tmp_path / "out", save_steps=4)
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    loaded = AutoModelForCausalLM.from_pretrained(base)
    trainer.model = get_peft_model(loaded, lora)
    trainer.model_wrapped = trainer.model
    with mlflow.start_run() as run:
        trainer.train()
    assert (tmp_path / "out" / "checkpoint-8" / "adapter_model.safetensors").is_file()

    result = filled(
        *(run.info.run_id, "--checkpoints", str(tmp_path / "out"), "--samples", samples_file(tmp_path)),
        *("--max-new-tokens", str(TOKENS)),
    )
    assert result.exit_code == 0, result.output
    frame = load_predictions(run.info.run_id)
    assert sorted(set(frame["step"])) == [4, 8]
    for step, rows in frame.groupby("step"):
        folder = tmp_path / "out" / f"checkpoint-{step}"
        assert rows["prediction"].tolist() == texts_of_checkpoint(folder)  # transformers adds the adapter


def test_a_configuration_says_what_to_ask_and_how(
    tracking: mlflow.MlflowClient, tmp_path: Path, silent: str
) -> None:
    make_tokenizer().save_pretrained(tmp_path / "tokenizer")
    config = {
        "model": {"name": str(tmp_path / "out" / "checkpoint-4")},
        "data": {"train": samples_file(tmp_path)},
        "predictions": {
            "samples_path": samples_file(tmp_path),
            "max_new_tokens": 3,
            "scorers": ["token_f1"],
            "do_sample": True,
            "generations": 2,
            "reference_nll": False,
            "sets": {"probe": {"samples_from": "train", "sample_count": 2}},
        },
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.warns(TimelapseWarning, match="in the training data"):
        result = filled(
            *(silent, "--checkpoints", str(tmp_path / "out"), "--config", str(tmp_path / "config.yaml")),
            *("--set", "predictions.max_new_tokens=2"),
        )
    assert result.exit_code == 0, result.output
    frame = load_predictions(silent)
    assert frame.groupby(["set", "step"]).size().to_dict() == {
        ("main", 4): 10,
        ("main", 8): 10,
        ("probe", 4): 4,
        ("probe", 8): 4,
    }
    assert "reference_nll" not in frame or frame["reference_nll"].isna().all()
    assert frame["prediction_tokens"].max() <= 2
    assert "token_f1" in frame
    assert "exact_match" not in frame


def test_what_is_no_checkpoint_is_one_clear_error(
    tracking: mlflow.MlflowClient, tmp_path: Path, silent: str
) -> None:
    (tmp_path / "empty").mkdir()
    refused = filled(silent, "--checkpoints", str(tmp_path / "empty"))
    assert "there is no folder checkpoint-<step> in it" in str(refused.exception)
    (tmp_path / "bad" / "checkpoint-3").mkdir(parents=True)
    with pytest.warns(TimelapseWarning, match=r"no readable trainer_state\.json"):
        refused = filled(silent, "--checkpoints", str(tmp_path / "bad"), "--samples", samples_file(tmp_path))
    assert isinstance(refused.exception, ConfigError)
    assert "checkpoint-3 cannot be loaded" in str(refused.exception)
    assert "Expected a saved model" in str(refused.exception)
    assert tracking.get_run(silent).info.status == "FINISHED"
