"""What there is to say of every answer, one bit each: what the pages filter, count and colour by."""

from __future__ import annotations

from enum import IntFlag
from typing import TYPE_CHECKING

from timelapse.analysis.trajectories import reaches
from timelapse.reading.judged import judged_column

if TYPE_CHECKING:
    import numpy as np

    from timelapse.analysis.learning import Right
    from timelapse.report.grid import Grid


class Mark(IntFlag):
    """One fact about an answer in a round. 0 is an answer that the round does not hold."""

    OK = 1
    """It was answered."""
    FAILED = 2
    """Its status is `error`."""
    SKIPPED = 4
    """Its status is `skipped`."""
    RIGHT = 8
    """Its score reaches what makes an answer right."""
    WRONG = 16
    """Its score does not."""
    CHANGED = 32
    """Its text is not that of the lane's answer before; rounds without an answer are passed over."""
    LEARNED = 64
    """Its sample is right, and was wrong when last known; of several generations the mean decides."""
    FORGOTTEN = 128
    """Its sample is wrong, and was right when last known."""
    TRUNCATED = 256
    """It was cut at the token limit."""
    EMPTY = 512
    """It is empty."""
    LOOP = 1024
    """It ends in a repetition loop."""
    ECHO = 2048
    """It repeats the prompt."""
    LENGTH_DRIFT = 4096
    """It is far longer or shorter than it should be."""
    SCRIPT_SWITCH = 8192
    """It switches to another script."""
    INVALID = 16384
    """A validator found something in it."""


_FLAGS = {
    "empty": Mark.EMPTY,
    "loop": Mark.LOOP,
    "echo": Mark.ECHO,
    "length_drift": Mark.LENGTH_DRIFT,
    "script_switch": Mark.SCRIPT_SWITCH,
}


def marks(grid: Grid, right: Right | None) -> np.ndarray:
    """Return the marks of all answers: (lanes, rounds) int64."""
    import numpy as np

    ok = grid.equal("status", "ok", missing="ok")
    found = ok * int(Mark.OK)
    for status, mark in (("error", Mark.FAILED), ("skipped", Mark.SKIPPED)):
        found += grid.equal("status", status) * int(mark)
    found += _changed(grid, ok) * int(Mark.CHANGED)
    found += (ok & grid.equal("finish_reason", "length")) * int(Mark.TRUNCATED)
    invalid = judged_column("valid", grid.rows).fill_null(True).to_numpy()
    found += (ok & ~grid.spread(invalid, True).astype(bool)) * int(Mark.INVALID)
    found |= np.where(ok, grid.spread(_flag_bits(grid), 0), 0)
    if right is not None and right.score in grid.scores:
        found |= _learning(grid, right)
    summed: np.ndarray = found.astype(np.int64)
    return summed


def sample_states(grid: Grid, right: Right) -> np.ndarray:
    """Return whether each sample is right in each round: (samples, rounds) float64, 1, 0, or NaN if unknown.

    Of several generations the mean of the known scores counts.
    """
    import numpy as np

    values = grid.scores[right.score]
    known = np.isfinite(values)
    totals, counts = (np.zeros((len(grid.sample_ids), len(grid.rounds))) for _ in range(2))
    np.add.at(totals, grid.lanes[:, 0], np.where(known, values, 0))
    np.add.at(counts, grid.lanes[:, 0], known)
    means = np.divide(totals, counts, out=np.full_like(totals, np.nan), where=counts > 0)
    states: np.ndarray = np.where(counts > 0, reaches(means, right.least), np.nan)
    return states


def _learning(grid: Grid, right: Right) -> np.ndarray:
    import numpy as np

    values = grid.scores[right.score]
    known = np.isfinite(values)
    is_right = known & reaches(values, right.least)
    states = sample_states(grid, right)
    before = _last_known(states)
    learned = ((states == 1) & (before == 0))[grid.lanes[:, 0]]
    forgotten = ((states == 0) & (before == 1))[grid.lanes[:, 0]]
    found = (known & ~is_right) * int(Mark.WRONG)
    found += is_right * int(Mark.RIGHT)
    found += (known & learned) * int(Mark.LEARNED)
    found += (known & forgotten) * int(Mark.FORGOTTEN)
    marks: np.ndarray = found
    return marks


def _changed(grid: Grid, ok: np.ndarray) -> np.ndarray:
    import numpy as np
    import pyarrow.compute as pc

    texts = pc.fill_null(grid.rows.column("prediction"), "").combine_chunks().dictionary_encode()
    codes = grid.spread(texts.indices.to_numpy().astype(float), np.nan)
    codes = np.where(ok, codes, np.nan)
    before = _last_known(codes)
    changed: np.ndarray = np.isfinite(codes) & np.isfinite(before) & (codes != before)
    return changed


def _last_known(values: np.ndarray) -> np.ndarray:
    """Return for each cell the last value before it in its line that is no NaN; NaN where there is none."""
    import numpy as np

    before = np.full_like(values, np.nan)
    current = np.full(values.shape[0], np.nan)
    for column in range(values.shape[1]):
        before[:, column] = current
        current = np.where(np.isnan(values[:, column]), current, values[:, column])
    return before


def _flag_bits(grid: Grid) -> np.ndarray:
    """Return the marks that a row's stored flags stand for, one value a stored row."""
    import numpy as np
    import pyarrow.compute as pc

    bits = np.zeros(len(grid.rows), dtype=np.int64)
    stored = grid.rows.column("flags")
    flat = pc.list_flatten(stored)
    if len(flat):
        parents = pc.list_parent_indices(stored).to_numpy()
        values = np.array([int(_FLAGS.get(name, 0)) for name in flat.to_pylist()], dtype=np.int64)
        np.bitwise_or.at(bits, parents, values)
    return bits
