"""The writer of one run: every file goes to the outbox first, then to MLflow, in order."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from timelapse import names
from timelapse.fence import Fence
from timelapse.rounds import round_table
from timelapse.scoring.scorers import Scorer, score_round
from timelapse.writing.client import announce_table, log_dataset, polite_requests
from timelapse.writing.metrics import round_metrics
from timelapse.writing.tables import latest_table, parquet_bytes, samples_table

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow import MlflowClient

    from timelapse.rounds import Round
    from timelapse.samples import SampleSet
    from timelapse.writing.outbox import Outbox

RETRY_AFTER_SECONDS = 30.0
"""After a failed delivery the training is spared another attempt for this long."""


@dataclass
class _RoundEntry:
    """What goes with a round's file: its metrics, with timestamps fixed so that repeating changes nothing."""

    metrics: Mapping[str, float]
    step: int
    timestamp_ms: int


class RunWriter:
    """Stores one run's samples and rounds. Nothing it meets on the way is raised.

    Without a client or run id (MLflow could not be reached at the start) everything stays in the outbox.
    """

    def __init__(
        self,
        client: MlflowClient | None,
        run_id: str | None,
        outbox: Outbox,
        scorers: Mapping[str, Scorer],
        fence: Fence,
    ) -> None:
        self._client, self._run_id, self._outbox = client, run_id, outbox
        self._scorers, self._fence = scorers, fence
        self._samples: dict[str, SampleSet] = {}
        self._rendered: dict[str, str] = {}
        self._previous: dict[str, Round] = {}
        self._entries: dict[str, _RoundEntry] = {}
        self._retry_at = 0.0
        self.rounds = 0
        """Rounds logged so far."""

    def log_samples(
        self, samples: SampleSet, rendered: Mapping[str, str], manifest: Mapping[str, Any]
    ) -> None:
        """Store a sample set beside those already logged, its rendered prompts by id, and the manifest."""
        self._samples[samples.name] = samples
        self._rendered.update(rendered)
        with self._fence.guard("keeping the samples on disk", "The training goes on."):
            table = samples_table(self._samples.values(), self._rendered)
            self._outbox.put(names.SAMPLES_FILE, parquet_bytes(table))
            self._outbox.put(names.MANIFEST_FILE, json.dumps(manifest, indent=2, default=str).encode())
        self.deliver()
        self.request("recording the samples", lambda client, run: log_dataset(client, run, samples))

    def log_round(self, round_: Round, extra_metrics: Mapping[str, float] | None = None) -> None:
        """Score and store a round, with `extra_metrics` (by bare name) beside its own numbers."""
        with self._fence.guard("keeping a round on disk", "This round is lost; the training goes on."):
            self._store(round_, extra_metrics or {})
        self.deliver()

    def deliver(self, *, now: bool = False) -> bool:
        """Upload what waits in the outbox; after a failure not again for a while, unless `now`.

        Returns:
            Whether MLflow holds everything.
        """
        if not now and time.monotonic() < self._retry_at:
            return False
        return all(self._deliver(path) for path in self._outbox.waiting())

    def request(self, activity: str, call: Callable[[MlflowClient, str], object]) -> bool:
        """Make a request behind the fence, in bounded time; return whether it succeeded."""
        client, run_id = self._client, self._run_id
        if client is None or run_id is None:
            return False
        failures = len(self._fence.failures)
        with self._fence.guard(activity, "The training goes on; rounds wait on disk."), polite_requests():
            call(client, run_id)
        succeeded = len(self._fence.failures) == failures
        if not succeeded:
            self._retry_at = time.monotonic() + RETRY_AFTER_SECONDS
        return succeeded

    def _deliver(self, path: Path) -> bool:
        return self.request("sending rounds to MLflow", lambda client, run: self._send(client, run, path))

    def _store(self, round_: Round, extra: Mapping[str, float]) -> None:
        samples = self._samples.get(round_.set_name)
        if samples is not None:
            round_ = score_round(round_, samples, self._scorers)
        file = names.round_file(round_.step, round_.attempt, round_.set_name)
        numbers = {**round_metrics(round_, self._previous.get(round_.set_name)), **extra}
        metrics = {names.metric(name, round_.set_name): value for name, value in numbers.items()}
        self._entries[file] = _RoundEntry(metrics, round_.step, time.time_ns() // 1_000_000)
        self._outbox.put(file, parquet_bytes(round_table(round_)))
        if samples is not None and round_.set_name == names.DEFAULT_SET:
            self._outbox.put(names.LATEST_FILE, latest_table(round_, samples))
        self._previous[round_.set_name] = round_
        self.rounds += 1

    def _send(self, client: MlflowClient, run_id: str, path: Path) -> None:
        client.log_artifact(run_id, str(path), names.ARTIFACT_FOLDER)
        if path.name == names.LATEST_FILE:
            announce_table(client, run_id)
        elif path.name in self._entries:
            self._send_metrics(client, run_id, self._entries[path.name])
        self._outbox.delivered(path)

    def _send_metrics(self, client: MlflowClient, run_id: str, entry: _RoundEntry) -> None:
        from mlflow.entities import Metric, RunTag

        metrics = [
            Metric(name, value, entry.timestamp_ms, entry.step) for name, value in entry.metrics.items()
        ]
        client.log_batch(run_id, metrics=metrics, tags=[RunTag(names.TAG_ROUNDS, str(self.rounds))])
