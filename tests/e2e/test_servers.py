"""The servers and faults that the other tests rely on do what they promise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import botocore.exceptions
import mlflow
import pytest
import requests
from faults import ARTIFACTS, FaultProxy, Kind
from servers import MlflowServer, PostgresServer, S3Server


@pytest.fixture
def proxy(mlflow_server: MlflowServer) -> Iterator[FaultProxy]:
    with FaultProxy(mlflow_server.uri) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> mlflow.MlflowClient:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    return mlflow.MlflowClient(tracking_uri=proxy.uri)


@pytest.fixture(scope="module")
def experiment(mlflow_server: MlflowServer) -> str:
    experiment: str = mlflow.MlflowClient(mlflow_server.uri).create_experiment("faults of the proxy")
    return experiment


def test_s3_takes_the_right_secret_and_refuses_a_wrong_one(s3_server: S3Server) -> None:
    settings = s3_server.environment
    endpoint = {"endpoint_url": settings["MLFLOW_S3_ENDPOINT_URL"], "region_name": "us-east-1"}
    right = boto3.client("s3", aws_access_key_id="key", aws_secret_access_key="secret", **endpoint)
    wrong = boto3.client("s3", aws_access_key_id="key", aws_secret_access_key="guess", **endpoint)

    assert [bucket["Name"] for bucket in right.list_buckets()["Buckets"]] == [S3Server.BUCKET]
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        wrong.list_buckets()
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_postgresql_listens_on_no_port_and_survives_a_crash() -> None:
    with PostgresServer() as server:
        assert server.is_up()
        server.restart()
        assert server.is_up()
        folder = server.folder
    assert not folder.exists()


def test_a_server_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"No such option.*--nonsense"):
        MlflowServer(tmp_path, "--nonsense").start()


def test_the_proxy_passes_everything_on(
    proxy: FaultProxy, client: mlflow.MlflowClient, experiment: str, tmp_path: Path
) -> None:
    run = client.create_run(experiment).info.run_id
    (tmp_path / "big.bin").write_bytes(bytes(range(256)) * 8192)
    (tmp_path / "empty.txt").touch()
    client.log_artifact(run, str(tmp_path / "big.bin"))
    client.log_artifact(run, str(tmp_path / "empty.txt"))

    (tmp_path / "back").mkdir()
    for file in ("big.bin", "empty.txt"):
        back = client.download_artifacts(run, file, str(tmp_path / "back"))
        assert Path(back).read_bytes() == (tmp_path / file).read_bytes()
    assert not proxy.failed
    path = f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/big.bin"
    assert f"PUT {path} HTTP/1.1" in proxy.requests


@pytest.mark.parametrize("kind", ["refuse", "hang", "status", "reset_request", "reset_response"])
def test_a_fault_fails_requests_until_it_is_healed(
    proxy: FaultProxy, client: mlflow.MlflowClient, experiment: str, kind: Kind
) -> None:
    run = client.create_run(experiment).info.run_id
    proxy.fault(kind)
    with pytest.raises(mlflow.exceptions.MlflowException):
        client.log_metric(run, "loss", 0.5, timestamp=1, step=1)
    proxy.heal()

    stored = client.get_metric_history(run, "loss")
    assert len(stored) == (kind == "reset_response")  # done, although the client was not told
    client.log_metric(run, "loss", 0.25, timestamp=2, step=2)
    assert client.get_metric_history(run, "loss")[-1].value == 0.25
    failed = [] if kind == "refuse" else ["POST /api/2.0/mlflow/runs/log-metric HTTP/1.1"]
    assert proxy.failed == failed


@pytest.mark.parametrize("status", [403, 503])
def test_a_fault_can_meet_the_artifacts_alone(
    proxy: FaultProxy, client: mlflow.MlflowClient, experiment: str, status: int
) -> None:
    run = client.create_run(experiment).info.run_id
    proxy.fault("status", status, path=ARTIFACTS)
    with pytest.raises((requests.HTTPError, mlflow.exceptions.MlflowException), match=str(status)):
        client.log_text(run, "hello", "hello.txt")
    client.log_metric(run, "loss", 0.5)
    assert [line.split()[0] for line in proxy.failed] == ["PUT"]
    proxy.heal()
    assert client.list_artifacts(run) == []
