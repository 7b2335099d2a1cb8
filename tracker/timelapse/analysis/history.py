"""A run's rounds in one sample set, and which of them is meant by `best`, `last` or a step."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from timelapse.errors import RunError
from timelapse.hints import listed
from timelapse.names import DEFAULT_SET
from timelapse.reading.choice import best_of, rounds_by_step
from timelapse.reading.records import set_names
from timelapse.rounds import round_schema

if TYPE_CHECKING:
    import pyarrow as pa
    from mlflow.entities import Run

    from timelapse.reading.loader import RunRounds

NAMED_ROUNDS = ("first", "best", "last")
"""The rounds that have a name; any other is named by its step."""


class Key(NamedTuple):
    """What makes two answers comparable within a sample set: the same question, the same draw."""

    sample_id: str
    """The hash of the question."""
    generation: int = 0
    """Which of the answers drawn for it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a run answered to a sample in the round that is compared."""

    status: str
    """`ok`, `error`, `skipped`, or `missing`: the round holds no row for the sample."""
    prediction: str | None = None
    """The answer's text, if there is one."""
    error: str | None = None
    """What went wrong, as `ErrorType: message`."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Its scores by name."""

    def score(self, name: str) -> float | None:
        """Return a score; None if the answer failed, or the score is absent or no finite number."""
        value = self.scores.get(name, math.nan) if self.status == "ok" else math.nan
        return value if value is not None and math.isfinite(value) else None


MISSING = Answer("missing")
"""The answer to a sample that a round does not hold."""


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """A run's rounds in one sample set, of several attempts at a step the newest."""

    run_id: str
    """The run's id."""
    run_name: str
    """The run's name."""
    set_name: str
    """The sample set."""
    other_sets: tuple[str, ...]
    """The run's other sample sets."""
    rounds: Mapping[int, pa.Table]
    """The rows of each round by step, in ascending order; columns as in `round_schema`."""
    samples: Mapping[str, Mapping[str, Any]]
    """`index`, `prompt`, `reference`, `tags`, `metadata` (JSON, or None) and `logged` (columns of the user's
    that came with its newest answer) of each sample by its id, in the set's order."""
    manifest: Mapping[str, Any]
    """The run's manifest; empty where there is none."""
    problems: tuple[str, ...]
    """What could not be read."""

    def score_names(self) -> set[str]:
        """Return the names of the scores that any answer of any round has."""
        chunks = [chunk for table in self.rounds.values() for chunk in table.column("scores").chunks]
        return {name for chunk in chunks for name in chunk.keys.unique().to_pylist()}

    def step(self, wanted: str | int, score: str | None) -> int:
        """Return the step of the round that is `wanted`: `first`, `best`, `last`, or a step.

        The best round has the highest mean of `score` over its scored answers, the earliest of equals.
        Without a score the last round stands in for the best one.

        Raises:
            RunError: There is no such round; says which there are.
        """
        steps = list(self.rounds)
        if not steps:
            why = f": {self.problems[0]}" if self.problems else ""
            raise RunError(f"Run {self} holds no rounds of sample set '{self.set_name}' to compare{why}.")
        if wanted in ("first", "last") or (wanted == "best" and score is None):
            return steps[0 if wanted == "first" else -1]
        if wanted == "best":
            return self._best(str(score))
        number = int(check_round(wanted))
        if number not in self.rounds:
            raise RunError(f"Run {self} has no round at step {wanted}. There are: {self.listed_steps()}.")
        return number

    def answers(self, step: int) -> dict[Key, Answer]:
        """Return the answers of the round at a step. Of rows with the same key the last one counts."""
        columns = ("sample_id", "generation", "status", "prediction", "error", "scores")
        return {
            Key(row["sample_id"], row["generation"] or 0): Answer(
                row["status"] or "ok", row["prediction"], row["error"], dict(row["scores"] or ())
            )
            for row in _rows(self.rounds[step], columns)
        }

    def listed_steps(self) -> str:
        """Return the steps of the rounds for a message, of many the first and the last ones."""
        return listed(list(self.rounds))

    def _best(self, score: str) -> int:
        best = best_of(self.rounds, score)
        if best is None:
            raise RunError(f"No round of run {self} has the score '{score}': name its rounds by step.")
        return best

    def __str__(self) -> str:
        return f"{self.run_name} ({self.run_id[:8]})" if self.run_name else self.run_id[:8]


def check_round(wanted: str | int) -> str | int:
    """Return what names a round as it is.

    Raises:
        RunError: It is neither `first`, `best` nor `last`, nor a step.
    """
    if wanted not in NAMED_ROUNDS and not re.fullmatch(r"\d+", str(wanted)):
        raise RunError(f"A round is {', '.join(NAMED_ROUNDS)} or a step (a number), not {wanted!r}.")
    return wanted


class Side(NamedTuple):
    """A round of a run: what a comparison compares."""

    history: History
    """The run."""
    step: int
    """The step of the round."""

    def answers(self) -> dict[Key, Answer]:
        """Return the answers of the round."""
        return self.history.answers(self.step)


def split_selector(selector: str) -> tuple[str, str | None]:
    """Return run and round of a selector: `fox@120` is ("fox", "120"), `fox` is ("fox", None).

    Only a step, `first`, `best` or `last` behind the last `@` is a round: other names may hold an `@`.
    """
    found = re.fullmatch(rf"(.+)@(\d+|{'|'.join(NAMED_ROUNDS)})", selector)
    return (found[1], found[2]) if found else (selector, None)


def history(run: Run, loaded: RunRounds, set_name: str | None = None) -> History:
    """Return a run's rounds in a sample set: `main` or the only one, unless it is named.

    Raises:
        RunError: The run holds no predictions, or has no such sample set.
    """
    return history_of(run.info.run_id, run.info.run_name or "", loaded, set_name)


def history_of(run_id: str, run_name: str, loaded: RunRounds, set_name: str | None = None) -> History:
    """Return what `history` does, of a run that is known by its id and name alone."""
    sets = set_names(loaded.rounds, loaded.samples)
    if not sets:
        why = f": {loaded.problems[0]}" if loaded.problems else " (`timelapse runs` lists those that do)"
        raise RunError(f"Run {run_name} ({run_id[:8]}) holds no predictions{why}.")
    chosen = set_name or sets[0]
    if set_name and set_name not in sets:
        raise RunError(
            f"Run {run_name} ({run_id[:8]}) has no sample set '{set_name}'. There are: {', '.join(sets)}."
        )
    samples = _rows(loaded.samples, ("set", "sample_id", "index", "prompt", "reference", "tags", "metadata"))
    rounds = rounds_by_step(loaded.rounds, chosen)
    logged = columns_of_answers(rounds)
    return History(
        run_id=run_id,
        run_name=run_name,
        set_name=chosen,
        other_sets=tuple(name for name in sets if name != chosen),
        rounds=rounds,
        samples={
            row["sample_id"]: row | {"logged": logged.get(row["sample_id"], {})}
            for row in samples
            if (row["set"] or DEFAULT_SET) == chosen
        },
        manifest=loaded.manifest,
        problems=loaded.problems,
    )


def columns_of_answers(rounds: Mapping[int, pa.Table]) -> dict[str, dict[str, Any]]:
    """Return the user's columns of each sample's newest answer, by the sample's id."""
    ours = set(round_schema().names)
    found: dict[str, dict[str, Any]] = {}
    for table in rounds.values():
        names = [name for name in table.column_names if name not in ours]
        for row in _rows(table, ("sample_id", *names)) if names else ():
            found[row.pop("sample_id")] = row
    return found


def _rows(table: pa.Table, columns: Iterable[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.select(list(columns)).to_pylist()
    return rows
