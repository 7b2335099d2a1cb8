"""Choosing rounds of a run: the newest attempt at each step; the first, the last, the best, or by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from timelapse.errors import RunError
from timelapse.hints import listed, nearest
from timelapse.names import DEFAULT_SET
from timelapse.reading.scores import score_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    import pyarrow as pa

Wanted = Literal["first", "last", "best"] | int
"""Names one round of a run: by its place, as the best by a score, or by its step."""

DEFAULT_SCORE = "exact_match"
"""The score that decides where none is named, if the rows have it; else the first that they have."""


def newest_attempts(rounds: pa.Table) -> pa.Table:
    """Return the rows of the highest attempt at each step of each set, in their order."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    attempt = _integers(rounds, "attempt")
    if not attempt.any():
        return rounds
    sets = pc.fill_null(rounds.column("set"), DEFAULT_SET).combine_chunks().dictionary_encode()
    steps = np.unique(_integers(rounds, "step"), return_inverse=True)[1]
    place = steps * len(sets.dictionary) + sets.indices.to_numpy()
    newest = np.zeros(place.max() + 1, dtype=np.int64)
    np.maximum.at(newest, place, attempt)
    return rounds.filter(pa.array(attempt == newest[place]))


def main_set(rounds: pa.Table) -> str | None:
    """Return the set by which a run is judged: `main`, else the first by name; None without rows."""
    import pyarrow.compute as pc

    found = pc.unique(pc.fill_null(rounds.column("set"), DEFAULT_SET)).to_pylist()
    return min(found, key=lambda name: (name != DEFAULT_SET, name), default=None)


def of_set(rounds: pa.Table, set_name: str | None) -> pa.Table:
    """Return the rows of a set."""
    import pyarrow.compute as pc

    return rounds.filter(pc.equal(pc.fill_null(rounds.column("set"), DEFAULT_SET), set_name))


def steps(rounds: pa.Table) -> list[int]:
    """Return the steps at which there are rows, in ascending order."""
    import pyarrow.compute as pc

    return sorted(pc.unique(rounds.column("step")).to_pylist())


def rounds_by_step(rounds: pa.Table, set_name: str) -> dict[int, pa.Table]:
    """Return the rows of each round of a set by its step, in ascending order: the newest attempt at each."""
    import pyarrow.compute as pc

    newest = newest_attempts(of_set(rounds, set_name))
    return {step: newest.filter(pc.equal(newest.column("step"), step)) for step in steps(newest)}


def choose_step(
    rounds: pa.Table, wanted: Wanted, score: str | None = None, set_name: str | None = None
) -> int:
    """Return the step of one round of a run.

    Args:
        rounds: The rows of one run, as `load_rounds` returns them.
        wanted: `first`, `last`, `best` (see `best_step`), or a step at which there is a round.
        score: The score that decides what is best.
        set_name: The sample set whose rounds count; by default `main`, or the only one.

    Raises:
        RunError: There is no such round; lists the steps that there are.
    """
    rounds = of_set(rounds, set_name or main_set(rounds))
    known = steps(rounds)
    if not known:
        raise RunError(f"There is no round{f' of set {set_name!r}' if set_name else ''} to choose from.")
    if wanted == "best":
        return best_step(rounds, score)
    if wanted in ("first", "last"):
        return known[0 if wanted == "first" else -1]
    if wanted not in known:
        raise RunError(f"There is no round at step {wanted}. There are rounds at steps: {listed(known)}.")
    return int(wanted)


def best_step(rounds: pa.Table, score: str | None = None, set_name: str | None = None) -> int:
    """Return the step of the round with the highest mean of a score; of several the earliest.

    Which rows count says `best_of`; only the newest attempt at a step does.

    Args:
        rounds: The rows of one run, as `load_rounds` returns them.
        score: Name of a score; by default `exact_match`, else the first that the rows have. Higher is better.
        set_name: The sample set whose rounds count; by default `main`, or the only one.

    Raises:
        RunError: The rounds have no such score, or none at all; lists those that there are.
    """
    name = choose_score(score_columns(rounds), score)
    best = best_of(rounds_by_step(rounds, set_name or main_set(rounds) or DEFAULT_SET), name)
    if best is None:
        raise RunError(f"No answer has a score '{name}' that is a number: choose a round by its step.")
    return best


def best_of(rounds: Mapping[int, pa.Table], score: str) -> int | None:
    """Return the step whose round has the highest mean of a score; None if no round has it.

    The mean is over the answers that did not fail and whose score is a finite number, as in the metric
    `predictions/<score>`. Of equals the first counts.
    """
    import pyarrow.compute as pc

    means: dict[int, float] = {}
    for step, table in rounds.items():
        answered = table.filter(pc.equal(pc.fill_null(table.column("status"), "ok"), "ok"))
        values = pc.map_lookup(answered.column("scores"), score, "last")
        finite = values.filter(pc.is_finite(values))
        if len(finite):
            means[step] = pc.mean(finite).as_py()
    return max(means, key=lambda step: means[step], default=None)


def choose_score(known: Iterable[str], wanted: str | None = None) -> str:
    """Return the name of the wanted score, or of the one that decides by default.

    Raises:
        RunError: There is no such score, or none at all; names the nearest and lists those that there are.
    """
    known = list(known)
    if not known:
        raise RunError("The rounds have no scores. Scores need references; see `timelapse show`.")
    if wanted is None:
        return DEFAULT_SCORE if DEFAULT_SCORE in known else known[0]
    if wanted not in known:
        raise RunError(
            f"There is no score '{wanted}'.{nearest(wanted, known)} There are: {', '.join(known)}."
        )
    return wanted


def _integers(rounds: pa.Table, column: str) -> np.ndarray:
    import pyarrow.compute as pc

    values: np.ndarray = pc.fill_null(rounds.column(column), 0).to_numpy()
    return values
