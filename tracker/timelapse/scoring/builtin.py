"""The built-in scorers by name; what each computes is told where it is defined."""

from __future__ import annotations

from collections.abc import Mapping

from timelapse.scoring import matches, texts
from timelapse.scoring.scorer import ScoreFunction, Scorer
from timelapse.scoring.scorers import edit_similarity, exact_match


def _score(function: ScoreFunction, *, high: float | None = 1.0, right: float | None = None) -> Scorer:
    name = function.__name__
    return Scorer(name, function, name, low=0.0, high=high, right=right)


SCORERS: Mapping[str, Scorer] = {
    scorer.name: scorer
    for scorer in (
        _score(exact_match, right=1.0),
        _score(edit_similarity, right=1.0),
        _score(texts.token_f1, right=1.0),
        _score(texts.token_precision),
        _score(texts.token_recall),
        _score(texts.rouge_l),
        _score(texts.chrf),
        _score(texts.bleu),
        _score(texts.length_ratio, high=None),
        _score(matches.contains, right=1.0),
        _score(matches.regex_match, right=1.0),
        _score(matches.numeric_match, right=1.0),
        _score(matches.choice_match, right=1.0),
        _score(matches.json_equal, right=1.0),
        _score(matches.tool_call_match, right=1.0),
    )
}
"""The built-in scorers, each with its range and what counts as right."""
