"""Attempts: what a run holds already when a training comes back to it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from timelapse import names
from timelapse.polite import polite_requests

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from timelapse.samples import SampleSet


@dataclass(frozen=True, slots=True)
class Stored:
    """What MLflow holds of a run."""

    files: frozenset[str] = frozenset()
    """Names of the artifacts under `timelapse/`."""
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    """Fingerprint of each sample set, by its name."""

    def rounds(self, set_name: str) -> list[tuple[int, int]]:
        """Return step and attempt of each round of a set."""
        return names.round_places(self.files, set_name)


def stored(client: MlflowClient, run_id: str) -> Stored:
    """Ask MLflow what a run holds."""
    with polite_requests():
        listed = client.list_artifacts(run_id, names.ARTIFACT_FOLDER)
        files = frozenset(PurePosixPath(item.path).name for item in listed)
        if names.MANIFEST_FILE not in files:
            return Stored(files)
        manifest = json.loads(_fetch(client, run_id, names.MANIFEST_FILE))
    sets = manifest.get("sample_sets", {})
    return Stored(files, {name: each.get("fingerprint", "") for name, each in sets.items()})


def next_attempt(rounds: Iterable[tuple[int, int]], step: int) -> int:
    """Return the attempt number of a training that begins at `step` of a run with these rounds.

    0 if there are none; one more than the highest if a round lies behind `step` (or at it, for a training
    from the start), so that no stored round is ever written over.
    """
    rounds = list(rounds)
    highest = max((number for _step, number in rounds), default=0)
    return highest + any(there > step or (step == 0 and there == 0) for there, _number in rounds)


def stored_samples(client: MlflowClient, run_id: str, set_name: str) -> dict[str, dict[str, Any]]:
    """Return the samples of a set that a run holds: rows of `samples.parquet` by id."""
    import io

    import pyarrow.parquet as pq

    with polite_requests():
        table = pq.read_table(io.BytesIO(_fetch(client, run_id, names.SAMPLES_FILE)))
    return {row["sample_id"]: row for row in table.to_pylist() if row["set"] == set_name}


def difference(client: MlflowClient, run_id: str, samples: SampleSet) -> str:
    """Return in words how samples differ from those of the same set that a run holds."""
    return explain(stored_samples(client, run_id, samples.name), samples)


def explain(before: Mapping[str, Mapping[str, Any]], samples: SampleSet) -> str:
    """Return how samples differ from stored rows (by id): what is new, gone, or has another reference."""
    now = {sample.sample_id: sample for sample in samples}
    new = [sample.prompt for key, sample in now.items() if key not in before]
    gone = [row["prompt"] for key, row in before.items() if key not in now]
    other = [
        f"{now[key].prompt[:60]!r} ({row['reference']!r} before, {now[key].reference!r} now)"
        for key, row in before.items()
        if key in now and row["reference"] != now[key].reference
    ]
    parts = [
        f"{len(found)} {what}, such as {found[0] if what == _OTHER else repr((found[0] or '')[:60])}"
        for what, found in (("new", new), ("no longer there", gone), (_OTHER, other))
        if found
    ]
    return "; ".join(parts) or "the same samples in another order"


_OTHER = "with another reference"


def _fetch(client: MlflowClient, run_id: str, file: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="timelapse-") as folder:
        path = client.download_artifacts(run_id, f"{names.ARTIFACT_FOLDER}/{file}", folder)
        return Path(path).read_bytes()
