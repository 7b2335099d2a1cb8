"""Scoring rounds that are stored already: new scores in a file of their own, what was there is kept."""

from __future__ import annotations

import hashlib
import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timelapse import names
from timelapse.analysis.learning import score_means
from timelapse.errors import RunError
from timelapse.reading.choice import newest_attempts, of_set
from timelapse.reading.loader import load_rounds
from timelapse.reading.records import set_names
from timelapse.reading.rescored import KEY, digests, rescored_schema
from timelapse.reading.runs import ask
from timelapse.rounds import round_from_table
from timelapse.scoring.engine import Judges, Question, judge
from timelapse.scoring.scorer import Scorer, scorer_of
from timelapse.tables import parquet_bytes
from timelapse.writing.metrics import mlflow_metrics

if TYPE_CHECKING:
    import pyarrow as pa
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

    from timelapse.rounds import Round

_METRICS_AT_A_TIME = 1000  # MLflow's limit for a request


@dataclass(frozen=True, slots=True)
class Rescored:
    """What a re-scoring of a run did."""

    run_id: str
    """The run."""
    file: str | None
    """The file with the new scores, under `timelapse/`; None if there are none."""
    rows: int
    """How many answers have new scores."""
    means: Mapping[str, float]
    """Each new score's mean in the last round of the main set."""
    without: tuple[str, ...]
    """The scorers that gave no answer a score."""
    problems: tuple[str, ...]
    """What could not be read or scored."""


def rescore(client: MlflowClient, run: Run, scorers: Mapping[str, Scorer]) -> Rescored:
    """Score a run's stored answers; write the scores as a new file, and their means as metrics.

    Nothing that is stored is changed. The same call again writes the same file. Where a scorer failed there
    is nothing to write, so that its name is free for the next try.

    Raises:
        RunError: The run holds no rounds, or an answer has a score of one of these names already.
    """
    run_id = run.info.run_id
    loaded = load_rounds(client, run_id)
    label = f"Run {run.info.run_name} ({run_id[:8]})"
    if not len(loaded.rounds):
        raise RunError(f"{label} holds no rounds to score.")
    questions = _questions(loaded.samples)
    rows: list[dict[str, Any]] = []
    metrics: list[Metric] = []
    problems = list(loaded.problems)
    means: dict[str, float] = {}
    now = time.time_ns() // 1_000_000
    for set_name in reversed(set_names(loaded.rounds, loaded.samples)):  # the main set comes last
        newest = newest_attempts(of_set(loaded.rounds, set_name))
        current = set(
            zip(newest.column("step").to_pylist(), newest.column("attempt").to_pylist(), strict=True)
        )
        for round_ in _rounds(of_set(loaded.rounds, set_name)):
            judged, failed = judge(_bare(round_), questions.get(set_name, {}), Judges(scorers, {}))
            problems += failed
            rows += _rows(judged, set_name)
            if (judged.step, judged.attempt) in current:
                means = score_means(judged)
                metrics += mlflow_metrics(means, set_name, judged.step, now)
    given = {name for row in rows for name, _value in row["scores"]}
    lost = sorted(set(scorers) - {scorer_of(name, scorers) for name in given})
    if not rows:
        return Rescored(run_id, None, 0, {}, tuple(lost), tuple(dict.fromkeys(problems)))
    data = _file(rows)
    digest = hashlib.sha256(data).hexdigest()
    if digest not in digests(client.get_run(run_id).data.tags):  # else it is the same again
        _check_names(label, loaded.rounds, rows)
    _store(client, run_id, data, digest, metrics)
    file = names.scores_file(digest)
    return Rescored(run_id, file, len(rows), means, tuple(lost), tuple(dict.fromkeys(problems)))


def _check_names(label: str, rounds: pa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    stored = {name for row in rounds.column("scores").to_pylist() for name, _value in row or ()}
    taken = sorted(stored & {name for row in rows for name, _value in row["scores"]})
    if taken:
        raise RunError(
            f"{label} has the score '{taken[0]}' already, and stored scores are kept. Give the new one "
            f"another name: --scorers {taken[0]}_2={taken[0]}"
        )


def _questions(samples: pa.Table) -> dict[str, dict[str, Question]]:
    found: dict[str, dict[str, Question]] = {}
    for row in samples.select(["set", "sample_id", "prompt", "reference"]).to_pylist():
        question = Question(row["prompt"], row["reference"])
        found.setdefault(row["set"] or names.DEFAULT_SET, {})[row["sample_id"]] = question
    return found


def _rounds(rows: pa.Table) -> list[Round]:
    """Return all rounds of a set, of every attempt, by step."""
    import pyarrow.compute as pc

    attempts = pc.fill_null(rows.column("attempt"), 0)
    places = sorted(set(zip(rows.column("step").to_pylist(), attempts.to_pylist(), strict=True)))
    return [
        round_from_table(
            rows.filter(pc.and_(pc.equal(rows.column("step"), step), pc.equal(attempts, attempt)))
        )
        for step, attempt in places
    ]


def _bare(round_: Round) -> Round:
    """Return a round without its scores, so that only the new ones are in the new file."""
    return replace(round_, predictions=tuple(replace(row, scores={}) for row in round_.predictions))


def _rows(round_: Round, set_name: str) -> list[dict[str, Any]]:
    place = {"set": set_name, "attempt": round_.attempt, "step": round_.step}
    return [
        {
            **place,
            "sample_id": row.sample_id,
            "generation": row.generation,
            "scores": scores,
        }
        for row in round_.predictions
        if (scores := sorted((name, value) for name, value in row.scores.items() if not math.isnan(value)))
    ]


def _file(rows: Sequence[dict[str, Any]]) -> bytes:
    import pyarrow as pa

    ordered = sorted(rows, key=lambda row: [row[name] for name in KEY])
    return parquet_bytes(pa.Table.from_pylist(ordered, schema=rescored_schema()))


def _store(client: MlflowClient, run_id: str, data: bytes, digest: str, metrics: Sequence[Metric]) -> None:
    """Send the file and the numbers, then the tag that makes them count.

    Raises:
        RunError: MLflow refuses, or does not answer.
    """

    def send() -> None:
        with tempfile.TemporaryDirectory(prefix="timelapse-") as folder:
            path = Path(folder) / names.scores_file(digest)
            path.write_bytes(data)
            client.log_artifact(run_id, str(path), names.ARTIFACT_FOLDER)
        for begin in range(0, len(metrics), _METRICS_AT_A_TIME):
            client.log_batch(run_id, metrics=metrics[begin : begin + _METRICS_AT_A_TIME])
        client.set_tag(run_id, f"{names.TAG_SCORES}{digest[:16]}", digest)

    ask(client.tracking_uri, send)
