"""Noise: how much numbers differ between draws and between seeds, so that no one reads it as learning."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from timelapse.analysis.statistics import mean
from timelapse.scoring.scorers import normalise

CONFIDENCE = 0.95
"""The confidence of the interval of a `Summary`."""


class Summary(NamedTuple):
    """What the same number came to under several seeds."""

    n: int
    """How many values there are."""
    mean: float | None
    """Their mean; None without values."""
    std: float | None
    """Their sample standard deviation (n - 1 below the line); None for fewer than two."""
    low: float | None
    """Lower end of the 95 % t-interval of the mean; None for fewer than two."""
    high: float | None
    """Its upper end."""


def pass_at_k(n: int, c: int, k: int) -> float:
    """Return the chance that of k answers at least one is right, judged by n answers of which c are.

    The unbiased estimator 1 - C(n - c, k) / C(n, k), as a product of shares, so that nothing overflows. Range
    0..1; for k = 1 it is c / n.

    Args:
        n: Answers drawn.
        c: Those that are right, 0..n.
        k: How many answers one may give, 1..n.

    Raises:
        ValueError: c or k is out of its range.

    Source: Chen et al. (2021), "Evaluating Large Language Models Trained on Code", arXiv:2107.03374.
    """
    if not 1 <= k <= n:
        raise ValueError(f"k must be in 1..n: of n = {n} answers one cannot choose k = {k}.")
    if not 0 <= c <= n:
        raise ValueError(f"c must be in 0..n: of n = {n} answers c = {c} cannot be right.")
    if n - c < k:
        return 1.0  # there are not k wrong answers
    # The quotient is symmetric in c and k; the shorter product is the faster and the more exact.
    fewer, more = sorted((c, k))
    return 1.0 - math.prod((n - more - taken) / (n - taken) for taken in range(fewer))


def generation_noise(
    values: Mapping[str, Sequence[float]], texts: Mapping[str, Sequence[str]], *, right: float = 1.0
) -> dict[str, float]:
    """Return how much the answers drawn for the same prompt differ, over all prompts.

    - `pass_at_<k>`: mean over samples of `pass_at_k`, for k = 1, 2, 4, ... up to the smallest number of
      scores that a sample has, and for that number itself; range 0..1;
    - `agreement`: mean over samples of the share of the most common text after `normalise`; range 0..1, 1
      where all draws agree;
    - `spread`: mean over samples of the sample standard deviation of the score, in the score's unit.

    Scores that are no finite number are left out, and so is a sample without any. One text says nothing of
    agreement, one score nothing of spread: there such a sample is left out too. A number that has nothing to
    be computed from is left out; where no sample has several generations, that is all of them.

    Args:
        values: The scores of each sample's generations by sample id; samples may differ in number.
        texts: The texts of each sample's generations by sample id, failed ones left out.
        right: The score from which an answer counts as right.
    """
    drawn = [*values.values(), *texts.values()]
    if max(map(len, drawn), default=0) < 2:
        return {}
    finite = [[value for value in each if math.isfinite(value)] for each in values.values()]
    scored = [each for each in finite if each]
    found: dict[str, float | None] = {
        f"pass_at_{k}": mean(
            [pass_at_k(len(each), sum(value >= right for value in each), k) for each in scored]
        )
        for k in _ks(min(map(len, scored), default=0))
    }
    found["agreement"] = mean([_agreement(each) for each in texts.values() if len(each) > 1])
    found["spread"] = mean([_deviation(each) for each in scored if len(each) > 1])
    return {name: number for name, number in found.items() if number is not None}


def seed_summary(values: Sequence[float]) -> Summary:
    """Return mean, standard deviation and 95 % interval of a number that was measured under several seeds.

    The interval is Student's, for the mean over all seeds there could be; it takes the values for about
    normally distributed, and for three seeds it is wide for good reason. Values that are no finite number are
    left out.

    Source: Student (1908), "The probable error of a mean", Biometrika 6.
    """
    known = [float(value) for value in values if math.isfinite(value)]
    middle = mean(known)
    if middle is None or len(known) < 2:
        return Summary(len(known), middle, None, None, None)
    from scipy.special import stdtrit  # type: ignore[import-untyped]

    std = _deviation(known)
    reach = float(stdtrit(len(known) - 1, (1 + CONFIDENCE) / 2)) * std / math.sqrt(len(known))
    return Summary(len(known), middle, std, middle - reach, middle + reach)


def _ks(smallest: int) -> list[int]:
    """Return the powers of two up to a number, and the number."""
    powers = [2**power for power in range(smallest.bit_length())]
    return sorted({*powers, smallest} - {0})


def _agreement(texts: Sequence[str]) -> float:
    return Counter(map(normalise, texts)).most_common(1)[0][1] / len(texts)


def _deviation(values: Sequence[float]) -> float:
    """Return the sample standard deviation of two values or more."""
    middle = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1))
