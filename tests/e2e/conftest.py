"""Real servers, started once for all tests of a process, and the stores that Timelapse must serve alike."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
from servers import MlflowServer, PostgresServer, S3Server


@dataclass(frozen=True)
class Store:
    """A place where MLflow keeps runs, with an experiment in it that belongs to one test module."""

    uri: str
    experiment: str

    @property
    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(tracking_uri=self.uri)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def big_server(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer, s3_server: S3Server
) -> Iterator[MlflowServer]:
    """MLflow as companies run it: over PostgreSQL and S3, handing out the artifacts itself."""
    with MlflowServer(
        tmp_path_factory.mktemp("big-server"),
        *("--artifacts-destination", s3_server.uri("served")),
        backend=postgres_server.uri,
        environment=s3_server.environment,
    ) as server:
        yield server


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory with a spool and a cache of its own; MLflow's settings are restored after it."""
    folder = tmp_path_factory.mktemp("work")
    before = mlflow.get_tracking_uri()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TIMELAPSE_SPOOL", str(folder / "spool"))
        patch.setenv("TIMELAPSE_CACHE", str(folder / "cache"))
        yield folder
    assert mlflow.active_run() is None, "a test left an MLflow run active"
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="module", params=["files", "server", "postgres-s3", "direct-s3"])
def store(request: pytest.FixtureRequest, workplace: Path, empty_store: Path) -> Iterator[Store]:
    """Every kind of store in turn.

    `files`: sqlite and files, no server; `server`: a server over the same; `postgres-s3`: a server over
    PostgreSQL that hands out artifacts from S3; `direct-s3`: the client fetches them from S3 itself.
    """
    location = None
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "files":
            shutil.copy(empty_store, workplace / "mlflow.db")
            uri, location = f"sqlite:///{workplace / 'mlflow.db'}", f"file://{workplace / 'artifacts'}"
        elif request.param == "server":
            uri = request.getfixturevalue("mlflow_server").uri
        else:
            uri = request.getfixturevalue("big_server").uri
        if request.param == "direct-s3":
            s3: S3Server = request.getfixturevalue("s3_server")
            location = s3.uri("direct")
            for name, value in s3.environment.items():
                patch.setenv(name, value)
        mlflow.set_tracking_uri(uri)
        store = Store(uri, f"contract {uuid.uuid4().hex[:8]}")
        store.client.create_experiment(store.experiment, artifact_location=location)
        yield store
