"""Two rounds side by side: answers paired by what was asked, never by their place in a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from timelapse.analysis.history import MISSING, Answer, History, Key, Side
from timelapse.analysis.statistics import Change, mean

if TYPE_CHECKING:
    from collections.abc import Sequence

Outcome = Literal["win", "loss", "tie"]

_OUTCOMES: Mapping[int, Outcome] = {1: "win", -1: "loss", 0: "tie"}


@dataclass(frozen=True, slots=True)
class Pair:
    """A sample's answers in two rounds: that of `against` (before) and that of the run (after)."""

    run: str
    """Label of the run that is compared."""
    set_name: str
    """The sample set."""
    sample_id: str
    """Which sample was answered."""
    generation: int
    """Which of the answers drawn for it, from 0."""
    index: int | None
    """The sample's place in the set of `against`, else of the run; None if neither knows it."""
    prompt: str | None
    """The question for human eyes, if it is known."""
    reference: str | None
    """The run's expected answer, or that of `against` if the run has none."""
    before: Answer
    """The answer of `against`."""
    after: Answer
    """The run's answer."""
    difference: float | None
    """Score after minus score before; None unless both answers have the score."""
    outcome: Outcome | None
    """`win`: the run is better, `loss`: it is worse, `tie`; None where the score cannot be compared."""

    @property
    def shared(self) -> bool:
        """Whether both rounds hold the sample."""
        return "missing" not in (self.before.status, self.after.status)

    @property
    def disagrees(self) -> bool:
        """Whether both answered, with different texts."""
        return self.before.status == self.after.status == "ok" and (
            self.before.prediction != self.after.prediction
        )


def aligned(label: str, before: Side, after: Side, score: str | None) -> tuple[Pair, ...]:
    """Return the answers of two rounds paired by sample and generation.

    Samples that only one round holds are there too, the other answer being `missing`. The order is that of
    the sample set before, then of the one after; what neither knows comes last.
    """
    old, new = before.answers(), after.answers()
    samples = _samples(before.history, after.history)
    places = {sample_id: place for place, sample_id in enumerate(samples)}
    keys = sorted({*old, *new}, key=lambda key: (places.get(key.sample_id, len(places)), key))
    return tuple(
        _pair(
            (label, before.history.set_name),
            key,
            samples.get(key.sample_id, {}),
            old.get(key, MISSING),
            new.get(key, MISSING),
            score,
        )
        for key in keys
    )


def change(before: Answer, after: Answer, score: str) -> Change | None:
    """Return how a score changed from one answer to another; None if that cannot be said.

    A failed answer (status `error`) is worse than any score. It is compared only with an answer that has the
    score: where that is absent on both sides, nobody knows what the score would have been. Skipped and
    missing answers, and scores that are absent or no finite number, are not compared.
    """
    old, new = before.score(score), after.score(score)
    if old is not None and new is not None:
        return Change(difference=round(new - old, 12))  # 0.3 - 0.2 is no better than 0.1 - 0.0
    if old is not None and after.status == "error":
        return Change(recovered=-1)
    if new is not None and before.status == "error":
        return Change(recovered=1)
    return None


def sample_changes(pairs: Iterable[Pair], score: str) -> list[Change]:
    """Return one change a sample: of several answers drawn for it, their failures and mean difference."""
    found: dict[str, list[Change]] = {}
    for pair in pairs:
        one = change(pair.before, pair.after, score)
        if one is not None:
            found.setdefault(pair.sample_id, []).append(one)
    return [_joined(changes) for changes in found.values()]


def _joined(changes: Sequence[Change]) -> Change:
    differences = [one.difference for one in changes if one.difference is not None]
    return Change(sum(one.recovered for one in changes), mean(differences))


def _samples(before: History, after: History) -> dict[str, dict[str, Any]]:
    """Return what is known of each sample, first those of the set before; the reference is the run's own."""
    known: dict[str, dict[str, Any]] = {}
    for sample_id in {**before.samples, **after.samples}:
        sides = [side.samples[sample_id] for side in (before, after) if sample_id in side.samples]
        references = [side["reference"] for side in reversed(sides) if side["reference"] is not None]
        known[sample_id] = {**sides[0], "reference": references[0] if references else None}
    return known


def _pair(
    place: tuple[str, str],
    key: Key,
    sample: Mapping[str, Any],
    before: Answer,
    after: Answer,
    score: str | None,
) -> Pair:
    changed = change(before, after, score) if score else None
    return Pair(
        run=place[0],
        set_name=place[1],
        sample_id=key.sample_id,
        generation=key.generation,
        index=sample.get("index"),
        prompt=sample.get("prompt"),
        reference=sample.get("reference"),
        before=before,
        after=after,
        difference=changed.difference if changed else None,
        outcome=_OUTCOMES[changed.sign] if changed else None,
    )
