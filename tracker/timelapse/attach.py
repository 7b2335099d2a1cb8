"""Attaching a training to a run in MLflow, or opening a new one."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from timelapse.errors import RunError
from timelapse.fence import attempt, describe, warn
from timelapse.run import TrainingRun
from timelapse.scoring.scorers import Scorer
from timelapse.writing.client import is_refusal, polite_requests

if TYPE_CHECKING:
    from mlflow.entities import Run


@dataclass(frozen=True, slots=True)
class RunTarget:
    """Where a training shall be recorded. Whatever is None is taken from MLflow's own settings."""

    run_id: str | None = None
    """An existing run to write into."""
    experiment: str | None = None
    """Name of the experiment for a new run; it is made if it does not exist."""
    run_name: str | None = None
    """Name of a new run."""
    tracking_uri: str | None = None
    """MLflow's tracking URI."""
    tags: Mapping[str, str] | None = None
    """Tags of a new run."""


def start_run(
    run_name: str | None = None,
    *,
    run_id: str | None = None,
    experiment: str | None = None,
    tracking_uri: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> TrainingRun:
    """Open a training run, as `mlflow.start_run` does, and end it when the `with` block is left.

    Attaches, in this order, to the run `run_id`, MLflow's active run, the run named by `MLFLOW_RUN_ID`;
    else it opens a new one. The run is MLflow's active run too, so that what Transformers, TRL and your
    own `mlflow.log_…` calls report goes to the same place.

    Raises:
        RunError: MLflow answers that the run or experiment cannot be had. If MLflow does not answer at
            all, a warning is issued and what is logged waits on disk.
    """
    target = RunTarget(run_id, experiment, run_name, tracking_uri, tags)
    return open_run(target, activate=True)


def open_run(
    target: RunTarget, *, activate: bool, scorers: Mapping[str, Scorer] | None = None
) -> TrainingRun:
    """Attach to a run or open a new one, in the order of `start_run`.

    Args:
        target: Where to record.
        activate: Make a run that exists already MLflow's active run, and end it as our own.
        scorers: The scores of every prediction, by name; all built-in ones by default.
    """
    found, error = attempt(lambda: _find_or_start(target, activate=activate))
    if found is not None:
        run, owned = found
        return TrainingRun(run, owned=owned, scorers=scorers)
    assert error is not None
    if is_refusal(error):
        raise RunError(f"MLflow refuses the run: {describe(error)}") from error
    warn(f"MLflow cannot be used: {describe(error)}. The training goes on; its rounds are kept on disk.")
    return TrainingRun(None, owned=False, scorers=scorers)


def _find_or_start(target: RunTarget, *, activate: bool) -> tuple[Run, bool]:
    """Return the run to write into, and whether it is ours to end."""
    import mlflow

    with polite_requests(retries=3):  # before the training: a moment's trouble shall not cost the run
        if target.tracking_uri:
            mlflow.set_tracking_uri(target.tracking_uri)
        active = mlflow.active_run()
        if active and target.run_id in (None, active.info.run_id):
            _dress(target, active.info.run_id)
            return active, False
        existing = target.run_id or os.environ.get("MLFLOW_RUN_ID")
        if existing and activate:
            run = mlflow.start_run(run_id=existing, nested=active is not None)
            _dress(target, existing)
            return run, True
        if existing:
            _dress(target, existing)
            return mlflow.MlflowClient().get_run(existing), False
        experiment_id = _experiment_id(target.experiment) if target.experiment else None
        random.seed()  # undone above; MLflow would name every run of a seeded training alike
        tags = dict(target.tags or {})
        return mlflow.start_run(experiment_id=experiment_id, run_name=target.run_name, tags=tags), True


def _dress(target: RunTarget, run_id: str) -> None:
    """Give an existing run the tags that were asked for; its name and experiment stay as they are."""
    import mlflow

    for key, value in (target.tags or {}).items():
        mlflow.MlflowClient().set_tag(run_id, key, value)
    ignored = [name for name in ("run_name", "experiment") if getattr(target, name)]
    if ignored:
        warn(f"{' and '.join(ignored)} have no effect: the run {run_id} exists already, and keeps its own.")


def _experiment_id(name: str) -> str:
    import mlflow

    client = mlflow.MlflowClient()
    found = client.get_experiment_by_name(name)
    return found.experiment_id if found else client.create_experiment(name)
