"""The writer of one run: every file goes to the outbox first, then to MLflow, in order."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from timelapse import names
from timelapse.fence import Fence
from timelapse.rounds import round_table
from timelapse.scoring.scorers import Scorer, score_round
from timelapse.writing.client import announce_table, log_dataset
from timelapse.writing.metrics import round_metrics
from timelapse.writing.tables import latest_table, parquet_bytes, samples_table

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from timelapse.rounds import Round
    from timelapse.samples import SampleSet
    from timelapse.writing.delivery import Delivery, Request
    from timelapse.writing.outbox import Outbox


@dataclass(frozen=True)
class _RoundEntry:
    """What goes with a round's file: its metrics, with timestamps fixed so that repeating changes nothing."""

    round: Round
    numbers: Mapping[str, float]
    count: int
    timestamp_ms: int

    def send_metrics(self, client: MlflowClient, run_id: str) -> None:
        from mlflow.entities import Metric, RunTag

        metrics = [
            Metric(names.metric(name, self.round.set_name), value, self.timestamp_ms, self.round.step)
            for name, value in self.numbers.items()
        ]
        client.log_batch(run_id, metrics=metrics, tags=[RunTag(names.TAG_ROUNDS, str(self.count))])


class RunWriter:
    """Stores one run's samples and rounds: scored, on disk, then on their way to MLflow. Never raises."""

    def __init__(
        self, delivery: Delivery, outbox: Outbox, scorers: Mapping[str, Scorer], fence: Fence
    ) -> None:
        self._delivery, self._outbox = delivery, outbox
        self._scorers, self._fence = scorers, fence
        self._samples: dict[str, SampleSet] = {}
        self._rendered: dict[str, str] = {}
        self._previous: dict[str, Round] = {}
        self.rounds = 0
        """Rounds logged so far."""

    def log_samples(
        self, samples: SampleSet, rendered: Mapping[str, str], manifest: Mapping[str, Any]
    ) -> None:
        """Store a sample set beside those already logged, its rendered prompts by id, and the manifest."""
        self._samples[samples.name] = samples
        self._rendered.update(rendered)
        with self._fence.guard("keeping the samples", "The training goes on."):
            table = samples_table(self._samples.values(), self._rendered)
            self._store(names.SAMPLES_FILE, parquet_bytes(table))
            self._store(names.MANIFEST_FILE, json.dumps(manifest, indent=2, default=str).encode())
        self._delivery.send("recording the samples", lambda client, run: log_dataset(client, run, samples))

    def log_round(self, round_: Round, extra_metrics: Mapping[str, float] | None = None) -> None:
        """Score and store a round, with `extra_metrics` (by bare name) beside its own numbers."""
        with self._fence.guard("keeping a round", "It is lost; the training goes on."):
            samples = self._samples.get(round_.set_name)
            if samples is not None:
                round_ = score_round(round_, samples, self._scorers)
            numbers = {**round_metrics(round_, self._previous.get(round_.set_name)), **(extra_metrics or {})}
            self._previous[round_.set_name] = round_
            self.rounds += 1
            entry = _RoundEntry(round_, numbers, self.rounds, time.time_ns() // 1_000_000)
            file = names.round_file(round_.step, round_.attempt, round_.set_name)
            self._store(file, parquet_bytes(round_table(round_)), entry.send_metrics)
            if samples is not None and round_.set_name == names.DEFAULT_SET:
                self._store(names.LATEST_FILE, latest_table(round_, samples), announce_table)

    def _store(self, file: str, data: bytes, then: Request | None = None) -> None:
        """Put a file into the outbox, and send it; `then` is what MLflow is told after it."""
        path = self._outbox.put(file, data)

        def send(client: MlflowClient, run_id: str) -> None:
            if path not in self._outbox.waiting():
                return  # an older request has taken this newer file along
            client.log_artifact(run_id, str(path), names.ARTIFACT_FOLDER)
            if then is not None:
                then(client, run_id)
            self._outbox.delivered(path)

        self._delivery.send(f"storing {file}", send)
