"""What MLflow says of a run, as the pages show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from timelapse import names
from timelapse.report.documents import RunInfo
from timelapse.report.state import state

if TYPE_CHECKING:
    from mlflow.entities import Run


def run_info(run: Run, experiment: str, *, rounds: bool = True) -> RunInfo:
    """Return a run as a document.

    Args:
        run: The run as MLflow holds it.
        experiment: Name of its experiment.
        rounds: Whether it holds any round.
    """
    info, tags = run.info, run.data.tags
    return RunInfo(
        run_id=info.run_id,
        name=info.run_name or info.run_id[:8],
        experiment_id=info.experiment_id,
        experiment=experiment,
        status=info.status,
        state=state(tags, info.status, rounds=rounds),
        start_time=info.start_time,
        end_time=info.end_time,
        job_id=tags.get(names.TAG_JOB),
        claimed_by=tags.get(names.TAG_JOB_USER),
        share_of_training_time=run.data.metrics.get(names.metric("share_of_training_time")),
    )
