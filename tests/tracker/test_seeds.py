from __future__ import annotations

import csv
import io
import json
import random
from html import unescape
from typing import Any

import mlflow
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from stored import question_set, store_run

from timelapse import Prediction, Round
from timelapse.analysis.seed_runs import compare_groups, load_seed_runs
from timelapse.analysis.seeds import Groups, SeedRun, by_group, group_values
from timelapse.cli.main import main
from timelapse.errors import RunError

SAMPLES = question_set({f"q{n}": "yes" for n in range(10)})
HOSTILE = "\x1b[31m|`x`<b>@octocat \u202e"


def draws(group: str, *means: float, score: str = "s") -> list[SeedRun]:
    return [SeedRun(f"{group}{n}", "run", group, 1, {score: mean}) for n, mean in enumerate(means)]


def right(count: int) -> dict[str, Any]:
    """So many right answers of ten."""
    return {f"q{n}": "yes" if n < count else "no" for n in range(10)}


def store(tracking: mlflow.MlflowClient, name: str, lr: str | None, *counts: int, **others: Any) -> str:
    """Store a run whose rounds, at steps 0, 10, 20 …, have so many right answers of ten."""
    rounds = {10 * place: right(count) for place, count in enumerate(counts)}
    run_id = store_run(tracking, name, SAMPLES, rounds, **others)
    if lr is not None:
        tracking.log_param(run_id, "lr", lr)
    return run_id


@pytest.fixture
def sweep(tracking: mlflow.MlflowClient) -> dict[str, str]:
    """Three seeds with lr 0.1 and three with 0.02; the last round is not the best one."""
    low = {f"low{n}": store(tracking, f"low{n}", "0.02", 1, 4 + n, 3 + n) for n in range(3)}
    high = {f"high{n}": store(tracking, f"high{n}", "0.1", 1, 8 + n, 8 + n) for n in range(3)}
    for run_id in (*low.values(), *high.values()):
        tracking.log_param(run_id, "epochs", "3")
        tracking.set_tag(run_id, "team", "fox")
    return {**low, **high}


def test_the_numbers_are_those_of_scipy() -> None:
    low, high = [0.50, 0.52, 0.47, 0.55], [0.61, 0.58, 0.64]
    groups = by_group([*draws("a", *low), *draws("b", *high)], "params.x")

    for line, values in zip(groups.scoreboard, (low, high), strict=True):
        assert line.runs == len(values)
        assert line.mean == pytest.approx(sum(values) / len(values))
        assert line.deviation == pytest.approx(stats.tstd(values))
        interval = stats.t.interval(0.95, len(values) - 1, loc=line.mean, scale=stats.sem(values))
        assert line.interval == pytest.approx(interval)
    [test] = groups.tests
    assert test.p_value == pytest.approx(stats.ttest_ind(high, low, equal_var=False).pvalue)
    assert (test.against, test.group) == ("a", "b")
    assert test.difference == pytest.approx(0.1)
    assert test.verdict == "larger than seeds alone would explain"


def test_a_difference_within_the_noise_is_called_that() -> None:
    [test] = by_group([*draws("a", 0.5, 0.6, 0.4), *draws("b", 0.45, 0.65, 0.55)]).tests

    assert test.p_value is not None
    assert test.p_value > 0.05
    assert test.verdict == "no larger than seeds alone may explain"


def test_a_single_run_says_nothing_about_noise() -> None:
    groups = by_group([*draws("a", 0.5), *draws("b", 0.9, 0.91)], "params.x")

    assert groups.scoreboard[0].deviation is groups.scoreboard[0].interval is None
    assert groups.notes == ("params.x = a has one run: one run says nothing about noise",)
    [test] = groups.tests
    assert (test.difference, test.p_value) == (0.405, None)
    assert "nothing is known of the noise" in test.verdict


@pytest.mark.parametrize("value", [0.1, 0.5, 0.7])
def test_groups_without_any_spread_have_no_test(value: float) -> None:
    [test] = by_group([*draws("a", *[value] * 3), *draws("b", *[value + 0.1] * 3)]).tests
    assert (test.difference, test.p_value) == (0.1, None)
    [half] = by_group([*draws("a", 0.5, 0.5), *draws("b", 0.9, 0.91)]).tests
    assert half.p_value == pytest.approx(2 * stats.t.sf(0.405 / 0.005, 1))


def test_one_group_and_three_have_no_test_and_a_note() -> None:
    one = by_group(draws("a", 0.1, 0.2), "params.x")
    three = by_group([*draws("a", 0.1, 0.2), *draws("b", 0.1, 0.2), *draws("c", 0.1, 0.2)], "params.x")

    assert one.tests == three.tests == ()
    assert one.notes == ("all runs have params.x = a: there is nothing to compare",)
    assert three.notes[0].startswith("3 groups: Welch's t-test is for two")
    assert by_group([]) == Groups("group", None, (), (), (), ())


def test_groups_come_in_the_order_of_numbers_or_letters_and_scores_with_the_first_first() -> None:
    numbers = [*draws("1e-4", 0.5), *draws("10", 0.5), *draws("0.003", 0.5), *draws("9", 0.5)]
    assert [line.group for line in by_group(numbers).scoreboard] == ["1e-4", "0.003", "9", "10"]
    words = [*draws("9", 0.5), *draws("10", 0.5), *draws("ten", 0.5)]
    assert [line.group for line in by_group(words).scoreboard] == ["10", "9", "ten"]
    both = [*draws("a", 0.5, score="beta"), *draws("a", 0.5, score="zeta"), *draws("b", 0.5, score="alpha")]
    found = by_group(both, score="zeta")
    assert [(line.score, line.group, line.runs) for line in found.scoreboard] == [
        ("zeta", "a", 1), ("zeta", "b", 0), ("alpha", "a", 0), ("alpha", "b", 1),
        ("beta", "a", 1), ("beta", "b", 0),
    ]  # fmt: skip
    assert found.tests == ()


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 1)), min_size=1, max_size=12))
def test_the_order_of_runs_changes_no_number(values: list[tuple[str, float]]) -> None:
    runs = [SeedRun(str(n), "", group, 1, {"s": mean}) for n, (group, mean) in enumerate(values)]
    mixed = random.Random(1).sample(runs, len(runs))
    one, other = by_group(runs), by_group(mixed)

    assert one.scoreboard == other.scoreboard
    assert one.tests == other.tests
    assert all(test.p_value is None or 0 <= test.p_value <= 1 for test in one.tests)


def test_an_unknown_key_lists_those_that_there_are_what_differs_first() -> None:
    runs: Any = [({"lr": "1", "a": "x"}, {"team": "fox", "mlflow.user": "me"}), ({"lr": "2", "a": "x"}, {})]

    assert group_values(runs, "params.lr") == ["1", "2"]
    assert group_values(runs, "tags.team") == ["fox", None]
    assert group_values(runs, "tags.mlflow.user") == ["me", None]
    with pytest.raises(
        RunError,
        match=r"No run has params\.lrr\. Did you mean 'lr'\? The runs have: params\.lr, params\.a\.$",
    ):
        group_values(runs, "params.lrr")
    logged = [({"timelapse.lr": "1"}, {}), ({"timelapse.lr": "2"}, {})]  # as `run.log_params` names them
    with pytest.raises(RunError, match=r"No run has params\.zzz\. The runs have: params\.lr\.$"):
        group_values(logged, "params.zzz")
    with pytest.raises(RunError, match=r"No run has tags\.zzz\. The runs have: tags\.team\.$"):
        group_values(runs, "tags.zzz")
    with pytest.raises(
        RunError, match=r"params\.NAME or tags\.NAME, not by 'lr'\. Do you mean 'params\.lr'\?"
    ):
        group_values(runs, "lr")
    with pytest.raises(RunError, match=r"not by 'metrics\.loss'"):
        group_values(runs, "metrics.loss")
    many: Any = [({f"p{n:03}": str(n) for n in range(100)}, {})]
    with pytest.raises(RunError, match=r"params\.p039 and 60 more\."):
        group_values(many, "params.zzz")


def test_runs_are_read_at_the_round_that_is_asked_for(sweep: dict[str, str]) -> None:
    best = compare_groups("params.lr")
    last = compare_groups("params.lr", round="last")

    assert [(run.run_name, run.group, run.step) for run in best.runs][:3] == [
        ("low0", "0.02", 10), ("low1", "0.02", 10), ("low2", "0.02", 10),
    ]  # fmt: skip
    assert {run.run_id for run in best.runs} == set(sweep.values())
    assert [line.mean for line in best.scoreboard] == [0.5, pytest.approx(0.9)]
    assert [line.mean for line in last.scoreboard] == [0.4, pytest.approx(0.9)]
    assert [line.deviation for line in last.scoreboard] == [pytest.approx(0.1)] * 2
    assert {run.step for run in last.runs} == {20}
    assert last.score == "exact_match"
    [test] = last.tests
    assert (test.against, test.group, test.difference) == ("0.02", "0.1", pytest.approx(0.5))
    assert test.is_larger
    assert last.notes == ()
    assert [line.mean for line in compare_groups("params.lr", round=0).scoreboard] == [0.1, 0.1]
    assert [each.group for each in compare_groups("tags.team").scoreboard] == ["fox"]


def test_runs_that_are_named_have_rounds_of_their_own(sweep: dict[str, str]) -> None:
    found = load_seed_runs("params.lr", ["high0@0", sweep["low1"], "low2@first"], round="last")

    assert [(run.run_name, run.step, dict(run.means)) for run in found.runs] == [
        ("high0", 0, {"exact_match": 0.1}),
        ("low1", 20, {"exact_match": 0.4}),
        ("low2", 0, {"exact_match": 0.1}),
    ]
    with pytest.raises(RunError, match=r"Run high0 .* is named twice: a run is one seed"):
        load_seed_runs("params.lr", ["high0@0", "high0@last"])
    with pytest.raises(RunError, match="no round at step 5"):
        load_seed_runs("params.lr", ["high0@5", "low0"])
    with pytest.raises(RunError, match="A round is first, best, last or a step"):
        load_seed_runs("params.lr", round="bset")
    with pytest.raises(RunError, match="No run with predictions has the id or name 'nobody'"):
        load_seed_runs("params.lr", ["nobody"])


def test_runs_that_do_not_serve_are_left_out_and_named(
    tracking: mlflow.MlflowClient, sweep: dict[str, str]
) -> None:
    store(tracking, "without", None, 5)
    store(tracking, "waiting", "0.1")
    store(tracking, "short", "0.1", 5)
    going = store(tracking, "going", "0.1", 1, 2)
    tracking.update_run(going, status="RUNNING")
    broken = Round(10, tuple(Prediction(each.sample_id, status="error", error="x") for each in SAMPLES))
    failing = store_run(
        tracking,
        "failing",
        SAMPLES,
        [Round(0, (Prediction(SAMPLES[0].sample_id, "yes", scores={"exact_match": 1.0}),)), broken],
    )
    tracking.log_param(failing, "lr", "0.1")

    found = compare_groups("params.lr", round=10)
    notes = "\n".join(found.notes)
    assert {run.run_name for run in found.runs} == {*sweep, "going", "failing"}
    assert "run without (" in notes
    assert "has no params.lr: it is left out" in notes
    assert "run waiting (" in notes
    assert "holds no rounds of sample set 'main'" in notes
    assert "run short (" in notes
    assert "has no round at step 10" in notes
    assert "run going (" in notes
    assert "is still going on" in notes
    assert "step 10: 10 of 10 answers failed; they have no part in its mean" in notes
    assert [line.runs for line in found.scoreboard] == [3, 4]
    different = compare_groups("params.lr", ["low0", "short"], round="last").notes
    assert "the last rounds are at different steps: 0, 20" in different
    with pytest.raises(RunError, match=r"waiting .* holds no rounds"):
        compare_groups("params.lr", ["low0", "waiting"])


def test_means_over_other_questions_are_pointed_out(tracking: mlflow.MlflowClient) -> None:
    store(tracking, "a", "1", 5)
    other = store_run(tracking, "b", question_set({"other": "yes"}), {0: {"other": "yes"}})
    tracking.log_param(other, "lr", "2")

    assert any("do not all answer the same samples" in note for note in compare_groups("params.lr").notes)


def test_what_cannot_be_grouped_is_an_error(tracking: mlflow.MlflowClient) -> None:
    with pytest.raises(RunError, match="There is no run with predictions to group"):
        compare_groups("params.lr")
    store(tracking, "a", "1", 5, scores=[])
    with pytest.raises(RunError, match="The runs have no scores"):
        compare_groups("params.lr")
    store(tracking, "b", "1", 5, scores=["this"])
    store(tracking, "c", "2", 5, scores=["that"])
    with pytest.raises(RunError, match="no score in common that says which round is best"):
        compare_groups("params.lr")
    assert [line.score for line in compare_groups("params.lr", round="last").scoreboard][::2] == [
        "that",
        "this",
    ]
    with pytest.raises(RunError, match="no experiment 'chess'"):
        compare_groups("params.lr", experiment="chess")
    with pytest.raises(RunError, match=r"No run is left to group: run a .*no sample set 'probe'"):
        compare_groups("params.lr", set_name="probe")


def invoke(*arguments: str, exit_code: int = 0, width: int = 100) -> Any:
    env = {"MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(), "COLUMNS": str(width)}
    result = CliRunner(env=env).invoke(main, ["compare", "--group-by", *arguments])
    assert result.exit_code == exit_code, result.output
    return result


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


@pytest.mark.usefixtures("sweep")
def test_the_program_says_whether_it_is_more_than_the_seeds(tmp_path: Any) -> None:
    text = invoke("params.lr", "--round", "last", "--experiment", "Default").stdout

    assert "0.02 exact match 3 0.40 0.100 0.15…0.65" in lines(text)
    assert "0.1 exact match 3 0.90 0.100 0.65…1.15" in lines(text)
    said = (
        "exact_match: params.lr = 0.1 is +0.50 against 0.02, p = 0.004: larger than seeds alone would explain"
    )
    assert said in lines(text)
    assert any(line.startswith("0.02 low1 ") and line.endswith(" 20 0.40") for line in lines(text))
    assert max(map(len, invoke("params.lr", width=80).stdout.splitlines())) <= 80
    single = invoke("params.lr", "high0", "low0", "low1").stdout
    assert "! params.lr = 0.1 has one run: one run says nothing about noise" in single
    file = tmp_path / "groups.md"
    markdown = invoke("params.lr", "--round", "last", "--format", "markdown").stdout
    assert invoke("params.lr", "--round", "last", "--format", "markdown", "-o", str(file)).stdout == ""
    assert file.read_text(encoding="utf-8") == markdown
    plain = unescape(markdown.replace("<code>", "").replace("</code>", ""))
    assert "| 0.1 | exact_match | 3 | 0.90 | 0.100 | 0.65…1.15 |" in plain
    assert f"- {said}" in plain.splitlines()
    assert "<summary>Runs: 6</summary>" in markdown


@pytest.mark.usefixtures("sweep")
def test_other_programs_get_every_run() -> None:
    data = json.loads(invoke("params.lr", "--round", "last", "--format", "json").stdout)
    assert [(run["group"], run["means"]["exact_match"]) for run in data["runs"]][-1] == ("0.1", 1.0)
    assert data["tests"][0]["verdict"] == "larger than seeds alone would explain"
    assert data["scoreboard"][0]["interval"][0] == pytest.approx(0.1516, abs=1e-4)
    single = invoke("params.lr", "high0", "low0", "low1", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(single.stdout)))
    assert [(row["group"], row["run"], row["mean"]) for row in rows] == [
        ("0.02", "low0", "0.4"), ("0.02", "low1", "0.5"), ("0.1", "high0", "0.8"),
    ]  # fmt: skip
    assert "Note: params.lr = 0.1 has one run" in single.stderr


@pytest.mark.usefixtures("sweep")
def test_wrong_use_says_what_there_is() -> None:
    result = invoke("params.learning_rate", exit_code=2)
    assert result.stdout == ""
    assert "The runs have: params.lr, params.epochs." in " ".join(result.stderr.split())
    for option in (["--slices"], ["--only", "regressions"], ["--limit", "3"], ["--fail-on-regressions", "1"]):
        assert f"{option[0]} is about single runs" in invoke("params.lr", *option, exit_code=2).stderr


def test_the_names_of_groups_are_shown_not_obeyed(tracking: mlflow.MlflowClient) -> None:
    for n in range(4):
        run_id = store(tracking, f"{HOSTILE}{n}", None, 5 + n)
        tracking.set_tag(run_id, "kind", HOSTILE * (1 + n // 2))

    for form in ("table", "markdown", "csv", "json"):
        output = invoke("tags.kind", "--format", form).output
        assert not {"\x1b", "\u202e"} & set(output)
        assert form != "markdown" or "<b>" not in output
        assert form != "markdown" or "@octocat" not in output
