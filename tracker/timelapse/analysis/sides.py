"""Which rounds a comparison is about: from the words of the user to rounds that are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from timelapse.analysis.history import History, Side, check_round, history, split_selector
from timelapse.analysis.learning import stored_onsets
from timelapse.errors import RunError
from timelapse.scoring.health import onset_sentence

FIRST_CHOICE = "exact_match"
"""The score that decides, where all runs have it."""


class Place(NamedTuple):
    """Where runs are looked for."""

    experiment: str | None = None
    """Name of the experiment; all by default."""
    tracking_uri: str | None = None
    """MLflow's tracking URI; MLflow's own setting by default."""


class Choice(NamedTuple):
    """The rounds to compare."""

    sides: tuple[Side, ...]
    """The rounds, the one that the others are compared with first."""
    score: str | None
    """The score that decides; None if the runs have none in common."""
    notes: tuple[str, ...]
    """What a reader must know of the choice."""


def choose_sides(
    selectors: Sequence[str],
    round_: str | int,
    against: str | None,
    score: str | None,
    set_name: str | None,
    place: Place,
) -> Choice:
    """Return the rounds that `selectors` name, read from MLflow; see `compare` for the arguments.

    Raises:
        RunError: A run, round, score or sample set does not exist, a round is named twice, there are fewer
            than two, or MLflow does not answer.
    """
    check_round(round_)
    return sides_of(_load(_wanted(selectors, against), set_name, place), selectors, round_, against, score)


def sides_of(
    histories: Mapping[str, History],
    selectors: Sequence[str],
    round_: str | int,
    against: str | None,
    score: str | None,
) -> Choice:
    """Return the rounds that `selectors` name in runs that are read already.

    Args:
        histories: The run behind every selector, and behind `against`; all in one sample set.
        selectors: As `compare` takes them, too: `round_`, `against`, `score`.
        round_: See there.
        against: See there.
        score: See there.

    Raises:
        RunError: As `choose_sides`, but for what concerns MLflow.
    """
    check_round(round_)
    wanted = _wanted(selectors, against)
    chosen, notes = choose_score(dict.fromkeys(histories.values()), score)
    if chosen is None and "best" in {split_selector(each)[1] or round_ for each in wanted}:
        notes += ("without a common score there is no best round: the last one stands in for it",)
    sides = [
        Side(histories[selector], histories[selector].step(split_selector(selector)[1] or round_, chosen))
        for selector in wanted
    ]
    if against is not None and against not in selectors:
        sides = _joined(sides, named=split_selector(against)[1] is not None)
    _check_distinct(sides)
    return Choice(tuple(sides), chosen, (*notes, *(note for side in sides for note in _notes(side))))


def choose_score(histories: Iterable[History], wanted: str | None) -> tuple[str | None, tuple[str, ...]]:
    """Return the score that decides (None: the runs share none), and what must be said about that.

    Raises:
        RunError: `wanted` is no score of some run; says which there are.
    """
    names = {str(each): each.score_names() for each in histories}
    common = set.intersection(*names.values()) if names else set()
    if wanted is not None and wanted not in common:
        without = ", ".join(run for run, scores in names.items() if wanted not in scores)
        there = ", ".join(sorted(common)) or "none"
        raise RunError(f"Score '{wanted}' is not in run {without}. The scores in every run are: {there}.")
    if not common:
        return None, ("the runs have no score in common: only texts are compared",)
    return wanted or (FIRST_CHOICE if FIRST_CHOICE in common else min(common)), ()


def labels(sides: Sequence[Side]) -> list[str]:
    """Return a name for each round, no longer than needed to tell them apart."""
    runs = [side.history for side in sides]
    names = [run.run_name or run.run_id[:8] for run in runs]
    with_steps = [f"{name}@{side.step}" for name, side in zip(names, sides, strict=True)]
    with_ids = [f"{name} ({run.run_id})" for name, run in zip(with_steps, runs, strict=True)]
    return next(each for each in (names, with_steps, with_ids) if len(set(each)) == len(each))


def _wanted(selectors: Sequence[str], against: str | None) -> list[str]:
    """Return what is compared, each once, first what the others are compared with."""
    return list(dict.fromkeys(selectors if against is None else [against, *selectors]))


def _load(selectors: Sequence[str], set_name: str | None, place: Place) -> dict[str, History]:
    """Return the history behind every selector, each run read once; the first one decides the sample set."""
    from timelapse.reading.loader import load_rounds
    from timelapse.reading.runs import connect, find_run

    client = connect(place.tracking_uri)
    names = {selector: split_selector(selector)[0] for selector in selectors}
    runs = {
        name: find_run(name, experiment=place.experiment, tracking_uri=place.tracking_uri)
        for name in dict.fromkeys(names.values())
    }
    histories: dict[str, History] = {}
    for run in {each.info.run_id: each for each in runs.values()}.values():
        histories[run.info.run_id] = history(run, load_rounds(client, run.info.run_id), set_name)
        set_name = histories[run.info.run_id].set_name
    return {selector: histories[runs[name].info.run_id] for selector, name in names.items()}


def _joined(sides: list[Side], *, named: bool) -> list[Side]:
    """Return the sides with the first, `against`, being one of the others if it means the same.

    `against="fox"` means the only round of run fox that is compared; `fox@20` (`named`) exactly that one.
    """
    first, *others = sides
    same = [
        side
        for side in others
        if side.history is first.history and (side.step == first.step if named else True)
    ]
    if len(same) != 1:
        return sides
    return [same[0], *(side for side in others if side is not same[0])]


def _check_distinct(sides: Sequence[Side]) -> None:
    seen: set[tuple[str, int]] = set()
    for run, step in sides:
        if (run.run_id, step) in seen:
            raise RunError(
                f"The round at step {step} of run {run} is named twice. Two rounds of one run are compared "
                f"as RUN@STEP, say {run.run_id[:8]}@first and {run.run_id[:8]}@last; its rounds are at "
                f"{run.listed_steps()}."
            )
        seen.add((run.run_id, step))
    if len(sides) < 2:
        raise RunError("A comparison needs two runs or more, or two rounds of one run (RUN@first RUN@last).")


def _notes(side: Side) -> list[str]:
    run = side.history
    notes = [f"run {run}: {problem}" for problem in run.problems]
    if run.other_sets:
        others = ", ".join(run.other_sets)
        notes.append(f"run {run}: only sample set '{run.set_name}' is compared; there are also {others}")
    repeated = run.rounds[side.step].num_rows - len(side.answers())
    if repeated:
        notes.append(f"run {run}, step {side.step}: {repeated} rows repeat a sample; the last one counts")
    if sentence := onset_sentence(stored_onsets(run.rounds)):
        notes.append(f"run {run}: {sentence}")
    return notes
