"""Several sample sets in one training, each with samples and rounds of its own."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow
import pytest
from click.testing import CliRunner
from projects import VERBS, make_project, questions, write_config, write_rows
from tiny import greedy_oracle, make_samples, make_tokenizer
from trainers import make_trainer, only_run
from transformers import AutoModelForCausalLM

from timelapse import load_predictions
from timelapse.cli.main import main
from timelapse.config.file import load_config, to_yaml
from timelapse.config.limits import Limits, check_limits
from timelapse.config.model import Config, PredictionsConfig
from timelapse.config.sets import set_configs
from timelapse.errors import ConfigError, ScheduleError, TimelapseWarning
from timelapse.samples import Sample
from timelapse_training import PredictionsCallback
from timelapse_training.data import TrainingData, choose_sets


def steps_of(run_id: str) -> dict[str, list[int]]:
    frame = load_predictions(run_id)
    return {name: sorted(set(rows["step"])) for name, rows in frame.groupby("set")}


def answers_of_checkpoint(folder: Path, questions: Sequence[str], tokens: int) -> list[str]:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), make_tokenizer()
    texts = []
    for question in questions:
        ids = tokenizer(f"<user>{question}<end><assistant>", add_special_tokens=False)["input_ids"]
        texts.append(tokenizer.decode(greedy_oracle(model, ids, tokens)[0], skip_special_tokens=True))
    return texts


def test_each_set_has_its_samples_rounds_lengths_and_metrics(
    tracking: mlflow.MlflowClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    callback = PredictionsCallback(
        {"main": make_samples("go", "be"), "probe": make_samples("sing", "forget it", "do")},
        max_new_tokens=6,
        sets={
            "probe": {
                "sample_frequency": "steps",
                "step_interval": 3,
                "baseline": False,
                "max_new_tokens": 2,
            },
        },
    )
    make_trainer(tmp_path / "out", callback).train()

    run = only_run(tracking)
    frame = load_predictions(run.info.run_id)
    assert steps_of(run.info.run_id) == {"main": [0, 4, 8], "probe": [3, 6, 8]}
    asked = {"main": (["go", "be"], 6), "probe": (["sing", "forget it", "do"], 2)}
    for (name, step), rows in frame[frame["step"] > 0].groupby(["set", "step"]):
        questions, tokens = asked[str(name)]
        assert rows["prompt"].tolist() == questions
        folder = tmp_path / "out" / f"checkpoint-{step}"
        assert rows["prediction"].tolist() == answers_of_checkpoint(folder, questions, tokens)
    assert frame[frame["set"] == "probe"]["prediction_tokens"].max() <= 2
    assert {"predictions/edit_similarity", "predictions/probe/edit_similarity"} <= run.data.metrics.keys()
    shares = tracking.get_metric_history(run.info.run_id, "predictions/probe/share_of_training_time")
    assert [point.step for point in shares] == [3, 6, 8]
    seconds = frame.groupby("set")["seconds"].sum()
    total = run.data.metrics["predictions/probe/share_of_training_time"]
    assert total > 0
    assert seconds.min() > 0
    names = {inputs.dataset.name for inputs in run.inputs.dataset_inputs}
    assert names == {"predictions-main", "predictions-probe"}
    folder = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="timelapse")
    manifest = json.loads((Path(folder) / "manifest.json").read_text())
    assert manifest["decoding"]["max_new_tokens"] == 6
    assert {name: each["max_new_tokens"] for name, each in manifest["decoding_of_sets"].items()} == {
        "main": 6,
        "probe": 2,
    }
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Timelapse:")]
    assert "2 samples, rounds at the start, after each epoch, at the end" in lines[0]
    assert "3 samples of set 'probe', rounds every 3 steps, at the end" in lines[1]
    assert "6 rounds in run" in lines[2]


def test_the_share_counts_the_rounds_of_all_sets(tracking: mlflow.MlflowClient, tmp_path: Path) -> None:
    callback = PredictionsCallback(
        {"main": make_samples("go"), "long": make_samples("be", "do", "sing")},
        max_new_tokens=60,
        baseline=False,
        sample_frequency="steps",
        step_interval=4,
        end=False,
    )
    make_trainer(tmp_path / "out", callback).train()
    run = only_run(tracking)
    share = {
        name: {
            point.step: point.value
            for point in tracking.get_metric_history(run.info.run_id, f"predictions/{name}")
        }
        for name in ("share_of_training_time", "long/share_of_training_time")
    }
    # The set `long` follows `main` at each step: its share holds the seconds of both.
    for step in (4, 8):
        assert share["long/share_of_training_time"][step] > share["share_of_training_time"][step]


def test_a_set_that_is_configured_needs_samples() -> None:
    with pytest.raises(ConfigError, match=r"predictions\.sets\.probe: has no samples.*samples=\{'probe'"):
        PredictionsCallback(make_samples(), sets={"probe": {}})
    with pytest.raises(ConfigError, match="has no samples"):
        PredictionsCallback({})
    with pytest.raises(ConfigError, match=r"'step_intervall' is no setting.*Did you mean 'step_interval'"):
        PredictionsCallback(make_samples(), sets={"probe": {"step_intervall": 3}})
    with pytest.raises(ConfigError, match=r"predictions\.sets\.probe\.step_interval: is required"):
        PredictionsCallback(make_samples(), sets={"probe": {"sample_frequency": "steps"}})
    with pytest.warns(TimelapseWarning, match="'main' and 'same' ask the same samples"):
        PredictionsCallback({"main": make_samples(), "same": make_samples()})
    only = PredictionsCallback({"canaries": make_samples("go")})
    assert only.samples.name == "canaries"


def test_the_schedule_of_every_set_is_checked(tracking: mlflow.MlflowClient, tmp_path: Path) -> None:
    callback = PredictionsCallback(
        {"main": make_samples(), "probe": make_samples("do")},
        sets={"probe": {"sample_frequency": "eval"}},
    )
    with pytest.raises(ScheduleError, match="the trainer does not evaluate"):
        make_trainer(tmp_path / "out", callback).train()


CONFIG: dict[str, Any] = {
    "model": "m",
    "data": {"train": "train.jsonl"},
    "predictions": {
        "sample_count": 2,
        "max_new_tokens": 7,
        "sets": {
            "probe": {"samples_from": "train", "sample_count": 3},
            "canaries": {"samples_path": "canaries.jsonl", "sample_frequency": "steps", "step_interval": 20},
        },
    },
}


def test_a_set_takes_what_it_does_not_say_from_predictions(tmp_path: Path) -> None:
    loaded = load_config(write_config(tmp_path, CONFIG))
    assert loaded.notes == ()
    told = set_configs(loaded.config.predictions)
    assert list(told) == ["main", "probe", "canaries"]
    assert [each.max_new_tokens for each in told.values()] == [7, 7, 7]
    assert [each.sample_count for each in told.values()] == [2, 3, 2]
    assert [each.samples_from for each in told.values()] == ["eval", "train", "eval"]
    assert [each.sample_frequency for each in told.values()] == ["epoch", "epoch", "steps"]
    assert [each.sample_set for each in told.values()] == ["main", "probe", "canaries"]
    assert told["canaries"].samples_path == str(tmp_path / "canaries.jsonl")
    assert all(not each.sets for each in told.values())

    (tmp_path / "again.yaml").write_text(to_yaml(loaded.config))
    again = load_config(tmp_path / "again.yaml")
    assert again.config == loaded.config
    assert again.notes == ()


def test_how_a_file_is_read_is_not_taken_over_for_another_file() -> None:
    predictions = PredictionsConfig(
        samples_path="a.jsonl",
        fields={"prompt": "q", "reference": "a"},
        sets={"other": {"samples_path": "b.jsonl"}, "drawn": {}},
    )
    told = set_configs(predictions)
    assert (told["other"].samples_path, told["other"].fields) == ("b.jsonl", None)
    assert (told["drawn"].samples_path, told["drawn"].fields) == (None, predictions.fields)


@pytest.mark.parametrize(
    ("sets", "place"),
    [
        ("probe: {step_interval: 0}", "5: predictions.sets.probe.step_interval: expected at least 1, got 0"),
        ("probe: {sample_frequency: steps}", "5: predictions.sets.probe.step_interval: is required"),
        ("probe: 3", "5: predictions.sets.probe: expected a mapping"),
        ("main: {}", "5: predictions.sets.main: is described by the fields of predictions themselves"),
        ("a b: {}", "5: predictions.sets.a b: is no name for a sample set"),
        ("probe: {samples_from: test}", "5: predictions.sets.probe.samples_from: expected one of"),
    ],
)
def test_mistakes_in_a_set_are_errors_at_the_field_with_the_line(
    tmp_path: Path, sets: str, place: str
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"model: m\ndata: {{train: t.jsonl}}\npredictions:\n  sets:\n    {sets}\n")
    with pytest.raises(ConfigError) as raised:
        load_config(path)
    assert str(raised.value).startswith(f"{path}:{place}")
    assert "\n" not in str(raised.value)


def test_what_has_no_effect_in_a_set_is_said(tmp_path: Path) -> None:
    config = CONFIG | {
        "predictions": {
            "sets": {
                "probe": {"samples_path": "p.jsonl", "sample_count": 3, "step_interval": 9, "basline": 1}
            }
        }
    }
    assert load_config(write_config(tmp_path, config)).notes == (
        "predictions.sets.probe.basline is not known and is not used; it is kept in the stored config. Did "
        "you mean 'baseline'?",
        "predictions.sets.probe.step_interval has no effect: sample_frequency is epoch, not steps.",
        "predictions.sets.probe.sample_count has no effect: the file samples_path is used whole.",
    )


def test_limits_hold_for_every_set_and_name_it() -> None:
    predictions = PredictionsConfig(
        sample_count=9,
        sets={
            "many": {"sample_count": 200},
            "often": {"sample_frequency": "steps", "step_interval": 3},
            "same": {},
        },
    )
    with pytest.raises(ConfigError) as raised:
        check_limits(predictions, Limits(max_sample_count=5, min_step_interval=10))
    assert [line.partition(": ")[0] for line in str(raised.value).splitlines()] == [
        "predictions.sample_count",
        "predictions.sets.many.sample_count",
        "predictions.sets.often.step_interval",
    ]


def data_of(train: int, held_out: int) -> TrainingData:
    def samples(kind: str, count: int) -> list[Sample]:
        return [Sample(({"role": "user", "content": f"{kind} {n}"},), str(n)) for n in range(count)]

    return TrainingData(samples("train", train), samples("eval", held_out))


def test_sets_are_drawn_from_their_splits() -> None:
    config = Config.model_validate(CONFIG).model_copy()
    predictions = config.predictions.model_copy(update={"sets": {"probe": config.predictions.sets["probe"]}})
    config = config.model_copy(update={"predictions": predictions})
    sets = choose_sets(config, data_of(9, 9))
    assert sets is not None
    assert {name: len(samples) for name, samples in sets.items()} == {"main": 2, "probe": 3}
    assert all(sample.prompt.startswith("eval") for sample in sets["main"])
    assert all(sample.prompt.startswith("train") for sample in sets["probe"])
    with pytest.warns(TimelapseWarning, match=r"no evaluation data to draw the samples of set 'main'.*probe"):
        without = choose_sets(config, data_of(9, 0))
    assert without is not None
    assert list(without) == ["probe"]
    drawn = {"sets": {"drawn": PredictionsConfig(sets={"x": {}}).sets["x"]}}
    config = config.model_copy(update={"predictions": config.predictions.model_copy(update=drawn)})
    with (
        warnings.catch_warnings(),
        pytest.raises(ConfigError, match=r"predictions\.sets\.drawn: there is no"),
    ):
        warnings.simplefilter("ignore", TimelapseWarning)
        choose_sets(config, data_of(9, 0))


def test_timelapse_train_watches_what_is_trained_beside_what_is_held_out(
    tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    verbs = questions(VERBS)
    write_rows(tmp_path / "canaries.jsonl", [{"question": "1", "answer": "2"}])
    predictions = {
        "max_new_tokens": 4,
        "sets": {
            "probe": {"samples_from": "train", "sample_count": 2, "baseline": False},
            "canaries": {"samples_path": "canaries.jsonl", "end": False},
        },
    }
    config = make_project(tmp_path, verbs[:4], verbs[4:], predictions=predictions)
    result = CliRunner().invoke(main, ["train", str(config)])
    assert result.exit_code == 0, result.output
    run = only_run(tracking)
    assert steps_of(run.info.run_id) == {"main": [0, 2, 4], "probe": [2, 4], "canaries": [0, 2, 4]}
    frame = load_predictions(run.info.run_id)
    prompts = frame.groupby("set")["prompt"].agg(set).to_dict()
    assert prompts["main"] == {"eat", "run"}
    assert prompts["probe"] < {"go", "be", "do", "see"}
    assert prompts["canaries"] == {"1"}
