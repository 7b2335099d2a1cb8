"""Paired statistics: is the difference between two runs more than chance?

The unit is the sample, whatever number of answers is drawn for it: answers to one question are not
independent of each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

RESAMPLES = 9_999
"""Bootstrap resamples behind an interval."""

_BLOCK = 1_000_000  # numbers in memory at a time
_FEW = 40  # distinct values, whose numbers are drawn faster than the values themselves


class Change(NamedTuple):
    """How a sample's score changed; ordered: a failed answer is worse than any score."""

    recovered: int = 0
    """Answers that fail no more minus answers that fail now, where the other one has the score."""
    difference: float | None = None
    """Score now minus score before, a mean over the answers scored on both sides; None if there are none."""

    @property
    def sign(self) -> int:
        """1: better, -1: worse, 0: the same."""
        key = (self.recovered, self.difference or 0.0)
        return (key > (0, 0.0)) - (key < (0, 0.0))


class Interval(NamedTuple):
    """A range that a number lies in, with a confidence."""

    low: float
    """Its lower end."""
    high: float
    """Its upper end."""


@dataclass(frozen=True, slots=True)
class PairedResult:
    """How the scores of one run stand against those of another, over the samples that both were asked."""

    wins: int
    """Samples on which the run is better, recovered ones included."""
    losses: int
    """Samples on which the run is worse, failed ones included."""
    ties: int
    """Samples on which both score the same."""
    failed: int
    """Of the losses, those where the run's answer failed and the other one's did not."""
    recovered: int
    """Of the wins, those where the other run's answer failed and this one's did not."""
    difference: float | None
    """Mean paired difference over the samples scored on both sides (a failed answer has no number); None
    if there are none."""
    interval: Interval | None
    """95 % bootstrap interval of `difference`; None for fewer than two samples."""
    p_value: float
    """Two-sided sign test over wins and losses: the chance of a split at least this uneven if either run
    were as likely to win."""

    @property
    def compared(self) -> int:
        """Samples compared: wins, losses and ties."""
        return self.wins + self.losses + self.ties


def paired_result(changes: Sequence[Change], *, seed: int = 0) -> PairedResult:
    """Return wins, losses, mean difference and their uncertainty over samples, one `Change` a sample."""
    signs = [change.sign for change in changes]
    differences = [change.difference for change in changes if change.difference is not None]
    return PairedResult(
        wins=signs.count(1),
        losses=signs.count(-1),
        ties=signs.count(0),
        failed=sum(change.recovered < 0 for change in changes),
        recovered=sum(change.recovered > 0 for change in changes),
        difference=mean(differences),
        interval=bootstrap_interval(differences, seed=seed),
        p_value=sign_test(signs.count(1), signs.count(-1)),
    )


def sign_test(wins: int, losses: int) -> float:
    """Return the p-value of the exact two-sided sign test, in 0..1; ties are left out beforehand.

    The null hypothesis: a win is as likely as a loss. Without wins and losses it is 1.

    Source: Dixon and Mood (1946), "The statistical sign test", JASA 41. For right and wrong answers this
    is McNemar's test in its exact form (McNemar 1947, Psychometrika 12).
    """
    trials = wins + losses
    tail, ways = 0, 1  # integers of any size: exact, and no overflow
    for successes in range(min(wins, losses) + 1):
        tail += ways
        ways = ways * (trials - successes) // (successes + 1)
    share: float = 2 * tail / 2**trials
    return min(1.0, share)


def bootstrap_interval(
    values: Sequence[float], *, confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Interval | None:
    """Return the percentile bootstrap interval of the mean of `values`; None for fewer than two.

    The same values in another order give the same interval. Global random state is neither read nor
    changed. With few values (under about 20) such intervals are somewhat too narrow.

    Source: Efron and Tibshirani (1993), "An Introduction to the Bootstrap", chapter 13; for comparing
    systems on paired test sentences Koehn (2004), "Statistical significance tests for machine translation
    evaluation", EMNLP.
    """
    import numpy as np

    if len(values) < 2:
        return None
    ordered, random = np.sort(np.asarray(values, dtype=float)), np.random.default_rng(seed)
    distinct, counts = np.unique(ordered, return_counts=True)

    def sums(size: int) -> np.ndarray:
        drawn: np.ndarray
        if len(distinct) <= max(_FEW, len(values) // 10):
            # Drawing with replacement is drawing how often each distinct value occurs: few of those, so fast.
            drawn = random.multinomial(len(values), counts / len(values), size=size) @ distinct
        else:
            drawn = ordered[random.integers(len(values), size=(size, len(values)))].sum(axis=1)
        return drawn

    block = max(1, _BLOCK // len(values))
    found = [sums(min(block, resamples - done)) for done in range(0, resamples, block)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(found) / len(values), [tail, 1 - tail])
    return Interval(float(low), float(high))


def mean(values: Sequence[float]) -> float | None:
    """Return the mean, rounded at the 12th digit; None without values. Their order does not matter."""
    if not values:
        return None
    try:
        return round(fsum(values) / len(values), 12)
    except OverflowError:  # the sum, not the mean
        return fsum(value / len(values) for value in values)
