"""Requests to MLflow: they give up in bounded time and leave random state alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from timelapse import names
from timelapse.randomness import untouched_random_state

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from timelapse.samples import SampleSet

# MLflow's own defaults retry a dead server for minutes; a training thread must not wait for that.
_BOUNDS = {
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
_OUTAGES = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED")
_REFUSALS = (
    "RESOURCE_DOES_NOT_EXIST",
    "INVALID_PARAMETER_VALUE",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "BAD_REQUEST",
    "INVALID_STATE",
)


@contextmanager
def polite_requests(*, retries: int = 0) -> Iterator[None]:
    """Bound MLflow's retries and time-outs inside the block, unless the user set them, and undo it after.

    MLflow reads these settings from the environment at every request; it offers no other way.
    """
    bounds = _BOUNDS | {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(retries)}
    ours = {name: value for name, value in bounds.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        with untouched_random_state():
            yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


def is_refusal(error: BaseException) -> bool:
    """Return whether MLflow is there and says no: the request is wrong, and waiting will not mend it."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):  # of the artifact store
        return 400 <= status < 500 and status not in (408, 429)
    return getattr(error, "error_code", None) in _REFUSALS


def is_outage(error: BaseException) -> bool:
    """Return whether MLflow cannot be reached or is in trouble itself, so that waiting may mend it."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):
        return status >= 500 or status in (408, 429)
    # requests' errors are OSErrors; what happens to a file of ours is no outage.
    if isinstance(error, OSError):
        return not isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError)
    return getattr(error, "error_code", None) in _OUTAGES


def announce_table(client: MlflowClient, run_id: str) -> None:
    """Enter latest.json in the tag by which MLflow's artifact view and `mlflow.load_table` find tables."""
    from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS

    entry = {"path": f"{names.ARTIFACT_FOLDER}/{names.LATEST_FILE}", "type": "table"}
    listed = json.loads(client.get_run(run_id).data.tags.get(MLFLOW_LOGGED_ARTIFACTS, "[]"))
    if entry not in listed:
        client.set_tag(run_id, MLFLOW_LOGGED_ARTIFACTS, json.dumps([*listed, entry]))


def log_dataset(client: MlflowClient, run_id: str, samples: SampleSet) -> None:
    """Record a sample set as a dataset input of the run, with the context `predictions`."""
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

    origin = samples.report.source if samples.report else "samples given in code"
    dataset = Dataset(
        name=f"predictions-{samples.name}",
        digest=samples.fingerprint,
        source_type="local",
        source=json.dumps({"uri": origin}),
        profile=json.dumps({"num_rows": len(samples)}),
    )
    context = InputTag(MLFLOW_DATASET_CONTEXT, names.DATASET_CONTEXT)
    client.log_inputs(run_id, [DatasetInput(dataset, [context])])
