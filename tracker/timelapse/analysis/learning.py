"""What a run's rounds say about its learning: which samples are right, learned, forgotten; what settled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from timelapse.analysis.statistics import mean
from timelapse.analysis.trajectories import CLASSES, classify
from timelapse.scoring.health import flag_rates, onsets

if TYPE_CHECKING:
    import pyarrow as pa

    from timelapse.rounds import Round


class Right(NamedTuple):
    """What makes an answer right: a score, and the value from which on."""

    score: str
    """The score's name."""
    least: float
    """The least value of a right answer; of several generations the mean has to reach it."""


@dataclass(frozen=True, slots=True)
class Learning:
    """A run's rounds in one sample set, seen together."""

    right: Right | None
    """What makes an answer right; None where no score says."""
    steps: tuple[int, ...]
    """The steps of the rounds, in ascending order."""
    marks: Mapping[str, tuple[bool | None, ...]]
    """Whether a sample was right in each round, by its id; None where that is not known."""
    classes: Mapping[str, str]
    """Each sample's class by its id, see `timelapse.trajectories`; none where nothing is known."""
    settled_since: int | None
    """The step since which no text changed; None if the last round still changed some."""
    best: int | None
    """The step of the round with the highest mean of the score, of equals the first."""
    onsets: Mapping[str, int]
    """The step at which each sign of broken generation came to stay, see `scoring.health.onsets`."""

    def of_class(self, name: str) -> list[str]:
        """Return the ids of the samples of a class."""
        return [sample_id for sample_id, each in self.classes.items() if each == name]

    def counts(self) -> dict[str, int]:
        """Return how many samples each class has, in the order of `CLASSES`."""
        return {name: len(self.of_class(name)) for name in CLASSES}


def score_means(round_: Round) -> dict[str, float]:
    """Return each score's mean over the answers that have it as a finite number."""
    values: dict[str, list[float]] = {}
    for row in round_.answered:
        for name, value in row.scores.items():
            if math.isfinite(value):
                values.setdefault(name, []).append(value)
    means = {name: mean(column) for name, column in values.items()}
    return {name: value for name, value in means.items() if value is not None}


def score_values(round_: Round, score: str) -> dict[str, list[float]]:
    """Return a score of each sample's answers, by the sample's id; NaN for an answer without it."""
    values: dict[str, list[float]] = {}
    for row in round_.answered:
        values.setdefault(row.sample_id, []).append(row.scores.get(score, math.nan))
    return values


def right_samples(round_: Round, right: Right) -> dict[str, bool]:
    """Return whether each sample of a round is right, by its id; not those for which it is not known."""
    means = {
        sample_id: mean([value for value in values if math.isfinite(value)])
        for sample_id, values in score_values(round_, right.score).items()
    }
    return {sample_id: value >= right.least for sample_id, value in means.items() if value is not None}


def answer_texts(round_: Round) -> dict[tuple[str, int], str]:
    """Return the text of each answer, by its sample's id and which of its generations it is."""
    return {(row.sample_id, row.generation): row.prediction or "" for row in round_.answered}


def learning(rounds: Sequence[Round], right: Right | None) -> Learning:
    """Return what rounds of one sample set, in ascending order of their steps, say about the learning."""
    known = [right_samples(round_, right) if right else {} for round_ in rounds]
    ids = dict.fromkeys(row.sample_id for round_ in rounds for row in round_.predictions)
    marks = {sample_id: tuple(each.get(sample_id) for each in known) for sample_id in ids}
    classes = {sample_id: classify(each) for sample_id, each in marks.items()}
    return Learning(
        right=right,
        steps=tuple(round_.step for round_ in rounds),
        marks=marks,
        classes={sample_id: each for sample_id, each in classes.items() if each is not None},
        settled_since=settled_since(rounds),
        best=_best(rounds, right.score) if right else None,
        onsets=onsets({each.step: _rates(each) for each in rounds}),
    )


def stored_onsets(rounds: Mapping[int, pa.Table]) -> dict[str, int]:
    """Return the onsets of rounds as they are stored, by their steps; none of rounds that nobody judged."""
    rates = {}
    for step, table in rounds.items():
        if "flags" in table.column_names:
            rows = zip(table.column("status").to_pylist(), table.column("flags").to_pylist(), strict=True)
            rates[step] = flag_rates(
                [flags for status, flags in rows if status == "ok" and flags is not None]
            )
    return onsets(rates)


def settled_since(rounds: Sequence[Round]) -> int | None:
    """Return the step since which no answer's text changed until the last round; None if there is none."""
    since = None
    texts = [answer_texts(round_) for round_ in rounds]
    for place in range(len(rounds) - 1, 0, -1):
        both = texts[place].keys() & texts[place - 1].keys()
        if not both or any(texts[place][key] != texts[place - 1][key] for key in both):
            break
        since = rounds[place - 1].step
    return since


def _rates(round_: Round) -> dict[str, float]:
    return flag_rates([row.flags for row in round_.answered])


def _best(rounds: Sequence[Round], score: str) -> int | None:
    means = {round_.step: score_means(round_).get(score) for round_ in rounds}
    known = {step: value for step, value in means.items() if value is not None}
    return max(known, key=lambda step: known[step], default=None)
