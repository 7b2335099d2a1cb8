"""`timelapse doctor` against real servers, well and ill."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import mlflow
import pytest
from click.testing import CliRunner
from faults import ARTIFACTS, FaultProxy
from mlflow.entities import ViewType
from servers import MlflowServer, S3Server

from timelapse.cli.main import main

Findings = dict[str, dict[str, str]]


@pytest.fixture
def doctor(workplace: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Findings]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")

    def run(uri: str, *arguments: str, exit_code: int = 0) -> Findings:
        command = ["doctor", "--format", "json", "--tracking-uri", uri, *arguments]
        result = CliRunner().invoke(main, command)
        assert result.exit_code == exit_code, result.output
        return {finding["check"]: finding for finding in json.loads(result.stdout)}

    return run


@pytest.fixture
def proxy(mlflow_server: MlflowServer) -> Iterator[FaultProxy]:
    with FaultProxy(mlflow_server.uri) as proxy:
        yield proxy


@pytest.fixture
def experiment(mlflow_server: MlflowServer) -> str:
    name = f"doctor {uuid.uuid4().hex[:8]}"
    mlflow.MlflowClient(tracking_uri=mlflow_server.uri).create_experiment(name)
    return name


def test_a_server_says_its_version_and_keeps_no_probe_run(
    doctor: Callable[..., Findings], mlflow_server: MlflowServer, experiment: str
) -> None:
    findings = doctor(mlflow_server.uri, "--experiment", experiment)

    assert {finding["state"] for finding in findings.values()} == {"ok"}
    assert findings["server"]["found"].startswith(f"MLflow {mlflow.__version__}, answers in ")
    assert findings["authentication"]["found"] == "let in without a login"
    assert "through the server" in findings["artifacts"]["found"]
    client = mlflow.MlflowClient(tracking_uri=mlflow_server.uri)
    [place] = [item.experiment_id for item in client.search_experiments() if item.name == experiment]
    [probe] = client.search_runs([place], run_view_type=ViewType.ALL)
    assert probe.info.lifecycle_stage == "deleted"


@pytest.mark.parametrize(
    ("status", "found", "advice"),
    [(401, "does not know you", "MLFLOW_TRACKING_USERNAME"), (403, "does not let you in", "administrator")],
)
def test_not_known_and_not_let_in_are_told_apart(
    doctor: Callable[..., Findings], proxy: FaultProxy, status: int, found: str, advice: str
) -> None:
    proxy.fault("status", status, path="/experiments/search")
    findings = doctor(proxy.uri, exit_code=1)

    assert findings["authentication"]["state"] == "failed"
    assert found in findings["authentication"]["found"]
    assert advice in findings["authentication"]["advice"]
    assert findings["run"]["state"] == "skipped"


def test_a_server_in_trouble_is_none_that_can_be_used(
    doctor: Callable[..., Findings], proxy: FaultProxy
) -> None:
    proxy.fault("status", 502)
    finding = doctor(proxy.uri, exit_code=1)["server"]

    assert finding["state"] == "failed"
    assert "HTTP 502" in finding["found"]


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 500}, {"kind": "hang"}])
def test_a_broken_artifact_store_is_found_and_the_probe_run_deleted(
    doctor: Callable[..., Findings], proxy: FaultProxy, experiment: str, fault: dict[str, Any]
) -> None:
    proxy.fault(**fault, path=ARTIFACTS)
    findings = doctor(proxy.uri, "--experiment", experiment, exit_code=1)

    assert findings["run"]["state"] == "ok"
    assert findings["artifacts"]["state"] == "failed"
    assert "--artifacts-destination" in findings["artifacts"]["advice"]
    assert "is deleted" in findings["clean-up"]["found"]


@pytest.fixture
def direct(mlflow_server: MlflowServer, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """An experiment whose artifacts the client itself takes to S3; the environment holds the login."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    name = f"direct {uuid.uuid4().hex[:8]}"
    client = mlflow.MlflowClient(tracking_uri=mlflow_server.uri)
    client.create_experiment(name, artifact_location=s3_server.uri("doctor"))
    return name


def test_a_store_that_the_client_talks_to_itself_is_tried(
    doctor: Callable[..., Findings], mlflow_server: MlflowServer, direct: str
) -> None:
    findings = doctor(mlflow_server.uri, "--experiment", direct)

    assert "directly" in findings["artifacts"]["found"]
    assert "is deleted" in findings["clean-up"]["found"]


def test_a_wrong_login_at_such_a_store_is_found(
    mlflow_server: MlflowServer, direct: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "guess")
    # In a program of its own, because boto3 keeps the first login of a process.
    place = ["--tracking-uri", mlflow_server.uri, "--experiment", direct]
    command = [sys.executable, "-m", "timelapse.cli.main", "doctor", "--format", "json", *place]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    findings = {finding["check"]: finding for finding in json.loads(done.stdout)}

    assert done.returncode == 1
    assert findings["artifacts"]["state"] == "failed"
    assert "AWS_SECRET_ACCESS_KEY" in findings["artifacts"]["advice"]
    assert "is deleted" in findings["clean-up"]["found"]
