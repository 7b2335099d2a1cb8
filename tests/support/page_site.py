"""Where the pages are that a test opens, and which runs they show."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlflow
from page_runs import hostile_pair, live_training, three_trainings
from page_server import PageServer


@dataclass(frozen=True)
class Site:
    """Where the pages are, and which runs they show."""

    url: str
    """What stands before `/timelapse/`."""
    client: mlflow.MlflowClient
    """The MLflow behind them."""
    experiment: str
    """Id of the experiment with the trainings."""
    trainings: dict[str, str]
    """Ids of finished runs by name."""
    live: str
    """Id of a run that still trains."""
    hostile: tuple[str, str]
    """Ids of two runs whose every text would run a script if it were taken for markup."""
    hostile_experiment: str
    """Id of their experiment."""
    empty: str
    """Id of an experiment without runs."""

    def compare(self, *names: str) -> str:
        """Return the address of a comparison of trainings."""
        return "/timelapse/compare?" + "&".join(f"run={self.trainings.get(name, name)}" for name in names)


@contextmanager
def page_site(folder: Path, empty_store: Path) -> Iterator[Site]:
    """Store the runs, and serve the pages over them. A real server over the same store serves as well."""
    shutil.copy(empty_store, folder / "mlflow.db")
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    verbs, empty, hostile = (
        client.create_experiment(name, artifact_location=f"file://{folder / str(place)}")
        for place, name in enumerate(("verbs", "empty", "<img src=x onerror=window.canary=1>"))
    )
    trainings = three_trainings(client, verbs)
    live = live_training(client, verbs)
    pair = hostile_pair(client, hostile)
    with PageServer(client) as server:
        yield Site(server.url, client, verbs, trainings, live, pair, hostile, empty)
