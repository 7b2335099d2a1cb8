"""A round's numbers, as MLflow metrics."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from timelapse.rounds import Prediction, Round


def round_metrics(round_: Round, previous: Round | None = None) -> dict[str, float]:
    """Return the means and rates of a round by bare name (`exact_match`, `error_rate`, …).

    - each score's mean over the rows that have it (NaN marks a scorer that failed);
    - `error_rate`: failed rows / all rows;
    - `truncated_rate`, `empty_rate`: answers cut at the token limit, or without text / answered rows;
    - `churn`: rows whose text changed / rows answered both now and in `previous`;
    - `seconds`: wall time of the pass; `tokens_per_second`: answer tokens / seconds.

    A number that has nothing to be computed from is left out rather than reported as zero.
    """
    rows = round_.predictions
    answered = [row for row in rows if row.status == "ok"]
    metrics = _score_means(answered)
    if rows:
        metrics["error_rate"] = len(round_.failed) / len(rows)
    if answered:
        metrics["truncated_rate"] = _share(answered, lambda row: row.finish_reason == "length")
        metrics["empty_rate"] = _share(answered, lambda row: not (row.prediction or "").strip())
    churn = _churn(answered, previous)
    if churn is not None:
        metrics["churn"] = churn
    if round_.seconds > 0:
        metrics["seconds"] = round_.seconds
        metrics["tokens_per_second"] = sum(row.prediction_tokens or 0 for row in rows) / round_.seconds
    return metrics


def _score_means(rows: list[Prediction]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.scores.items():
            if not math.isnan(value):
                values.setdefault(name, []).append(value)
    return {name: sum(column) / len(column) for name, column in values.items()}


def _share(rows: list[Prediction], holds: Callable[[Prediction], bool]) -> float:
    return sum(holds(row) for row in rows) / len(rows)


def _churn(answered: list[Prediction], previous: Round | None) -> float | None:
    if previous is None:
        return None
    before = {
        (row.sample_id, row.generation): row.prediction for row in previous.predictions if row.status == "ok"
    }
    both = [row for row in answered if (row.sample_id, row.generation) in before]
    if not both:
        return None
    return _share(both, lambda row: row.prediction != before[row.sample_id, row.generation])
