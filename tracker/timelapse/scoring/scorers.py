"""The built-in scores: named numbers on a prediction, against its reference."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from timelapse.errors import ConfigError

if TYPE_CHECKING:
    from timelapse.rounds import Prediction, Round
    from timelapse.samples import SampleSet

Scorer = Callable[[str, str], float]
"""A function of (prediction, reference) that returns a number."""


def normalise(text: str) -> str:
    """Return text for comparison: Unicode NFC, runs of white space as one space, none at the ends.

    Case and punctuation are kept: they are part of an answer.
    """
    return " ".join(unicodedata.normalize("NFC", text).split())


def exact_match(prediction: str, reference: str) -> float:
    """Return 1.0 if prediction and reference are the same after `normalise`, else 0.0."""
    return float(normalise(prediction) == normalise(reference))


def edit_similarity(prediction: str, reference: str) -> float:
    """Return 1 - Levenshtein distance / length of the longer text, over characters after `normalise`.

    Range 0..1, 1.0 for equal texts (two empty ones too). Source: Levenshtein (1966), as computed by
    rapidfuzz.
    """
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.normalized_similarity(normalise(prediction), normalise(reference))


SCORERS: Mapping[str, Scorer] = {scorer.__name__: scorer for scorer in (exact_match, edit_similarity)}
"""The built-in scorers by name."""


def scorers_named(names: Iterable[str]) -> dict[str, Scorer]:
    """Return the built-in scorers of these names; an unknown one is a `ConfigError` that lists them."""
    names = list(names)
    unknown = [name for name in names if name not in SCORERS]
    if unknown:
        raise ConfigError(
            f"predictions.scorers: {', '.join(unknown)} not known; the scorers are {', '.join(SCORERS)}."
        )
    return {name: SCORERS[name] for name in names}


def score_round(round_: Round, samples: SampleSet, scorers: Mapping[str, Scorer]) -> Round:
    """Return the round with its scores: a row that failed or has no reference gets none."""
    references = {sample.sample_id: sample.reference for sample in samples}

    def scored(row: Prediction) -> Prediction:
        reference = references.get(row.sample_id)
        if row.status != "ok" or row.prediction is None or reference is None:
            return row
        scores = {name: scorer(row.prediction, reference) for name, scorer in scorers.items()}
        return replace(row, scores={**row.scores, **scores})

    return replace(round_, predictions=tuple(scored(row) for row in round_.predictions))
