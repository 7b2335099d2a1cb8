"""Finished runs in a real MLflow, stored file by file: what a reader meets, whoever wrote it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow

from timelapse import Prediction, Round, Sample, SampleSet, names
from timelapse.rounds import round_table
from timelapse.tables import parquet_bytes, samples_table

Answers = Mapping[str, "str | Exception | Sequence[str | Exception | None] | None"]
"""Answers by question; several for one question are several generations, None is a skipped row."""


def question_set(references: Mapping[str, str | None], name: str = "main") -> SampleSet:
    """A sample set of these questions and references."""
    return SampleSet(
        tuple(
            Sample(({"role": "user", "content": question},), reference=reference)
            for question, reference in references.items()
        ),
        name=name,
    )


def answer_rows(samples: SampleSet, answers: Answers, scores: Sequence[str]) -> tuple[Prediction, ...]:
    """A row for each answer, scored as 1 or 0 against the reference under each of these names."""
    rows = []
    for sample in samples:
        given = answers.get(sample.prompt, "never asked")
        if given == "never asked":
            continue
        draws = given if isinstance(given, list) else [given]
        rows += [_row(sample, place, draw, scores) for place, draw in enumerate(draws)]
    return tuple(rows)


def _row(sample: Sample, place: int, draw: Any, scores: Sequence[str]) -> Prediction:
    if isinstance(draw, Exception):
        error = f"{type(draw).__name__}: {draw}"
        return Prediction(sample.sample_id, status="error", error=error, generation=place)
    if draw is None:
        return Prediction(sample.sample_id, status="skipped", generation=place)
    values = dict.fromkeys(scores, float(draw == sample.reference)) if sample.reference is not None else {}
    return Prediction(sample.sample_id, draw, scores=values, generation=place)


def store_run(
    client: mlflow.MlflowClient,
    name: str,
    samples: SampleSet,
    rounds: Mapping[int | tuple[int, int], Answers] | Sequence[Round],
    *,
    scores: Sequence[str] = ("exact_match",),
    manifest: Mapping[str, Any] | None = None,
) -> str:
    """Store a run with answers by step, or by (step, attempt); return its id."""
    if isinstance(rounds, Mapping):
        places = {(key, 0) if isinstance(key, int) else key: answers for key, answers in rounds.items()}
        rounds = [
            Round(step, answer_rows(samples, answers, scores), attempt=attempt, set_name=samples.name)
            for (step, attempt), answers in places.items()
        ]
    run_id = client.create_run("0", run_name=name, tags={names.TAG_SCHEMA: "1"}).info.run_id
    files = {names.SAMPLES_FILE: parquet_bytes(samples_table([samples], {}))}
    for each in rounds:
        files[names.round_file(each.step, each.attempt, each.set_name)] = parquet_bytes(round_table(each))
    files[names.MANIFEST_FILE] = json.dumps(_manifest(samples, manifest or {})).encode()
    with tempfile.TemporaryDirectory() as folder:
        for file, content in files.items():
            (Path(folder) / file).write_bytes(content)
        client.log_artifacts(run_id, folder, names.ARTIFACT_FOLDER)
    client.set_terminated(run_id)
    return run_id


def _manifest(samples: SampleSet, extra: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "schema": names.SCHEMA_VERSION,
        "sample_sets": {samples.name: {"fingerprint": samples.fingerprint, "count": len(samples)}},
        "decoding": {"max_new_tokens": 64},
        "chat_template": "0123456789abcdef",
        "packages": {"mlflow": mlflow.__version__},
        **extra,
    }
