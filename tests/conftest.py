"""What every test gets: its own MLflow store and outbox, and the check that it leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import mlflow
import pytest
from filelock import FileLock
from mlflow.store.db import utils
from servers import MlflowServer
from warm import collect_seldom, leave_imports_alone

LONGEST = (
    "programs/test_launch.py",
    "programs/test_endings.py",
    "programs/test_examples.py",
    "training/test_identity.py",
    "training/test_ranks.py",
    "training/test_trainers.py",
    "e2e/test_ui.py",
    "training/test_checkpoints.py",
    "training/test_callback.py",
    "plugins/test_mlflow_tab.py",
    "plugins/test_permissions.py",
    "e2e/test_contract.py",
    "e2e/test_faults.py",
)
"""The files that take longest begin first, so that no process works on one while the others are done."""


def pytest_configure() -> None:
    """Before the test modules, and what they import, are there."""
    collect_seldom()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order files as `LONGEST` says; within a file nothing changes."""
    folder = Path(__file__).parent
    places = {folder / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_collection_finish() -> None:
    """All test modules, and what they import, are there now."""
    leave_imports_alone()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with all its tables: making them takes seconds, copying the file none."""
    folder = tmp_path_factory.getbasetemp()
    made = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "empty.db"  # one for all
    with FileLock(f"{made}.lock"):
        if not made.exists():
            begun = made.with_suffix(".part")
            before = mlflow.get_tracking_uri()
            mlflow.set_tracking_uri(f"sqlite:///{begun}")
            mlflow.MlflowClient().search_experiments()
            mlflow.set_tracking_uri(before)
            begun.rename(made)
    # MLflow reads sixty files at each new store to find out what its newest schema is.
    utils._get_latest_schema_revision = cache(utils._get_latest_schema_revision)
    return made


@pytest.fixture(scope="session")
def new_store(empty_store: Path) -> Callable[[Path], str]:
    """Makes an empty store in a folder, and returns its tracking URI."""

    def make(folder: Path) -> str:
        shutil.copy(empty_store, folder / "mlflow.db")
        with sqlite3.connect(folder / "mlflow.db") as database:
            database.execute("UPDATE experiments SET artifact_location = ?", (str(folder / "mlruns" / "0"),))
        database.close()
        return f"sqlite:///{folder / 'mlflow.db'}"

    return make


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[MlflowServer]:
    """MLflow over sqlite and files. Tests that kill a server start one of their own."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_store, folder / "server.db")
    with MlflowServer(folder) as server:
        yield server


@pytest.fixture
def tracking(
    new_store: Callable[[Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[mlflow.MlflowClient]:
    """A real MLflow (sqlite and files) in the test's own folder, as in a fresh working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIMELAPSE_SPOOL", str(tmp_path / "spool"))
    monkeypatch.setenv("TIMELAPSE_CLOSE_SECONDS", "6")  # a busy machine writes nothing for seconds
    uri = new_store(tmp_path)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    yield mlflow.MlflowClient()
    assert mlflow.active_run() is None, "the test left an MLflow run active"
    mlflow.set_tracking_uri(before)


@pytest.fixture(autouse=True)
def _leaves_no_trace() -> Iterator[None]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTEST_CURRENT_TEST"}
    threads = set(threading.enumerate())
    yield
    after = {key: value for key, value in os.environ.items() if key != "PYTEST_CURRENT_TEST"}
    ours = [key for key in after.keys() ^ environment.keys() if key.startswith(("MLFLOW_HTTP", "TIMELAPSE"))]
    assert not ours, f"the test left environment variables behind: {ours}"
    left = [thread for thread in set(threading.enumerate()) - threads if "timelapse" in thread.name]
    assert not left, f"the test left threads running: {left}"
