"""The MLflow run of a launch: made before the child starts, ended whatever becomes of it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from timelapse import names
from timelapse.config.redact import without_credentials
from timelapse.endings import OVER
from timelapse.errors import RunError
from timelapse.fence import Fence, attempt, describe, warn
from timelapse.links import is_default_place, run_link
from timelapse.polite import polite_requests
from timelapse.provenance import command_line
from timelapse.run import close_patience
from timelapse.scoring.engine import Judges
from timelapse.writing.client import experiment_named, find_created
from timelapse.writing.entries import pack
from timelapse.writing.recorder import Recorder
from timelapse.writing.spool import Header
from timelapse.writing.sync import VANISHED, sync
from timelapse_training.launching.claims import Lease, is_busy, left_folders
from timelapse_training.launching.ended import Ended
from timelapse_training.launching.log import JobLog

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

BEAT_SECONDS = 60.0
"""How often the run says that its launcher is at work, and gets the log so far."""
CREATION_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class NewRun:
    """What a run is made with."""

    experiment_id: str
    """Its experiment."""
    name: str | None
    """Its name; None lets MLflow make one up."""
    tags: Mapping[str, str]
    """Its tags, beside those that MLflow gives every run."""


class LaunchRun:
    """The run of a launch. It is written to through a spool of the launcher's own.

    So nothing that the launcher has to say is lost while MLflow is away, and a launcher that is killed leaves
    a folder behind by which `timelapse sync`, or the next launch of the job, ends the run.
    """

    def __init__(self, client: MlflowClient, recorder: Recorder, run: Run) -> None:
        self._client, self._recorder = client, recorder
        self._beat_at, self._lines = time.monotonic(), 0
        self.run_id: str = run.info.run_id
        """The MLflow run's id."""
        self.name = str(run.info.run_name)
        """The MLflow run's name."""
        self.link = run_link(client.tracking_uri, run.info.experiment_id, run.info.run_id)
        """Where a person finds it."""

    @classmethod
    def create(cls, client: MlflowClient, new: NewRun) -> LaunchRun:
        """Make a new run.

        Raises:
            RunError: MLflow has not made it.
        """
        tags = {**_context_tags(), **new.tags, names.TAG_COMMAND: command_line()}
        tags[names.TAG_LAUNCHER] = Lease.now().tag()
        header = _header(client, None, experiment_id=new.experiment_id, run_name=new.name, tags=tags)
        recorder = _recorder(client, header)
        tags = {**tags, names.TAG_TOKEN: recorder.header.token}
        with polite_requests(timeout=CREATION_SECONDS):  # once: a second request could make a second run
            run, error = attempt(
                lambda: client.create_run(new.experiment_id, header.start_time, tags, new.name)
            )
        if run is None:
            assert error is not None
            run = _found(client, recorder, error)
        recorder.identify(fresh=True, run_id=run.info.run_id, run_name=run.info.run_name)
        return cls(client, recorder, run)

    @classmethod
    def attach(cls, client: MlflowClient, run: Run, tags: Mapping[str, str]) -> LaunchRun:
        """Go on in a run that exists, whatever became of it before.

        Raises:
            RunError: MLflow does not take it, or another launch goes on in it at this very moment.
        """
        recorder = _recorder(client, _header(client, run.info.run_id, run_name=run.info.run_name))
        if is_busy(run, but=recorder.folder):  # each holds its folder before it looks: not both start
            recorder.close(done=True)
            raise RunError(
                f"Somebody else goes on in the run '{run.info.run_name}' ({run.info.run_id}) at this very "
                "moment; nothing was started."
            )
        said = {names.TAG_LAUNCHER: Lease.now().tag(), names.TAG_TOKEN: recorder.header.token}

        def reopen() -> None:
            for key, value in {**tags, **said}.items():
                client.set_tag(run.info.run_id, key, value)
            for outdated in (names.TAG_STATUS, names.TAG_LOG_TAIL):
                if outdated in run.data.tags:
                    client.delete_tag(run.info.run_id, outdated)
            client.update_run(run.info.run_id, status="RUNNING")

        with polite_requests(retries=3):
            _none, error = attempt(reopen)
        if error is not None:
            recorder.close(done=True)
            raise RunError(f"MLflow does not take the run {run.info.run_id}: {describe(error)}") from error
        return cls(client, recorder, run)

    def beat(self, log: JobLog) -> None:
        """Say once a minute that the launcher is at work, and store the log so far."""
        now = time.monotonic()
        if now < self._beat_at + BEAT_SECONDS:
            return
        self._beat_at = now
        self._tag({names.TAG_LAUNCHER: Lease.now().tag()})
        waits = any(entry.kind == "file" for entry in self._recorder.waiting())
        if log.lines != self._lines and not waits:  # while MLflow is away one is enough
            self._store(log)

    def end(self, ended: Ended, log: JobLog) -> str:
        """Store the log, end the run, and return MLflow's status for it.

        What the child has said of its end itself is kept, unless it contradicts how it ended.
        """
        left = left_folders(self.run_id, but=self._recorder.folder)
        for outcome in sync(self._client, folders=left, patience=close_patience()):
            if outcome.state != "sent":
                warn(f"The training left something in {outcome.folder}: {outcome.reason}.")
        with polite_requests(retries=2):
            run, _error = attempt(lambda: self._client.get_run(self.run_id))
        before = run.data.tags.get(names.TAG_STATUS, "") if run else ""
        vanished = VANISHED in before  # which is what `sync` has just found
        status, end_time = _final_state(None if vanished or ended.trouble else run, ended)
        told = _told(before, vanished, status, ended)
        if told != before:
            self._tag({names.TAG_STATUS: told})
        if status != "FINISHED" and log.last():
            self._tag({names.TAG_LOG_TAIL: log.last()})
        if log.lines != self._lines:
            self._store(log)
        self._recorder.note_final(told or status.lower())
        self._recorder.record("end", pack({"status": status, "time": end_time}))
        self._settle()
        return status

    def withdraw(self) -> None:
        """Delete a run that has just been made, and to which nothing has happened."""
        with polite_requests(retries=2):
            _none, error = attempt(lambda: self._client.delete_run(self.run_id))
        self._recorder.close(done=error is None)  # else `timelapse sync` ends it

    def _settle(self) -> None:
        done = self._recorder.settle(close_patience(), rest=False)
        if not done:  # the artifact store may be away while the run can be ended
            done = self._recorder.settle(2.0, rest=False, end_now=True)
        if not done:
            warn(
                f"MLflow does not hold everything of this launch ({self._recorder.why()}). The rest lies in "
                f"{self._recorder.folder}: `timelapse sync` sends it when MLflow can be reached."
            )
        self._recorder.close(done=done)

    def _tag(self, tags: Mapping[str, str]) -> None:
        self._recorder.record("numbers", pack({"tags": tags}))

    def _store(self, log: JobLog) -> None:
        self._lines = log.lines
        self._recorder.record("file", pack({"name": names.LAUNCH_LOG_FILE, "text": log.text()}))


def _final_state(run: Run | None, ended: Ended) -> tuple[str, int]:
    """Return status and end time (milliseconds) of a run; what it says itself stands if that can be true."""
    said = run.info.status if run else None
    if run is not None and said in OVER and (said != "FINISHED" or ended.code == 0):
        return str(said), int(run.info.end_time or time.time() * 1000)
    return ended.status, int(time.time() * 1000)


def _told(before: str, vanished: bool, status: str, ended: Ended) -> str:
    """Return the predictions' status: what the child has said of its end, unless we know better."""
    if status == "FINISHED":
        return "degraded: the training has not closed its run" if vanished else before
    if before.startswith("failed") and not vanished and not ended.trouble:
        return before
    return f"failed: {ended.reason}"


def _header(client: MlflowClient, run_id: str | None, **known: Any) -> Header:
    place = None
    if not is_default_place(client.tracking_uri):
        place = without_credentials(client.tracking_uri).rstrip("/")
    return Header(run_id, place, owned=True, start_time=time.time_ns() // 1_000_000, **known)


def _recorder(client: MlflowClient, header: Header) -> Recorder:
    return Recorder(header, lambda: client, Judges({}, {}), Fence())


def _context_tags() -> dict[str, str]:
    """Return the tags that MLflow gives every run: user, source, git commit."""
    from mlflow.tracking.context.registry import resolve_tags

    return {str(key): str(value) for key, value in resolve_tags().items()}


def _found(client: MlflowClient, recorder: Recorder, error: BaseException) -> Run:
    """Return the run that MLflow may have made although its answer was lost.

    Raises:
        RunError: It has not, or does not answer.
    """
    with polite_requests(retries=2):
        run_id, silence = attempt(partial(find_created, client, recorder.header))
        run = client.get_run(run_id) if run_id else None
    if run is None:
        recorder.close(done=silence is None)  # else `timelapse sync` will look for it
        raise RunError(f"MLflow has not made the run: {describe(error)}. Nothing was started.") from error
    return run


def experiment_of(client: MlflowClient, name: str | None) -> str:
    """Return the id of the experiment for a new run; one that is named is made if there is none.

    In MLflow's order: the name (of the configuration), `MLFLOW_EXPERIMENT_NAME`, `MLFLOW_EXPERIMENT_ID`.
    """
    name = name or os.environ.get("MLFLOW_EXPERIMENT_NAME")
    if name:
        return experiment_named(client, name)
    return str(client.get_experiment(os.environ.get("MLFLOW_EXPERIMENT_ID") or "0").experiment_id)
