from __future__ import annotations

import csv
import io
import json
from html import unescape
from typing import TYPE_CHECKING, Any

import mlflow
import pytest
from click.testing import CliRunner
from stored import store_run

from timelapse import Prediction, Round, Sample, SampleSet, compare
from timelapse.analysis.history import History
from timelapse.analysis.slices import Slice, slices, worst
from timelapse.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HOSTILE = "\x1b[31m|`x`<b>@octocat \u202e"


def tagged(
    rows: Mapping[str, tuple[Sequence[str], Mapping[str, Any]]], **references: str | None
) -> SampleSet:
    """A set of questions with tags and metadata; the right answer is `yes` unless said."""
    return SampleSet(
        tuple(
            Sample(
                ({"role": "user", "content": question},),
                reference=references.get(question, "yes"),
                tags=tuple(tags),
                metadata=metadata,
            )
            for question, (tags, metadata) in rows.items()
        )
    )


# Six regular and four irregular verbs, three of them hard.
VERBS = tagged(
    {
        **{f"r{n}": (["all"], {"category": "regular", "rank": n, "id": f"r{n}"}) for n in range(6)},
        **{
            f"i{n}": (["all", "hard"] if n else ["all"], {"category": "irregular", "rank": n, "id": f"i{n}"})
            for n in range(4)
        },
    }
)
RIGHT = dict.fromkeys((sample.prompt for sample in VERBS), "yes")


def names(found: Sequence[Slice]) -> list[str]:
    return [each.name for each in found]


def scored(tracking: mlflow.MlflowClient, name: str, samples: SampleSet, **values: float) -> None:
    rows = tuple(Prediction(each.sample_id, "x", scores={"s": values[each.prompt]}) for each in samples)
    store_run(tracking, name, samples, [Round(1, rows)])


@pytest.fixture
def two(tracking: mlflow.MlflowClient) -> None:
    store_run(tracking, "old", VERBS, {1: {**RIGHT, "r0": "no"}})
    store_run(tracking, "new", VERBS, {1: {**RIGHT, "i1": "no", "i2": "no", "r0": "yes"}})


@pytest.mark.usefixtures("two")
def test_every_tag_and_every_column_of_few_values_is_a_slice() -> None:
    result = compare(["old", "new"])

    assert [(each.name, each.count, each.before, each.after, each.difference) for each in result.slices] == [
        ("tag:hard", 3, 1.0, 0.333333333333, -0.666666666667),
        ("category=irregular", 4, 1.0, 0.5, -0.5),
        ("category=regular", 6, 0.833333333333, 1.0, 0.166666666667),
    ]
    assert {(each.run, each.failed) for each in result.slices} == {("new", 0)}
    [found] = result.worst_slices
    assert (found.slice.name, found.why) == ("tag:hard", "fell most, lowest")
    assert "  new: tag:hard fell most, lowest: 1.00 → 0.33 (n 3, too few for a verdict)" in str(result)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([True, True, False, False, None], ["c=false", "c=true"]),
        (["a", "a", "b", "b", "once"], ["c=a", "c=b"]),
        (["a"] * 5, []),
        (["a", "b", "c", "d", "e"], []),
        (["a", "a", "b", "b", 1], []),
        ([1, 1, 2, 2, 2], []),
        ([["a"], ["a"], ["b"], ["b"], ["b"]], []),
        ([f"v{n % 20}" for n in range(40)], sorted(f"c=v{n}" for n in range(20))),
        ([f"v{n % 21}" for n in range(42)], []),
    ],
)
def test_a_column_makes_slices_if_it_sorts_the_samples(
    tracking: mlflow.MlflowClient, values: list[Any], expected: list[str]
) -> None:
    samples = tagged({f"q{n}": ([], {"c": value}) for n, value in enumerate(values)})
    for name in ("a", "b"):
        store_run(tracking, name, samples, {1: {sample.prompt: "yes" for sample in samples}})

    assert sorted(names(compare(["a", "b"]).slices)) == expected
    assert compare(["a", "b"]).worst_slices == ()


def test_what_fell_most_and_what_is_lowest_may_differ_and_need_three_samples(
    tracking: mlflow.MlflowClient,
) -> None:
    rows = {f"{kind}{n}": ([kind], {}) for kind in ("low", "fell", "good") for n in range(3)}
    samples = tagged({**rows, "tiny0": (["tiny"], {}), "tiny1": (["tiny"], {})})
    before = {"low": 0.2, "fell": 0.9, "good": 0.8, "tiny": 1.0}
    after = {"low": 0.1, "fell": 0.5, "good": 0.9, "tiny": 0.0}
    for name, values in (("a", before), ("b", after)):
        scored(tracking, name, samples, **{each.prompt: values[each.prompt[:-1]] for each in samples})

    result = compare(["a", "b"])
    assert names(result.slices) == ["tag:tiny", "tag:fell", "tag:low", "tag:good"]
    assert [(each.slice.name, each.why) for each in result.worst_slices] == [
        ("tag:fell", "fell most"),
        ("tag:low", "lowest"),
    ]
    back = compare(["b", "a"]).worst_slices
    assert [(each.slice.name, each.why) for each in back] == [
        ("tag:good", "fell most"),
        ("tag:low", "lowest"),
    ]
    [risen, *_] = compare(["b", "a"]).slices
    assert risen.difference == pytest.approx(-0.1)


def test_nothing_is_worst_where_nothing_fell_and_all_are_the_same() -> None:
    same = [Slice("new", name, 5, 0, 0.5, 0.5, 0.0) for name in ("a", "b")]

    assert worst(same) == worst([]) == ()
    [lowest] = worst([*same, Slice("new", "c", 5, 0, 0.1, 0.4, 0.3)])
    assert (lowest.slice.name, lowest.why) == ("c", "lowest")


def test_failed_answers_have_no_score_but_are_never_hidden(tracking: mlflow.MlflowClient) -> None:
    boom = RuntimeError("out of memory")
    store_run(tracking, "old", VERBS, {1: {**RIGHT, "r0": boom}})
    failing = dict.fromkeys(("i1", "i2", "i3", "r1"), boom)
    store_run(tracking, "new", VERBS, {1: {**RIGHT, **failing, "r2": "no"}})

    result = compare(["old", "new"])
    assert [(each.name, each.count, each.failed, each.after) for each in result.slices] == [
        ("tag:hard", 0, 3, None),
        ("category=irregular", 1, 3, 1.0),
        ("category=regular", 4, 1, 0.75),
    ]
    [found] = result.worst_slices
    assert (found.slice.name, found.why) == ("tag:hard", "mostly failed")
    assert "new: tag:hard mostly failed: – → – (n 0 (3 failed), too few for a verdict)" in str(result)


def test_several_answers_to_a_sample_are_one_sample(tracking: mlflow.MlflowClient) -> None:
    samples = tagged({"a": (["x"], {}), "b": (["x"], {}), "c": ([], {})})
    store_run(tracking, "old", samples, {1: {"a": ["yes", "yes"], "b": ["yes", "no"], "c": ["yes", "yes"]}})
    store_run(tracking, "new", samples, {1: {"a": ["no", "yes"], "b": ["no", "no"], "c": ["yes", "yes"]}})

    [found] = compare(["old", "new"]).slices
    assert (found.name, found.count, found.before, found.after, found.difference) == (
        "tag:x",
        2,
        0.75,
        0.25,
        -0.5,
    )


def test_the_runs_own_columns_count_and_tags_of_either(tracking: mlflow.MlflowClient) -> None:
    early = tagged({q: (["early"], {"c": "x"}) if q < "c" else ([], {"c": "y"}) for q in "abcd"})
    late = tagged(
        {q: (["late"], {"c": "x" if q in "ad" else "y"}) if q in "ad" else ([], {"c": "y"}) for q in "abcd"}
    )
    answers = dict.fromkeys("abcd", "yes")
    store_run(tracking, "early", early, {1: answers})
    store_run(tracking, "late", late, {1: {**answers, "a": "no", "d": "no"}})

    found = {each.name: (each.count, each.after) for each in compare(["early", "late"]).slices}
    assert found == {"tag:early": (2, 0.5), "tag:late": (2, 0.0), "c=x": (2, 0.0), "c=y": (2, 1.0)}


def test_samples_of_one_side_and_runs_without_a_common_score_make_no_slices(
    tracking: mlflow.MlflowClient,
) -> None:
    samples = tagged({"a": (["x"], {}), "b": (["x"], {}), "c": ([], {})})
    store_run(tracking, "all", samples, {1: dict.fromkeys("abc", "yes")})
    store_run(tracking, "some", samples, {1: {"a": "yes", "c": "yes"}})
    store_run(tracking, "other", samples, {1: dict.fromkeys("abc", "yes")}, scores=["style"])

    assert [(each.name, each.count) for each in compare(["all", "some"]).slices] == [("tag:x", 1)]
    assert compare(["all", "other"]).slices == ()


@pytest.mark.parametrize("metadata", [None, "no json", "[1]", '{"c": "x"}'])
def test_columns_that_somebody_else_wrote_do_not_stop_a_comparison(metadata: str | None) -> None:
    known = {key: {"metadata": metadata, "tags": None} for key in "ab"}
    run = History("1", "a", "main", (), {}, known, {}, ())

    assert slices("b", run, run, (), "s") == ()


def test_the_worst_regressions_come_first(tracking: mlflow.MlflowClient) -> None:
    samples = tagged({q: ([], {}) for q in "abc"})
    scored(tracking, "old", samples, a=0.5, b=1.0, c=0.9)
    scored(tracking, "new", samples, a=0.4, b=0.1, c=0.5)

    assert [pair.prompt for pair in compare(["old", "new"]).regressions] == ["b", "c", "a"]
    text = invoke("compare", "old", "new", "--limit", "2")
    assert text.index("#1 b") < text.index("#2 c")
    assert "#0 a" not in text


def invoke(*arguments: str, exit_code: int = 0) -> str:
    result = CliRunner(env={"MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(), "COLUMNS": "100"}).invoke(
        main, list(arguments)
    )
    assert result.exit_code == exit_code, result.output
    return result.stdout


@pytest.mark.usefixtures("two")
def test_the_program_shows_the_worst_slices_or_all() -> None:
    worst_only = invoke("compare", "old", "new")
    every = invoke("compare", "old", "new", "--slices")

    rows = [" ".join(line.split()) for line in worst_only.splitlines()]
    assert "tag:hard 3 1.00 0.33 -0.67 fell most, lowest" in rows
    assert "A slice of fewer than 20 samples is a hint, no verdict." in rows
    assert "category=" not in worst_only
    assert "Slices: 3" in every
    assert "category=regular 6 0.83 1.00 +0.17" in [" ".join(line.split()) for line in every.splitlines()]
    assert max(map(len, every.splitlines())) <= 100
    markdown = invoke("compare", "old", "new", "--format", "markdown")
    assert "| tag:hard | new | 3 | 1.00 | 0.33 | -0.67 | fell most, lowest |" in unescape(
        markdown.replace("<code>", "").replace("</code>", "")
    )
    assert "Slices: 3" in invoke("compare", "old", "new", "--format", "markdown", "--slices")
    data = json.loads(invoke("compare", "old", "new", "--format", "json"))
    assert [each["name"] for each in data["slices"]] == ["tag:hard", "category=irregular", "category=regular"]
    table = list(csv.DictReader(io.StringIO(invoke("compare", "old", "new", "--format", "csv", "--slices"))))
    assert [(row["name"], row["count"], row["after"]) for row in table][1] == (
        "category=irregular",
        "4",
        "0.5",
    )
    markup = compare(["old", "new"])._repr_html_()
    assert "<b>Worst slices</b>" in markup
    assert "<summary>Slices: 3</summary>" in markup
    assert invoke("diff", "new", "--from", "1", "--to", "1", exit_code=2) == ""


def test_the_program_says_where_there_are_no_slices(tracking: mlflow.MlflowClient) -> None:
    samples = tagged({q: ([], {}) for q in "abc"})
    for name in ("a", "b"):
        store_run(tracking, name, samples, {1: dict.fromkeys("abc", "yes")})

    assert "Slices: none." in invoke("compare", "a", "b", "--slices")
    assert "Slices: none." in invoke("compare", "a", "b", "--slices", "--format", "markdown")
    assert "lices" not in invoke("compare", "a", "b")


def test_the_names_of_slices_are_shown_not_obeyed(tracking: mlflow.MlflowClient) -> None:
    samples = tagged({f"q{n}": ([HOSTILE] if n < 4 else [], {HOSTILE: HOSTILE}) for n in range(6)})
    store_run(tracking, "a", samples, {1: {sample.prompt: "yes" for sample in samples}})
    store_run(tracking, HOSTILE, samples, {1: {sample.prompt: "no" for sample in samples}})

    for form in ("table", "markdown", "csv", "json"):
        output = invoke("compare", "a", HOSTILE, "--format", form, "--slices")
        assert not {"\x1b", "\u202e"} & set(output)
        assert form != "markdown" or not {"<b>", "@octocat"} & set(output.split())
    markup = compare(["a", HOSTILE])._repr_html_()
    assert "&lt;b&gt;" in markup
    assert "<b>@" not in markup


def test_several_runs_have_slices_of_their_own(tracking: mlflow.MlflowClient) -> None:
    store_run(tracking, "a", VERBS, {1: RIGHT})
    store_run(tracking, "b", VERBS, {1: {**RIGHT, **dict.fromkeys(("i1", "i2", "i3"), "no")}})
    store_run(tracking, "c", VERBS, {1: {**RIGHT, **dict.fromkeys(("r1", "r2", "r3"), "no")}})

    result = compare(["a", "b", "c"])
    assert [(each.slice.run, each.slice.name) for each in result.worst_slices] == [
        ("b", "tag:hard"),
        ("c", "category=regular"),
    ]
    rows = [" ".join(line.split()) for line in invoke("compare", "a", "b", "c").splitlines()]
    assert "category=regular c 6 1.00 0.50 -0.50 fell most, lowest" in rows
