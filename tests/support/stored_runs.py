"""Runs as the writer leaves them in MLflow, made file by file, so that tests of the reader can vary each."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from timelapse import Prediction, Round, Sample, SampleSet, names
from timelapse.resting import RestingFiles
from timelapse.rounds import round_table
from timelapse.tables import parquet_bytes, samples_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import mlflow


def make_samples(count: int = 3, name: str = "main") -> SampleSet:
    return SampleSet(
        tuple(
            Sample(({"role": "user", "content": f"{name} question {n}"},), f"answer {n}")
            for n in range(count)
        ),
        name=name,
    )


def make_round(samples: SampleSet, step: int, right: float = 1.0, **settings: object) -> Round:
    """A round that answers this share of the samples right; its texts tell step, attempt and sample."""
    count = round(right * len(samples))
    rows = tuple(
        Prediction(
            sample.sample_id,
            f"step {step} attempt {settings.get('attempt', 0)} sample {place}",
            scores={"exact_match": float(place < count)},
        )
        for place, sample in enumerate(samples)
    )
    return Round(step, rows, set_name=samples.name, **settings)  # type: ignore[arg-type]


def round_files(rounds: Sequence[Round], **extra: Sequence[object]) -> dict[str, pa.Table]:
    """The tables of rounds by file name; `extra` are users' columns, with a value for each row."""
    files = {}
    for each in rounds:
        table = round_table(each)
        for name, values in extra.items():
            table = table.append_column(name, pa.array(values))
        files[names.round_file(each.step, each.attempt, each.set_name)] = table
    return files


def entry(content: bytes) -> dict[str, object]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def finished_files(samples: Sequence[SampleSet], tables: Mapping[str, pa.Table]) -> dict[str, bytes]:
    """All files of a finished run, with a compaction that covers every round."""
    files = {name: parquet_bytes(table) for name, table in tables.items()}
    covers = {name: entry(content) for name, content in files.items()}
    files[names.SAMPLES_FILE] = parquet_bytes(samples_table(samples, {}))
    whole = pa.concat_tables(tables.values(), promote_options="permissive")
    files[names.ROUNDS_FILE] = parquet_bytes(whole)
    manifest = {
        "schema": names.SCHEMA_VERSION,
        "sample_sets": {each.name: {"fingerprint": each.fingerprint, "count": len(each)} for each in samples},
        "files": {name: entry(files[name]) for name in (names.SAMPLES_FILE, names.ROUNDS_FILE)},
        "covers": covers,
    }
    files[names.MANIFEST_FILE] = json.dumps(manifest).encode()
    return files


def resting_tag(files: Mapping[str, bytes]) -> str:
    """What the tag of a run at rest says of these files."""
    kept = (names.MANIFEST_FILE, names.SAMPLES_FILE, names.ROUNDS_FILE)
    return str(RestingFiles(*(hashlib.sha256(files[name]).hexdigest() for name in kept)))


def store_run(
    client: mlflow.MlflowClient,
    experiment_id: str,
    files: Mapping[str, bytes],
    *,
    name: str = "stored",
    at_rest: bool = True,
) -> str:
    """Make a run that holds these files, and return its id."""
    run = client.create_run(experiment_id, run_name=name, tags={names.TAG_SCHEMA: "1"})
    put_files(client, run.info.run_id, files)
    if at_rest:
        client.set_tag(run.info.run_id, names.TAG_MANIFEST, resting_tag(files))
    client.update_run(run.info.run_id, "FINISHED")
    return run.info.run_id


def put_files(client: mlflow.MlflowClient, run_id: str, files: Mapping[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        client.log_artifacts(run_id, folder, names.ARTIFACT_FOLDER)
