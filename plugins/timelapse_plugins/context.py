"""Tags for runs that a bare `mlflow.start_run` opens in a job: the plug-in point `run_context_provider`.

MLflow loads this in every process that tracks anything, whether it has to do with Timelapse or not: it
imports the standard library, `timelapse.names` and `timelapse.jobs`, which imports no more.
"""

from __future__ import annotations

from timelapse.jobs import job_tags


class JobContext:
    """Tells MLflow which job a new run belongs to, from `JOB_ID` and `JOB_USER_ID`.

    It has the two methods of `mlflow.tracking.context.abstract_context.RunContextProvider`, which MLflow
    calls at each `mlflow.start_run` that makes a run. Runs that exist already, or are made by
    `MlflowClient.create_run`, are none of its business: the tracker tags them itself.
    """

    def in_context(self) -> bool:
        """Return whether this process belongs to a job."""
        return bool(job_tags())

    def tags(self) -> dict[str, str]:
        """Return the job's tags."""
        return job_tags()
