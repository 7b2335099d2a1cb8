"""The exact and the near match, and what counts as the same text."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import regex  # type: ignore[import-untyped, unused-ignore]


@lru_cache(maxsize=4096)  # every scorer asks for the same texts
def normalise(text: str) -> str:
    """Return text for comparison: Unicode NFC, runs of white space as one space, none at the ends.

    Case and punctuation are kept: they are part of an answer.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", parted(text))
    return " ".join(text.split())


def parted(text: str) -> str:
    """Return text without piles of more than 30 combining marks: U+034F, which is invisible, parts them.

    Normalising takes quadratic time over a pile. Source: Unicode Standard Annex 15, section 13.
    """
    parts: str = _piles().sub("\\g<0>\u034f", text)
    return parts


@lru_cache(maxsize=1)
def _piles() -> regex.Pattern[str]:
    import regex

    return regex.compile(r"\p{M}{30}(?=\p{M})")


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
