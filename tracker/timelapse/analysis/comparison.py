"""Runs against each other, or two rounds of one run: who is better, on what, and is it chance?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from timelapse.analysis.alignment import Pair, aligned, sample_changes
from timelapse.analysis.history import Side
from timelapse.analysis.likeness import Likeness, likeness
from timelapse.analysis.sides import Choice, Place, choose_sides, labels
from timelapse.analysis.slices import Slice, WorstSlice, slices, worst
from timelapse.analysis.statistics import PairedResult, mean, paired_result

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class ComparedRound:
    """One of the rounds compared: a run at a step."""

    label: str
    """The run's name, with its step or id where the name alone does not tell the rounds apart."""
    run_id: str
    """The run's id."""
    run_name: str
    """The run's name."""
    step: int
    """The step of the round."""
    answers: int
    """Rows of the round: one an answer."""
    failed: int
    """Rows whose status is `error`."""
    skipped: int
    """Rows whose status is `skipped`."""


@dataclass(frozen=True, slots=True)
class ScoreLine:
    """One score of one round, and how it stands against that of `against`."""

    run: str
    """Label of the round."""
    score: str
    """Name of the score; a higher one is better."""
    n: int
    """Answers that have the score."""
    unscored: int
    """Answers without it: failed, skipped, without a reference, or with a score that is no finite number."""
    mean: float | None
    """Its mean over the `n` answers; None if there are none."""
    result: PairedResult | None
    """Wins, losses and their uncertainty, counted over samples; None for `against` itself."""


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """Rounds held against one of them: plain data, with views of it for people."""

    against: str
    """Label of the round that the others are compared with."""
    rounds: tuple[ComparedRound, ...]
    """The rounds compared, `against` first, then in the order given."""
    set_name: str
    """The sample set."""
    score: str | None
    """The score that decides outcomes and the best round; None: there is none in common, only texts are
    compared."""
    likeness: tuple[Likeness, ...]
    """For each round but `against`: what makes the comparison fair or unfair."""
    scoreboard: tuple[ScoreLine, ...]
    """A line for each score and round, the score that decides first."""
    pairs: tuple[Pair, ...]
    """A row for each round but `against`, sample and generation; samples that one side lacks too."""
    notes: tuple[str, ...]
    """What a reader must know besides: files that cannot be read, other sample sets, …"""
    slices: tuple[Slice, ...]
    """For each round but `against`: the score that decides by tag and by column, what fell most first."""

    @property
    def regressions(self) -> tuple[Pair, ...]:
        """Answers that got worse, the worst first: failed ones, then by how much the score fell."""
        return _by_change(pair for pair in self.pairs if pair.outcome == "loss")

    @property
    def improvements(self) -> tuple[Pair, ...]:
        """Answers that got better, the most first: recovered ones, then by how much the score rose."""
        return _by_change(pair for pair in self.pairs if pair.outcome == "win")

    @property
    def disagreements(self) -> tuple[Pair, ...]:
        """Answers whose text differs, in the order of the samples, whatever their scores."""
        return tuple(pair for pair in self.pairs if pair.disagrees)

    @property
    def worst_slices(self) -> tuple[WorstSlice, ...]:
        """For each round but `against`: the slice that fell most, and the one with the lowest score."""
        runs = dict.fromkeys(each.run for each in self.slices)
        return tuple(
            found for run in runs for found in worst(each for each in self.slices if each.run == run)
        )

    def result(self, run: str) -> PairedResult | None:
        """Return how a round, by label, stands by the score that decides; None without such a score."""
        lines = (line for line in self.scoreboard if (line.run, line.score) == (run, self.score))
        return next((line.result for line in lines), None)

    def to_pandas(self) -> pd.DataFrame:
        """Return the pairs as a frame: a row a sample (and generation) and run, in the order of `pairs`.

        Its columns and types are always those of `timelapse.analysis.comparison_views.COLUMNS`.
        """
        from timelapse.analysis.comparison_views import frame

        return frame(self)

    def _repr_html_(self) -> str:
        from timelapse.analysis.comparison_html import html

        return html(self)

    def __str__(self) -> str:
        from timelapse.analysis.comparison_views import text

        return text(self)

    def __repr__(self) -> str:
        rounds = ", ".join(each.label for each in self.rounds if each.label != self.against)
        return f"<Comparison of {rounds} against {self.against}: {self.score or 'texts only'}>"


def compare(
    runs: Sequence[str],
    round: str | int = "best",  # noqa: A002 - the field's word
    against: str | None = None,
    score: str | None = None,
    *,
    set_name: str | None = None,
    experiment: str | None = None,
    tracking_uri: str | None = None,
    seed: int = 0,
) -> Comparison:
    """Hold the answers of runs against those of one of them, paired by what was asked.

    Args:
        runs: Two or more rounds. Each is a run (its id, the beginning of its id, its name, or `last`), with
            `@` and a round behind it where `round` does not fit: `fox@120`, `fox@first`, `last@best`. So two
            rounds of one run are compared as `["fox@0", "fox@last"]`.
        round: The round of every run that names none: `best` (the highest mean of the score, the earliest of
            equals), `last`, `first`, or a step. The best of many rounds is better by luck, too: with `best`
            a run with more rounds has an advantage.
        against: Which of `runs` the others are compared with, by default the first; another run joins them.
        score: The score that decides, a higher one being better. By default `exact_match`, else the first by
            name that all runs have. Without a common score only texts are compared.
        set_name: The sample set; by default `main`, or the only one of the run compared against.
        experiment: Name of the experiment to look in; all experiments by default.
        tracking_uri: MLflow's tracking URI; MLflow's own setting by default. The setting is not changed.
        seed: Of the bootstrap's own random generator.

    Returns:
        A `Comparison`. Wins, losses and ties are counted over samples: of several answers drawn for one, the
        mean difference counts. An answer that failed loses to one that has the score.

    Raises:
        RunError: A run, round, score or sample set does not exist, or MLflow does not answer.

    Example:
        >>> import timelapse
        >>> print(timelapse.compare(["baseline", "last"]))  # doctest: +SKIP
    """
    wanted = [runs] if isinstance(runs, str) else list(runs)
    place = Place(experiment, tracking_uri)
    return held_against(choose_sides(wanted, round, against, score, set_name, place), seed=seed)


def held_against(choice: Choice, *, seed: int = 0) -> Comparison:
    """Hold rounds that are chosen and read against the first of them; see `compare`."""
    sides, chosen, notes = choice
    names = labels(sides)
    base, others = sides[0], list(zip(names[1:], sides[1:], strict=True))
    pairs = {name: aligned(name, base, side, chosen) for name, side in others}
    return Comparison(
        against=names[0],
        rounds=tuple(_compared(name, side) for name, side in zip(names, sides, strict=True)),
        set_name=base.history.set_name,
        score=chosen,
        likeness=tuple(likeness(name, base.history, side.history, pairs[name]) for name, side in others),
        scoreboard=tuple(_scoreboard(dict(zip(names, sides, strict=True)), pairs, chosen, seed)),
        pairs=tuple(pair for rows in pairs.values() for pair in rows),
        notes=notes,
        slices=tuple(
            each
            for name, side in others
            for each in slices(name, base.history, side.history, pairs[name], chosen)
        ),
    )


def _compared(label: str, side: Side) -> ComparedRound:
    statuses = [answer.status for answer in side.answers().values()]
    return ComparedRound(
        label=label,
        run_id=side.history.run_id,
        run_name=side.history.run_name,
        step=side.step,
        answers=len(statuses),
        failed=statuses.count("error"),
        skipped=statuses.count("skipped"),
    )


def _scoreboard(
    sides: Mapping[str, Side], pairs: Mapping[str, tuple[Pair, ...]], first: str | None, seed: int
) -> Iterator[ScoreLine]:
    answers = {name: list(side.answers().values()) for name, side in sides.items()}
    scores = {score for rows in answers.values() for answer in rows for score in answer.scores}
    for score in sorted(scores | ({first} if first else set()), key=lambda score: (score != first, score)):
        for name, rows in answers.items():
            found = [answer.score(score) for answer in rows]
            values = [value for value in found if value is not None]
            changes = sample_changes(pairs[name], score) if name in pairs else []
            yield ScoreLine(
                run=name,
                score=score,
                n=len(values),
                unscored=len(found) - len(values),
                mean=mean(values),
                result=paired_result(changes, seed=seed) if name in pairs else None,
            )


def _by_change(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    """Return pairs by how much their score changed, the most first; failures before everything."""
    return tuple(sorted(pairs, key=lambda pair: -abs(inf if pair.difference is None else pair.difference)))
