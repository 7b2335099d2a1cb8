"""Asking MLflow for runs and their metrics, as the caller."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from timelapse.names import METRIC_PREFIX, metric
from timelapse.reading.choice import DEFAULT_SCORE
from timelapse.scoring.builtin import SCORERS
from timelapse_plugins.api.access import MOST_JSON, asked
from timelapse_plugins.api.problems import Problem
from timelapse_plugins.api.runs import StoredRun
from timelapse_plugins.refusals import Refused, object_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from timelapse_plugins.inner import Caller, Inner

MOST_POINTS = 100
"""Points of a score's series in a list."""
MOST_EXPERIMENTS = 1_000
"""Experiments in which the runs of a job are looked for: those changed last."""

# What `timelapse.writing.metrics` logs besides the means of scores.
_NOT_SCORES = frozenset(
    (
        *("error_rate", "truncated_rate", "empty_rate", "loop_rate", "echo_rate", "length_drift_rate"),
        *("script_switch_rate", "valid_rate", "churn", "edit_distance", "right", "learned", "forgotten"),
        *("net", "agreement", "spread", "reference_nll", "tokens_per_second", "seconds"),
        "share_of_training_time",
    )
)


@dataclass(frozen=True, slots=True)
class Point:
    """A number at a step."""

    step: int
    """The trainer's `global_step`."""
    value: float | None
    """The number; None if it is not finite."""


async def search(
    inner: Inner,
    experiment_ids: Sequence[str],
    condition: str,
    caller: Caller,
    limit: int,
    cursor: str | None,
) -> tuple[list[StoredRun], str | None]:
    """Return runs that meet a condition in MLflow's language, the newest first, and the cursor of the rest.

    Raises:
        Refused: MLflow does not search for the caller.
        Problem: The cursor is none.
    """
    question: dict[str, Any] = {
        "experiment_ids": list(experiment_ids),
        "filter": condition,
        "max_results": limit,
        "order_by": ["attributes.start_time DESC"],
        "run_view_type": "ACTIVE_ONLY",
    }
    if cursor:
        question["page_token"] = cursor
    body = json.dumps(question).encode()
    got = await inner.search("/api/2.0/mlflow/runs/search", body, caller, MOST_JSON)
    if got.status != 200:
        if cursor and got.status in (400, 500):  # MLflow's database fails at some cursors
            hint = "Take `next_cursor` of the page before; or begin without one."
            raise Problem(422, "cursor: MLflow does not know this cursor.", hint)
        raise Refused(got.status, got.headers, got.body)
    found = object_of(got)
    return [StoredRun.of(each) for each in found.get("runs", ())], found.get("next_page_token") or None


async def experiments(inner: Inner, caller: Caller) -> dict[str, str]:
    """Return the names of the experiments that the caller may see, by id; of more than 1,000 the newest."""
    params = [("max_results", str(MOST_EXPERIMENTS)), ("view_type", "ACTIVE_ONLY")]
    found = await asked(inner, "/api/2.0/mlflow/experiments/search", params, caller)
    return {each["experiment_id"]: each.get("name", "") for each in found.get("experiments", ())}


def main_score(run: StoredRun) -> str | None:
    """Return the score that decides, by the run's metrics: `exact_match`, a built-in one, else the first."""
    known = [
        name.removeprefix(METRIC_PREFIX)
        for name in sorted(run.metrics)
        if name.startswith(METRIC_PREFIX) and "/" not in name.removeprefix(METRIC_PREFIX)
    ]
    scores = [name for name in known if _is_score(name)]
    chosen = [name for name in (DEFAULT_SCORE, *SCORERS) if name in scores]
    return next(iter([*chosen, *scores]), None)


async def score_series(inner: Inner, runs: Sequence[StoredRun], caller: Caller) -> Mapping[str, list[Point]]:
    """Return the means of each run's main score by step, by the run's id: one request a score."""
    by_score: dict[str, list[str]] = {}
    for run in runs:
        if score := main_score(run):
            by_score.setdefault(score, []).append(run.run_id)
    answers = await asyncio.gather(*(_history(inner, *item, caller) for item in by_score.items()))
    return {run_id: points for found in answers for run_id, points in found.items()}


async def _history(inner: Inner, score: str, run_ids: list[str], caller: Caller) -> dict[str, list[Point]]:
    params = [("run_ids", run_id) for run_id in run_ids]
    params += [("metric_key", metric(score)), ("max_results", str(MOST_POINTS))]
    try:
        found = await asked(inner, "/api/2.0/mlflow/metrics/get-history-bulk-interval", params, caller)
    except Refused:  # a list without its curves is of use, too
        return {}
    points: dict[str, dict[int, Point]] = {}
    for each in found.get("metrics", ()):
        step, value = int(each.get("step", 0)), float(each.get("value", math.nan))
        point = Point(step, value if math.isfinite(value) else None)
        points.setdefault(each["run_id"], {})[step] = point
    return {run_id: [by_step[step] for step in sorted(by_step)] for run_id, by_step in points.items()}


def _is_score(name: str) -> bool:
    return name not in _NOT_SCORES and not name.startswith(("pass_at_", "valid_rate_"))
