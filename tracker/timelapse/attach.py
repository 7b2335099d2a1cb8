"""Attaching a training to a run in MLflow, or opening a new one."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timelapse import endings, names
from timelapse.config.redact import without_credentials
from timelapse.errors import RunError
from timelapse.fence import Fence, attempt, describe, warn
from timelapse.jobs import job_tags
from timelapse.lazy import LazyRun
from timelapse.links import is_default_place
from timelapse.polite import is_refusal, polite_requests
from timelapse.provenance import environment, flat
from timelapse.randomness import untouched_random_state
from timelapse.run import TrainingRun
from timelapse.scoring.engine import DEFAULT_SCORERS, Judges, warm_up
from timelapse.scoring.scorer import make_scorers
from timelapse.scoring.validators import make_validators, spec_of
from timelapse.writing.client import experiment_named
from timelapse.writing.entries import pack
from timelapse.writing.recorder import Recorder
from timelapse.writing.spool import Header
from timelapse.writing.sync import deliver_leftovers
from timelapse.writing.uploader import REACHING

if TYPE_CHECKING:
    from mlflow.entities import Run

    from timelapse.config.model import Config


CREATION_SECONDS = 30.0
"""How long MLflow may take to create a run."""


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
    """Tags of the run."""
    nested: bool = False
    """Open a new run below MLflow's active one, instead of joining that."""
    resumed_id: str | None = None
    """The run of the checkpoint from which a training goes on; joined if nothing else is to be."""


def start_run(
    run_name: str | None = None,
    *,
    run_id: str | None = None,
    experiment: str | None = None,
    tracking_uri: str | None = None,
    tags: Mapping[str, str] | None = None,
    nested: bool = False,
    config: Config | Mapping[str, Any] | None = None,
    scorers: Sequence[Any] | Mapping[str, Any] | None = None,
    validators: Sequence[Any] = (),
) -> TrainingRun:
    """Open a training run, as `mlflow.start_run` does, and end it when the `with` block is left.

    Attaches, in this order, to the run `run_id`, MLflow's active run, the run named by `MLFLOW_RUN_ID`;
    else it opens a new one. The run is MLflow's active run too, so that what Transformers, TRL and your
    own `mlflow.log_…` calls report goes to the same place. It also works as a decorator: each call of the
    function is a run. The run is opened when the block is entered, or when its result is first used.

    Recorded are the git commit, the command line, the package versions and `config`. Without MLflow (it does
    not answer, or `TIMELAPSE_OFFLINE=1`) everything waits on disk; `timelapse sync` creates the run later.

    Args:
        run_name: Name of a new run.
        run_id: An existing run to write into; several runs may be open at once by their ids.
        experiment: Name of the experiment for a new run; it is made if it does not exist.
        tracking_uri: MLflow's tracking URI.
        tags: Tags of the run.
        nested: Open a new run below MLflow's active one, instead of joining that.
        config: What the training was told; stored as `timelapse/config.yaml` and, if it is a mapping, as
            parameters `timelapse.<name>`; secrets redacted.
        scorers: The scores of every prediction: names of built-in ones, functions of (prediction, reference),
            import paths, or scorers of MLflow's; a mapping gives them names. By default `exact_match`
            and `edit_similarity`. See docs/scores.md.
        validators: The checks of every prediction, such as `["json"]` or `[{"json_schema": "schema.json"}]`.

    Raises:
        ConfigError: A scorer or validator is not known, cannot be imported, or has wrong options.
        RunError: MLflow answers that the run or experiment cannot be had. If MLflow does not answer at
            all, a warning is issued and what is logged waits on disk.
    """
    place = str(tracking_uri) if tracking_uri else None  # people give paths, too
    target = RunTarget(run_id, experiment, run_name, place, tags, nested)
    judges = make_judges(scorers, validators)

    def begin(run: TrainingRun | None = None) -> TrainingRun:
        begun = open_run(target, activate=True, judges=judges, into=run)
        _record_origin(begun, config)
        return begun

    return LazyRun(begin)


def make_judges(
    scorers: Sequence[Any] | Mapping[str, Any] | None, validators: Sequence[Any], folder: Path | None = None
) -> Judges:
    """Return what judges a run's predictions, and say what it costs; see `start_run`.

    Args:
        scorers: Scorers, as `make_scorers` takes them.
        validators: Validators, as `make_validators` takes them.
        folder: Where the paths of schema files begin; the current folder by default.
    """
    made = make_scorers(DEFAULT_SCORERS if scorers is None else scorers)
    for scorer in made.values():
        if scorer.note:
            warn(scorer.note)
    judges = Judges(made, make_validators(validators, folder=folder))
    warm_up(judges)
    return judges


def open_run(
    target: RunTarget,
    *,
    activate: bool,
    judges: Judges | None = None,
    into: TrainingRun | None = None,
) -> TrainingRun:
    """Attach to a run or open a new one, in the order of `start_run`.

    Args:
        target: Where to record.
        activate: Make a run that exists already MLflow's active run, and end it as our own. Else the run is
            that of a training that nobody else watches over: its crash is noticed by other means.
        judges: What judges every prediction; the default scorers if not given.
        into: The object that becomes the run; by default a new one.
    """
    import mlflow

    if not activate:
        endings.end_abandoned("another training began before this one came to its end")
    if target.tracking_uri:
        mlflow.set_tracking_uri(target.tracking_uri)
    uri, offline = mlflow.get_tracking_uri(), is_offline()
    judges = judges or make_judges(None, ())
    known = _known(target, activate=activate)
    if known.run_id and not offline:
        deliver_leftovers(known.run_id, partial(mlflow.MlflowClient, uri))
    connect = None if offline else partial(mlflow.MlflowClient, uri)
    recorder = Recorder(_header(target, known, uri, judges), connect, judges, Fence())
    opened = _Opened(None, fresh=known.run_id is None)
    if not offline:
        found, error = attempt(lambda: _find_or_start(target, known, recorder.header.token))
        if found is None:
            assert error is not None
            if is_refusal(error):
                recorder.close(done=True)
                if known.run_id is None or known.run_id != target.resumed_id:
                    raise RunError(_refusal(target, known, error)) from error
                warn(f"The checkpoint's run cannot be resumed: {describe(error)}. A new run is opened.")
                anew = replace(target, resumed_id=None)
                return open_run(anew, activate=activate, judges=judges, into=into)
            consequence = "The training goes on; what is logged waits on disk until MLflow answers."
            recorder.fence.report(REACHING, describe(error), consequence)
        opened = found or opened
    info = opened.run.info if opened.run else None
    if info is not None:
        recorder.identify(fresh=opened.fresh, run_id=info.run_id, run_name=info.run_name)
    elif known.run_id:  # MLflow could not be told; the tags of a new run stand in the header
        recorder.record("numbers", pack({"tags": _tags(target)}))
    run = into or TrainingRun.__new__(TrainingRun)
    experiment_id = info.experiment_id if info else None
    TrainingRun.__init__(
        run, recorder, uri, experiment_id=experiment_id, fresh=opened.fresh, former=opened.former
    )
    run.watch(training=not activate)
    return run


@dataclass(frozen=True, slots=True)
class _Known:
    run_id: str | None
    owned: bool
    active: bool = False


@dataclass(frozen=True, slots=True)
class _Opened:
    run: Run | None
    fresh: bool
    former: str | None = None
    """The status that the run had when it was found."""


def _refusal(target: RunTarget, known: _Known, error: BaseException) -> str:
    """Return what MLflow refuses, why, and what to do."""
    reason = describe(error).removesuffix(".")
    if known.run_id is None:
        return f"MLflow refuses the run: {reason}. Name an experiment that is there and open to you."
    where = "" if known.run_id == target.run_id or known.active else " (of MLFLOW_RUN_ID)"
    return (
        f"MLflow refuses the run {known.run_id}{where}: {reason}. Name one that is there and open to you, or "
        "none for a new run."
    )


def _known(target: RunTarget, *, activate: bool) -> _Known:
    """Return which run to join, as far as it can be known without asking MLflow."""
    import mlflow

    active = mlflow.active_run()
    active_id = active.info.run_id if active and not target.nested else None
    if active_id is not None and target.run_id in (None, active_id):
        return _Known(active_id, owned=False, active=True)
    given = target.run_id or (None if target.nested else os.environ.get("MLFLOW_RUN_ID"))
    if given:
        return _Known(given, owned=activate)
    return _Known(None if target.nested else target.resumed_id, owned=True)


def _header(target: RunTarget, known: _Known, tracking_uri: str, judges: Judges) -> Header:
    """Return what another process must know to finish this run, even to create it."""
    start = time.time_ns() // 1_000_000
    name = target.run_name or time.strftime("run-%Y%m%d-%H%M%S", time.localtime(start / 1000))
    by_default = known.run_id is None and is_default_place(tracking_uri)
    return Header(
        run_id=known.run_id,
        tracking_uri=None if by_default else without_credentials(tracking_uri).rstrip("/"),
        owned=known.owned,
        start_time=start,
        experiment=target.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME"),
        experiment_id=os.environ.get("MLFLOW_EXPERIMENT_ID"),
        run_name=None if known.run_id else name,
        tags={} if known.run_id else _context_tags(_tags(target)),
        scorers={name: scorer.spec for name, scorer in judges.scorers.items()},
        validators=[spec_of(validator) for validator in judges.validators.values()],
    )


def _tags(target: RunTarget) -> dict[str, str]:
    """Return the tags of a run, however it begins: the job that it belongs to, and the user's own."""
    given = {names.plain(str(key)): str(value) for key, value in (target.tags or {}).items()}
    return {**job_tags(), **given}


def _context_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that `mlflow.start_run` would give a run here: user, source, the user's own."""
    from mlflow.tracking.context.registry import resolve_tags

    return {str(key): str(value) for key, value in resolve_tags(dict(tags)).items()}


def _find_or_start(target: RunTarget, known: _Known, token: str) -> _Opened:
    """Return the run to write into, and whether it is new."""
    import mlflow

    # Before the training: a moment's trouble shall not cost the run.
    with polite_requests(retries=3), untouched_random_state():
        active = mlflow.active_run()
        former = None
        if known.run_id:
            found = _run_in_use(known.run_id)
            former = found.info.status
            _dress(target, found)
            if known.owned:  # a sync of the process that had it before must not end it
                mlflow.MlflowClient().set_tag(known.run_id, names.TAG_TOKEN, token)
        if known.active:
            return _Opened(active, fresh=False)
        if known.run_id and known.owned:
            again = mlflow.start_run(run_id=known.run_id, nested=active is not None)
            return _Opened(again, fresh=False, former=former)
        if known.run_id:
            return _Opened(mlflow.MlflowClient().get_run(known.run_id), fresh=False)
        client = mlflow.MlflowClient()
        experiment_id = experiment_named(client, target.experiment) if target.experiment else None
        random.seed()  # undone above; MLflow would name every run of a seeded training alike
        return _Opened(_start(target, token, experiment_id), fresh=True)


def _start(target: RunTarget, token: str, experiment_id: str | None) -> Run:
    """Start a new run, with one request: a second one after a lost answer would make a second run.

    If the answer is lost, the run is found again by its token.
    """
    import mlflow

    with polite_requests(retries=0, timeout=CREATION_SECONDS):
        return mlflow.start_run(
            experiment_id=experiment_id,
            run_name=target.run_name,
            tags={**_tags(target), names.TAG_TOKEN: token},
            nested=target.nested,
        )


def _run_in_use(run_id: str) -> Run:
    """Return a run, but none from the waste bin: MLflow calls that an internal error, as if it could pass."""
    from mlflow import MlflowClient, MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_STATE

    run = MlflowClient().get_run(run_id)
    if run.info.lifecycle_stage == "deleted":
        raise MlflowException(f"the run {run_id} has been deleted", INVALID_STATE)
    return run


def _dress(target: RunTarget, run: Run) -> None:
    """Give an existing run the tags that it should have; its name and experiment stay as they are."""
    import mlflow

    client = mlflow.MlflowClient()
    for key, value in _tags(target).items():
        client.set_tag(run.info.run_id, key, value)
    other_name = target.run_name is not None and target.run_name != run.info.run_name
    other_experiment = (
        target.experiment is not None
        and target.experiment != client.get_experiment(run.info.experiment_id).name
    )
    ignored = [name for name, other in (("run_name", other_name), ("experiment", other_experiment)) if other]
    if ignored:
        warn(
            f"{' and '.join(ignored)} have no effect: the run {run.info.run_id} exists already, and keeps "
            "its own."
        )


def _record_origin(run: TrainingRun, config: Config | Mapping[str, Any] | None) -> None:
    """Store where the run comes from, and what the training was told."""
    import json

    from timelapse.config.file import to_yaml
    from timelapse.config.redact import redact

    origin = environment()
    run.log_text(json.dumps(origin, indent=1), names.ENVIRONMENT_FILE)
    commit = {names.TAG_COMMIT: origin["git"]["commit"]} if origin["git"] else {}
    run.log_tags({names.TAG_COMMAND: origin["command"], **commit})
    if config is not None:
        run.log_text(to_yaml(config), names.CONFIG_FILE)
    if isinstance(config, Mapping):
        run.log_params(flat(redact(config)))


def is_offline() -> bool:
    """Return whether the user wants nothing to be sent: `TIMELAPSE_OFFLINE`."""
    return os.environ.get("TIMELAPSE_OFFLINE", "").lower() in ("1", "true", "yes", "on")
