"""The gates of a comparison: what makes a continuous-integration job fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from timelapse.errors import RunError

if TYPE_CHECKING:
    from timelapse.analysis.comparison import Comparison
    from timelapse.analysis.statistics import PairedResult


@dataclass(frozen=True, slots=True)
class Gates:
    """What must not happen; each gate is None if it is not asked for."""

    regressions: int | None = None
    """This many samples, or more, got worse."""
    worse: float | None = None
    """More samples got worse than better, with a p of the two-sided sign test below this."""

    def failures(self, comparison: Comparison) -> list[str]:
        """Return a sentence for every gate that a run does not pass.

        Raises:
            RunError: A gate cannot be judged, because no sample can be compared: that is no pass.
        """
        if self.regressions is None and self.worse is None:
            return []
        runs = [each.label for each in comparison.rounds if each.label != comparison.against]
        return [
            f"{sentence} ({comparison.score}, {run} against {comparison.against})"
            for run in runs
            for sentence in self._failed(_judged(comparison, run))
        ]

    def _failed(self, result: PairedResult) -> list[str]:
        failed = []
        if self.regressions is not None and result.losses >= self.regressions:
            counts = f"{result.losses} of {result.compared} samples got worse"
            failed.append(f"--fail-on-regressions {self.regressions}: {counts}")
        if self.worse is not None and result.losses > result.wins and result.p_value < self.worse:
            counts = f"{result.losses} samples got worse and {result.wins} better, p = {result.p_value:.2g}"
            failed.append(f"--fail-if-worse {self.worse:g}: {counts}")
        return failed


def not_compared(comparison: Comparison) -> list[str]:
    """Return a sentence for every run of whose samples some cannot be compared: no gate sees those."""
    sentences = []
    for run in {pair.run: None for pair in comparison.pairs}:
        samples = {pair.sample_id for pair in comparison.pairs if pair.run == run}
        result = comparison.result(run)
        left = len(samples) - (result.compared if result else 0)
        if result and left:
            sentences.append(
                f"{left} of {len(samples)} samples cannot be compared by {comparison.score}: only one of "
                f"{run} and {comparison.against} has them, or there is no score to compare"
            )
    return sentences


def _judged(comparison: Comparison, run: str) -> PairedResult:
    result = comparison.result(run)
    if result is None:
        raise RunError(
            f"A gate cannot be judged: {run} and {comparison.against} have no score in common. Compare runs "
            "that were scored alike."
        )
    if not result.compared:
        raise RunError(
            f"A gate cannot be judged: {run} and {comparison.against} share no sample that has the score "
            f"'{comparison.score}'. Compare runs that answer the same samples (see --set and --score)."
        )
    return result
