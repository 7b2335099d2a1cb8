"""What a first user runs into: numbers agree everywhere, names stay free, and words are true."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click
import mlflow
import pytest
from click.testing import CliRunner
from program import declared_program
from stored import question_set, store_run

import timelapse
from timelapse import compare, load_predictions, start_run
from timelapse.analysis.seeds import group_values
from timelapse.cli.main import main
from timelapse.errors import ConfigError, TimelapseWarning
from timelapse.reading.runs import find_run
from timelapse.rescoring import rescore
from timelapse.scoring.scorer import make_scorers

pytestmark = pytest.mark.filterwarnings("ignore:.*scorer 'flaky'.*:timelapse.errors.TimelapseWarning")


def flaky(prediction: str) -> float:
    if prediction == "b":
        raise ValueError("no b")
    return 1.0


def invoke(*arguments: str) -> str:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    return str(done.stdout)


def test_a_failed_score_is_null_for_sql_as_for_every_other_reader(tracking: mlflow.MlflowClient) -> None:
    with start_run("odd", scorers=[flaky]) as run:
        run.log_predictions([{"prompt": text, "prediction": text} for text in "abc"], step=0)
    with timelapse.as_duckdb("odd") as database:
        counted = database.sql("select avg(flaky), count(flaky), max(flaky) from predictions").fetchall()
    assert counted == [(1.0, 2, 1.0)]
    assert timelapse.as_arrow("odd").column("flaky").null_count == 1
    assert load_predictions("odd")["flaky"].mean() == 1.0


@pytest.mark.parametrize("columns", [["prompt", "prediction"], ["valid"], ["exact_match"]])
def test_the_best_round_is_found_whatever_columns_are_wanted(
    tracking: mlflow.MlflowClient, columns: list[str]
) -> None:
    store_run(tracking, "run", question_set({"q": "right"}), {0: {"q": "wrong"}, 1: {"q": "right"}})
    frame = load_predictions("run", rounds="best", columns=[*columns, "step"])
    assert frame["step"].tolist() == [1]
    assert frame.columns.tolist() == [*columns, "step"]


@pytest.mark.parametrize("argument", ["scorers", "validators"])
def test_judges_that_are_no_list_are_refused_and_one_name_is_a_list(
    tracking: mlflow.MlflowClient, argument: str
) -> None:
    with pytest.raises(ConfigError, match=f"{argument}=3 is no list"):
        start_run("run", **{argument: 3})  # type: ignore[arg-type]
    assert list(make_scorers("rouge_l")) == ["rouge_l"]


def test_a_score_that_failed_everywhere_may_be_tried_again(tracking: mlflow.MlflowClient) -> None:
    run_id = store_run(tracking, "run", question_set({"q": "a"}), {0: {"q": "b"}})
    failed = rescore(tracking, find_run(run_id), make_scorers([flaky]))
    assert (failed.file, failed.rows, failed.without) == (None, 0, ("flaky",))
    mended = rescore(tracking, find_run(run_id), make_scorers({"flaky": len}))
    assert (mended.rows, mended.without) == (1, ())
    assert load_predictions(run_id)["flaky"].tolist() == [1.0]


def test_the_command_says_which_score_is_missing(tracking: mlflow.MlflowClient) -> None:
    store_run(tracking, "run", question_set({"q": "a"}), {0: {"q": "b"}})
    arguments = ["rescore", "run", "--scorers", "operator:lt", "--format", "json"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output  # 'b' < 'a' is a score, too
    done = CliRunner().invoke(main, ["rescore", "run", "--scorers", "operator:truediv", "--format", "json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)[0]["without"] == ["truediv"]
    assert "'truediv' gave no answer a score" in done.stderr


def test_what_the_run_was_told_groups_runs(tracking: mlflow.MlflowClient) -> None:
    with start_run("run", config={"lr": 0.1, "model": {"name": "m"}, "api_key": "hidden"}) as run:
        run.log_predictions([{"prompt": "a", "prediction": "b"}], step=0)
    assert run.run_id is not None
    params = tracking.get_run(run.run_id).data.params
    assert (params["timelapse.lr"], params["timelapse.model.name"]) == ("0.1", "m")
    assert "hidden" not in params.values()
    assert group_values([(params, {})], "params.lr") == ["0.1"]


def test_columns_and_tags_that_come_with_answers_make_slices(tracking: mlflow.MlflowClient) -> None:
    with start_run("run") as run:
        for step in (0, 1):
            rows = [
                {"prompt": f"q{place}", "prediction": "a" if step else "b", "reference": "a"}
                | {"kind": "odd" if place % 2 else "even", "tags": ["hard"] if place < 2 else []}
                for place in range(6)
            ]
            run.log_predictions(rows, step=step)
    slices = {each.name: each.count for each in compare(["run@0", "run@1"]).slices}
    assert slices == {"kind=odd": 3, "kind=even": 3, "tag:hard": 2}


def test_the_terminal_marks_by_the_score_that_decides_and_tells_the_verdicts(
    tracking: mlflow.MlflowClient,
) -> None:
    with start_run("run", scorers=["numeric_match"], validators=["json"]) as run:
        run.log_predictions([{"prompt": "2+2?", "prediction": "it is 4", "reference": "4"}], step=0)
    overview = invoke("show", "run")
    assert "✓ it is 4" in overview
    assert "✓ right, ✗ wrong (numeric match)" in overview
    assert "json: $: no JSON" in invoke("show", "run", "--sample", "0")


def test_scores_without_room_are_named(tracking: mlflow.MlflowClient) -> None:
    with start_run("run", scorers=["exact_match", "bleu", "chrf", "rouge_l", "token_f1"]) as run:
        run.log_predictions([{"prompt": "a", "prediction": "b", "reference": "b"}], step=0)
    assert "Other scores, in --format json and MLflow's charts: token_f1." in invoke("show", "run")


def test_a_column_that_is_almost_the_reference_is_asked_about(tracking: mlflow.MlflowClient) -> None:
    with (
        pytest.warns(TimelapseWarning, match="'refernce' is kept as your own. Did you mean 'reference'?"),
        start_run("run") as run,
    ):
        run.log_predictions([{"prompt": "a", "prediction": "b", "refernce": "b"}], step=0)


def test_a_misspelt_command_is_told_the_nearest() -> None:
    done = CliRunner().invoke(main, ["exprot"])
    assert done.exit_code == 2
    assert "No such command 'exprot'. Did you mean 'export'?" in done.stderr


def helps(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from helps(inner, click.Context(inner, info_name=name, parent=context))


def test_no_help_shows_what_is_meant_for_the_formatter() -> None:
    program = declared_program()
    shown = dict(helps(program, click.Context(program, info_name="timelapse")))
    assert {"timelapse train", "timelapse launch", "timelapse runs", "timelapse config plan"} <= shown.keys()
    assert [name for name, text in shown.items() if "\\b" in text or "\b" in text] == []
