"""MLflow's own server app in this process, over sqlite and files, and our API in front of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from timelapse_plugins.api import build
from timelapse_plugins.inner import InProcess

ADDRESS = "http://127.0.0.1:5000"
"""Where the requests say that they go: MLflow refuses hosts that it does not know."""


@dataclass(frozen=True)
class Place:
    """An MLflow server app, a client for its store, and our API before it."""

    uri: str
    app: ASGIApp
    api: TestClient

    @property
    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(tracking_uri=self.uri)

    def get(self, path: str, **query: Any) -> Any:
        """Return the JSON at a path of the API, which must be there."""
        answer = self.api.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()


@contextmanager
def served(uri: str, artifacts: Path) -> Iterator[Place]:
    """Serve an MLflow store in this process; the one that was served before is put back after it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow 3.17 on a newer Starlette
        from mlflow.server import handlers
        from mlflow.server.fastapi_app import app
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("_MLFLOW_SERVER_FILE_STORE", uri)
        patch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", artifacts.as_uri())
        patch.setattr(handlers, "_tracking_store", None)  # MLflow keeps one a process
        with TestClient(build(InProcess(app)), base_url=ADDRESS) as api:
            yield Place(uri, app, api)
