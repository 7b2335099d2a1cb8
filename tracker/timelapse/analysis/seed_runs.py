"""Reading the runs behind groups of seeds: what they share, and their scores at one round."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from timelapse.analysis.history import Answer, History, Key, check_round, history, split_selector
from timelapse.analysis.seeds import Groups, SeedRun, by_group, group_values
from timelapse.analysis.sides import Place, choose_score
from timelapse.analysis.statistics import mean
from timelapse.errors import RunError

if TYPE_CHECKING:
    from mlflow.entities import Run

_NEEDED = {"set", "sample_id", "step", "attempt", "generation", "status", "scores"}


@dataclass(frozen=True, slots=True)
class SeedRuns:
    """Runs with their scores, as `by_group` takes them."""

    runs: tuple[SeedRun, ...]
    """The runs in the order given, or the oldest first."""
    score: str | None
    """The score that decides what is best; None if they have none in common."""
    notes: tuple[str, ...]
    """What a reader must know: runs that are left out, answers that failed, other questions, …"""


def compare_groups(
    key: str,
    runs: Sequence[str] | None = None,
    round: str | int = "best",  # noqa: A002 - the field's word
    score: str | None = None,
    *,
    set_name: str | None = None,
    experiment: str | None = None,
    tracking_uri: str | None = None,
) -> Groups:
    """Return runs as groups by a parameter or tag, each with the mean of its seeds and how sure that is.

    Args and errors are those of `load_seed_runs`.
    """
    found = load_seed_runs(
        key, runs, round, score, set_name=set_name, experiment=experiment, tracking_uri=tracking_uri
    )
    return by_group(found.runs, key, found.score, found.notes)


def load_seed_runs(
    key: str,
    runs: Sequence[str] | None = None,
    round: str | int = "best",  # noqa: A002 - the field's word
    score: str | None = None,
    *,
    set_name: str | None = None,
    experiment: str | None = None,
    tracking_uri: str | None = None,
) -> SeedRuns:
    """Read the scores of runs at one round of each, and what they are grouped by.

    Args:
        key: `params.NAME` or `tags.NAME`.
        runs: Runs as in `compare`, also with a round (`fox@120`). By default all with predictions; those of
            them that cannot be read, or hold no such round, are left out, and a note says so.
        round: The round of every run that names none: `best`, `last`, `first`, or a step.
        score: The score that decides what is best, by default `exact_match`, else the first in common.
        set_name: The sample set; by default that of the first run.
        experiment: Name of the experiment to look in; all experiments by default.
        tracking_uri: MLflow's tracking URI; MLflow's own setting by default. The setting is not changed.

    Raises:
        RunError: No run has the parameter or tag (those that there are, are listed), a run is named twice, a
            named run or its round does not exist, or MLflow does not answer.
    """
    check_round(round)
    place = Place(experiment, tracking_uri)
    wanted = _named(runs, round, place) if runs else _all(round, place)
    values = group_values([(each.run.data.params, each.run.data.tags) for each in wanted], key)
    groups = {
        each.run.info.run_id: value for each, value in zip(wanted, values, strict=True) if value is not None
    }
    left_out = [each for each in wanted if each.run.info.run_id not in groups]
    notes = [f"run {_label(each.run)} has no {key}: it is left out" for each in left_out]
    wanted = [each for each in wanted if each.run.info.run_id in groups]
    read = _Reading(strict=bool(runs), notes=notes)
    histories = read.histories(wanted, set_name, tracking_uri)
    if not histories:
        raise _none_left(read.notes)
    chosen = _score(histories.values(), score, {each.round for each in wanted})
    found = [
        _seed_run(each, histories[each.run.info.run_id], groups[each.run.info.run_id], step)
        for each, step in read.steps(wanted, histories, chosen)
    ]
    if not found:
        raise _none_left(read.notes)
    notes = [*read.notes, *_cautions([each for _, each in found], str(round))]
    return SeedRuns(tuple(run for run, _ in found), chosen, tuple(notes))


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A run and the round of it that counts."""

    run: Run
    round: str | int


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a round's answers say besides their scores."""

    label: str
    step: int
    going_on: bool
    answers: int
    failed: int
    samples: frozenset[str]


@dataclass(slots=True)
class _Reading:
    """Reads runs; one that does not serve is an error (`strict`), or left out with a note."""

    strict: bool
    notes: list[str] = field(default_factory=list)

    def histories(
        self, wanted: Sequence[_Wanted], set_name: str | None, tracking_uri: str | None
    ) -> dict[str, History]:
        """Return the runs' rounds without their texts, by run id; the first run decides the sample set."""
        from timelapse.polite import polite_requests
        from timelapse.reading.artifacts import RunArtifacts, Shared
        from timelapse.reading.cache import Cache
        from timelapse.reading.loader import read_run
        from timelapse.reading.runs import connect
        from timelapse.reading.threads import Threads
        from timelapse.rounds import round_schema

        found: dict[str, History] = {}
        skip = set(round_schema().names) - _NEEDED
        client, cache = connect(tracking_uri), Cache.open()
        with polite_requests(), Shared(client.tracking_uri) as shared, Threads() as downloads:
            for run in (each.run for each in wanted):
                loaded = read_run(RunArtifacts(client, run, cache, shared), downloads, skip)
                try:
                    found[run.info.run_id] = history(run, loaded, set_name)
                except RunError as error:
                    self._left_out(run, error)
                    continue
                set_name = found[run.info.run_id].set_name
                self.notes += [f"run {_label(run)}: {problem}" for problem in loaded.problems]
        cache.close()
        return found

    def steps(
        self, wanted: Sequence[_Wanted], histories: Mapping[str, History], score: str | None
    ) -> Iterator[tuple[_Wanted, int]]:
        """Yield the runs that were read, with the step of the round that counts."""
        for each in wanted:
            if each.run.info.run_id in histories:
                try:
                    step = histories[each.run.info.run_id].step(each.round, score)
                except RunError as error:
                    self._left_out(each.run, error)
                    continue
                yield each, step

    def _left_out(self, run: Run, error: RunError) -> None:
        if self.strict:
            raise error
        self.notes.append(f"run {_label(run)} is left out: {str(error).rstrip('.')}")


def _named(selectors: Sequence[str], round_: str | int, place: Place) -> list[_Wanted]:
    from timelapse.reading.runs import find_run

    found: dict[str, _Wanted] = {}
    for selector, own in map(split_selector, [selectors] if isinstance(selectors, str) else selectors):
        run = find_run(selector, experiment=place.experiment, tracking_uri=place.tracking_uri)
        if run.info.run_id in found:
            raise RunError(f"Run {_label(run)} is named twice: a run is one seed and counts once.")
        found[run.info.run_id] = _Wanted(run, own or round_)
    return list(found.values())


def _all(round_: str | int, place: Place) -> list[_Wanted]:
    from timelapse.reading.runs import list_runs

    found = list_runs(place.experiment, place.tracking_uri)
    if not found:
        where = f" in experiment '{place.experiment}'" if place.experiment else ""
        raise RunError(f"There is no run with predictions{where} to group.")
    return [_Wanted(run, round_) for run in reversed(found)]


def _score(histories: Iterable[History], score: str | None, rounds: set[str | int]) -> str | None:
    scored = [each for each in histories if each.score_names()]
    if not scored:
        raise RunError("The runs have no scores. Scores need references; see `timelapse show`.")
    chosen, _ = choose_score(scored, score)
    if chosen is None and "best" in rounds:
        raise RunError("The runs have no score in common that says which round is best: name it by --round.")
    return chosen


def _seed_run(wanted: _Wanted, run: History, value: str, step: int) -> tuple[SeedRun, _Facts]:
    rows: list[dict[str, Any]] = (
        run.rounds[step].select(["sample_id", "generation", "status", "scores"]).to_pylist()
    )
    answers = {
        Key(row["sample_id"], row["generation"] or 0): Answer(
            row["status"] or "ok", scores=dict(row["scores"] or ())
        )
        for row in rows
    }
    names = sorted({name for answer in answers.values() for name in answer.scores})
    scores = {name: [answer.score(name) for answer in answers.values()] for name in names}
    means = {name: mean([one for one in found if one is not None]) for name, found in scores.items()}
    facts = _Facts(
        label=_label(wanted.run),
        step=step,
        going_on=wanted.run.info.status == "RUNNING",
        answers=len(answers),
        failed=sum(answer.status == "error" for answer in answers.values()),
        samples=frozenset(key.sample_id for key in answers),
    )
    known = {name: number for name, number in means.items() if number is not None}
    return SeedRun(run.run_id, run.run_name, value, step, known), facts


def _cautions(runs: Sequence[_Facts], round_: str) -> Iterator[str]:
    for run in runs:
        if run.failed:
            yield (
                f"run {run.label}, step {run.step}: {run.failed} of {run.answers} answers failed; they "
                "have no part in its mean"
            )
        if run.going_on:
            yield f"run {run.label} is still going on"
    if len({run.samples for run in runs}) > 1:
        yield "the runs do not all answer the same samples: their means are over different questions"
    steps = sorted({run.step for run in runs})
    if round_ == "last" and len(steps) > 1:
        yield f"the last rounds are at different steps: {', '.join(map(str, steps))}"


def _none_left(notes: Sequence[str]) -> RunError:
    return RunError(f"No run is left to group: {'; '.join(notes)}.")


def _label(run: Run) -> str:
    return f"{run.info.run_name} ({run.info.run_id[:8]})" if run.info.run_name else run.info.run_id[:8]
