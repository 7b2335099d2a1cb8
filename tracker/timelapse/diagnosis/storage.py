"""Checks of what MLflow keeps: a run with a metric, and an artifact that is read back."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from timelapse.config.redact import without_credentials
from timelapse.diagnosis.finding import Finding
from timelapse.diagnosis.probe import PROBE_NAME, Probe, ms_since

_LOCAL = (None, "localhost", "127.0.0.1", "::1")


def check_run(probe: Probe) -> Finding:
    """Make the probe run in its experiment, and return whether a metric of it comes back."""
    client = probe.client
    experiment = client.get_experiment_by_name(probe.experiment)
    if experiment is None:
        advice = "Name one that exists with --experiment, or let the training make it."
        return Finding("run", "failed", f"there is no experiment '{probe.experiment}'", advice)
    start = time.perf_counter()
    probe.run = client.create_run(experiment.experiment_id, run_name=PROBE_NAME)
    client.log_metric(probe.run.info.run_id, PROBE_NAME, 0.5, step=1)
    points = client.get_metric_history(probe.run.info.run_id, PROBE_NAME)
    if [(point.step, point.value) for point in points] != [(1, 0.5)]:
        return Finding("run", "failed", f"the metric came back as {points}", "Look in the server's log.")
    taken = ms_since(start)
    return Finding("run", "ok", f"made and measured in experiment '{probe.experiment}' in {taken}")


def check_artifacts(probe: Probe) -> Finding:
    """Return whether a file of the probe run is listed and comes back with the same bytes."""
    assert probe.run is not None
    client, run_id, place = probe.client, probe.run.info.run_id, probe.run.info.artifact_uri
    content = os.urandom(4096)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "probe.bin")
        file.write_bytes(content)
        client.log_artifact(run_id, str(file), PROBE_NAME)
        listed = [item.path for item in client.list_artifacts(run_id, PROBE_NAME)]
        back = Path(folder, "back")
        back.mkdir()
        same = Path(client.download_artifacts(run_id, f"{PROBE_NAME}/probe.bin", str(back))).read_bytes()
    if listed != [f"{PROBE_NAME}/probe.bin"] or same != content:
        found = f"{len(same)} of {len(content)} bytes came back, and the listing says {listed}"
        return Finding("artifacts", "failed", found, artifact_advice(place))
    return _artifact_finding(probe, place, ms_since(start))


def _artifact_finding(probe: Probe, place: str, taken: str) -> Finding:
    parts = urlsplit(place)
    way = "through the server" if parts.scheme == "mlflow-artifacts" else "directly"
    root = without_credentials(place).rsplit("/", 2)[0]
    found = f"stored, listed and fetched {way} in {taken}: {root}"
    if probe.is_server and parts.scheme in ("", "file") and urlsplit(probe.uri).hostname not in _LOCAL:
        advice = "The files stay on this machine, where the server cannot show them: start it with "
        return Finding("artifacts", "warning", found, f"{advice}--artifacts-destination.")
    return Finding("artifacts", "ok", found)


def artifact_advice(artifact_uri: str) -> str:
    """Return what to do where the artifacts of a run cannot be stored or fetched."""
    scheme = urlsplit(artifact_uri).scheme
    if scheme == "mlflow-artifacts":
        return "The server stores the artifacts: its log says why it could not (--artifacts-destination)."
    if scheme in ("", "file"):
        return (
            f"This machine must be able to write {artifact_uri}, or the server must do it: start it with "
            "--artifacts-destination."
        )
    settings = " (boto3; AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, MLFLOW_S3_ENDPOINT_URL)"
    return (
        f"This machine talks to the {scheme} store itself: give it the client and the login"
        f"{settings if scheme == 's3' else ''}, or have the server do it (--artifacts-destination)."
    )
