"""The documentation is tested: its code runs, its configuration loads, its commands and files exist."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import mlflow
import pytest
from program import declared_program
from stored_runs import make_round, make_samples
from tiny import make_llama, make_tokenizer, training_set
from trl import SFTConfig

import timelapse
import timelapse_training
from timelapse import load_predictions, start_run
from timelapse.config.file import load_config
from timelapse.config.limits import Limits
from timelapse.config.model import Config, PredictionsConfig
from timelapse.formats.adapters import FORMATS
from timelapse.names import TAG_STATUS
from timelapse_training import GenerationSettings
from timelapse_training.cli.launch import launch

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_code_of_the_readme_runs_from_top_to_bottom(
    tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    rows = [{"question": "go", "answer": "went"}, {"question": "be", "answer": "was"}]
    (tmp_path / "eval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokenizer = make_tokenizer()
    given: dict[str, Any] = {
        "model": make_llama(),
        "tokenizer": tokenizer,
        "train_dataset": training_set(tokenizer).remove_columns("attention_mask"),
        "args": SFTConfig(
            output_dir=str(tmp_path / "out"),
            use_cpu=True,
            bf16=False,
            activation_checkpointing=False,
            report_to="none",
            disable_tqdm=True,
            num_train_epochs=1,
        ),
    }
    for code in blocks(ROOT / "README.md", "python"):
        exec(compile(code, "README.md", "exec"), given)
    assert given["df"]["prompt"].tolist() == ["go", "be"] * 3
    assert sorted(set(given["df"]["step"])) == [0, 50, 100]  # of the loop; before it, the trainer's
    assert sorted(set(load_predictions(experiment="Default", rounds=[0, 2])["step"])) == [0, 2]


@pytest.mark.parametrize("page", ["samples.md"])
def test_the_code_of_the_docs_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"question": f"q{n}", "answer": f"a{n}"} for n in range(3)]
    (tmp_path / "eval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for code in blocks(ROOT / "docs" / page, "python"):
        exec(compile(code, page, "exec"), {})


def test_the_code_on_writing_runs(tracking: mlflow.MlflowClient) -> None:
    [code] = blocks(ROOT / "docs" / "writing.md", "python")
    exec(compile(code, "writing.md", "exec"), {})
    experiment = tracking.get_experiment_by_name("verbs")
    runs = tracking.search_runs([experiment.experiment_id])
    assert sorted((run.info.run_name, run.info.status) for run in runs) == [
        ("first", "FINISHED"),
        ("second", "FINISHED"),
    ]


def test_the_code_on_reading_runs(tracking: mlflow.MlflowClient) -> None:
    samples = make_samples()
    with start_run() as run:
        run.log_samples(samples)
        for step in (0, 10):
            run.log_round(make_round(samples, step))
    for code in blocks(ROOT / "docs" / "reading.md", "python"):
        given: dict[str, Any] = {}
        exec(compile(code, "reading.md", "exec"), given)
        if "best" in given:
            assert given["best"]["step"].tolist() == [0] * 3


def test_the_code_on_generation_runs() -> None:
    given: dict[str, Any] = {
        "model": make_llama(),
        "tokenizer": make_tokenizer(),
        "samples": make_samples(),
    }
    for code in blocks(ROOT / "docs" / "generation.md", "python"):
        exec(compile(code, "generation.md", "exec"), given)
    assert len(given["round_"].predictions) == 12
    assert [row.status for row in given["base"].predictions] == ["ok"] * 3


def test_every_setting_of_generation_is_documented() -> None:
    text = (ROOT / "docs" / "generation.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \|", text.split("## Columns")[0], re.M)
    documented = set(re.findall(r"`(\w+)`", " ".join(rows)))
    own = {each.name for each in fields(GenerationSettings)} - {"template", "autocast", "progress"}
    assert documented == own | {"base_model"}


def test_the_loop_of_the_docs_runs(tracking: mlflow.MlflowClient, tmp_path: Path) -> None:
    (tmp_path / "eval.jsonl").write_text('{"question": "go", "answer": "went"}\n')
    tokenizer = make_tokenizer()
    given = {
        "model": make_llama(),
        "tokenizer": tokenizer,
        "train_dataset": training_set(tokenizer).with_format("torch"),
    }
    [code] = blocks(ROOT / "docs" / "trainers.md", "python")
    exec(compile(code, "trainers.md", "exec"), given)
    frame = load_predictions("last")
    assert frame["trigger"].tolist() == ["baseline", "epoch", "epoch"]


def test_the_table_of_trainers_is_that_of_the_tests() -> None:
    spec = importlib.util.spec_from_file_location("trainers_table", ROOT / "docs" / "trainers_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (ROOT / "docs" / "trainers.md").read_text(encoding="utf-8")
    assert page == module.renewed(page), "run: python docs/trainers_table.py"
    assert page.count("](../tests/training/test_trainers.py)") == 21
    for cell in module.CELLS:
        test = re.sub(r'"\s+"', "", (ROOT / cell.test).read_text(encoding="utf-8"))
        assert cell.message is None or cell.message in test or "cell.message" in test


def test_every_format_is_documented() -> None:
    text = (ROOT / "docs" / "samples.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, re.M) == [format_.name for format_ in FORMATS]


def test_the_documented_configuration_is_whole_and_loads_without_a_note(tmp_path: Path) -> None:
    [text] = blocks(ROOT / "docs" / "configuration.md", "yaml")
    (tmp_path / "config.yaml").write_text(text)
    loaded = load_config(tmp_path / "config.yaml")
    assert loaded.notes == ()
    for name, field in Config.model_fields.items():
        assert re.search(rf"^{name}:", text, re.M) or name == "lora", name
        section = getattr(loaded.config, name)
        for inner in getattr(type(section), "model_fields", {}) if name != "lora" else {}:
            if name != "tensorboard" and (name, inner) not in {("predictions", "format"),
                                                               ("predictions", "fields"),
                                                               ("predictions", "template")}:  # fmt: skip
                assert re.search(rf"^  {inner}:", text, re.M), f"{name}.{inner} ({field.annotation})"


def test_the_documented_commands_on_configurations_exist() -> None:
    [console] = blocks(ROOT / "docs" / "configuration.md", "console")
    for line in console.splitlines():
        program, group, name, *words = shlex.split(line)
        command = declared_program().get_command(click.Context(click.Group()), group)
        assert program == "timelapse"
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None, line
        known = {option for parameter in found.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, line


def test_every_name_of_the_old_system_has_its_place() -> None:
    text = (ROOT / "docs" / "coming-from.md").read_text(encoding="utf-8")
    for old in (
        *("TrainingPredictionsCallback", "PredictionsConfig", "PredictionsSampler", "PredictionsGenerator"),
        *("PredictionsWriter", "training_predictions", "JOB_ID", "JOB_USER_ID", "JOB_TOKEN"),
        *("enabled", "sample_count", "sample_frequency", "step_interval", "samples_path", "validators"),
        *("provider", "tools", "evaluation", "tensorboard", "seed", "PREDICTIONS_*"),
        *("training.lora_r", "training.lora_alpha", "training.lora_dropout"),
    ):
        assert f"`{old}`" in text, old
    for field in re.findall(r"`predictions\.(\w+)`", text):
        assert field in PredictionsConfig.model_fields, field
    for name in re.findall(r"`timelapse\.([a-zA-Z]\w+)`", text):
        assert name in timelapse.__all__ or f"timelapse.{name}" in {TAG_STATUS, "timelapse.job_id"}, name
    for name in re.findall(r"`timelapse_training\.(\w+)`", text):
        assert name in timelapse_training.__all__, name
    limits = {f"PREDICTIONS_{name.upper()}" for name in Limits.model_fields}
    assert limits <= set(re.findall(r"`(PREDICTIONS_\w+)`", text))


def test_the_commands_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    console = "\n".join(blocks(ROOT / "README.md", "console") + blocks(ROOT / "CONTRIBUTING.md", "console"))
    targets = set(re.findall(r"^make ([\w-]+)", console, re.M))
    assert targets >= {"demo", "test", "check", "format", "test-faults", "bench-write", "bench-read"}
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.M)
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.findall(r"^make ([\w-]+)", ci, re.M) == ["check", "test", "test-programs", "demo"]


def test_every_option_of_the_launcher_is_documented() -> None:
    text = (ROOT / "docs" / "launching.md").read_text(encoding="utf-8")
    options = {word for parameter in launch.params for word in parameter.opts if word.startswith("--")}
    assert options <= set(re.findall(r"(?<=[ `])--[\w-]+", text))
    shown = re.findall(
        r"^timelapse launch (.*)$", "".join(blocks(ROOT / "docs" / "launching.md", "console")), re.M
    )
    assert shown
    for line in shown:
        launch.make_context("launch", line.split())  # click refuses what it does not know
