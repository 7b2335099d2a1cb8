"""Who has a job already: the runs that carry its id, and whether somebody is still at work on them."""

from __future__ import annotations

import calendar
import json
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from timelapse import names
from timelapse.errors import ConfigError
from timelapse.fence import attempt, warn
from timelapse.reading.runs import ask
from timelapse.writing.spool import Spool, read_header, spool_folders
from timelapse.writing.sync import sync

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

LEASE_SECONDS = 300
"""A launcher on another machine that has been silent for so long is gone: it says something each minute."""
LONGEST_ID = 250
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class Lease:
    """What a launcher says of itself in its run's tag `timelapse.launcher`, while it is at work."""

    host: str
    """Its machine."""
    process: int
    """Its process id there."""
    seen: float
    """When it was last at work, in seconds since 1970, by its own clock."""

    @classmethod
    def now(cls) -> Lease:
        """Return the lease of this process."""
        return cls(socket.gethostname(), os.getpid(), time.time())

    @classmethod
    def of(cls, run: Run) -> Lease | None:
        """Return the lease in a run's tag; None if no launcher began it, or the tag cannot be read."""
        try:
            said = json.loads(run.data.tags[names.TAG_LAUNCHER])
            seen = calendar.timegm(time.strptime(said["seen"], _TIME))
            return cls(str(said["host"]), int(said["process"]), seen)
        except (KeyError, ValueError, TypeError):
            return None

    def tag(self) -> str:
        """Return the value of the tag."""
        seen = time.strftime(_TIME, time.gmtime(self.seen))
        return json.dumps({"host": self.host, "process": self.process, "seen": seen})


def check_job_id(job_id: str) -> str:
    """Return a job id by which MLflow can be searched.

    Raises:
        ConfigError: It has quotes or control characters, or is too long.
    """
    if len(job_id) > LONGEST_ID or not job_id.isprintable() or set(job_id) & set("'\"`\\"):
        raise ConfigError(
            f"--job-id {job_id[:40]!r}: expected at most {LONGEST_ID} printable characters without quotes "
            f"and backslashes. Correct it (or {names.JOB_ID})."
        )
    return job_id


def runs_of_job(client: MlflowClient, experiment_id: str, job_id: str) -> list[Run]:
    """Return the runs of an experiment that carry a job's id, the newest first.

    Raises:
        RunError: MLflow does not answer.
    """
    condition, order = f"tags.`{names.TAG_JOB}` = '{job_id}'", ["attributes.start_time DESC"]
    return list(
        ask(client.tracking_uri, lambda: client.search_runs([experiment_id], condition, order_by=order))
    )


def settle_dead(client: MlflowClient, runs: Sequence[Run]) -> list[Run]:
    """End those runs whose processes are gone, by what they left in this machine's spool; return all, anew.

    Raises:
        RunError: MLflow does not answer.
    """
    dead = [folder for run in runs for folder in left_folders(run.info.run_id)]
    for outcome in sync(client, folders=dead):
        if outcome.state not in ("sent", "busy"):
            warn(f"An earlier process of this job left something in {outcome.folder}: {outcome.reason}")
    return [ask(client.tracking_uri, partial(_ended_if_silent, client, run)) for run in runs]


def at_work(run: Run) -> str | None:
    """Return where somebody is, or may be, at work on a run, and what to do: the end of a sentence.

    None if nobody is.
    """
    if is_busy(run):
        return "is at work on this machine. Wait for its end, or stop it."
    if run.info.status not in ("RUNNING", "SCHEDULED"):
        return None
    lease = Lease.of(run)
    if lease is not None:  # else it would have been ended
        return (
            f"was at work on {lease.host} (process {lease.process}) {time.time() - lease.seen:.0f} s ago. "
            f"Wait for its end, or stop it; if that machine is gone, try again {LEASE_SECONDS} s later."
        )
    return (
        "may be at work on another machine. If it is not, end the run with "
        f"`mlflow.MlflowClient().set_terminated('{run.info.run_id}', 'KILLED')`."
    )


def is_busy(run: Run, *, but: Path | None = None) -> bool:
    """Return whether a process on this machine is at work on a run: it holds a folder (`but` this one)."""
    return any(_is_held(folder) for folder in left_folders(run.info.run_id, but=but))


def left_folders(run_id: str, *, but: Path | None = None) -> list[Path]:
    """Return the folders of this machine's spool that belong to a run."""
    folders, _error = attempt(lambda: list(spool_folders()))
    return [folder for folder in folders or () if folder != but and _run_of(folder) == run_id]


def _ended_if_silent(client: MlflowClient, run: Run) -> Run:
    """Return a run as it is now; it is ended first if its launcher, wherever it was, has fallen silent."""
    run_id = run.info.run_id
    run, lease = client.get_run(run_id), Lease.of(run)
    silent = lease is not None and time.time() - lease.seen > LEASE_SECONDS
    if run.info.status != "RUNNING" or not silent or left_folders(run_id):
        return run
    assert lease is not None
    reason = f"failed: its launcher on {lease.host} (process {lease.process}) has fallen silent"
    client.set_tag(run_id, names.TAG_STATUS, reason)
    client.set_terminated(run_id, "KILLED", int(lease.seen * 1000))
    return client.get_run(run_id)


def _run_of(folder: Path) -> str | None:
    header, _error = attempt(lambda: read_header(folder))
    return header.run_id if header else None


def _is_held(folder: Path) -> bool:
    spool, error = attempt(lambda: Spool.take(folder))
    if spool is not None:
        spool.close(remove=False)
    return spool is None and error is None
