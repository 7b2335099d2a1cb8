"""Reports of stored runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from timelapse import names
from timelapse.errors import RunError
from timelapse.reading.loader import load_rounds
from timelapse.reading.runs import ask, connect, find_run
from timelapse.report.report import MAX_BYTES, Report, make_report
from timelapse.report.run_info import run_info

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def report_of_run(
    selector: str,
    *,
    set_names: Sequence[str] = (),
    max_bytes: int = MAX_BYTES,
    experiment: str | None = None,
    tracking_uri: str | None = None,
) -> Report:
    """Return the report of the run that a selector names, as `find_run` understands it.

    Raises:
        RunError: There is no such run, set or MLflow, or the run holds no predictions.
    """
    run = find_run(selector, experiment=experiment, tracking_uri=tracking_uri)
    if names.TAG_SCHEMA not in run.data.tags:
        raise RunError(
            f"Run {run.info.run_id[:8]} ({run.info.run_name}) holds no predictions: run `timelapse runs` to "
            "see those that do."
        )
    return stored_report(connect(tracking_uri), run, set_names, max_bytes)


def stored_report(
    client: MlflowClient, run: Run, set_names: Sequence[str] = (), max_bytes: int = MAX_BYTES
) -> Report:
    """Return the report of a run, read from MLflow; see `make_report`.

    Raises:
        RunError: There is no such set, or MLflow does not answer.
    """
    loaded = load_rounds(client, run.info.run_id)
    experiment = ask(client.tracking_uri, lambda: client.get_experiment(run.info.experiment_id))
    info = run_info(run, experiment.name, rounds=len(loaded.rounds) > 0)
    return make_report(info, loaded, set_names, max_bytes)
