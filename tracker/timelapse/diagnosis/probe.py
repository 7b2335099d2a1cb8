"""The probe: which MLflow is looked at, and what has been made there so far."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PROBE_NAME = "timelapse-doctor"
"""Name of the probe run, its metric and its artifact folder."""


@dataclass
class Probe:
    """What is being looked at, and what has been made of it so far."""

    uri: str
    """MLflow's tracking URI."""
    experiment: str
    """Name of the experiment to make the probe run in."""
    run: Run | None = None
    """The probe run, once it exists."""

    @property
    def is_server(self) -> bool:
        """Whether MLflow is asked over HTTP; else it is a database or folder that we open ourselves."""
        return self.uri.startswith(("http://", "https://"))

    @property
    def client(self) -> MlflowClient:
        """A client for the tracking URI."""
        import mlflow

        return mlflow.MlflowClient(tracking_uri=self.uri)


def ms_since(start: float) -> str:
    """Return the time since a reading of `time.perf_counter`: `12 ms`."""
    return f"{1000 * (time.perf_counter() - start):.0f} ms"
