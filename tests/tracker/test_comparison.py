from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from typing import Any

import mlflow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored import question_set, store_run

from timelapse import Prediction, Round, compare
from timelapse.analysis.alignment import change
from timelapse.analysis.comparison_views import COLUMNS
from timelapse.analysis.history import Answer, split_selector
from timelapse.errors import RunError

VERBS = {"go": "went", "be": "was", "sing": "sang", "run": "ran", "eat": "ate"}
RIGHT = dict(VERBS)
SAMPLES = question_set(VERBS)


def wrong(*questions: str, **others: Any) -> dict[str, Any]:
    """All answers right but these."""
    return {**RIGHT, **{question: f"{question}ed" for question in questions}, **others}


@pytest.fixture
def two(tracking: mlflow.MlflowClient) -> tuple[str, str]:
    """`old` has 3 right of 5 at its end, `new` 3: it loses `go`, wins `sing`; its order differs."""
    old = store_run(tracking, "old", SAMPLES, {0: wrong(*VERBS), 10: wrong("sing", "run")})
    reverse = question_set(dict(reversed(VERBS.items())))
    new = store_run(tracking, "new", reverse, {0: wrong(*VERBS), 20: wrong("go", run="runned")})
    return old, new


def questions(pairs: Any) -> list[str]:
    return [pair.prompt for pair in pairs]


def test_samples_are_paired_by_content_not_by_position(two: tuple[str, str]) -> None:
    result = compare(["old", "new"])

    assert result.against == "old"
    assert [(each.label, each.run_id, each.step) for each in result.rounds] == [
        ("old", two[0], 10),
        ("new", two[1], 20),
    ]
    rows = [(pair.prompt, pair.index, pair.before.prediction, pair.after.prediction) for pair in result.pairs]
    assert rows == [
        ("go", 0, "went", "goed"),
        ("be", 1, "was", "was"),
        ("sing", 2, "singed", "sang"),
        ("run", 3, "runed", "runned"),
        ("eat", 4, "ate", "ate"),
    ]  # fmt: skip
    assert [pair.outcome for pair in result.pairs] == ["loss", "tie", "win", "tie", "tie"]
    assert (questions(result.regressions), questions(result.improvements)) == (["go"], ["sing"])
    assert questions(result.disagreements) == ["go", "sing", "run"]
    paired = result.result("new")
    assert paired is not None
    assert (paired.wins, paired.losses, paired.ties, paired.difference, paired.p_value) == (1, 1, 3, 0.0, 1.0)
    assert [(line.run, line.score, line.n, line.mean) for line in result.scoreboard] == [
        ("old", "exact_match", 5, 0.6),
        ("new", "exact_match", 5, 0.6),
    ]
    assert result.result("old") is None


def test_the_other_way_round_wins_are_losses(two: tuple[str, str]) -> None:
    del two
    one, other = compare(["old", "new"]), compare(["old", "new"], against="new")

    assert other.against == "new"
    assert questions(one.regressions) == questions(other.improvements)
    assert questions(one.improvements) == questions(other.regressions)
    assert {pair.sample_id: (pair.before, pair.after) for pair in one.pairs} == {
        pair.sample_id: (pair.after, pair.before) for pair in other.pairs
    }


def test_best_is_the_earliest_round_with_the_highest_mean(tracking: mlflow.MlflowClient) -> None:
    store_run(
        tracking, "a", SAMPLES, {0: wrong("go", "be"), 5: wrong("go"), 10: wrong("be"), 15: wrong(*VERBS)}
    )
    store_run(tracking, "b", SAMPLES, {3: wrong("go")})

    assert [each.step for each in compare(["a", "b"]).rounds] == [5, 3]
    assert [each.step for each in compare(["a", "b"], round="last").rounds] == [15, 3]
    assert [each.step for each in compare(["a@10", "b"], round="last").rounds] == [10, 3]
    assert [each.step for each in compare(["a@first", "b"], round=3).rounds] == [0, 3]
    with pytest.raises(RunError, match=r"Run a \(.*\) has no round at step 3\. There are: 0, 5, 10, 15\."):
        compare(["a", "b"], round=3)
    with pytest.raises(RunError, match="A round is first, best, last or a step"):
        compare(["a", "b"], round="bset")


def test_the_best_round_is_sought_among_finite_scores_of_answers(tracking: mlflow.MlflowClient) -> None:
    ids = [sample.sample_id for sample in SAMPLES]

    def round_of(step: int, *rows: tuple[str, float]) -> Round:
        zipped = zip(ids, rows, strict=False)
        return Round(step, tuple(Prediction(k, "x", status=s, scores={"s": v}) for k, (s, v) in zipped))  # type: ignore[arg-type]

    rounds = [
        round_of(0, ("ok", 0.5), ("ok", math.nan), ("error", 0.0)),
        round_of(1, ("ok", 0.2), ("error", 9.0), ("skipped", 9.0)),
        round_of(2, ("ok", math.inf), ("ok", 0.1)),
    ]
    store_run(tracking, "a", SAMPLES, rounds)
    store_run(tracking, "b", SAMPLES, [round_of(0, ("ok", 0.5))])

    assert [each.step for each in compare(["a", "b"]).rounds] == [0, 0]
    store_run(tracking, "never", SAMPLES, [round_of(0, ("ok", math.nan))])
    with pytest.raises(
        RunError, match=r"No round of run never .* has the score 's': name its rounds by step"
    ):
        compare(["a", "never"])


def test_two_rounds_of_one_run(two: tuple[str, str]) -> None:
    result = compare(["old@0", "old@last"])

    assert [each.label for each in result.rounds] == ["old@0", "old@10"]
    assert {each.run_id for each in result.rounds} == {two[0]}
    assert questions(result.improvements) == ["go", "be", "eat"]
    assert result.likeness[0].alike
    with pytest.raises(
        RunError, match=r"step 10 of run old .* named twice.*RUN@STEP.* its rounds are at 0, 10"
    ):
        compare(["old@best", "old@last"])
    with pytest.raises(RunError, match="needs two runs or more"):
        compare(["old", "old"])
    with pytest.raises(RunError, match="needs two runs or more"):
        compare("old")
    with pytest.raises(RunError, match="needs two runs or more"):
        compare([])


def test_against_may_be_one_of_the_runs_by_another_name_or_a_third(two: tuple[str, str]) -> None:
    def order(**settings: Any) -> list[str]:
        return [each.label for each in compare(["old", "new"], **settings).rounds]

    assert order(against=two[1][:10]) == ["new", "old"]
    assert order(against="new@20") == ["new", "old"]
    assert order(against="new@0") == ["new@0", "old@10", "new@20"]
    assert [each.label for each in compare(["old@0", "old@10"], against="old@last").rounds] == [
        "old@10",
        "old@0",
    ]


def test_only_the_newest_attempt_at_a_step_counts(tracking: mlflow.MlflowClient) -> None:
    store_run(tracking, "resumed", SAMPLES, {(5, 0): wrong(*VERBS), (5, 1): RIGHT, (0, 0): wrong("go")})
    store_run(tracking, "straight", SAMPLES, {5: RIGHT})

    result = compare(["resumed", "straight"], round=5)
    assert result.scoreboard[0].mean == 1.0
    assert result.regressions == result.improvements == ()


def test_a_failed_answer_loses_and_is_shown(tracking: mlflow.MlflowClient) -> None:
    boom = RuntimeError("out of memory")
    store_run(tracking, "a", SAMPLES, {1: {"go": "went", "be": boom, "sing": "x", "run": boom, "eat": "ate"}})
    store_run(tracking, "b", SAMPLES, {1: {"go": boom, "be": "was", "sing": boom, "run": boom, "eat": None}})

    result = compare(["a", "b"])
    assert [pair.outcome for pair in result.pairs] == ["loss", "win", "loss", None, None]
    assert [pair.difference for pair in result.pairs] == [None] * 5
    assert [(line.n, line.unscored, line.mean) for line in result.scoreboard] == [
        (3, 2, 0.666666666667),
        (1, 4, 1.0),
    ]
    assert [(each.answers, each.failed, each.skipped) for each in result.rounds] == [(5, 2, 0), (5, 3, 1)]
    paired = result.result("b")
    assert paired is not None
    assert (paired.wins, paired.losses, paired.ties, paired.failed, paired.recovered) == (1, 2, 0, 2, 1)
    assert paired.difference is None
    assert "2 failed" in str(result)


def test_nan_scores_and_samples_without_reference_are_counted_not_compared(
    tracking: mlflow.MlflowClient,
) -> None:
    samples = question_set({"go": "went", "free": None, "be": "was", "sing": "sang"})
    ids = [sample.sample_id for sample in samples]

    def round_of(*values: float | None) -> Round:
        rows = zip(ids, values, strict=True)
        return Round(1, tuple(Prediction(key, "x", scores={} if v is None else {"s": v}) for key, v in rows))

    store_run(tracking, "a", samples, [round_of(0.5, None, math.nan, 0.1)])
    store_run(tracking, "b", samples, [round_of(0.75, None, 1.0, math.inf)])

    result = compare(["a", "b"])
    assert result.score == "s"
    assert [pair.outcome for pair in result.pairs] == ["win", None, None, None]
    assert [(line.n, line.unscored, line.mean) for line in result.scoreboard] == [(2, 2, 0.3), (2, 2, 0.875)]
    assert [pair.difference for pair in result.pairs] == [0.25, None, None, None]


def test_several_answers_to_a_sample_are_aligned_one_by_one_and_count_as_one_sample(
    tracking: mlflow.MlflowClient,
) -> None:
    samples = question_set({"go": "went", "be": "was", "eat": "ate"})
    draws_a = {"go": ["went", "x", "x"], "be": ["was", "was", "x"], "eat": ["ate", "x", "ate"]}
    draws_b = {"go": ["x", "went", "went"], "be": ["x", "was", "x"], "eat": ["x", "ate", "ate"]}
    store_run(tracking, "a", samples, {1: draws_a})
    store_run(tracking, "b", samples, {1: draws_b})

    result = compare(["a", "b"])
    assert [(pair.prompt, pair.generation, pair.outcome) for pair in result.pairs] == [
        ("go", 0, "loss"), ("go", 1, "win"), ("go", 2, "win"),
        ("be", 0, "loss"), ("be", 1, "tie"), ("be", 2, "tie"),
        ("eat", 0, "loss"), ("eat", 1, "win"), ("eat", 2, "tie"),
    ]  # fmt: skip
    paired = result.result("b")
    assert paired is not None
    assert (paired.wins, paired.losses, paired.ties) == (1, 1, 1)
    assert paired.difference == pytest.approx(0.0)
    assert result.scoreboard[0].n == 9


def test_like_for_like_says_exactly_what_differs(tracking: mlflow.MlflowClient) -> None:
    other = question_set({**VERBS, "be": "were", "new one": "yes", "another": None})
    settings_b = {
        "decoding": {"max_new_tokens": 128, "do_sample": False},
        "chat_template": None,
        "packages": {"mlflow": mlflow.__version__, "torch": "2.13.0"},
    }
    store_run(tracking, "a", question_set({**VERBS, "mine": "x"}), {1: {**RIGHT, "mine": "x"}})
    store_run(tracking, "b", other, {1: {**RIGHT, "new one": "yes", "another": "z"}}, manifest=settings_b)

    result = compare(["a", "b"])
    [report] = result.likeness
    assert not report.alike
    assert report.shared == 5
    assert [sample.prompt for sample in report.only_against] == ["mine"]
    assert [sample.prompt for sample in report.only_run] == ["new one", "another"]
    assert [(each.against, each.run) for each in report.references] == [("'was'", "'were'")]
    names = [str(each) for each in report.settings if each.name != "sample_set"]
    assert names == [
        "chat_template: 0123456789abcdef / none",
        "decoding.do_sample: none / false",
        "decoding.max_new_tokens: 64 / 128",
    ]
    assert [str(each) for each in report.packages] == ["torch: none / 2.13.0"]
    assert report.unknown == ()
    assert [pair.outcome for pair in result.pairs if not pair.shared] == [None] * 3
    text = str(result)
    assert "samples only in against: 1 ('mine')" in text
    assert "samples only in the run: 2 ('new one'; 'another')" in text
    assert "'was' / 'were'" in text


def test_a_manifest_that_is_not_there_is_said_not_guessed(tracking: mlflow.MlflowClient) -> None:
    nothing: dict[str, Any] = {"decoding": {}, "sample_sets": {}}
    store_run(tracking, "a", SAMPLES, {1: RIGHT}, manifest=nothing)
    store_run(tracking, "b", SAMPLES, {1: RIGHT}, manifest=nothing)

    report = compare(["a", "b"]).likeness[0]
    assert {"decoding", "sample set"} <= set(report.unknown)
    assert "not recorded, so not compared:" in report.sentences()[-1]


def test_the_number_of_draws_is_part_of_like_for_like(tracking: mlflow.MlflowClient) -> None:
    samples = question_set({"go": "went"})
    store_run(tracking, "a", samples, {1: {"go": ["went"]}})
    store_run(tracking, "b", samples, {1: {"go": ["went", "x"]}})

    result = compare(["a", "b"])
    assert "answers per sample: 1 / 2" in result.likeness[0].sentences()
    assert (result.likeness[0].only_run, result.likeness[0].shared) == ((), 1)


def test_an_unknown_score_lists_those_there_are(tracking: mlflow.MlflowClient) -> None:
    store_run(tracking, "a", SAMPLES, {1: RIGHT}, scores=["zeal", "brevity", "exact_match"])
    store_run(tracking, "b", SAMPLES, {1: RIGHT}, scores=["zeal", "brevity"])

    with pytest.raises(RunError, match=r"'style' is not in run a .*, b .*in every run are: brevity, zeal"):
        compare(["a", "b"], score="style")
    with pytest.raises(RunError, match=r"'exact_match' is not in run b .*in every run are: brevity, zeal"):
        compare(["a", "b"], score="exact_match")
    assert compare(["a", "b"]).score == "brevity"
    result = compare(["a", "b"], score="zeal")
    assert [line.score for line in result.scoreboard] == ["zeal"] * 2 + ["brevity"] * 2 + ["exact_match"] * 2
    assert [line.mean for line in result.scoreboard][-2:] == [1.0, None]


def test_without_a_common_score_only_texts_are_compared(tracking: mlflow.MlflowClient) -> None:
    store_run(tracking, "a", SAMPLES, {1: RIGHT, 2: wrong("go")}, scores=["this"])
    store_run(tracking, "b", SAMPLES, {2: RIGHT}, scores=["that"])

    result = compare(["a", "b"])
    assert (result.score, result.rounds[0].step) == (None, 2)
    assert result.notes == (
        "the runs have no score in common: only texts are compared",
        "without a common score there is no best round: the last one stands in for it",
    )
    assert {pair.outcome for pair in result.pairs} == {None}
    assert questions(result.disagreements) == ["go"]
    assert result.result("b") is None
    assert "answers that differ: 1 of 5" in str(result)


def test_runs_with_other_samples_have_nothing_in_common(tracking: mlflow.MlflowClient) -> None:
    store_run(tracking, "a", SAMPLES, {1: RIGHT})
    store_run(tracking, "b", question_set({"see": "saw"}), {1: {"see": "saw"}})

    result = compare(["a", "b"])
    assert result.likeness[0].shared == 0
    assert result.result("b").compared == 0  # type: ignore[union-attr]  # there is one
    assert len(result.pairs) == 6


def test_a_sample_set_is_named_where_there_are_several(tracking: mlflow.MlflowClient) -> None:
    probe = question_set({"see": "saw"}, name="probe")
    store_run(tracking, "a", SAMPLES, {1: RIGHT})
    store_run(tracking, "b", probe, {1: {"see": "saw"}})
    store_run(tracking, "c", probe, {1: {"see": "seed"}})

    assert compare(["b", "c"]).set_name == "probe"
    assert questions(compare(["b", "c"], set_name="probe").regressions) == ["see"]
    with pytest.raises(RunError, match=r"Run b .* has no sample set 'main'\. There are: probe"):
        compare(["a", "b"])


def test_runs_that_hold_nothing_say_so(tracking: mlflow.MlflowClient) -> None:
    store_run(tracking, "a", SAMPLES, {1: RIGHT})
    store_run(tracking, "waiting", SAMPLES, {})
    empty = tracking.create_run("0", run_name="empty", tags={"timelapse.schema": "1"}).info.run_id

    with pytest.raises(RunError, match=r"waiting .* holds no rounds of sample set 'main'"):
        compare(["a", "waiting"])
    with pytest.raises(RunError, match=r"empty .* holds no predictions"):
        compare(["a", empty])
    with pytest.raises(RunError, match="No run with predictions"):
        compare(["a", "nobody"])


def test_damaged_files_are_in_the_notes(tracking: mlflow.MlflowClient, tmp_path: Any) -> None:
    broken = store_run(tracking, "a", SAMPLES, {1: RIGHT})
    store_run(tracking, "b", SAMPLES, {1: RIGHT})
    (tmp_path / "round-00000002.parquet").write_bytes(b"no parquet")
    tracking.log_artifact(broken, str(tmp_path / "round-00000002.parquet"), "timelapse")

    notes = compare(["a", "b"]).notes
    assert len(notes) == 1
    assert "round-00000002.parquet cannot be read" in notes[0]


def test_rows_that_repeat_a_sample_are_in_the_notes(tracking: mlflow.MlflowClient) -> None:
    key = SAMPLES[0].sample_id
    twice = Round(1, (Prediction(key, "first"), Prediction(key, "second")))
    store_run(tracking, "a", SAMPLES, [twice])
    store_run(tracking, "b", SAMPLES, {1: RIGHT}, scores=[])

    result = compare(["a", "b"])
    assert "1 rows repeat a sample; the last one counts" in result.notes[-1]
    assert result.pairs[0].before.prediction == "second"


def test_runs_of_one_name_are_told_apart(tracking: mlflow.MlflowClient) -> None:
    first = store_run(tracking, "same", SAMPLES, {1: RIGHT})
    second = store_run(tracking, "same", SAMPLES, {1: wrong("go"), 2: wrong("be")})

    assert [each.label for each in compare([first, second], round="last").rounds] == ["same@1", "same@2"]
    labels = [each.label for each in compare([first, second], round=1).rounds]
    assert labels == [f"same@1 ({first})", f"same@1 ({second})"]


def test_the_frame_has_a_row_a_sample_and_run_with_stable_types(two: tuple[str, str]) -> None:
    old, new = two
    third = ["old", "new", "old@0"]
    frame = compare(third).to_pandas()

    assert frame.dtypes.astype(str).to_dict() == dict(COLUMNS)
    assert len(frame) == 10
    assert frame["run"].unique().tolist() == ["new@20", "old@0"]
    row = frame[(frame["run"] == "new@20") & (frame["prompt"] == "go")].iloc[0]
    assert row[["prediction_against", "prediction", "reference", "outcome"]].tolist() == [
        "went",
        "goed",
        "went",
        "loss",
    ]
    assert row[["score_against", "score", "difference"]].tolist() == [1.0, 0.0, -1.0]
    assert (row["against_run_id"], row["run_id"], row["step"]) == (old, new, 20)
    empty = compare(["old@0", "new@0"], score=None).to_pandas().iloc[:0]
    assert empty.dtypes.astype(str).to_dict() == dict(COLUMNS)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open.append(tag)
        assert not any(name.startswith("on") or name in ("src", "href") for name, _ in attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_notebook_view_is_escaped_and_without_scripts(tracking: mlflow.MlflowClient) -> None:
    evil = "<script>alert(1)</script> & <img src=x onerror=y>"
    samples = question_set({f"{evil} {n}": "yes" for n in range(25)})
    store_run(tracking, "a", samples, {1: dict.fromkeys((s.prompt for s in samples), "yes")})
    store_run(tracking, evil, samples, {1: dict.fromkeys((s.prompt for s in samples), f"no {evil}")})
    markup = compare(["a", evil])._repr_html_()

    parser = _Tags()
    parser.feed(markup)
    assert parser.open == []
    assert {"script", "img"} & set(parser.tags) == set()
    assert "&lt;script&gt;" in markup
    assert "Regressions: 25" in markup
    assert "and 5 more: to_pandas() has them all" in markup
    assert re.search(r"<del>yes</del><ins>no ", markup)


def test_the_words_of_a_comparison(two: tuple[str, str]) -> None:
    del two
    result = compare(["old@0", "new@20"])

    assert repr(result) == "<Comparison of new against old: exact_match>"
    lines = str(result).splitlines()
    assert lines[0] == "exact_match, sample set 'main', against old"
    assert lines[1] == "  old: step 0, mean 0.00 (n 5)"
    assert lines[2].startswith(
        "  new: step 20, mean 0.60 (n 5); 3 wins, 0 losses, 2 ties; difference +0.60 ["
    )
    assert lines[2].endswith("; p = 0.25")


def test_a_selector_ends_in_a_round_only_where_that_is_one() -> None:
    assert split_selector("fox@120") == ("fox", "120")
    assert split_selector("me@home@last") == ("me@home", "last")
    assert split_selector("me@home") == ("me@home", None)
    assert split_selector("@5") == ("@5", None)


def test_the_tracking_uri_and_the_seed_are_the_callers(two: tuple[str, str]) -> None:
    before = mlflow.get_tracking_uri()
    seeded = [compare(["old@0", "new@20"], tracking_uri=before, seed=seed).result("new") for seed in (1, 1)]

    assert seeded[0] == seeded[1]
    assert mlflow.get_tracking_uri() == before
    with pytest.raises(RunError, match="no experiment 'chess'"):
        compare(list(two), experiment="chess")


answers = st.builds(
    Answer,
    status=st.sampled_from(["ok", "error", "skipped", "missing"]),
    scores=st.dictionaries(st.sampled_from(["s", "t"]), st.floats(-2, 2) | st.just(math.nan)),
)


@given(answers, answers)
@settings(max_examples=200)
def test_a_change_turned_round_has_the_opposite_sign(before: Answer, after: Answer) -> None:
    there, back = change(before, after, "s"), change(after, before, "s")

    assert (there is None) == (back is None)
    if there is not None and back is not None:
        assert there.sign == -back.sign
    if before.score("s") is not None:
        assert change(before, before, "s").sign == 0  # type: ignore[union-attr]  # it has the score
