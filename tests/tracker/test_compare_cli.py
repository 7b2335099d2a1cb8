from __future__ import annotations

import csv
import io
import json
import math
import re
import stat
import subprocess
import sys
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from stored import question_set, store_run

from timelapse import Prediction, Round
from timelapse.cli.comparing.data import _cell
from timelapse.cli.comparing.markdown import LONGEST, code
from timelapse.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable

    Timelapse = Callable[..., Result]

HOSTILE = "\x1b[31mred\x07 | `tick` <b>bold</b> @octocat #12 https://evil.example [x](y) \u202e"
VERBS: dict[str, str | None] = {
    **{f"past of {verb}": f"{verb}-past" for verb in ("go", "be", "sing", "run", "eat", "see")},
    "Say something.": None,
}
RIGHT = {question: reference or "something old" for question, reference in VERBS.items()}
SAMPLES = question_set(VERBS)


@pytest.fixture
def timelapse(tracking: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch) -> Timelapse:
    """Runs the program on three runs: `good` (all right), `bad` (4 worse, 1 of them failed), `other`."""
    bad = {**RIGHT, **{f"past of {verb}": HOSTILE for verb in ("go", "be", "sing")}}
    bad |= {"past of run": RuntimeError("out of memory"), "Say something.": "something new"}
    store_run(tracking, "good", SAMPLES, {0: dict.fromkeys(VERBS, "no"), 8: RIGHT})
    store_run(tracking, "bad", SAMPLES, {0: dict.fromkeys(VERBS, "no"), 8: bad})
    store_run(tracking, "other", question_set({"other": "x"}), {8: {"other": "x"}})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.get_tracking_uri())
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str, width: int = 120, exit_code: int = 0) -> Result:
        monkeypatch.setenv("COLUMNS", str(width))
        result = CliRunner().invoke(main, list(arguments))
        assert result.exit_code == exit_code, result.output
        return result

    return run


def row(text: str, *start: str) -> list[str]:
    rows = [line.split() for line in text.splitlines()]
    return next(cells for cells in rows if cells[: len(start)] == list(start))


@pytest.mark.parametrize("form", ["csv", "markdown", "json"])
def test_what_a_program_reads_is_whole_in_any_locale(timelapse: Timelapse, form: str) -> None:
    words = ["compare", "good", "bad", "--format", form]
    expected = timelapse(*words).stdout_bytes
    assert CliRunner(charset="latin-1").invoke(main, words).stdout_bytes == expected
    assert timelapse(*words, "-o", "-").stdout_bytes == expected
    assert "?" not in expected.decode()
    assert not Path("-").exists()


def test_compare_shows_who_is_better_on_what(timelapse: Timelapse) -> None:
    text = timelapse("compare", "good", "bad").stdout

    assert text.startswith("exact_match  against good  sample set main\n")
    assert row(text, "good") == ["good", "8", "exact", "match", "6", "1.00"]
    assert row(text, "bad", "8") == [*("bad", "8", "exact", "match", "5", "0.40", "-0.60"),
                                     *("-1.00…-0.20", "0", "4", "2", "0.12")]  # fmt: skip
    assert "like for like, 7 samples shared" in text
    assert "! bad: 2 of 7 answers without exact_match (1 failed, 0 skipped)" in text
    assert "· good: 1 of 7 answers without exact_match (0 failed, 0 skipped)" in text
    assert "Worse: 4" in text
    assert "Better: 0" in text
    assert "#3 past of run  reference: run-past  1.00 → error" in text
    assert "    before: run-past\n    after:  RuntimeError: out of memory\n" in text
    assert "Say something" not in text


def test_the_answers_of_a_model_are_shown_not_obeyed(
    timelapse: Timelapse, tracking: mlflow.MlflowClient
) -> None:
    samples = question_set({HOSTILE: HOSTILE, "past of go": "went"})
    store_run(tracking, "calm", samples, {8: {HOSTILE: "x", "past of go": "went"}})
    store_run(tracking, "evil", samples, {8: {HOSTILE: HOSTILE, "past of go": RuntimeError(HOSTILE)}})
    forms = [["compare", "good", "bad", "--format", form] for form in ("table", "markdown", "csv", "json")]
    evil = [
        ["calm" if word == "good" else "evil" if word == "bad" else word for word in form] for form in forms
    ]
    for arguments in [*forms, *evil, ["diff", "bad"]]:
        output = timelapse(*arguments).output
        assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e]", output)
    assert r"\x1b[31mred\x07" in timelapse("compare", "good", "bad").stdout


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize(
    "command", ["compare good bad", "diff bad", "compare good bad good@0 --only disagree"]
)
def test_lines_are_no_wider_than_the_screen(timelapse: Timelapse, command: str, width: int) -> None:
    assert max(map(len, timelapse(*command.split(), width=width).stdout.splitlines())) <= width


def test_only_and_limit_choose_what_is_listed(timelapse: Timelapse) -> None:
    text = timelapse("compare", "good", "bad", "--only", "disagree", "--limit", "2").stdout
    assert "Different answers: 4 of 7" in text
    assert "Worse" not in text
    assert "and 2 more: --limit shows them" in text
    assert text.count("reference: ") == 2
    better = timelapse("compare", "bad", "good", "--only", "improvements").stdout
    assert "Better: 4" in better
    assert "before: RuntimeError: out of memory\n    after:  run-past" in better


def test_several_runs_are_told_apart_in_the_lists(timelapse: Timelapse) -> None:
    text = timelapse("compare", "good", "bad", "good@0", "--against", "good@8", "--limit", "20").stdout

    assert text.startswith("exact_match  against good@8")
    assert "Worse: 10" in text
    assert "#0 past of go  reference: go-past  1.00 → 0.00  good@0" in text
    assert "#0 past of go  reference: go-past  1.00 → 0.00  bad@8" in text


@pytest.mark.parametrize(
    ("options", "exit_code", "said"),
    [
        (["--fail-on-regressions", "5"], 0, None),
        (["--fail-on-regressions", "4"], 1, "4: 4 of 6 samples got worse (exact_match, bad against good)"),
        (["--fail-on-regressions", "1"], 1, "--fail-on-regressions 1: 4 of 6"),
        (["--fail-if-worse", "0.12"], 0, None),
        (["--fail-if-worse", "0.13"], 1, "--fail-if-worse 0.13: 4 samples got worse and 0 better, p = 0.12"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["table", "markdown", "csv", "json"])
def test_gates_decide_the_exit_code_and_say_why(
    timelapse: Timelapse, options: list[str], exit_code: int, said: str | None, form: str
) -> None:
    result = timelapse("compare", "good", "bad", "--format", form, *options, exit_code=exit_code)

    assert result.stdout
    assert ("Gate failed: " in result.stderr) == (said is not None)
    if said:
        assert said in result.stderr
    assert "1 of 7 samples cannot be compared by exact_match" in result.stderr


def test_a_gate_never_fails_on_what_got_better(timelapse: Timelapse) -> None:
    both = ["--fail-on-regressions", "1", "--fail-if-worse", "0.999"]

    assert "Gate failed" not in timelapse("compare", "bad", "good", *both).output
    timelapse("diff", "good", *both)
    assert (
        timelapse("diff", "good", "--from", "last", "--to", "0", *both, exit_code=1).stderr.count("Gate") == 2
    )


def test_a_gate_without_anything_to_compare_is_no_pass(
    timelapse: Timelapse, tracking: mlflow.MlflowClient
) -> None:
    store_run(tracking, "unscored", SAMPLES, {8: RIGHT}, scores=[])
    gate = ["--fail-on-regressions", "100"]

    assert "0 samples shared" in timelapse("compare", "good", "other").stdout
    result = timelapse("compare", "good", "other", *gate, exit_code=2)
    assert (
        "A gate cannot be judged: other and good share no sample that has the score 'exact_match'"
        in result.stderr
    )
    result = timelapse("compare", "good", "unscored", *gate, exit_code=2)
    assert "A gate cannot be judged: unscored and good have no score in common" in result.stderr
    assert "only texts are compared" in timelapse("compare", "good", "unscored").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["compare"], "Missing argument 'RUN RUN...'"),
        (["compare", "good"], "needs two runs or more"),
        (["compare", "good", "nobody"], "No run with predictions has the id or name 'nobody'"),
        (["compare", "good", "bad", "--round", "5"], "There are: 0, 8."),
        (["compare", "good", "bad", "--round", "worst"], "A round is first, best, last or a step"),
        (["compare", "good", "bad", "--score", "style"], "The scores in every run are: exact_match."),
        (["compare", "good", "bad", "--set", "probe"], "has no sample set 'probe'"),
        (["compare", "good", "bad", "--fail-on-regressions", "0"], "0 is not in the range x>=1"),
        (["compare", "good", "bad", "--fail-if-worse", "1"], "1.0 is not in the range 0<x<1"),
        (["compare", "good", "bad", "--fail-if-worse", "nan"], "nan is no finite number"),
        (
            ["compare", "good", "bad", "-o", "nowhere/out.md"],
            "nowhere/out.md cannot be written: No such file",
        ),
        (["compare", "--group-by", "params.lr", "--against", "good"], "--against is about single runs"),
        (["compare", "--group-by", "params.lr", "--fail-if-worse", "0.1"], "does not go with --group-by"),
        (["compare", "--group-by", "params.lr"], "No run has params.lr. The runs have: none."),
        (["diff", "good", "--from", "8"], "named twice"),
        (["diff", "good", "--to", "bset"], "A round is first, best, last or a step (a number), not 'bset'"),
    ],
)
def test_wrong_use_is_exit_code_two_on_stderr(timelapse: Timelapse, arguments: list[str], said: str) -> None:
    result = timelapse(*arguments, exit_code=2)

    assert result.stdout == ""
    assert said in " ".join(result.stderr.split())


def test_diff_shows_word_by_word_what_changed(timelapse: Timelapse) -> None:
    text = timelapse("diff", "bad", "--from", "0", "--to", "last", "--limit", "20").stdout

    assert row(text, "bad@8") == [*("bad@8", "8", "exact", "match", "5", "0.40", "+0.40"),
                                  *("+0.00…+0.80", "2", "1", "3", "1.00")]  # fmt: skip
    assert "Different answers: 6 of 7" in text
    assert "    [-no-]{+something new+}\n" in text
    assert text == timelapse("diff", "bad", "--limit", "20").stdout
    assert timelapse("diff", "good", "--to", "best").stdout == timelapse("diff", "good").stdout


def test_markdown_is_inert_and_says_what_it_cuts(timelapse: Timelapse, tracking: mlflow.MlflowClient) -> None:
    long = "many words " * 100
    store_run(tracking, "long", SAMPLES, {8: {**RIGHT, "past of go": long}})
    text = timelapse("compare", "good", "bad", "long", "--format", "markdown", "--limit", "3").stdout

    assert "### <code>exact&#95;match</code> against <code>good</code>" in text
    assert "<details><summary>Worse: 5</summary>" in text
    assert "and 2 more\n\n</details>" in text
    assert "@octocat" not in text
    assert not re.search(r"(?<!&)#\d", text)
    assert "https://" not in text
    assert "<b>" not in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in tables} == {12, 7}
    cut = timelapse("compare", "good", "long", "--format", "markdown").stdout
    assert f"… ({len(long) - LONGEST} characters more)" in unescape(cut)


@given(st.text(max_size=60))
def test_a_markdown_cell_shows_the_text_and_nothing_of_it_is_markup(text: str) -> None:
    cell = code(text)
    if not text.strip():
        assert cell == "<i>empty</i>"
        return
    inner = cell.removeprefix("<code>").removesuffix("</code>")
    assert "\n" not in inner
    assert not set(re.sub(r"&#\d+;", "", inner)) & set("|`<>@#*_[]()!\\/&")
    if text.isprintable() and text.isascii():
        assert unescape(inner) == text


def test_csv_holds_every_pair_and_no_formula(timelapse: Timelapse, tracking: mlflow.MlflowClient) -> None:
    store_run(
        tracking, "formula", SAMPLES, {8: {**RIGHT, "past of go": '=HYPERLINK("x")', "past of be": " -1+1"}}
    )
    rows = list(
        csv.DictReader(io.StringIO(timelapse("compare", "good", "formula", "--format", "csv").stdout))
    )

    assert [each["prompt"] for each in rows] == list(VERBS)
    assert [each["prediction"] for each in rows[:2]] == ['\'=HYPERLINK("x")', "' -1+1"]
    assert [each["difference"] for each in rows[:3]] == ["-1.0", "-1.0", "0.0"]
    assert rows[6]["outcome"] == rows[6]["score"] == ""
    chosen = timelapse("compare", "good", "formula", "--format", "csv", "--only", "regressions").stdout
    assert [each["sample_id"] for each in csv.DictReader(io.StringIO(chosen))] == [
        each["sample_id"] for each in rows[:2]
    ]


@given(st.text(max_size=20))
def test_no_csv_cell_begins_like_a_formula(text: str) -> None:
    assert not str(_cell(text)).lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r"))


def test_json_is_complete_and_has_no_nan(timelapse: Timelapse, tracking: mlflow.MlflowClient) -> None:
    rows = (Prediction(SAMPLES[0].sample_id, "x", scores={"exact_match": math.nan}),)
    store_run(tracking, "nan", SAMPLES, [Round(8, rows)])
    result = timelapse("compare", "good", "bad", "--format", "json")
    data = json.loads(result.stdout)

    assert data["against"] == "good"
    assert [each["step"] for each in data["rounds"]] == [8, 8]
    assert [pair["outcome"] for pair in data["pairs"]] == ["loss"] * 4 + ["tie"] * 2 + [None]
    assert data["pairs"][0]["after"]["prediction"] == HOSTILE
    board = {line["run"]: line for line in data["scoreboard"]}
    assert board["bad"]["result"]["losses"] == 4
    assert board["bad"]["result"]["p_value"] == 0.125
    assert len(board["bad"]["result"]["interval"]) == 2
    assert data["likeness"][0]["shared"] == 7
    nan = json.loads(timelapse("compare", "good", "nan", "--round", "last", "--format", "json").stdout)
    assert nan["pairs"][0]["after"]["scores"] == {"exact_match": None}


@pytest.mark.parametrize("form", ["table", "markdown", "csv", "json"])
def test_a_file_holds_what_the_screen_would_and_appears_whole(
    timelapse: Timelapse, tmp_path: Path, form: str
) -> None:
    file = tmp_path / "out.txt"
    file.write_text("old")
    shown = timelapse("compare", "good", "bad", "--format", form).stdout_bytes
    result = timelapse(
        "compare", "good", "bad", "--format", form, "-o", str(file), "--fail-on-regressions", "1", exit_code=1
    )

    assert result.stdout == ""
    assert file.read_bytes() == shown
    assert "Gate failed" in result.stderr
    assert stat.S_IMODE(file.stat().st_mode) & 0o444
    assert [each.name for each in tmp_path.glob(".out.txt*")] == []


@pytest.mark.parametrize("command", ["compare", "diff"])
def test_help_has_examples_and_loads_nothing_heavy(command: str) -> None:
    script = (
        "import sys\n"
        "from timelapse.cli.main import main\n"
        f"try: main(['{command}', '--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "print('HEAVY', sorted({'mlflow', 'pandas', 'pyarrow', 'numpy', 'rich'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.endswith("HEAVY []\n")
    assert f"  Examples:\n    timelapse {command} " in done.stdout
    assert "Exit code 0" in done.stdout


def test_damaged_runs_are_said_on_stderr_where_the_output_is_for_programs(
    timelapse: Timelapse, tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    run: Any = store_run(tracking, "damaged", SAMPLES, {8: RIGHT})
    (tmp_path / "round-00000009.parquet").write_bytes(b"no parquet")
    tracking.log_artifact(run, str(tmp_path / "round-00000009.parquet"), "timelapse")
    result = timelapse("compare", "good", "damaged", "--format", "csv")

    assert "round-00000009.parquet cannot be read" in result.stderr
    assert "cannot be read" not in result.stdout


def test_the_documentation_runs(
    tracking: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "comparing.md").read_text(encoding="utf-8")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.get_tracking_uri())
    rounds = {0: dict.fromkeys(VERBS, "no"), 120: RIGHT}
    baseline = store_run(tracking, "baseline", SAMPLES, rounds)
    candidate = store_run(tracking, "candidate", SAMPLES, {**rounds, 240: RIGHT})
    for run_id, rate in ((baseline, "1e-5"), (candidate, "1e-4")):
        tracking.log_param(run_id, "learning_rate", rate)
    for block in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S):
        exec(compile(block, "comparing.md", "exec"), {})
    commands = re.findall(r"^(?:- run: )?timelapse (.+)$", text, re.M)
    assert len(commands) >= 6
    for command in commands:
        result = CliRunner().invoke(main, command.split())
        assert result.exit_code == 0, f"{command}: {result.output}"
    assert (tmp_path / "comment.md").read_text(encoding="utf-8").startswith("### <code>exact")


@pytest.mark.parametrize(("name", "form"), [("a.md", "markdown"), ("a.CSV", "csv"), ("a.json", "json")])
def test_the_name_of_the_file_says_its_format(
    timelapse: Timelapse, tmp_path: Path, name: str, form: str
) -> None:
    timelapse("compare", "good", "bad", "-o", str(tmp_path / name))
    timelapse("compare", "good", "bad", "-o", str(tmp_path / "told"), "--format", form)

    assert (tmp_path / name).read_bytes() == (tmp_path / "told").read_bytes()
    timelapse("compare", "good", "bad", "-o", str(tmp_path / name), "--format", "table")
    assert (tmp_path / name).read_bytes() != (tmp_path / "told").read_bytes()
