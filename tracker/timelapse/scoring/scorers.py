"""The built-in scores: named numbers on a prediction, against its reference."""

from __future__ import annotations

import importlib
import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from timelapse.errors import ConfigError, ScorerError
from timelapse.fence import attempt, describe

if TYPE_CHECKING:
    from timelapse.rounds import Prediction, Round

Scorer = Callable[[str, str], float]
"""A function of (prediction, reference) that returns a number."""


@lru_cache(maxsize=4096)  # every scorer asks for the same texts
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


def score_round(
    round_: Round, references: Mapping[str, str | None], scorers: Mapping[str, Scorer]
) -> tuple[Round, list[str]]:
    """Return the round with its scores, and a sentence for each scorer that failed.

    A row that failed or has no reference (`references` by sample id) gets no score. A scorer that raises
    leaves NaN in that cell.
    """
    problems: dict[str, str] = {}

    def value(name: str, prediction: str, reference: str) -> float:
        number, error = attempt(partial(_number, scorers[name], prediction, reference))
        if number is None:
            assert error is not None
            problems.setdefault(name, f"the scorer '{name}' failed: {describe(error)}")
            return math.nan
        return number

    def scored(row: Prediction) -> Prediction:
        reference = references.get(row.sample_id)
        if row.status != "ok" or row.prediction is None or reference is None:
            return row
        scores = {name: value(name, row.prediction, reference) for name in scorers}
        return replace(row, scores={**scores, **row.scores})  # what came with the answer is kept

    predictions = tuple(scored(row) for row in round_.predictions)
    return replace(round_, predictions=predictions), list(problems.values())


def _number(scorer: Scorer, prediction: str, reference: str) -> float:
    return float(scorer(prediction, reference))


def scorer_path(scorer: Scorer) -> str:
    """Return where a scorer can be imported from: `module:function`."""
    return f"{scorer.__module__}:{getattr(scorer, '__qualname__', type(scorer).__qualname__)}"


def scorer_at(path: str) -> Scorer:
    """Return the scorer that `scorer_path` names; one that cannot be imported raises when it is called."""
    module, _, name = path.partition(":")

    def find() -> Scorer:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        if not callable(found):
            raise TypeError(f"{path} is no function")
        return found  # type: ignore[no-any-return]

    found, error = attempt(find)
    if found is not None:
        return found

    def unavailable(_prediction: str, _reference: str) -> float:
        raise ScorerError(f"{path} cannot be imported here: {error}") from error

    return unavailable
