"""Scores against brute-force oracles; numbers of a round against counting by hand."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timelapse.analysis.learning import Right
from timelapse.errors import ConfigError
from timelapse.rounds import Prediction, Round, round_from_table, round_table
from timelapse.samples import Sample, SampleSet
from timelapse.scoring.builtin import SCORERS
from timelapse.scoring.engine import Judges, Question, bounded, judge, revived_judges
from timelapse.scoring.scorer import make_scorers
from timelapse.scoring.scorers import edit_similarity, exact_match, normalise
from timelapse.scoring.validators import make_validators, spec_of
from timelapse.writing.metrics import round_metrics


def levenshtein(a: str, b: str) -> int:
    """Return the textbook dynamic programme's distance."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (left != right))
    return row[-1]


@given(st.text(max_size=30), st.text(max_size=30))
def test_edit_similarity_is_one_minus_the_relative_distance(prediction: str, reference: str) -> None:
    a, b = normalise(prediction), normalise(reference)
    expected = 1.0 if not a and not b else 1 - levenshtein(a, b) / max(len(a), len(b))
    assert edit_similarity(prediction, reference) == pytest.approx(expected)


@given(st.text())
def test_a_text_matches_itself_and_its_variants_in_white_space(text: str) -> None:
    assert exact_match(text, text) == 1.0
    assert exact_match(f"  {text}\n", text) == 1.0


def test_exact_match_minds_case_and_letters_but_not_unicode_form() -> None:
    assert exact_match("Went", "went") == 0.0
    assert exact_match("u\u0308ber", "\u00fcber") == 1.0
    assert exact_match("went,  gone", "went, gone") == 1.0
    assert exact_match("went, gone.", "went, gone") == 0.0


def samples_and_round() -> tuple[SampleSet, Round]:
    samples = SampleSet(
        tuple(
            Sample(({"role": "user", "content": question},), reference=reference)
            for question, reference in [("a", "A"), ("b", "B"), ("c", None), ("d", "D"), ("e", "E")]
        )
    )
    ids = [sample.sample_id for sample in samples]
    rows = (
        Prediction(ids[0], "A", finish_reason="stop", prediction_tokens=1),
        Prediction(ids[1], "x", finish_reason="length", prediction_tokens=4),
        Prediction(ids[2], "whatever", finish_reason="stop", prediction_tokens=2),
        Prediction(ids[3], status="error", error="ValueError: no", finish_reason="error"),
        Prediction(ids[4], " ", finish_reason="stop", prediction_tokens=1),
    )
    return samples, Round(3, rows, seconds=2.0)


def questions(samples: SampleSet) -> dict[str, Question]:
    return {sample.sample_id: Question(sample.prompt, sample.reference) for sample in samples}


def judges(*scorers: object, validators: Sequence[object] = ()) -> Judges:
    return Judges(make_scorers(scorers), make_validators(validators))  # type: ignore[arg-type]


def test_a_scorer_that_fails_marks_its_cells_and_spares_the_others() -> None:
    def broken(prediction: str, reference: str) -> float:
        raise ZeroDivisionError(prediction)

    samples, round_ = samples_and_round()
    scored, problems = judge(round_, questions(samples), judges(broken, "exact_match"))
    assert math.isnan(scored.predictions[0].scores["broken"])
    assert scored.predictions[0].scores["exact_match"] == 1.0
    assert problems == ["the scorer 'broken' failed: ZeroDivisionError: A"]
    assert "broken" not in round_metrics(scored)


def test_rows_without_answer_or_reference_are_not_scored() -> None:
    samples, round_ = samples_and_round()
    scored, problems = judge(round_, questions(samples), judges("exact_match", "edit_similarity"))
    assert not problems
    assert [dict(row.scores) for row in scored.predictions] == [
        {"exact_match": 1.0, "edit_similarity": 1.0},
        {"exact_match": 0.0, "edit_similarity": 0.0},
        {},
        {},
        {"exact_match": 0.0, "edit_similarity": 0.0},
    ]
    assert [row.flags for row in scored.predictions] == [(), ("truncated",), (), (), ("empty",)]


def test_a_scorer_gets_what_it_names_and_may_do_without_reference() -> None:
    def asked(prompt: str, prediction: str) -> dict[str, float]:
        return {"prompt": len(prompt), "prediction": len(prediction)}

    def with_default(prediction: str, reference: str = "none") -> bool:
        return reference == "none"

    samples, round_ = samples_and_round()
    scored, problems = judge(round_, questions(samples), judges(asked, with_default, len))
    assert not problems
    assert dict(scored.predictions[2].scores) == {
        "asked_prompt": 1.0,
        "asked_prediction": 8.0,
        "with_default": 1.0,
        "len": 8.0,
    }


def test_a_scorer_that_returns_no_number_is_reported_once() -> None:
    samples, round_ = samples_and_round()
    scored, problems = judge(
        round_, questions(samples), judges(str.upper, {"numeric_match": {"name": "near", "relative": 0.5}})
    )
    assert problems == ["the scorer 'upper' failed: ScorerError: it returned the text 'A'; expected a number"]
    assert scored.predictions[0].scores["near"] == 0.0


def test_a_scorer_stops_when_its_time_is_spent() -> None:
    def slow(prediction: str) -> float:
        time.sleep(0.05)
        return 1.0

    samples, round_ = samples_and_round()
    [scorer] = make_scorers([slow]).values()
    made = Judges({"slow": replace(scorer, budget=0.04)}, {})
    scored, problems = judge(round_, questions(samples), made)
    assert [dict(row.scores) for row in scored.predictions if row.status == "ok"] == (
        [{"slow": 1.0}] + [{}] * 3
    )
    assert problems == ["the scorer 'slow' failed: its 0.04 s are spent; the other rows lack it"]


def test_a_long_answer_is_scored_by_its_beginning_and_says_so() -> None:
    sample = Sample(({"role": "user", "content": "a"},), reference="x" * 30_000)
    rows = (Prediction(sample.sample_id, "x" * 20_000 + "y" * 80_000),)
    scored, problems = judge(Round(1, rows), questions(SampleSet((sample,))), judges("edit_similarity"))
    assert not problems
    assert scored.predictions[0].scores["edit_similarity"] == 1.0
    assert scored.predictions[0].flags == ("scored_prefix",)
    assert bounded("ü" * 10_000) == ("ü" * 10_000, False)
    assert bounded("ü" * 10_001) == ("ü" * 10_000, True)


@pytest.mark.parametrize("name", SCORERS)
@pytest.mark.parametrize(
    "text", ["", " ", "\ud800\udfff", "漢字かな交じり文", "مرحبا بالعالم", "a" * 100_000, "[" * 100_000]
)
def test_no_text_makes_a_built_in_scorer_fail(name: str, text: str) -> None:
    sample = Sample(({"role": "user", "content": "a"},), reference="42 (b) {}")
    rows = (Prediction(sample.sample_id, text),)
    scored, problems = judge(Round(1, rows), questions(SampleSet((sample,))), judges(name))
    assert not problems
    [(scored_name, value)] = scored.predictions[0].scores.items()
    assert scored_name == name
    low, high = SCORERS[name].low, SCORERS[name].high
    assert low is not None
    assert low <= value <= (high if high is not None else math.inf)


def test_validators_mark_rows_and_make_rates() -> None:
    samples, round_ = samples_and_round()
    rows = tuple(
        replace(row, prediction='{"a": 1}') if row.prediction == "A" else row for row in round_.predictions
    )
    made = judges(validators=["json", {"regex": {"pattern": "a", "name": "has_a"}}])
    judged, _problems = judge(replace(round_, predictions=rows), questions(samples), made)
    assert [[each.passed for each in row.validations] for row in judged.predictions] == [
        [True, True],
        [False, False],
        [False, True],
        [],
        [False, False],
    ]
    metrics = round_metrics(judged)
    assert (metrics["valid_rate"], metrics["valid_rate_json"], metrics["valid_rate_has_a"]) == (
        0.25,
        0.25,
        0.5,
    )
    table = round_table(judged)
    assert round_from_table(table, 2.0) == judged


def test_another_process_judges_in_the_same_way() -> None:
    made = judges(
        {"numeric_match": {"relative": 0.1}},
        {"regex_match": {"pattern": "b+", "name": "bees"}},
        validators=[{"json_schema": {"schema": {"type": "object"}}}],
    )
    specs = json.loads(
        json.dumps(
            [
                {name: each.spec for name, each in made.scorers.items()},
                [spec_of(each) for each in made.validators.values()],
            ]
        )
    )
    again = revived_judges(*specs)
    assert again.scorers["numeric_match"].score("41", "42", None) == {"numeric_match": 1.0}
    assert again.scorers["bees"].score("abb", "", None) == {"bees": 1.0}
    assert (
        again.validators["json_schema"].validate("3").errors
        == made.validators["json_schema"].validate("3").errors
    )


def test_judges_that_are_gone_mark_their_cells() -> None:
    samples, round_ = samples_and_round()
    gone = revived_judges({"mine": "no_such_module:score"}, ["no_such_module:check"])
    judged, problems = judge(round_, questions(samples), gone)
    assert math.isnan(judged.predictions[0].scores["mine"])
    assert len(problems) == 2
    assert all("no_such_module" in problem for problem in problems)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("exactmatch", r"'exactmatch' is not known\. Did you mean 'exact_match'\?"),
        ({"exact_match": {"case": 1}}, "has no option 'case'; it has none but name and seconds"),
        ({"choice_match": {"choices": ""}}, "'choice_match' does not take these options"),
        ("no_such_module:score", "'no_such_module:score' cannot be imported: ModuleNotFoundError"),
        ("math:tau", "'math:tau' is no function, but float"),
        ("operator:lt_", "cannot be imported: there is no 'lt_' in operator"),
        (lambda a, b, c: 1.0, r"takes \(a, b, c\)\. Expected prediction, reference or prompt"),
        ({"exact_match": {"seconds": -1}}, "has seconds: -1. Expected a number above 0"),
        (5, "'5' is no scorer. Expected a name such as exact_match"),
    ],
)
def test_a_wrong_scorer_is_an_error_before_the_training(spec: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_scorers([spec])


def test_two_scorers_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="Two scorers have the name 'exact_match'"):
        make_scorers(["exact_match", "exact_match"])


def test_mlflows_scorers_are_scorers() -> None:
    from mlflow.genai.scorers import Correctness, RegexMatch, scorer

    @scorer
    def shouts(outputs: str) -> bool:
        return outputs.isupper()

    @scorer
    def same(outputs: str, expectations: dict[str, str]) -> bool:
        return outputs == expectations["expected_response"]

    samples, round_ = samples_and_round()
    judged, problems = judge(round_, questions(samples), judges(shouts, same, RegexMatch(pattern="^w")))
    assert not problems
    assert dict(judged.predictions[0].scores) == {"shouts": 1.0, "same": 1.0, "regex_match": 0.0}
    assert dict(judged.predictions[2].scores) == {"shouts": 0.0, "regex_match": 1.0}
    by_path = make_scorers([{"mlflow.genai.scorers:ResponseLength": {"max_length": 3}}])["response_length"]
    assert by_path.score("four", None, None) == {"response_length": 0.0}
    [costly] = make_scorers([Correctness(model="openai:/gpt-4o-mini")]).values()
    assert costly.needs_reference
    assert costly.note is not None
    assert "asks a language model about every answer" in costly.note


def test_the_numbers_of_a_round_are_those_counted_by_hand() -> None:
    samples, round_ = samples_and_round()
    made = judges("exact_match", "edit_similarity")
    metrics = round_metrics(judge(round_, questions(samples), made)[0], right=made.deciding())
    assert metrics == {
        "exact_match": pytest.approx(1 / 3),
        "edit_similarity": pytest.approx(1 / 3),
        "error_rate": 1 / 5,
        "truncated_rate": 1 / 4,
        "empty_rate": 1 / 4,
        "loop_rate": 0.0,
        "echo_rate": 0.0,
        "length_drift_rate": 0.0,
        "script_switch_rate": 0.0,
        "right": 1.0,
        "seconds": 2.0,
        "tokens_per_second": 4.0,
    }


def test_learned_and_forgotten_are_counted_against_the_round_before() -> None:
    def round_of(step: int, *values: float | None) -> Round:
        rows = [
            Prediction(f"s{place}", f"{value}", scores={} if value is None else {"exact_match": value})
            for place, value in enumerate(values)
        ]
        return Round(step, tuple(rows))

    right = Right("exact_match", 1.0)
    before, after = round_of(1, 0, 0, 1, 1, None), round_of(2, 1, 1, 0, 1, 1)
    metrics = round_metrics(after, before, right)
    assert [metrics[name] for name in ("right", "learned", "forgotten", "net")] == [4.0, 2.0, 1.0, 1.0]
    assert metrics["churn"] == 4 / 5
    assert metrics["edit_distance"] == pytest.approx((1 + 1 + 1 + 0 + 1) / 5)
    assert "learned" not in round_metrics(after, None, right)


def test_churn_counts_changed_texts_among_rows_answered_in_both_rounds() -> None:
    _samples, before = samples_and_round()
    changed = {"A": "A2", "x": "x"}
    rows = tuple(
        Prediction(row.sample_id, changed.get(row.prediction or "", row.prediction), status=row.status)
        for row in before.predictions
    )
    assert round_metrics(Round(4, rows), before)["churn"] == 1 / 4
    assert "churn" not in round_metrics(before)
