"""The predictions of many runs as one Arrow table, read run by run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import index
from typing import TYPE_CHECKING, Literal, TypedDict

from timelapse.errors import RunError
from timelapse.fence import attempt
from timelapse.hints import nearest
from timelapse.polite import polite_requests
from timelapse.reading import choice
from timelapse.reading.ahead import FilesAhead
from timelapse.reading.artifacts import COMPUTING, RunArtifacts, Shared
from timelapse.reading.cache import Cache
from timelapse.reading.judged import JUDGED
from timelapse.reading.loader import expect_run, read_run
from timelapse.reading.memory import system_memory
from timelapse.reading.parquet import stacked
from timelapse.reading.runs import connect, find_runs
from timelapse.reading.threads import Threads
from timelapse.reading.tidy import COLUMNS, KEY, final_names, fixed_schema, tidy
from timelapse.rounds import round_schema

if TYPE_CHECKING:
    import pyarrow as pa
    from mlflow.entities import Run

Rounds = Literal["all", "last", "best"] | int | Sequence[int]

RUNS_AHEAD = 12
"""How many runs are begun before the oldest one is read: their files come meanwhile, and are held."""

_RETRIES = 1


class Selection(TypedDict, total=False):
    """What to read besides the runs: the keyword arguments of `load_predictions`."""

    experiment: str | None
    filter: str | None
    rounds: Rounds
    columns: Sequence[str] | None
    score: str | None
    attempts: Literal["latest", "all"]
    tracking_uri: str | None


@dataclass(frozen=True, slots=True)
class Gathered:
    """The rows of runs, and what is missing among them."""

    table: pa.Table
    """The rows by run (as given), step, sample, generation and attempt; columns as `load_predictions`."""
    problems: list[str]
    """A sentence for everything that could not be read."""

    def warning(self) -> str:
        """Return the problems as one warning."""
        count = len(self.problems)
        more = f" (and {count - 1} more, in frame.attrs['problems'])" if count > 1 else ""
        return f"Not everything could be read: {self.problems[0]}{more}. The frame holds the rest."


@dataclass(frozen=True, slots=True)
class _RunRows:
    """What one run brings: its rows, of the columns that are wanted, and all that it could have brought."""

    table: pa.Table
    names: list[str]
    steps: list[int]
    problems: list[str] = field(default_factory=list)
    no_round: RunError | None = None


def gather(
    runs: str | Sequence[str] | None = None,
    *,
    experiment: str | None = None,
    filter: str | None = None,  # noqa: A002 - MLflow's word
    rounds: Rounds = "all",
    columns: Sequence[str] | None = None,
    score: str | None = None,
    attempts: Literal["latest", "all"] = "latest",
    tracking_uri: str | None = None,
) -> Gathered:
    """Read runs as `load_predictions` says; see there for arguments and errors."""
    wanted = _Wanted(_checked_rounds(rounds, score), _checked_columns(columns), score, attempts)
    if attempts not in ("latest", "all"):
        raise RunError(f"attempts={attempts!r} is not known; it is 'latest' or 'all'.")
    found = find_runs(runs, experiment=experiment, filter=filter, tracking_uri=tracking_uri)
    client, cache = connect(tracking_uri), Cache.open()
    with (
        system_memory(),
        polite_requests(retries=_RETRIES),
        Shared(client.tracking_uri) as shared,
        Threads() as downloads,
        FilesAhead() as ahead,
        Threads(COMPUTING) as readers,
    ):

        def begun(run: Run) -> RunArtifacts:
            artifacts = RunArtifacts(client, run, cache, shared)
            expect_run(artifacts, ahead)
            return artifacts

        def read(artifacts: RunArtifacts) -> _RunRows:
            try:
                return wanted.read(artifacts, downloads, told=runs is not None)
            finally:
                artifacts.forget()

        gathered = wanted.united(list(readers.each(read, map(begun, found), ahead=RUNS_AHEAD)))
    cache.close()
    return gathered


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which rows and columns of each run are kept."""

    rounds: Literal["all", "last", "best"] | list[int]
    columns: list[str] | None
    score: str | None
    attempts: str

    def read(self, artifacts: RunArtifacts, downloads: Threads, *, told: bool) -> _RunRows:
        """Return a run's rows; `told`: the run was named, so that it should hold some."""
        run = artifacts.run
        loaded = read_run(artifacts, downloads, skip=self._skipped())
        label = f"run {run.info.run_id[:8]} ({run.info.run_name})"
        problems = [f"{label}: {text}" for text in loaded.problems]
        if told and not len(loaded.rounds) and not problems:
            problems.append(f"{label}: it holds no rounds")
        with artifacts.shared.work:
            rounds, no_round = attempt(partial(self._chosen, loaded.rounds))
            if no_round is not None:
                if not isinstance(no_round, RunError):
                    raise no_round
                problems.append(f"{label}: {str(no_round).rstrip('.')}")
            rounds = loaded.rounds.slice(0, 0) if no_round is not None else rounds
            table = tidy(run, rounds, loaded.samples, self._fixed())
        kept = table.select([name for name in table.column_names if self._keeps(name)])
        return _RunRows(kept, table.column_names, choice.steps(loaded.rounds), problems, no_round)

    def united(self, rows: Sequence[_RunRows]) -> Gathered:
        """Return the rows of all runs as one table.

        Raises:
            RunError: No run has a step, a column, or the round that was asked for.
        """
        self._check_steps({step for each in rows for step in each.steps})
        refused = [each.no_round for each in rows if each.no_round]
        if refused and len(refused) == len([each for each in rows if each.steps]):
            raise refused[0]
        final = final_names(dict.fromkeys(name for each in rows for name in each.names))
        self._check_columns(list(final.values()))
        empty = fixed_schema().empty_table().select(self._fixed())
        tables = [
            each.table.rename_columns([final[name] for name in each.table.column_names]) for each in rows
        ]
        table, conflicts = stacked([empty, *tables])
        order = [name for name in final.values() if name in table.column_names]
        return Gathered(
            table.select(self.columns or order), [text for each in rows for text in each.problems] + conflicts
        )

    def _chosen(self, rounds: pa.Table) -> pa.Table:
        """Return the rows of the rounds that are wanted."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if self.rounds != "all" and len(rounds):
            wanted = (
                self.rounds
                if isinstance(self.rounds, list)
                else [choice.choose_step(rounds, self.rounds, self.score)]
            )
            known = pa.array([step for step in choice.steps(rounds) if step in wanted], pa.int64())
            rounds = rounds.filter(pc.is_in(rounds.column("step"), value_set=known))
        return choice.newest_attempts(rounds) if self.attempts == "latest" else rounds

    def _skipped(self) -> set[str]:
        """Return the stored columns that need not be decoded."""
        stored = set(round_schema().names) - set(KEY)
        if self.columns is None:
            return set()
        needed = {*self.columns, *(JUDGED[name] for name in self.columns if name in JUDGED)}
        if not set(self.columns) <= set(COLUMNS):
            needed.add("scores")
        if self.rounds == "best":
            needed |= {"scores", "status"}
        return stored - needed

    def _fixed(self) -> list[str]:
        """Return the columns of `COLUMNS` to make; one at least, which counts the rows."""
        return [name for name in COLUMNS if self.columns is None or name in self.columns or name == "run_id"]

    def _keeps(self, name: str) -> bool:
        """Return whether a column may be wanted; what it will be called is not known yet."""
        if self.columns is None or name in COLUMNS:
            return True
        kind, _, bare = name.partition("/")
        return any(re.fullmatch(f"({kind}_)*{re.escape(bare)}", column) for column in self.columns)

    def _check_columns(self, known: Sequence[str]) -> None:
        for name in self.columns or ():
            if name not in known and name not in COLUMNS:
                everything = list(dict.fromkeys([*COLUMNS, *known]))
                near = nearest(name, everything)
                raise RunError(f"There is no column '{name}'.{near} There are: {', '.join(everything)}.")

    def _check_steps(self, known: set[int]) -> None:
        for step in self.rounds if isinstance(self.rounds, list) else ():
            if step not in known:
                there = ", ".join(map(str, sorted(known))) or "none"
                raise RunError(f"No run has a round at step {step}. There are rounds at steps: {there}.")


def _checked_rounds(rounds: Rounds, score: str | None) -> Literal["all", "last", "best"] | list[int]:
    if score is not None and rounds != "best":
        raise RunError("score= says by what the best round is chosen: use it with rounds='best'.")
    if isinstance(rounds, str) and rounds in ("all", "last", "best"):
        return rounds
    steps, error = attempt(partial(_steps, rounds))
    if not steps or error is not None:
        raise RunError(f"rounds={rounds!r} is not known; it is 'all', 'last', 'best', or a list of steps.")
    return steps


def _steps(rounds: Rounds | Iterable[int]) -> list[int]:
    """Return steps as numbers of Python's: in a notebook they come from a frame, as numpy's."""
    steps = rounds if isinstance(rounds, Iterable) else [rounds]
    return [index(step) for step in steps]  # type: ignore[arg-type]  # a text is no number: an error


def _checked_columns(columns: Sequence[str] | None) -> list[str] | None:
    if columns is None:
        return None
    names = [] if isinstance(columns, str) else list(dict.fromkeys(columns))
    if not names or not all(isinstance(name, str) for name in names):
        raise RunError(f"columns={columns!r} is no list of column names, such as ['step', 'prediction'].")
    return names
