"""The launcher: a training in a child process, under an MLflow run that exists first and always ends."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from timelapse import names
from timelapse.attach import is_offline
from timelapse.config.file import LoadedConfig, load_config
from timelapse.config.known_secrets import known_secrets
from timelapse.config.limits import check_limits
from timelapse.config.redact import without_credentials
from timelapse.errors import ConfigError, RunError
from timelapse.fence import describe
from timelapse.jobs import job_tags
from timelapse.reading.runs import ask
from timelapse_training.launching.child import GRACE_SECONDS, Launcher
from timelapse_training.launching.claims import at_work, check_job_id, is_busy, runs_of_job, settle_dead
from timelapse_training.launching.ended import Ended
from timelapse_training.launching.log import JobLog
from timelapse_training.launching.record import LaunchRun, NewRun, experiment_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from timelapse.config.model import Config

IfExists = Literal["attach", "refuse"]


@dataclass(frozen=True, slots=True)
class Job:
    """For whom a training is launched. Both are claims: nothing is allowed because of them."""

    job_id: str = ""
    """Identifies the job; empty without one."""
    user: str = ""
    """Whose it is; empty if nobody says."""

    @classmethod
    def of(cls, job_id: str | None, user: str | None) -> Job:
        """Return a job from options; what is None is taken from `JOB_ID` and `JOB_USER_ID`.

        Raises:
            ConfigError: MLflow could not be searched for the id.
        """
        job_id = os.environ.get(names.JOB_ID, "") if job_id is None else job_id
        user = os.environ.get(names.JOB_USER_ID, "") if user is None else user
        return cls(check_job_id(job_id.strip()), user.strip())

    def environment(self, run_id: str) -> dict[str, str]:
        """Return the environment of the child: ours, the job, and the run that it writes to."""
        claims = {names.JOB_ID: self.job_id, names.JOB_USER_ID: self.user}
        ours = {key: value for key, value in os.environ.items() if key not in claims}
        told = {key: value for key, value in claims.items() if value}
        return {"PYTHONUNBUFFERED": "1", **ours, **told, "MLFLOW_RUN_ID": run_id}

    def tags(self) -> dict[str, str]:
        """Return the tags of its run."""
        return job_tags({names.JOB_ID: self.job_id, names.JOB_USER_ID: self.user})


def launch(
    config: str | os.PathLike[str],
    *,
    overrides: Sequence[str] = (),
    job_id: str | None = None,
    user: str | None = None,
    if_exists: IfExists = "refuse",
    command: Sequence[str] | None = None,
    grace: float = GRACE_SECONDS,
) -> int:
    """Run `timelapse train` in a child process, and return its exit code; 128 + n if signal n ended it.

    The configuration is checked, then the MLflow run is made, then the child starts, in a process group of
    its own, with `MLFLOW_RUN_ID`, `JOB_ID` and `JOB_USER_ID`. What it says is shown at once, and stored as
    `timelapse/launch.log`, secrets masked. SIGINT, SIGTERM and SIGHUP are handed on to its group, followed
    by SIGKILL after `grace` seconds or at a second signal. When it has ended, so has the run: FINISHED,
    KILLED by a signal, else FAILED; the last lines of the log are then the tag `timelapse.log_tail`.

    Call it in the main thread, which it needs for the signals.

    Args:
        config: The configuration file.
        overrides: `a.b=c`, as for `load_config`.
        job_id: Identifies the job; `JOB_ID` if not given. A job has one run in its experiment.
        user: Whose job it is; `JOB_USER_ID` if not given. Empty: nobody's.
        if_exists: What to do if the job has a run: refuse, or go on in it. One that somebody is at work on is
            always refused.
        command: What to start instead of `timelapse train`.
        grace: Seconds from a signal to SIGKILL.

    Raises:
        ConfigError: The configuration is wrong; said before any run is made.
        RunError: MLflow does not answer, or the job has a run already. Nothing was started.
    """
    loaded = _checked(config, overrides)
    job = Job.of(job_id, user)
    client = _client(loaded.config)
    log = JobLog(known_secrets(os.environ, loaded.config.model_dump(mode="json", fallback=str)))
    found = _existing(client, loaded.config, job, if_exists)
    with Launcher(log, grace=grace) as launcher:
        run = _begin(client, loaded.config, job, found)
        return _watched(launcher, run, log, command or _training(loaded.path, overrides), job)


def _checked(config: str | os.PathLike[str], overrides: Sequence[str]) -> LoadedConfig:
    """Return the configuration, if a training can be launched with it."""
    loaded = load_config(config, overrides)
    check_limits(loaded.config.predictions)
    _check_files(loaded)
    if is_offline():
        raise RunError(
            "TIMELAPSE_OFFLINE is set, but a launch makes its run first. Unset it, or use `timelapse train`."
        )
    return loaded


def _watched(launcher: Launcher, run: LaunchRun, log: JobLog, command: Sequence[str], job: Job) -> int:
    """Run the training, end its run whatever happens, and return the exit code."""
    try:
        _say(f"run '{run.name}' -> {run.link}")
        ended = launcher.run(command, job.environment(run.run_id), lambda: run.beat(log))
    except BaseException as error:
        launcher.stop()
        log.add(f"timelapse launch: the launcher itself has failed: {describe(error)}")
        run.end(Ended(1, launcher.asked, f"the launcher has failed: {describe(error)}"), log)
        raise
    status = run.end(ended, log)
    _say(f"run '{run.name}' is {status}{'' if status == 'FINISHED' else f': {ended.reason}'}")
    return ended.exit_code


def _check_files(loaded: LoadedConfig) -> None:
    """Raise a `ConfigError` that names each file of the configuration that is not there."""
    config = loaded.config
    files: dict[str, str | None] = {
        "data.train": config.data.train,
        "data.eval": config.data.eval,
    }
    if config.predictions.enabled:
        files |= {"predictions.samples_path": config.predictions.samples_path}
        files |= {
            f"predictions.sets.{name}.samples_path": block.samples_path
            for name, block in config.predictions.sets.items()
        }
    missing = [
        f"{loaded.path}: {field}: there is no file {path}. Correct the path."
        for field, path in files.items()
        if path is not None and "://" not in path and not Path(path).exists()
    ]
    if missing:
        raise ConfigError("\n".join(missing))


def _client(config: Config) -> MlflowClient:
    """Return MLflow's client, without setting the tracking URI for the child: it reads the same file."""
    import mlflow

    uri = config.tracking.uri or mlflow.get_tracking_uri()
    return ask(uri, lambda: mlflow.MlflowClient(tracking_uri=uri))


def _existing(client: MlflowClient, config: Config, job: Job, if_exists: IfExists) -> Run | None:
    """Return the run to go on in; None if one is to be made.

    Raises:
        RunError: The job has a run, and it cannot be, or shall not be, gone on in.
    """
    given = config.tracking.run_id or os.environ.get("MLFLOW_RUN_ID")
    if given:
        [run] = settle_dead(client, [ask(client.tracking_uri, lambda: client.get_run(given))])
        if is_busy(run):
            raise RunError(
                f"The run {given} is being written to on this machine: wait for its end, or stop it."
            )
        return run
    if not job.job_id:
        return None
    experiment_id = ask(client.tracking_uri, lambda: experiment_of(client, config.tracking.experiment))
    runs = settle_dead(client, runs_of_job(client, experiment_id, job.job_id))
    for run in runs:
        owner = at_work(run)
        if owner is not None:
            raise RunError(f"{_named(job, run)} Its training {owner}")
    if runs and if_exists == "refuse":
        raise RunError(
            f"{_named(job, runs[0])} Go on in it with --if-exists attach, or give another --job-id."
        )
    return runs[0] if runs else None


def _begin(client: MlflowClient, config: Config, job: Job, found: Run | None) -> LaunchRun:
    """Make the run, or go on in the one that was found."""
    tags = {**job.tags(), **config.tracking.tags}
    if found is not None:
        return LaunchRun.attach(client, found, tags)
    experiment_id = ask(client.tracking_uri, lambda: experiment_of(client, config.tracking.experiment))
    run = LaunchRun.create(client, NewRun(experiment_id, config.tracking.run_name, tags))
    if job.job_id:
        _withdraw_if_second(client, experiment_id, job, run)
    return run


def _withdraw_if_second(client: MlflowClient, experiment_id: str, job: Job, run: LaunchRun) -> None:
    """Give way if another launch of the same job has made its run since we looked.

    Raises:
        RunError: It has. Ours is deleted.
    """
    others = [
        each for each in runs_of_job(client, experiment_id, job.job_id) if each.info.run_id != run.run_id
    ]
    if others:
        run.withdraw()
        raise RunError(f"{_named(job, others[0])} It was launched at this very moment; nothing was started.")


def _named(job: Job, run: Run) -> str:
    info = run.info
    return f"The job '{job.job_id}' has a run already: '{info.run_name}' ({info.run_id}), {info.status}."


def _training(config: Path, overrides: Sequence[str]) -> list[str]:
    """Return the command that trains: `timelapse train CONFIG`, by this Python."""
    settings = [word for override in overrides for word in ("--set", override)]
    return [sys.executable, "-m", "timelapse.cli.main", "train", str(config), *settings]


def _say(message: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # a terminal that is gone must not end a training
        sys.stderr.write(f"Timelapse: {without_credentials(message)}\n")
        sys.stderr.flush()
