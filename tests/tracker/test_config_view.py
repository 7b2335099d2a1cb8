"""A configuration as it is typed into a page: checked like a file, but no file is ever looked at."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from timelapse.config.file import load_config
from timelapse.errors import ConfigError
from timelapse.plan import Counts, plan_training
from timelapse.report.config_view import MOST_ANSWERS, MOST_TEXT, Guess, check_typed
from timelapse.round_cost import SetCounts

RIGHT = "model: m\ndata:\n  train: train.jsonl\ntraining:\n  num_train_epochs: 2\n"


def test_what_is_typed_comes_back_as_data_with_a_plan() -> None:
    found = check_typed(RIGHT)
    assert found.values == {
        "model": "m",
        "data": {"train": "train.jsonl"},
        "training": {"num_train_epochs": 2},
    }
    assert (found.problems, found.notes) == ([], [])
    assert found.plan is not None
    assert [(each.step, each.trigger) for each in found.plan.shown] == [
        (0, "baseline"), (125, "epoch"), (250, "epoch"),
    ]  # fmt: skip
    assert json.dumps(asdict(found), allow_nan=False)


def test_the_plan_is_that_of_config_plan_with_the_same_counts(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(RIGHT)
    sets = (SetCounts((30,) * 5, (7,) * 5),)
    expected = plan_training(load_config(tmp_path / "c.yaml").config, Counts(600, 600 * 90, sets))
    plan = check_typed(RIGHT, Guess(rows=600, row_tokens=90, prompt_tokens=30, answer_tokens=7)).plan
    assert plan is not None
    assert (plan.steps, plan.epochs, plan.train_tokens) == (
        expected.course.max_steps,
        expected.course.epochs,
        expected.train_tokens,
    )
    for name in ("prompt_tokens", "new_tokens", "most_new_tokens"):
        assert getattr(plan, name) == sum(getattr(each, name) for each in expected.rounds)
    assert (plan.rounds, plan.answers) == (len(expected.rounds), 15)


@pytest.mark.parametrize(
    ("text", "path", "line", "message"),
    [
        (RIGHT + "  learning_rate: -1\n", ["training", "learning_rate"], 6, "a number above 0, got -1"),
        (RIGHT + "predictions: {sample_count: 1000}", ["predictions", "sample_count"], 6, "above the limit"),
        ("model: m\n", ["data"], None, "is required"),
        ("model: [\n", [], 2, "is not valid YAML"),
        ("", [], None, "is empty"),
        ("- a\n", [], None, "got a list"),
        (RIGHT + "model: n\n", [], 6, "is there twice"),
        (
            RIGHT + "predictions:\n  scorers: [exakt_match]\n",
            ["predictions", "scorers"],
            7,
            "'exakt_match' is not known",
        ),
        (RIGHT + "predictions:\n  sample_frequency: eval\n", ["predictions", "sample_frequency"], 7, ""),
        (RIGHT + "tracking:\n  password: hunter2\n  uri: ''\n", ["tracking", "uri"], 8, "not empty"),
    ],
)
def test_a_problem_stands_at_its_field_and_line(
    text: str, path: list[str], line: int | None, message: str
) -> None:
    found = check_typed(text)
    assert found.plan is None
    [problem] = found.problems
    assert (problem.path, problem.line) == (path, line)
    assert message in problem.text
    assert "hunter2" not in problem.text


def test_keys_that_are_not_known_are_noted() -> None:
    [note] = check_typed(RIGHT + "  lr: 0.1\n").notes
    assert "Did you mean 'training.learning_rate'?" in note


def test_no_file_is_looked_at_and_nothing_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spy_module.py").write_text("raise SystemExit('imported')")
    (tmp_path / "train.jsonl").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    opened: list[str] = []
    for name in ("read_bytes", "read_text", "open", "is_file", "is_dir", "exists"):
        monkeypatch.setattr(Path, name, lambda self, *_: opened.append(str(self)))
    text = RIGHT + (
        "tokenizer: {name: ./x, chat_template: ./y.jinja}\n"
        "predictions:\n  samples_path: /etc/passwd\n"
        "  scorers: ['spy_module:score', {'spy_module:other': {a: 1}}]\n"
        "  validators: ['spy_module:check', {json_schema: /etc/passwd}]\n"
    )
    found = check_typed(text)
    assert (found.problems, opened) == ([], [])
    assert found.plan is not None
    assert found.values == yaml.safe_load(text), "paths come back as they were typed"


@pytest.mark.parametrize(
    "more",
    [
        f"predictions: {{do_sample: true, generations: {MOST_ANSWERS}}}",
        "predictions: {sample_frequency: steps, step_interval: 10, sets: {a: {}, b: {}}}\nseed: 1",
        "predictions: {sets: {" + ", ".join(f"s{n}: {{}}" for n in range(500)) + "}}",
    ],
    ids=["answers", "rounds", "sets"],
)
def test_what_would_take_long_is_not_planned(more: str) -> None:
    began = time.perf_counter()
    found = check_typed(f"model: m\ndata: {{train: t}}\ntraining: {{max_steps: 100000}}\n{more}\n")
    assert found.problems == []
    assert found.plan is None
    assert "`timelapse config plan` makes it" in found.notes[-1]
    assert time.perf_counter() - began < 20


def test_what_is_too_long_or_no_count_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"config: expected at most 50,000 characters, got 50,001"):
        check_typed("x" * (MOST_TEXT + 1))
    with pytest.raises(ConfigError, match=r"rows: expected a number from 1 to 1,000,000,000, got 0"):
        Guess(rows=0)
