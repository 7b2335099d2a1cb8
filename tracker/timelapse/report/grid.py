"""A run's answers in one sample set, arranged: a lane for each answer drawn, a column for each round."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from timelapse.names import DEFAULT_SET
from timelapse.reading.choice import newest_attempts, of_set
from timelapse.reading.scores import score_columns

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


class RoundColumn(NamedTuple):
    """One round: a column of the grid."""

    step: int
    """The trainer's `global_step`."""
    epoch: float | None
    """Passes over the training data so far."""
    trigger: str
    """What caused the round."""
    attempt: int
    """Grows by one each time training is resumed behind an existing round."""


@dataclass(frozen=True, slots=False, eq=False)
class Grid:
    """Answers arranged by lane (a sample's generation) and round; `places` says where each is stored."""

    rows: pa.Table
    """The stored rows, of several attempts at a step those that were chosen."""
    sample_ids: Sequence[str]
    """The samples, in the set's order; those that only the rounds know come last."""
    lanes: np.ndarray
    """(lanes, 2) int64: the place of each lane's sample in `sample_ids`, and which generation it is."""
    rounds: Sequence[RoundColumn]
    """The rounds by step."""
    places: np.ndarray
    """(lanes, rounds) int64: the row in `rows` that holds the answer; -1 where there is none."""

    @cached_property
    def scores(self) -> Mapping[str, np.ndarray]:
        """Each score as (lanes, rounds) float64; NaN where an answer failed or does not have it."""
        import numpy as np

        found = score_columns(self.rows)
        failed = ~self.equal("status", "ok", missing="ok")
        return {
            name: np.where(failed, np.nan, self.spread(values.to_numpy(zero_copy_only=False), np.nan))
            for name, values in found.items()
        }

    def spread(self, values: np.ndarray, missing: float) -> np.ndarray:
        """Return one value a stored row as (lanes, rounds); `missing` where there is no answer."""
        import numpy as np

        if not len(values):
            return np.full(self.places.shape, missing)
        spread: np.ndarray = np.where(self.places >= 0, values[self.places], missing)
        return spread

    def equal(self, column: str, value: str, missing: str | None = None) -> np.ndarray:
        """Return where a column of text has a value, as (lanes, rounds) bool; `missing` stands for null."""
        import pyarrow.compute as pc

        stored = self.rows.column(column)
        if missing is not None:
            stored = pc.fill_null(stored, missing)
        same = pc.fill_null(pc.equal(stored, value), False)
        return self.spread(same.to_numpy(), False).astype(bool)

    def numbers(self, column: str) -> np.ndarray:
        """Return a column of numbers as (lanes, rounds) float64; NaN where there is none."""
        import numpy as np
        import pyarrow as pa

        values = self.rows.column(column).cast(pa.float64()).to_numpy()
        return self.spread(values, np.nan)

    def texts(self, lanes: Sequence[int]) -> list[list[str | None]]:
        """Return the answers of some lanes in every round; None where there is no row, or no text in it."""
        import pyarrow as pa

        places = self.places[list(lanes)].ravel()
        wanted = pa.array(places, mask=places < 0)
        found = self.rows.column("prediction").take(wanted).to_pylist()
        width = len(self.rounds)
        return [found[lane * width : (lane + 1) * width] for lane in range(len(lanes))]


def arrange(
    rounds: pa.Table, known: Sequence[str], set_name: str = DEFAULT_SET, attempt: int | None = None
) -> Grid:
    """Arrange the rows of a run.

    Args:
        rounds: Rows as `RunRounds.rounds` holds them.
        known: The ids of the set's samples, in order.
        set_name: The sample set.
        attempt: Which attempt's rounds are wanted; by default of each step the newest.

    Of rows for the same answer in the same round the last one counts.
    """
    import numpy as np
    import pyarrow.compute as pc

    rows = of_set(rounds, set_name)
    attempts = pc.fill_null(rows.column("attempt"), 0)
    rows = newest_attempts(rows) if attempt is None else rows.filter(pc.equal(attempts, attempt))
    rows = rows.combine_chunks()
    ids = list(dict.fromkeys([*known, *pc.unique(rows.column("sample_id")).to_pylist()]))
    sample = _codes(rows.column("sample_id"), ids)
    generation = pc.fill_null(rows.column("generation"), 0).to_numpy().astype(np.int64)
    lanes, lane = np.unique(np.stack([sample, generation], axis=1), axis=0, return_inverse=True)
    steps, first, column = np.unique(rows.column("step").to_numpy(), return_index=True, return_inverse=True)
    places = np.full((len(lanes), len(steps)), -1, dtype=np.int64)
    places[lane.reshape(-1), column] = np.arange(len(rows))
    return Grid(rows, ids, lanes, _columns(rows, first), places)


def _codes(column: pa.ChunkedArray, ids: Sequence[str]) -> np.ndarray:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    codes: np.ndarray = pc.index_in(column, value_set=pa.array(ids, pa.string())).to_numpy().astype(np.int64)
    return codes


def _columns(rows: pa.Table, first: np.ndarray) -> list[RoundColumn]:
    found = rows.select(["step", "epoch", "trigger", "attempt"]).take(first).to_pylist()
    return [
        RoundColumn(row["step"], _known(row["epoch"]), row["trigger"] or "manual", row["attempt"] or 0)
        for row in found
    ]


def _known(epoch: float | None) -> float | None:
    """Return an epoch that a document can hold: rounds of one's own may have written any number."""
    return epoch if epoch is not None and math.isfinite(epoch) else None
