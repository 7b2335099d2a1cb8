"""The exact and the near match, and what counts as the same text."""

from __future__ import annotations

import unicodedata
from functools import lru_cache


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
