"""Budgets: what a round may cost, decided from what the rounds before it have cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from timelapse.rounds import Prediction, Round

if TYPE_CHECKING:
    from timelapse.config.model import PredictionsConfig
    from timelapse.samples import SampleSet


@dataclass(slots=True)
class Clock:
    """What a training's rounds have taken of its time; one for all of its sample sets."""

    began: float = field(default_factory=time.perf_counter)
    """When the training began, in seconds of a clock without a date."""
    spent: float = 0.0
    """Seconds that the rounds have taken."""
    beside: float = 0.0
    """Seconds of our work beside the answering: storing samples and rounds, marking checkpoints."""

    @contextmanager
    def besides(self) -> Iterator[None]:
        """Count the time of a block as work beside the answering."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.beside += time.perf_counter() - began

    def __str__(self) -> str:
        """Return in words what the training has paid so far."""
        elapsed = self.elapsed()
        return (
            f"rounds took {self.spent:.1f} s of {elapsed:.0f} s ({self.share():.0%}), "
            f"work beside the answers {self.beside:.2f} s ({self.beside / elapsed:.2%})"
        )

    def elapsed(self) -> float:
        """Return the seconds since the training began."""
        return max(time.perf_counter() - self.began, 1e-9)

    def share(self) -> float:
        """Return the rounds' share of the time."""
        return self.spent / self.elapsed()


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that rounds may take; None sets no limit."""

    max_seconds: float | None = None
    """Seconds that one round may take: one that would take longer asks fewer samples."""
    max_share: float | None = None
    """Share of the training's time that all rounds together may take: beyond it, rounds are left out."""

    def samples(self, count: int, seconds_a_sample: float | None) -> int:
        """Return how many of `count` samples a round may ask: all, or half, a quarter, …, at least one.

        Halves, so that a little noise in what is measured seldom changes who is asked.

        Args:
            count: Samples in the set.
            seconds_a_sample: What one took in the round before; None if nothing has been measured yet.
        """
        if self.max_seconds is None or seconds_a_sample is None:
            return count
        while count > 1 and count * seconds_a_sample > self.max_seconds:
            count = (count + 1) // 2
        return count

    def allows(self, clock: Clock, seconds: float) -> bool:
        """Return whether all rounds stay within their share if one more takes so many seconds."""
        if self.max_share is None:
            return True
        return clock.spent + seconds <= self.max_share * (clock.elapsed() + seconds)


def budget_of(config: PredictionsConfig) -> Budget:
    """Return the budget that a configuration sets."""
    return Budget(config.max_seconds_per_round, config.max_share_of_training_time)


def nested(samples: SampleSet, count: int) -> SampleSet:
    """Return `count` of the samples, in their order: those with the lowest ids.

    Ids are hashes, so this is a draw that is the same in every round and run, and a smaller part lies whole
    in every larger one.
    """
    if count >= len(samples):
        return samples
    asked = set(sorted(sample.sample_id for sample in samples)[:count])
    return replace(samples, samples=tuple(sample for sample in samples if sample.sample_id in asked))


def with_skipped(round_: Round, samples: SampleSet, reason: str) -> Round:
    """Return a round with a row for every sample of the set, `skipped` where it was not asked."""
    rows: dict[str, list[Prediction]] = {}
    for row in round_.predictions:
        rows.setdefault(row.sample_id, []).append(row)
    every = [
        row
        for sample in samples
        for row in rows.get(sample.sample_id)
        or (Prediction(sample.sample_id, status="skipped", error=reason),)
    ]
    return replace(round_, predictions=tuple(every))
