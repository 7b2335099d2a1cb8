"""Training runs wrapped as MLflow runs."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import TYPE_CHECKING, Any

from timelapse import names
from timelapse.errors import RunError
from timelapse.fence import Fence, attempt, describe
from timelapse.links import run_link, show_command
from timelapse.scoring.scorers import SCORERS, Scorer
from timelapse.writing.client import polite_requests
from timelapse.writing.delivery import Delivery
from timelapse.writing.outbox import Outbox, outbox_root
from timelapse.writing.writer import RunWriter

if TYPE_CHECKING:
    from mlflow.entities import Run

    from timelapse.rounds import Round
    from timelapse.samples import SampleSet

_PACKAGES = ("mlflow-timelapse", "mlflow", "torch", "transformers", "peft", "trl", "accelerate", "datasets")


class TrainingRun(AbstractContextManager["TrainingRun"]):
    """A training run in MLflow: what is logged here is on disk first, and never raises.

    As a context manager it ends the run on leaving: FINISHED, or FAILED if an error passes through.
    A run that somebody else opened is left as it is.
    """

    def __init__(
        self,
        run: Run | None,
        *,
        owned: bool,
        scorers: Mapping[str, Scorer] | None = None,
        fence: Fence | None = None,
    ) -> None:
        self.run_id: str | None = run.info.run_id if run else None
        """The MLflow run's id; None if MLflow could not be reached when the run began."""
        self.run_name: str = (run.info.run_name if run else None) or "unnamed"
        """The MLflow run's name."""
        self.experiment_id: str | None = run.info.experiment_id if run else None
        """The MLflow experiment's id."""
        self.owned = owned
        """Whether we opened the run, and so end it."""
        self.fence = fence or Fence()
        """Holds the failures so far."""
        self._outbox = Outbox(outbox_root() / (self.run_id or f"offline-{uuid.uuid4().hex}"))
        import mlflow

        self._tracking_uri = mlflow.get_tracking_uri()
        client = mlflow.MlflowClient() if run else None
        self._delivery = Delivery(client, self.run_id, self.fence)
        self._writer = RunWriter(self._delivery, self._outbox, scorers or SCORERS, self.fence)
        self._troubles: list[str] = []
        self._sample_sets: dict[str, SampleSet] = {}
        self._ended = False

    def log_samples(
        self,
        samples: SampleSet,
        *,
        rendered: Mapping[str, str] | None = None,
        decoding: Mapping[str, Any] | None = None,
        chat_template: str | None = None,
    ) -> None:
        """Store the sample set that the rounds will answer.

        Args:
            samples: The samples, in their fixed order.
            rendered: The prompts as the model sees them, by sample id.
            decoding: The generation settings, so that runs can be compared like for like.
            chat_template: Fingerprint of the tokenizer's chat template.
        """
        self._sample_sets[samples.name] = samples
        manifest = {
            "schema": names.SCHEMA_VERSION,
            "sample_sets": {
                name: {"fingerprint": each.fingerprint, "count": len(each)}
                for name, each in self._sample_sets.items()
            },
            "decoding": dict(decoding or {}),
            "chat_template": chat_template,
            "packages": _package_versions(),
        }
        self._writer.log_samples(samples, rendered or {}, manifest)
        self._tag({names.TAG_SCHEMA: str(names.SCHEMA_VERSION), names.TAG_SAMPLE_SET: samples.fingerprint})
        self._tag({names.TAG_STATUS: "live"})

    def next_attempt(self, samples: SampleSet, step: int) -> int:
        """Return the attempt number for a training of this run that begins at a step.

        0 in a fresh run; one more than the highest there is if rounds behind `step` (or at it, for a training
        from the start) exist already, so that no stored round is ever written over.

        Raises:
            RunError: The run's rounds answer other samples than these.
        """
        stored, _error = attempt(self._stored_rounds)
        if not stored:
            return 0
        rounds, fingerprint = stored
        if rounds and fingerprint not in (None, samples.fingerprint):
            raise RunError(
                f"Run '{self.run_name}' ({self.run_id}) already holds rounds of other samples (fingerprint "
                f"{fingerprint}, these have {samples.fingerprint}). Use the same samples, or another run."
            )
        self._writer.rounds = len(rounds)
        highest = max((number for _step, number in rounds), default=0)
        behind = any(there > step or (step == 0 and there == 0) for there, _number in rounds)
        return highest + behind

    def _stored_rounds(self) -> tuple[list[tuple[int, int]], str | None]:
        """Return step and attempt of each round that MLflow holds, and the fingerprint of their samples."""
        if self.run_id is None:
            return [], None
        import mlflow

        client = mlflow.MlflowClient()
        with polite_requests():
            files = client.list_artifacts(self.run_id, names.ARTIFACT_FOLDER)
            tags = client.get_run(self.run_id).data.tags
        places = (names.round_place(file.path.rsplit("/", 1)[-1]) for file in files)
        rounds = [place for place in places if place is not None]
        return rounds, tags.get(names.TAG_SAMPLE_SET)

    def log_round(self, round_: Round, metrics: Mapping[str, float] | None = None) -> None:
        """Score and store a round; `metrics` (by bare name) join its own under `predictions/`."""
        if round_.failed:
            failed, rows = len(round_.failed), len(round_.predictions)
            self.degrade(f"{failed} of {rows} rows failed at step {round_.step}")
        self._writer.log_round(round_, metrics)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Log numbers of the training itself (loss, learning rate) under their own names."""
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        batch = [Metric(name, float(value), now, step) for name, value in metrics.items()]
        self._delivery.send("logging metrics", lambda client, run: client.log_batch(run, metrics=batch))

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters under the prefix `timelapse.`, cut at MLflow's limit of 6,000 characters."""
        from mlflow.entities import Param

        batch = [Param(names.PARAM_PREFIX + name, str(value)[:6000]) for name, value in params.items()]
        self._delivery.send("logging parameters", lambda client, run: client.log_batch(run, params=batch))

    def log_text(self, text: str, file: str) -> None:
        """Store a text as the artifact `timelapse/<file>`."""
        path = f"{names.ARTIFACT_FOLDER}/{file}"
        self._delivery.send(f"storing {file}", lambda client, run: client.log_text(run, text, path))

    def disable(self, reason: str) -> None:
        """Say that no predictions will be made in this run, and why."""
        self._tag({names.TAG_SCHEMA: str(names.SCHEMA_VERSION), names.TAG_STATUS: f"disabled: {reason}"})

    def degrade(self, trouble: str) -> None:
        """Say in the run's status that something went wrong; the training goes on."""
        self._troubles.append(trouble)
        self._tag({names.TAG_STATUS: f"degraded: {trouble}"})

    def complete(self) -> None:
        """Send what still waits, and set the predictions' final status. The MLflow run stays open."""
        self._delivery.flush(now=True)
        if self._sample_sets:
            self._tag({names.TAG_STATUS: self._final_status()})
        if self._outbox.waiting():
            self.fence.report(
                "handing everything to MLflow",
                f"it does not hold {len(self._outbox.waiting())} files of this run",
                f"They are kept in {self._outbox.folder}; each round there opens with pandas.read_parquet.",
            )

    def where(self) -> str:
        """Return where a person finds this run: its page, and the command that shows it."""
        if self.run_id is None or self.experiment_id is None:
            return f"kept in {self._outbox.folder}, because MLflow does not answer"
        link = run_link(self._tracking_uri, self.experiment_id, self.run_id)
        return f"{link} | in the terminal: {show_command(self._tracking_uri, self.run_id)}"

    def summary(self) -> str:
        """Return in a few words what has been stored: `4 rounds in run 'proud-fox-3'`."""
        count = self._writer.rounds
        troubles = f", {len(self._troubles)} with failed rows" if self._troubles else ""
        return f"{count} round{'s' * (count != 1)}{troubles} in run '{self.run_name}'"

    def finish(self, status: str = "FINISHED", reason: str | None = None) -> None:
        """Complete the predictions and, if the run is ours, end it as FINISHED, FAILED or KILLED."""
        if self._ended:
            return
        self._ended = True
        if reason:
            self._tag({names.TAG_STATUS: f"failed: {reason}"})
        else:
            self.complete()
        if self.owned and self.run_id:
            self._delivery.send("ending the run", lambda _client, run: _end(run, status))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the run: FINISHED, KILLED on an interrupt, FAILED on any other error."""
        if error is None or (isinstance(error, SystemExit) and not error.code):
            self.finish()
        else:
            self._delivery.flush(now=True)
            self.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED", describe(error))

    def _final_status(self) -> str:
        if self._troubles:
            more = f" (and {len(self._troubles) - 1} more)" if len(self._troubles) > 1 else ""
            return f"degraded: {self._troubles[0]}{more}"
        return "finished" if self._writer.rounds else "finished: no round was made"

    def _tag(self, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        batch = [RunTag(key, value[:8000]) for key, value in tags.items()]
        self._delivery.send("setting the run's tags", lambda client, run: client.log_batch(run, tags=batch))


def _end(run_id: str, status: str) -> None:
    """End a run of ours, through MLflow's active run where it is that, so that it does not stay active."""
    import mlflow

    active = mlflow.active_run()
    if active and active.info.run_id == run_id:
        mlflow.end_run(status)
    else:
        mlflow.MlflowClient().set_terminated(run_id, status)


def _package_versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
