"""Scores against brute-force oracles; numbers of a round against counting by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timelapse.errors import ConfigError, ScorerError
from timelapse.rounds import Prediction, Round
from timelapse.samples import Sample, SampleSet
from timelapse.scoring.scorers import (
    SCORERS,
    edit_similarity,
    exact_match,
    normalise,
    score_round,
    scorer_at,
    scorer_path,
    scorers_named,
)
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


def test_unknown_scorers_are_named() -> None:
    with pytest.raises(ConfigError, match="bleurt not known; the scorers are exact_match, edit_similarity"):
        scorers_named(["exact_match", "bleurt"])


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


def references(samples: SampleSet) -> dict[str, str | None]:
    return {sample.sample_id: sample.reference for sample in samples}


def test_a_scorer_that_fails_marks_its_cells_and_spares_the_others() -> None:
    def broken(prediction: str, reference: str) -> float:
        raise ZeroDivisionError(prediction)

    samples, round_ = samples_and_round()
    scored, problems = score_round(round_, references(samples), {"broken": broken, **SCORERS})
    assert math.isnan(scored.predictions[0].scores["broken"])
    assert scored.predictions[0].scores["exact_match"] == 1.0
    assert problems == ["the scorer 'broken' failed: ZeroDivisionError: A"]
    assert "broken" not in round_metrics(scored)


def test_a_scorer_is_found_again_by_its_path_and_marks_its_cells_where_it_is_not() -> None:
    assert scorer_at(scorer_path(SCORERS["exact_match"])) is SCORERS["exact_match"]
    gone = scorer_at("no_such_module:score")
    with pytest.raises(ScorerError, match="no_such_module:score cannot be imported here"):
        gone("a", "b")


def test_rows_without_answer_or_reference_are_not_scored() -> None:
    samples, round_ = samples_and_round()
    scored, problems = score_round(round_, references(samples), SCORERS)
    assert not problems
    assert [dict(row.scores) for row in scored.predictions] == [
        {"exact_match": 1.0, "edit_similarity": 1.0},
        {"exact_match": 0.0, "edit_similarity": 0.0},
        {},
        {},
        {"exact_match": 0.0, "edit_similarity": 0.0},
    ]


def test_the_numbers_of_a_round_are_those_counted_by_hand() -> None:
    samples, round_ = samples_and_round()
    metrics = round_metrics(score_round(round_, references(samples), SCORERS)[0])
    assert metrics == {
        "exact_match": pytest.approx(1 / 3),
        "edit_similarity": pytest.approx(1 / 3),
        "error_rate": 1 / 5,
        "truncated_rate": 1 / 4,
        "empty_rate": 1 / 4,
        "seconds": 2.0,
        "tokens_per_second": 4.0,
    }


def test_churn_counts_changed_texts_among_rows_answered_in_both_rounds() -> None:
    _samples, before = samples_and_round()
    changed = {"A": "A2", "x": "x"}
    rows = tuple(
        Prediction(row.sample_id, changed.get(row.prediction or "", row.prediction), status=row.status)
        for row in before.predictions
    )
    assert round_metrics(Round(4, rows), before)["churn"] == 1 / 4
    assert "churn" not in round_metrics(before)
