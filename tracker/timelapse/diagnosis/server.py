"""Checks of the server: does it answer, which version is it, and does it let us in?"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from timelapse.config.redact import redact_text
from timelapse.diagnosis.finding import Finding
from timelapse.diagnosis.installation import mlflow_range
from timelapse.diagnosis.probe import Probe, ms_since

if TYPE_CHECKING:
    from requests import Response


def check_server(probe: Probe) -> Finding:
    """Return whether MLflow is there, its version, and how long an answer takes."""
    database = unquote(probe.uri.removeprefix("sqlite:///").partition("?")[0])
    if probe.uri.startswith("sqlite:///") and not Path(database).exists():
        advice = "Start in your training's folder, or name MLflow's place with --tracking-uri."
        found = f"there is no database {database} yet: the first training makes it"
        return Finding("server", "skipped", found, advice)
    start = time.perf_counter()
    if not probe.is_server:
        probe.client.search_experiments(max_results=1)
        return Finding("server", "ok", f"none is needed: opened in {ms_since(start)}")
    response = _request(probe, "/version")
    return _version_finding(response, ms_since(start))


def _version_finding(response: Response, taken: str) -> Finding:
    if response.status_code in (401, 403):
        return Finding("server", "ok", f"answers in {taken}; says its version only to those it lets in")
    text = response.text.strip()
    if response.status_code != 200 or not text[:1].isdigit() or len(text) > 40:
        found = f"answers in {taken} with HTTP {response.status_code}: {redact_text(text[:80])!r}"
        advice = "This is no MLflow server, or one in trouble: check the address, and look in its log."
        return Finding("server", "failed", found, advice)
    found = f"MLflow {text}, answers in {taken}"
    if not mlflow_range().contains(text, prereleases=True):
        return Finding("server", "warning", found, f"Timelapse is made for MLflow{mlflow_range()}.")
    return Finding("server", "ok", found)


def check_authentication(probe: Probe) -> Finding:
    """Return whether the server knows us (else 401) and lets us in (else 403)."""
    if not probe.is_server:
        return Finding("authentication", "ok", "none is needed")
    response = _request(probe, "/api/2.0/mlflow/experiments/search", "POST", json={"max_results": 1})
    status, said = response.status_code, redact_text(" ".join(response.text.split())[:120])
    if status == 401:
        advice = (
            "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN "
            "(those that are set are wrong)."
        )
        return Finding("authentication", "failed", f"401, the server does not know you: {said!r}", advice)
    if status == 403:
        advice = (
            "Ask its administrator for access; where it names the Host header, it must be started with "
            "--allowed-hosts."
        )
        return Finding("authentication", "failed", f"403, the server does not let you in: {said!r}", advice)
    response.raise_for_status()
    return Finding("authentication", "ok", _login(probe))


def _login(probe: Probe) -> str:
    from mlflow.utils.credentials import get_default_host_creds

    login = get_default_host_creds(probe.uri)  # type: ignore[no-untyped-call]
    if login.username:
        return f"let in as '{login.username}'"
    if login.token:
        return "let in with MLFLOW_TRACKING_TOKEN"
    return "let in" if "@" in probe.uri else "let in without a login"


def _request(probe: Probe, path: str, method: str = "GET", **settings: object) -> Response:
    """Return the server's answer, whatever its status."""
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    login = get_default_host_creds(probe.uri.rstrip("/"))  # type: ignore[no-untyped-call]
    response: Response = http_request(login, path, method, raise_on_status=False, **settings)  # type: ignore[no-untyped-call]
    return response
