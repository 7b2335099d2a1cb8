"""Runs held against one of them, as the compare page shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from timelapse.analysis.comparison import ComparedRound, Comparison, ScoreLine, held_against
from timelapse.analysis.history import History, history_of, split_selector
from timelapse.analysis.likeness import Likeness
from timelapse.analysis.sides import sides_of
from timelapse.analysis.statistics import PairedResult
from timelapse.reading.choice import best_of
from timelapse.report import compare_documents as documents
from timelapse.report.compare_rows import MOST_ROWS, compared_rows
from timelapse.report.documents import Right, RunInfo
from timelapse.report.run_view import RunView, score_info
from timelapse.report.trends import trends

if TYPE_CHECKING:
    from timelapse.reading.loader import RunRounds


@dataclass(frozen=True, eq=False)
class Compared:
    """A comparison, and the runs that it was made of."""

    comparison: Comparison
    """The comparison."""
    runs: Mapping[str, tuple[RunInfo, RunRounds]]
    """What MLflow says of each run and what it holds, by its id."""
    histories: Mapping[str, History]
    """The runs' rounds in the sample set, by the run's id."""
    selectors: Mapping[tuple[str, int], str]
    """What named each round, by run id and step, in the order asked for."""
    round: str
    """The round that was asked for, of runs that name none."""

    @cached_property
    def rounds(self) -> list[ComparedRound]:
        """The rounds in the order asked for."""
        order = list(self.selectors)
        return sorted(self.comparison.rounds, key=lambda each: order.index((each.run_id, each.step)))

    @cached_property
    def places(self) -> dict[str, int]:
        """The place of each round by its label."""
        return {each.label: place for place, each in enumerate(self.rounds)}

    @cached_property
    def views(self) -> dict[str, RunView]:
        """The runs arranged sample by round, by the run's id."""
        set_name = self.comparison.set_name
        return {run_id: RunView(self.runs[run_id][1], set_name) for run_id in self.histories}

    @cached_property
    def scores(self) -> list[str]:
        """The scores that all runs have, the one that decides first."""
        names = [set(view.grid.scores) for view in self.views.values()]
        return sorted(set.intersection(*names), key=lambda name: (name != self.comparison.score, name))

    @property
    def right(self) -> Right | None:
        """What makes an answer right, by the run that is compared against."""
        base = self.rounds[self.places[self.comparison.against]]
        found = self.views[base.run_id].right
        return Right(*found) if found else None


def compare_read(
    runs: Mapping[str, tuple[RunInfo, RunRounds]],
    selectors: Sequence[str],
    round_: str | int = "best",
    against: str | None = None,
    score: str | None = None,
    set_name: str | None = None,
) -> Compared:
    """Compare runs that are read already.

    Args:
        runs: What MLflow says of each run and what it holds, by its id.
        selectors: Two or more rounds: a run's id, perhaps with `@` and a round behind it. The first run (or
            that of `against`) decides the sample set, if none is named.
        round_: The round of every run that names none: `best`, `last`, `first`, or a step.
        against: Which of `selectors` the others are compared with; by default the first.
        score: The score that decides; by default `exact_match`, else the first that all runs have.
        set_name: The sample set.

    Raises:
        RunError: A run, round, score or sample set does not exist, or there are fewer than two rounds.
    """
    asked = list(dict.fromkeys(selectors))
    first = [against] if against is not None else []
    ids = {selector: split_selector(selector)[0] for selector in [*first, *asked]}
    histories: dict[str, History] = {}
    for run_id in dict.fromkeys(ids.values()):
        info, loaded = runs[run_id]
        histories[run_id] = history_of(run_id, info.name, loaded, set_name)
        set_name = histories[run_id].set_name
    by_selector = {selector: histories[run_id] for selector, run_id in ids.items()}
    choice = sides_of(by_selector, asked, round_, against, score)
    named: dict[tuple[str, int], str] = {}
    for selector in [*asked, *first]:
        wanted = split_selector(selector)[1] or round_
        named.setdefault((ids[selector], by_selector[selector].step(wanted, choice.score)), selector)
    sides = {(side.history.run_id, side.step) for side in choice.sides}
    order = {place: selector for place, selector in named.items() if place in sides}
    return Compared(held_against(choice), runs, histories, order, str(round_))


def compare_document(compared: Compared) -> documents.CompareDocument:
    """Return what the compare page shows of a comparison."""
    comparison, places = compared.comparison, compared.places
    sets = [view.sets for view in compared.views.values()]
    rows = compared_rows(comparison, compared.rounds, compared.histories, compared.scores, compared.right)
    return documents.CompareDocument(
        runs=[_run(compared, each) for each in compared.rounds],
        against=places[comparison.against],
        round=compared.round,
        set=comparison.set_name,
        sets=[name for name in sets[0] if all(name in each for each in sets)],
        score=comparison.score,
        scores=[score_info(name) for name in compared.scores],
        right=compared.right,
        shared=len({row.sample_id for row in rows if None not in row.answers}),
        alike=all(each.alike for each in comparison.likeness),
        likeness=[_likeness(each, places[each.run]) for each in comparison.likeness],
        scoreboard=_scoreboard(comparison, places),
        rows=rows[:MOST_ROWS],
        left_out=max(0, len(rows) - MOST_ROWS),
        slices=list(_slices(comparison, places)),
        notes=list(comparison.notes),
    )


def _run(compared: Compared, each: ComparedRound) -> documents.ComparedRun:
    view, score = compared.views[each.run_id], compared.comparison.score
    epochs = [round_.epoch for round_ in view.grid.rounds]
    return documents.ComparedRun(
        selector=compared.selectors[each.run_id, each.step],
        label=each.label,
        run=compared.runs[each.run_id][0],
        step=each.step,
        epoch=epochs[view.steps.index(each.step)],
        answers=each.answers,
        failed=each.failed,
        skipped=each.skipped,
        steps=view.steps,
        epochs=epochs,
        best_step=_best(compared.histories[each.run_id], score),
        trends=trends(view.grid, view.marks),
    )


def _best(history: History, score: str | None) -> int | None:
    return None if score is None else best_of(history.rounds, score)


def _likeness(found: Likeness, place: int) -> documents.RunLikeness:
    return documents.RunLikeness(
        run=place,
        alike=found.alike,
        shared=found.shared,
        only_against=len(found.only_against),
        only_run=len(found.only_run),
        references=len(found.references),
        settings=[each.name for each in found.settings],
        unknown=list(found.unknown),
        sentences=found.sentences(),
    )


def _scoreboard(comparison: Comparison, places: Mapping[str, int]) -> dict[str, list[documents.ScoreCell]]:
    board: dict[str, dict[str, documents.ScoreCell]] = {}
    for line in comparison.scoreboard:
        board.setdefault(line.score, {})[line.run] = _cell(line)
    return {score: [cells[label] for label in places] for score, cells in board.items()}


def _cell(line: ScoreLine) -> documents.ScoreCell:
    return documents.ScoreCell(line.mean, line.n, line.unscored, _paired(line.result))


def _paired(result: PairedResult | None) -> documents.Paired | None:
    if result is None:
        return None
    low, high = result.interval or (None, None)
    return documents.Paired(
        wins=result.wins,
        losses=result.losses,
        ties=result.ties,
        failed=result.failed,
        recovered=result.recovered,
        difference=result.difference,
        low=low,
        high=high,
        p_value=result.p_value,
    )


def _slices(comparison: Comparison, places: Mapping[str, int]) -> Iterator[documents.ComparedSlice]:
    why = {each.slice: each.why for each in comparison.worst_slices}
    for each in comparison.slices:
        yield documents.ComparedSlice(
            run=places[each.run],
            name=each.name,
            count=each.count,
            failed=each.failed,
            before=each.before,
            after=each.after,
            difference=each.difference,
            why=why.get(each, ""),
        )
