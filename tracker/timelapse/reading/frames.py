"""Predictions as pandas frames, for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from timelapse.errors import RunError
from timelapse.fence import warn
from timelapse.reading.loader import RunRounds, load_rounds
from timelapse.reading.runs import connect, find_runs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd
    from mlflow.entities import Run

COLUMNS: Mapping[str, str] = {
    "run_id": "str",
    "run_name": "str",
    "step": "int64",
    "epoch": "float64",
    "trigger": "str",
    "set": "str",
    "sample_id": "str",
    "generation": "int64",
    "attempt": "int64",
    "prompt": "str",
    "reference": "str",
    "prediction": "str",
    "status": "str",
    "error": "str",
    "finish_reason": "str",
    "prompt_tokens": "Int64",
    "prediction_tokens": "Int64",
    "seconds": "float64",
}
"""The columns that a frame of predictions always has, with their types; the scores follow."""


def load_predictions(
    runs: str | Sequence[str] | None = None,
    *,
    experiment: str | None = None,
    tracking_uri: str | None = None,
    attempts: Literal["latest", "all"] = "latest",
) -> pd.DataFrame:
    """Return the predictions of runs as one tidy frame: a row per run, round, sample and generation.

    Args:
        runs: One or several runs, each by full id, run name, unique beginning of an id, or `last`. By
            default every run with predictions, newest first.
        experiment: Name of the experiment to look in; all experiments by default.
        tracking_uri: MLflow's tracking URI; MLflow's own setting by default. The setting is not changed.
        attempts: `latest`: where a resumed training came by a step again, only the newest round at that
            step. `all`: every round; the column `attempt` tells them apart.

    Returns:
        A frame with the columns of `COLUMNS`, then a float column per score, named as the score (with
        the prefix `score_` where that name is taken). Rows are ordered by run (as given), step, sample
        (in the set's order) and generation. A score that a row does not have is NaN. What could not be
        read stands in `frame.attrs["problems"]`, a list of sentences, and in one `TimelapseWarning`.

    Raises:
        RunError: A run or the experiment cannot be found, or MLflow does not answer.

    Example:
        >>> import timelapse
        >>> frame = timelapse.load_predictions("last")  # doctest: +SKIP
        >>> frame.groupby("step")["exact_match"].mean()  # doctest: +SKIP
    """
    import pandas as pd

    if attempts not in ("latest", "all"):
        raise RunError(f"attempts={attempts!r} is not known; it is 'latest' or 'all'.")
    found = find_runs(runs, experiment=experiment, tracking_uri=tracking_uri)
    client = connect(tracking_uri)
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    for run in found:
        loaded = load_rounds(client, run.info.run_id)
        problems += [f"run {run.info.run_id[:8]} ({run.info.run_name}): {text}" for text in loaded.problems]
        if runs is not None and not loaded.rounds.num_rows and not loaded.problems:
            problems.append(f"run {run.info.run_id[:8]} ({run.info.run_name}): it holds no rounds")
        rows += _rows(run, loaded, attempts)
    scores = _score_columns(row["scores"] for row in rows)
    data = {name: [row[name] for row in rows] for name in COLUMNS}
    data |= {column: [row["scores"].get(name) for row in rows] for name, column in scores.items()}
    types = {**COLUMNS, **dict.fromkeys(scores.values(), "float64")}
    frame = pd.DataFrame({name: pd.Series(values, dtype=types[name]) for name, values in data.items()})
    frame.attrs["problems"] = problems
    if problems:
        more = f" (and {len(problems) - 1} more, in frame.attrs['problems'])" if len(problems) > 1 else ""
        warn(f"Not everything could be read: {problems[0]}{more}. The frame holds the rest.")
    return frame


def _rows(run: Run, loaded: RunRounds, attempts: Literal["latest", "all"]) -> list[dict[str, Any]]:
    """Return a run's rows in order, each with its scores as a mapping."""
    samples = {(row["set"], row["sample_id"]): row for row in loaded.samples.to_pylist()}
    places = {key: place for place, key in enumerate(samples)}
    columns = [name for name in loaded.rounds.column_names if name in COLUMNS or name == "scores"]
    rows: list[dict[str, Any]] = loaded.rounds.select(columns).to_pylist()
    newest: dict[tuple[str, int], int] = {}
    for row in rows:
        row["attempt"], row["generation"] = row["attempt"] or 0, row["generation"] or 0
        key = (row["set"], row["step"])
        newest[key] = max(newest.get(key, 0), row["attempt"])
    if attempts == "latest":
        rows = [row for row in rows if row["attempt"] == newest[row["set"], row["step"]]]
    rows.sort(
        key=lambda row: (
            row["step"],
            places.get((row["set"], row["sample_id"]), len(places)),
            row["generation"],
            row["attempt"],
        )
    )
    for row in rows:
        sample = samples.get((row["set"], row["sample_id"]), {})
        row |= {"run_id": run.info.run_id, "run_name": run.info.run_name}
        row |= {"prompt": sample.get("prompt"), "reference": sample.get("reference")}
        row["scores"] = dict(row["scores"] or ())
    return rows


def _score_columns(scores: Iterable[Mapping[str, float]]) -> dict[str, str]:
    """Return the column of every score, in the order in which the scores first occur."""
    columns: dict[str, str] = {}
    for name in dict.fromkeys(name for row in scores for name in row):
        column = name
        while column in COLUMNS or column in columns.values():
            column = f"score_{column}"
        columns[name] = column
    return columns
