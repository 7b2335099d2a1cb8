"""The report that a run leaves behind when it comes to rest."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from timelapse.fence import Fence, attempt, describe

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from timelapse.writing.artifacts import RunArtifacts

MOST_ANSWERS = 10_000
"""A run with more gets no report by itself, which would hold up its end: `timelapse report` makes it."""
MAX_BYTES = 10_000_000
"""How large such a report becomes; the page says what it leaves out."""


def put_report(client: MlflowClient, run_id: str, artifacts: RunArtifacts, fence: Fence) -> None:
    """Store a run's report beside its rounds, unless `TIMELAPSE_REPORT=off`. A failure is only noted."""
    if os.environ.get("TIMELAPSE_REPORT", "").lower() in ("off", "0", "false", "no"):
        return
    _done, error = attempt(lambda: _put(client, run_id, artifacts))
    if error is not None:
        fence.report(
            "writing the report", describe(error), "Everything else is stored; `timelapse report` makes it."
        )


def _put(client: MlflowClient, run_id: str, artifacts: RunArtifacts) -> None:
    from timelapse import names
    from timelapse.report.report import make_report
    from timelapse.report.run_info import run_info

    loaded = artifacts.at_rest()
    if loaded is None or len(loaded.rounds) > MOST_ANSWERS:
        return
    run = client.get_run(run_id)
    experiment = client.get_experiment(run.info.experiment_id)
    report = make_report(run_info(run, experiment.name), loaded, max_bytes=MAX_BYTES)
    artifacts.put_text(names.REPORT_FILE, report.html)
