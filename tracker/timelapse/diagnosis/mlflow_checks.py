"""Checks of MLflow, as a training meets it: a probe run is made, filled, read back and deleted."""

from __future__ import annotations

import os
from functools import partial

from timelapse.config.redact import without_credentials
from timelapse.diagnosis.finding import CHECK_SECONDS, Finding, within
from timelapse.diagnosis.probe import Probe
from timelapse.diagnosis.server import check_authentication, check_server
from timelapse.diagnosis.storage import artifact_advice, check_artifacts, check_run
from timelapse.fence import describe
from timelapse.polite import polite_requests


def check_uri(given: str | None) -> tuple[str, Finding]:
    """Return the tracking URI that counts, and a finding that says where it comes from."""
    import mlflow

    uri = given or mlflow.get_tracking_uri()
    set_by_user = os.environ.get("MLFLOW_TRACKING_URI")
    default = "from MLFLOW_TRACKING_URI" if set_by_user else "MLflow's own default"
    origin = "from --tracking-uri" if given else default
    return uri, Finding("tracking URI", "ok", f"{without_credentials(uri)} ({origin})")


def check_mlflow(uri: str, experiment: str) -> list[Finding]:
    """Return findings on MLflow at a tracking URI, in an order in which each rests on those before it.

    None takes longer than `CHECK_SECONDS`. The probe run is deleted in the end, whatever happens.
    """
    probe = Probe(uri, experiment)
    findings: list[Finding] = []
    checks = {
        "server": check_server,
        "authentication": check_authentication,
        "run": check_run,
        "artifacts": check_artifacts,
    }
    try:
        for name, check in checks.items():
            blocked = any(finding.state in ("failed", "skipped") for finding in findings)
            skipped = Finding(name, "skipped", "it rests on the check before it")
            findings.append(skipped if blocked else _bounded(name, partial(check, probe)))
    finally:
        findings.append(_bounded("clean-up", partial(_clean_up, probe)))
    return findings


def _bounded(name: str, check: partial[Finding]) -> Finding:
    """Return a check's finding; a check that raises, or takes too long, has failed."""

    def look() -> Finding:
        with polite_requests(timeout=CHECK_SECONDS / 4):
            return check()

    finding, error = within(CHECK_SECONDS, look)
    if finding is not None:
        return finding
    assert error is not None
    reason = without_credentials(describe(error))
    return Finding(name, "failed", reason, _advice(name, check.args[0]))


def _advice(name: str, probe: Probe) -> str:
    place = without_credentials(probe.uri)
    if name == "server":
        step = f"Try `curl {place}/health`" if probe.is_server else "Check the address and its driver"
        return f"Is MLflow running there? {step}; name another place with --tracking-uri."
    if name == "authentication":
        return "Something answers at this address that is no MLflow, or is in trouble: look in its log."
    if name == "run":
        return f"Ask for the right to write in the experiment '{probe.experiment}', or name another one."
    if name == "artifacts" and probe.run is not None:
        return artifact_advice(probe.run.info.artifact_uri)
    run_id = probe.run.info.run_id if probe.run else ""
    return f"Delete the probe run yourself: mlflow runs delete --run-id {run_id}"


def _clean_up(probe: Probe) -> Finding:
    if probe.run is None:
        return Finding("clean-up", "ok", "nothing to clean up: no probe run was made")
    run_id = probe.run.info.run_id
    probe.client.update_run(run_id, status="FINISHED")  # set_terminated prints, also into our JSON
    probe.client.delete_run(run_id)
    return Finding("clean-up", "ok", f"the probe run {run_id[:8]} is deleted (`mlflow gc` removes its files)")
