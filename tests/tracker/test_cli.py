from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import EntryPoint, version
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner, Result
from stored import question_set, store_run

from timelapse import Prediction, Round, names, start_run
from timelapse.cli.main import CommandGroup, Program, main
from timelapse.cli.terminal import diff_text, listed, visible

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import mlflow

    Timelapse = Callable[..., Result]


@pytest.fixture
def timelapse(place: Any, monkeypatch: pytest.MonkeyPatch) -> Timelapse:
    """Runs the program on the MLflow of `place`, on a screen of 120 columns without colour."""
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place.uri)

    def run(*arguments: str, width: int = 120, exit_code: int = 0) -> Result:
        monkeypatch.setenv("COLUMNS", str(width))
        result = CliRunner().invoke(main, list(arguments))
        assert result.exit_code == exit_code, result.output
        return result

    return run


DETAILS = ["show long --sample 1", "show first --sample 1", "show first --step 10"]


def test_help_lists_the_commands_and_imports_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from timelapse.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'mlflow', 'pandas', 'pyarrow', 'transformers', 'numpy', 'rich'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stderr == ""
    assert done.stdout.endswith("HEAVY []\n")
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    for name, text in (
        ("runs", "List the runs that hold predictions"),
        ("show", "Show a run's rounds and scores"),
        ("sync", "Send the rounds that wait on disk to MLflow"),
        ("train", "Fine-tune a model"),
    ):
        assert any(line[0] == name and line[1].startswith(text) for line in lines if len(line) == 2)


def test_the_installed_program_says_its_version() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "timelapse.cli.main", "--version"], capture_output=True, text=True, check=True
    )

    assert done.stdout == f"timelapse, version {version('mlflow-timelapse')}\n"


def program(**commands: str) -> Program:
    entries = {
        name.replace("__", "."): EntryPoint(name.replace("__", "."), value, "timelapse.commands")
        for name, value in commands.items()
    }
    return Program("timelapse", find=lambda: entries)


@pytest.fixture
def broken_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training package whose commands need a package that is not installed."""
    package = tmp_path / "timelapse_training_stub"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "early.py").write_text("import flux_capacitor.core\n")
    (package / "late.py").write_text(
        "import click\n@click.command()\ndef late():\n    'Fail late.'\n    import flux_capacitor.core\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules["timelapse.cli.main"]._EXTRAS, "timelapse_training_stub", "training")


@pytest.mark.usefixtures("broken_package")
@pytest.mark.parametrize("command", ["early", "late"])
def test_a_command_without_its_packages_is_listed_and_says_what_to_install(command: str) -> None:
    tool = program(**{command: f"timelapse_training_stub.{command}:{command}"})

    assert command in CliRunner().invoke(tool, ["--help"]).output
    result = CliRunner().invoke(tool, [command])
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: This needs the package 'flux_capacitor', which is not installed. "
        "Install it with: pip install 'mlflow-timelapse[training]'\n"
    )


@pytest.mark.usefixtures("broken_package")
def test_a_subcommand_without_its_packages_says_what_to_install() -> None:
    result = CliRunner().invoke(program(config__late="timelapse_training_stub.late:late"), ["config", "late"])
    assert result.exit_code == 2
    assert "needs the package 'flux_capacitor'" in result.stderr
    assert "mlflow-timelapse[training]" in result.stderr


@pytest.mark.usefixtures("broken_package")
def test_a_command_without_its_packages_takes_its_arguments_before_it_refuses() -> None:
    result = CliRunner().invoke(
        program(early="timelapse_training_stub.early:x"), ["early", "a.yaml", "--set", "b=1"]
    )

    assert result.exit_code == 2
    assert "mlflow-timelapse[training]" in result.stderr


def test_dotted_names_are_subcommands() -> None:
    tool = program(config__plan="timelapse.cli.runs:runs", config__deep__er="timelapse.cli.show:show")

    assert "config  Commands: deep.er, plan." in CliRunner().invoke(tool, ["--help"]).output
    assert (
        "List the runs that hold predictions" in CliRunner().invoke(tool, ["config", "plan", "--help"]).output
    )
    assert "how its answers evolved" in CliRunner().invoke(tool, ["config", "deep", "er", "--help"]).output
    assert CliRunner().invoke(tool, ["config", "nothing"]).exit_code == 2
    assert isinstance(tool.get_command(click.Context(tool), "config"), CommandGroup)


@pytest.mark.parametrize("target", ["a full disk", "a closed pipe"])
def test_an_output_that_cannot_be_written_is_no_failed_gate(target: str) -> None:
    if target == "a full disk":
        output = os.open("/dev/full", os.O_WRONLY)
    else:
        read, output = os.pipe()
        os.close(read)
    command = [sys.executable, "-m", "timelapse.cli.main", "config", "schema"]
    done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, check=False)
    os.close(output)

    reason = "No space left on device" if target == "a full disk" else "Broken pipe"
    assert done.stderr == f"Error: The output cannot be written: {reason}.\n"
    assert done.returncode == 2


def test_our_errors_are_one_line_on_stderr(timelapse: Timelapse) -> None:
    result = timelapse("show", "nobody", exit_code=2)

    assert result.stdout == ""
    assert result.stderr.startswith("Error: No run with predictions has the id or name 'nobody'")
    assert "Traceback" not in result.output


def test_runs_lists_what_there_is(timelapse: Timelapse, place: Any) -> None:
    lines = timelapse("runs", width=160).stdout.splitlines()

    first = next(line for line in lines if place.ids["first"][:8] in line)
    assert first.split()[1:3] == ["first", "verbs"]
    assert "degraded: 1 of 3 rows failed at step 20" in first
    assert "finished" in first
    assert first.split()[-8:] == ["3", "3", "0.00", "→", "1.00", "0.19", "→", "1.00"]
    assert "disabled: no samples were given" in "\n".join(lines)
    assert "untouched" not in "\n".join(lines)
    assert [line.split()[1] for line in lines if line[:8] in {value[:8] for value in place.ids.values()}] == [
        *("waiting", "off", "long", "twin", "twin", "first")
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120])
@pytest.mark.parametrize("command", ["runs", "show first", "show long", *DETAILS])
def test_lines_are_no_wider_than_the_screen(timelapse: Timelapse, command: str, width: int) -> None:
    lines = timelapse(*command.split(), width=width).stdout.splitlines()

    assert max(map(len, lines)) <= width
    assert not [line for line in lines if "exa…" in line or "simil…" in line]


@pytest.mark.parametrize("width", [30, 40, 50, 60, 70, 80, 100])
def test_no_number_is_cut_on_a_narrow_screen(timelapse: Timelapse, width: int) -> None:
    listed = timelapse("runs", "--experiment", "verbs", width=width).stdout
    assert "0.00 → 1.00" in " ".join(listed.split())
    rounds = timelapse("show", "first", width=width).stdout.split("What was learned")[0]
    assert len(re.findall(r"\d\.\d\d", rounds)) >= 6
    assert not re.search(r"\d\.?…", listed + rounds)
    compared = timelapse("compare", "first@0", "first@20", width=width).stdout.split("✓")[0]
    assert re.search(r"[-+]\d\.\d\d…[-+]\d\.\d\d", compared)
    assert not re.search(r"\d\.?\d?…(?![-+])", compared)


def test_runs_as_json(timelapse: Timelapse, place: Any) -> None:
    rows = json.loads(timelapse("runs", "--format", "json", "--experiment", "verbs", "--limit", "3").stdout)

    assert [row["run_id"] for row in rows] == [place.ids[name] for name in ("twin2", "twin1", "first")]
    first = rows[2]
    assert first["scores"]["exact_match"] == {"first": 0.0, "last": 1.0}
    assert (first["rounds"], first["samples"], first["mlflow_status"]) == (3, 3, "FINISHED")
    assert first["predictions_status"] == "degraded: 1 of 3 rows failed at step 20"


def test_runs_says_that_there_are_more(timelapse: Timelapse) -> None:
    assert "There are more: --limit shows them." in timelapse("runs", "--limit", "2").stdout
    assert "There are more" not in timelapse("runs", "--limit", "6").stdout


def test_no_runs_is_a_line_that_says_what_to_do(own_place: Any) -> None:
    own_place.client.create_experiment("empty")
    arguments = ["runs", "--tracking-uri", own_place.uri, "--experiment", "empty"]

    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0
    assert (
        "No run with predictions in experiment 'empty' yet. Start one with `timelapse train" in result.stdout
    )
    assert json.loads(CliRunner().invoke(main, [*arguments, "--format", "json"]).stdout) == []


def test_show_draws_rounds_and_answers(timelapse: Timelapse, place: Any) -> None:
    lines = timelapse("show", "first").stdout.splitlines()

    assert lines[0] == f"first  {place.ids['first'][:8]}  experiment verbs"
    rows = [line.split() for line in lines if line.endswith((" 0.8", " 0.5"))]
    assert rows[0] == ["0", "0.00", "baseline", "3", "0.00", "0.19", "0", "0", "–", "0.8"]
    assert rows[1] == ["10", "1.00", "epoch", "3", "0.33", "0.74", "0", "0", "67%", "0.8"]
    assert rows[2] == ["20", "2.00", "epoch", "3", "1.00", "1.00", "1", "0", "50%", "0.5"]
    answers = {line[:1]: line for line in lines if "past tense" in line}
    assert answers["0"].split()[-7:] == ["went", "✗", "goed", "✓", "went", "✓", "went"]
    assert answers["1"].split()[-7:] == ["forgot", "✗", "forgetted", "✗", "forgetted", "✓", "forgot"]
    assert "! Run" in answers["2"]


def test_long_answers_stand_one_below_the_other(timelapse: Timelapse) -> None:
    text = timelapse("show", "long", width=80).stdout

    assert " reference   a long answer with many words in it\n" in text
    assert "    step 7 ✗ a long answer with some words in it\n" in text
    assert "    step 7 · no answer\n" in text


def test_show_one_sample_with_word_diffs(timelapse: Timelapse) -> None:
    text = timelapse("show", "first", "--sample", "2").stdout

    assert "What is the past tense of sing?" in text
    assert "reference\n    sang\n" in text
    assert "✗ step 0 · epoch 0.00 · baseline · 1 token · stop\n    the\n" in text
    assert "    [-the-]{+sanged+}\n    exact match 0.00 · edit similarity 0.67\n" in text
    assert "! step 20 · epoch 2.00 · error\n    RuntimeError: out of memory\n" in text
    assert "forget" not in text


def test_a_sample_is_named_by_its_id_too(timelapse: Timelapse, place: Any) -> None:
    sample_id = place.samples[1].sample_id

    assert timelapse("show", "first", "--sample", sample_id[:9]).stdout == timelapse(
        "show", "first", "--sample", "1"
    ).stdout  # fmt: skip


def test_show_one_step(timelapse: Timelapse) -> None:
    text = timelapse("show", "first", "--step", "10").stdout

    assert "step 10 · epoch 1.00\n" in text
    assert "✓ #0 What is the past tense of go?  reference: went" in text
    assert "    [-goed-]{+went+}\n" in text
    assert "unchanged since step 0\n    forgetted\n" in text
    assert "out of memory" not in text


def test_colour_marks_changes_on_a_terminal_that_has_it(
    timelapse: Timelapse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    coloured = timelapse("show", "first", "--sample", "0").stdout
    monkeypatch.setenv("NO_COLOR", "1")
    plain = timelapse("show", "first", "--sample", "0").stdout

    assert "\x1b[9;31mgoed\x1b[0m\x1b[4;32mwent\x1b[0m" in coloured
    assert "[-goed-]{+went+}" in plain


def test_a_number_that_no_sample_has_is_not_the_beginning_of_an_id(tracking: mlflow.MlflowClient) -> None:
    questions = {f"question {number}": "x" for number in range(6)}
    samples = question_set(questions)
    store_run(tracking, "numbered", samples, {0: questions})
    digits = {each.sample_id[0] for each in samples} & set("6789")
    assert digits

    for number in digits:
        words = ["show", "last", "--sample", number, "--tracking-uri", tracking.tracking_uri]
        result = CliRunner().invoke(main, words)
        assert (result.exit_code, "There are: 0 to 5" in result.stderr) == (2, True), result.output


def test_what_is_not_there_is_answered_with_what_is(timelapse: Timelapse) -> None:
    assert (
        "no sample '9'. There are: 0 to 2" in timelapse("show", "first", "--sample", "9", exit_code=2).stderr
    )
    assert "no round at step 3. There are rounds at steps: 0, 10, 20" in (
        timelapse("show", "first", "--step", "3", exit_code=2).stderr
    )
    assert "no sample set 'probe'. There are: main" in (
        timelapse("show", "first", "--set", "probe", exit_code=2).stderr
    )
    assert "'twin' could be 2 runs" in timelapse("show", "twin", exit_code=2).stderr


def test_a_run_without_predictions_and_one_without_rounds(timelapse: Timelapse, place: Any) -> None:
    assert "holds no predictions" in timelapse("show", place.ids["untouched"], exit_code=2).stderr
    assert "This run holds no rounds." in timelapse("show", "waiting").stdout
    assert "disabled: no samples were given" in timelapse("show", "off").stdout


@pytest.mark.parametrize("view", [[], ["--sample", "2"], ["--step", "0"]])
def test_a_models_text_is_shown_and_not_obeyed(timelapse: Timelapse, view: list[str]) -> None:
    text = timelapse("show", "long", *view, width=80).stdout

    assert r"\x1b[31mred\x07 [bold]not markup[/bold] \u202eevil" in text
    assert not {"\x1b", "\x07", "\u202e"} & set(text)


def test_show_as_json(timelapse: Timelapse, place: Any) -> None:
    shown = json.loads(timelapse("show", "first", "--format", "json").stdout)

    assert (shown["run_id"], shown["set"], shown["problems"]) == (place.ids["first"], "main", [])
    assert [row["step"] for row in shown["rounds"]] == [0, 10, 20]
    assert shown["rounds"][2]["errors"] == 1
    assert shown["rounds"][1]["metrics"]["exact_match"] == pytest.approx(1 / 3)
    sample = shown["samples"][1]
    assert [answer["prediction"] for answer in sample["answers"]] == ["forgetted", "forgetted", "forgot"]
    assert (sample["index"], sample["reference"]) == (1, "forgot")
    one = json.loads(timelapse("show", "first", "--format", "json", "--sample", "0", "--step", "10").stdout)
    assert [(row["step"], row["prediction"]) for row in one["samples"][0]["answers"]] == [(10, "went")]
    assert len(one["samples"]) == 1


def test_damage_is_told_on_stderr_and_json_stays_json(own_place: Any) -> None:
    with start_run("torn [bold]show[/x]", experiment="own", tracking_uri=own_place.uri) as run:
        run.log_samples(own_place.samples)
        for step in range(9):
            run.log_round(own_place.round(step, ["went", "forgot", "sang"]))
        rows = tuple(
            Prediction(sample.sample_id, "x", scores={"odd": float("nan")}) for sample in own_place.samples
        )
        run.log_round(Round(9, rows))
    folder = next((own_place.folder / "artifacts").rglob(f"{run.run_id}/artifacts/{names.ARTIFACT_FOLDER}"))
    (folder / "round-00000002.parquet").write_bytes(b"")
    (folder / "rounds.parquet").unlink()  # else the round would be read from there

    shown = CliRunner().invoke(
        main, ["show", "torn [bold]show[/x]", "--tracking-uri", own_place.uri, "--limit", "1"]
    )
    as_json = CliRunner().invoke(main, ["show", "last", "--tracking-uri", own_place.uri, "--format", "json"])

    listing = CliRunner().invoke(main, ["runs", "--tracking-uri", own_place.uri])

    assert "torn [bold]show[/x]" in listing.stdout
    assert shown.stdout.startswith("torn [bold]show[/x]  ")
    assert shown.stderr.startswith("Warning: round-00000002.parquet cannot be read")
    assert "step 0" in shown.stdout
    assert "step 9" in shown.stdout
    assert "5 of 9 rounds" in shown.stdout
    assert "1 of 3 samples; --limit shows more" in shown.stdout
    values = json.loads(as_json.stdout, parse_constant=pytest.fail)
    assert [row["step"] for row in values["rounds"]] == [0, 1, 3, 4, 5, 6, 7, 8, 9]
    assert "odd" not in values["rounds"][-1]["metrics"], "a mean of nothing"
    assert len(values["samples"]) == 3


def test_visible_text() -> None:
    assert visible("a\tb\nc\r\x1b\x9b\u2028é漢😀") == "a\tb\nc\\x0d\\x1b\\x9b\\u2028é漢😀"
    assert visible("a\r\nb\tc", one_line=True) == "a⏎b c"
    assert diff_text("a \x1b b", "a \x07 b", colour=False).plain == r"a [-\x1b-]{+\x07+} b"
    assert listed([0, 1, 2, 3]) == "0 to 3"
    assert listed([0, 10]) == "0, 10"
