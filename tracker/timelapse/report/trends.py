"""A run's numbers over its rounds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from timelapse.report.marks import Mark

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from timelapse.report.grid import Grid

MEASURED = ("reference_nll", "mean_logprob")
"""Numbers of every answer that are no scores, and can be looked at like one."""

Series = list[float | None]
"""One value a round; None where there is nothing to compute it from."""

_RATES = {
    "truncated_rate": Mark.TRUNCATED,
    "empty_rate": Mark.EMPTY,
    "loop_rate": Mark.LOOP,
    "echo_rate": Mark.ECHO,
    "length_drift_rate": Mark.LENGTH_DRIFT,
    "script_switch_rate": Mark.SCRIPT_SWITCH,
}


def trends(grid: Grid, marks: np.ndarray) -> dict[str, Series]:
    """Return the numbers of all rounds by name, as `round_metrics` names them.

    The mean of each score; `reference_nll`, `mean_logprob`; `right`, `learned`, `forgotten` (samples);
    `churn` (against the round before); the rates of failed, truncated, empty, looping, echoing and valid
    answers; `seconds` and `tokens_per_second`. A number that no round has is left out.
    """
    ok = (marks & Mark.OK) > 0
    held = marks > 0
    found = {name: _means(values) for name, values in grid.scores.items()}
    for name in MEASURED:
        found[name] = _means(grid.numbers(name))
    found["error_rate"] = _shares((marks & Mark.FAILED) > 0, held)
    found |= {name: _shares((marks & mark) > 0, ok) for name, mark in _RATES.items()}
    found["valid_rate"] = _valid_rate(grid, marks, ok)
    found |= _learning(grid, marks)
    found["churn"] = _churn(marks, ok)
    found |= _cost(grid)
    return {name: series for name, series in found.items() if any(value is not None for value in series)}


def _means(values: np.ndarray) -> Series:
    import numpy as np

    known = np.isfinite(values)
    return _ratios(np.where(known, values, 0).sum(axis=0), known.sum(axis=0))


def _shares(holds: np.ndarray, among: np.ndarray) -> Series:
    return _ratios((holds & among).sum(axis=0), among.sum(axis=0))


def _ratios(parts: np.ndarray, wholes: np.ndarray) -> Series:
    return [float(part / whole) if whole else None for part, whole in zip(parts, wholes, strict=True)]


def _valid_rate(grid: Grid, marks: np.ndarray, ok: np.ndarray) -> Series:
    from timelapse.reading.judged import judged_column

    checked = judged_column("valid", grid.rows).is_valid().to_numpy()
    among = ok & grid.spread(checked, False).astype(bool)
    return _shares((marks & Mark.INVALID) == 0, among)


def _learning(grid: Grid, marks: np.ndarray) -> Mapping[str, Series]:
    """Count samples: of several generations each has the sample's marks, so that one of them is enough."""
    import numpy as np

    judged = (marks & (Mark.RIGHT | Mark.WRONG)) > 0
    if not judged.any():
        return {}
    first = np.r_[True, grid.lanes[1:, 0] != grid.lanes[:-1, 0]]
    starts = np.flatnonzero(first)

    def samples(holds: np.ndarray) -> list[int]:
        counts: list[int] = np.logical_or.reduceat(holds, starts, axis=0).sum(axis=0).tolist()
        return counts

    known = samples(judged)
    several = len(starts) < len(grid.lanes)
    series: dict[str, Series] = (
        {} if several else {"right": [float(n) for n in samples((marks & Mark.RIGHT) > 0)]}
    )
    for name, mark in (("learned", Mark.LEARNED), ("forgotten", Mark.FORGOTTEN)):
        counts = samples((marks & mark) > 0)
        seen = np.cumsum([0, *known])[:-1]
        series[name] = [float(n) if known[at] and seen[at] else None for at, n in enumerate(counts)]
    return series


def _churn(marks: np.ndarray, ok: np.ndarray) -> Series:
    both = ok[:, 1:] & ok[:, :-1]
    return [None, *_shares((marks[:, 1:] & Mark.CHANGED) > 0, both)] if ok.shape[1] else []


def _cost(grid: Grid) -> Mapping[str, Series]:
    import numpy as np

    each = grid.numbers("seconds")
    seconds = np.where(np.isfinite(each), each, 0).sum(axis=0)
    tokens = np.nansum(grid.numbers("prediction_tokens"), axis=0)
    with np.errstate(all="ignore"):  # what is no number in the end is left out
        return {"seconds": _above_zero(seconds), "tokens_per_second": _above_zero(tokens / seconds)}


def _above_zero(numbers: np.ndarray) -> Series:
    return [float(each) if 0 < each < math.inf else None for each in numbers]
