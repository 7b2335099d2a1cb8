"""Delivery: what the entries of a spool mean to MLflow, request by request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from timelapse import names
from timelapse.attempts import next_attempt
from timelapse.fence import Fence, describe
from timelapse.rounds import with_attempt
from timelapse.scoring.engine import Judges
from timelapse.writing.artifacts import RunArtifacts
from timelapse.writing.checkpoints import link_checkpoint
from timelapse.writing.client import experiment_named, find_created, log_dataset
from timelapse.writing.entries import Entry, unpack, unpack_table
from timelapse.writing.metrics import mlflow_metrics, round_metrics
from timelapse.writing.report import put_report

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import pyarrow as pa
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    from timelapse.scoring.engine import Pace
    from timelapse.writing.spool import Spool

_NEVER_LINKED = (
    *("ENDPOINT_NOT_FOUND", "FEATURE_DISABLED", "NOT_IMPLEMENTED", "PERMISSION_DENIED"),
    *("INVALID_PARAMETER_VALUE", "BAD_REQUEST"),
)
LIVE = "live"
"""Value of the tag `timelapse.manifest` while somebody writes to the run."""


class Delivery:
    """Hands the entries of one spool to one MLflow run. What is done twice changes nothing.

    A run that does not exist yet (MLflow was away when it began) is created first, as it would have been.
    Whatever fails raises; the entry then still waits.
    """

    def __init__(
        self,
        spool: Spool,
        client: MlflowClient,
        judges: Judges,
        fence: Fence,
        *,
        fresh: bool = False,
    ) -> None:
        self._spool, self._client = spool, client
        self._judges, self._fence, self._fresh = judges, fence, fresh
        self._artifacts: RunArtifacts | None = None
        self._said_live = fresh
        self._growing: set[str] = set()

    def at_work(self) -> AbstractContextManager[object]:
        """Return what is entered for as long as the spool is needed: it is not let go meanwhile."""
        return self._spool.in_use

    def deliver(self, entries: Sequence[Entry], pace: Pace | None = None) -> None:
        """Send entries of one kind, and forget them once MLflow holds them; `pace` as for `judge`.

        Raises:
            DamagedEntryError: An entry's file is not what was written. It stays where it is.
            Exception: Whatever MLflow or the network raise.
        """
        contents = [entry.read() for entry in entries]
        run_id = self._run()
        kind = entries[0].kind
        if kind == "round":
            self._send_rounds(run_id, contents, pace)
        elif kind == "numbers":
            self._send_numbers(run_id, [unpack(data) for data in contents])
        else:
            send = {
                "samples": self._send_samples,
                "file": self._send_text,
                "checkpoint": self._link,
                "end": self._end,
            }[kind]
            for data in contents:
                send(run_id, data)
        if kind != "samples":  # who finishes our work needs the references to score with
            for entry in entries:
                self._spool.discard(entry)

    def tidy(self) -> None:
        """Send what changes with every round."""
        if self._artifacts is not None:
            self._artifacts.tidy()

    def rest(self, pace: Pace | None = None) -> None:
        """Write the compaction, the manifest and the report of a run to which nobody writes for now.

        `pace` is told between the two that it goes on: only the first of them must be waited for.
        """
        run_id = self._run()
        resting = self._files(run_id).rest()
        if resting is not None:
            self._declare_grown(run_id)
            main = self._files(run_id).sample_set(names.DEFAULT_SET).get("fingerprint")
            tags = {names.TAG_SAMPLE_SET: main, names.TAG_HEALTH: self._files(run_id).health}
            known = {tag: value for tag, value in tags.items() if value}
            self._log(run_id, [], {names.TAG_MANIFEST: str(resting), **known})
            self._said_live = False
            if pace is not None:
                pace(0.0)
            put_report(self._client, run_id, self._files(run_id), self._fence)

    def _declare_grown(self, run_id: str) -> None:
        """Record the sample sets that came with answers as inputs of the run, now that they are whole."""
        for name in sorted(self._growing):
            about = self._files(run_id).sample_set(name)
            source = {"source": "answers logged by log_predictions"}
            log_dataset(self._client, run_id, {"set": name, **source, **about})
        self._growing.clear()

    def _run(self) -> str:
        """Return the id of the run, which is created if it does not exist yet."""
        header = self._spool.header
        if header.run_id is not None:
            return header.run_id
        run_id = find_created(self._client, header) or self._create()
        self._note(run_id=run_id)
        return run_id

    def _note(self, **changes: object) -> None:
        """Write down what MLflow has taken. On a full disk we know it all the same."""
        with self._fence.guard("writing down what MLflow holds", "What follows is sent all the same."):
            self._spool.update(**changes)

    def _create(self) -> str:
        header, client = self._spool.header, self._client
        experiment_id = header.experiment_id or "0"
        if header.experiment is not None:
            experiment_id = experiment_named(client, header.experiment)
        tags = {**header.tags, names.TAG_TOKEN: header.token}
        run = client.create_run(experiment_id, header.start_time, tags, header.run_name)
        self._fresh = True
        return str(run.info.run_id)

    def _files(self, run_id: str) -> RunArtifacts:
        if self._artifacts is None:
            self._artifacts = RunArtifacts(
                self._client, run_id, self._spool.stored, self._judges, self._fence, fresh=self._fresh
            )
        return self._artifacts

    def _send_samples(self, run_id: str, data: bytes) -> None:
        table, about = unpack_table(data)
        self._say_live(run_id)
        self._files(run_id).add_samples(table, about)
        if about.get("dataset"):
            log_dataset(self._client, run_id, about)
        else:  # it may still grow
            self._growing.add(about["set"])

    def _send_text(self, run_id: str, data: bytes) -> None:
        text = unpack(data)
        self._files(run_id).put_text(text["name"], text["text"])

    def _send_rounds(self, run_id: str, contents: Sequence[bytes], pace: Pace | None) -> None:
        """Send the files of rounds, then all their numbers with one request."""
        self._say_live(run_id)
        files = self._files(run_id)
        metrics: list[Metric] = []
        for data in contents:
            table, about = unpack_table(data)
            if about["tentative"]:
                table = self._shifted(table, files)
            round_ = files.put_round(table, about, pace)
            if pace is not None:
                pace(0.0)
            numbers = round_metrics(round_, files.previous(round_), self._judges.deciding())
            numbers |= about["metrics"]
            metrics += mlflow_metrics(numbers, round_.set_name, round_.step, about["time"])
            files.remember(round_)
        self._log(run_id, metrics, {names.TAG_ROUNDS: str(about["rounds"])})

    def _shifted(self, table: pa.Table, files: RunArtifacts) -> pa.Table:
        """Return a round, logged when nobody could ask which attempts there are, as the next of them."""
        set_name, step = table.column("set")[0].as_py(), table.column("step")[0].as_py()
        shifts = self._spool.header.shifts
        if set_name not in shifts:
            shifts = {**shifts, set_name: next_attempt(files.stored_rounds(set_name), step - 1)}
            self._spool.update(shifts=shifts)
        return with_attempt(table, table.column("attempt")[0].as_py() + shifts[set_name])

    def _send_numbers(self, run_id: str, batches: Sequence[Mapping[str, Any]]) -> None:
        from mlflow.entities import Metric

        for batch in batches:
            self._send_params(run_id, batch.get("params", {}))
        metrics = [Metric(*point) for batch in batches for point in batch.get("metrics", ())]
        tags = {key: value for batch in batches for key, value in batch.get("tags", {}).items()}
        self._log(run_id, metrics, tags)

    def _log(self, run_id: str, metrics: Sequence[Metric], tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        tag_list = [RunTag(key, value) for key, value in tags.items()]
        self._client.log_batch(run_id, metrics=metrics, tags=tag_list)

    def _send_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Send parameters; one that the run has with another value, which MLflow keeps, becomes a tag."""
        from mlflow.entities import Param
        from mlflow.exceptions import MlflowException

        try:
            self._client.log_batch(run_id, params=[Param(key, value) for key, value in params.items()])
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            stored = self._client.get_run(run_id).data.params
            for key, value in params.items():
                if stored.get(key, value) == value:
                    self._client.log_param(run_id, key, value)
                else:
                    self._client.set_tag(run_id, f"{names.PARAM_PREFIX}changed.{key}", value)

    def _link(self, run_id: str, data: bytes) -> None:
        """Link a checkpoint; a server that knows no logged models must not hold up what comes after."""
        from mlflow.exceptions import MlflowException

        about = unpack(data)
        try:
            link_checkpoint(self._client, run_id, about)
        except MlflowException as error:
            if error.error_code not in _NEVER_LINKED:
                raise
            self._fence.report(
                "linking a checkpoint",
                describe(error),
                "The rounds are not affected; predictions.link_checkpoints: false stops it.",
            )

    def _end(self, run_id: str, data: bytes) -> None:
        end = unpack(data)
        self._client.set_terminated(run_id, end["status"], end["time"])
        self._note(ended=True)

    def _say_live(self, run_id: str) -> None:
        """Tell readers that the manifest no longer says all, before it is so."""
        if not self._said_live:
            self._client.set_tag(run_id, names.TAG_MANIFEST, LIVE)
            self._said_live = True
