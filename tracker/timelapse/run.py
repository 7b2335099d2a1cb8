"""Training runs wrapped as MLflow runs."""

from __future__ import annotations

import contextlib
import operator
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import PurePath
from types import TracebackType
from typing import TYPE_CHECKING, Any

from timelapse import endings, names
from timelapse.answers import KnownSamples, read_answers
from timelapse.errors import SampleError
from timelapse.fence import Fence, attempt
from timelapse.formats.cells import argument
from timelapse.ledger import Ledger, Place
from timelapse.links import run_link, show_command
from timelapse.polite import TIMEOUT_SECONDS, polite_requests
from timelapse.provenance import package_versions
from timelapse.randomness import untouched_random_state
from timelapse.rounds import round_table, storable, with_attempt
from timelapse.status import RunStatus
from timelapse.tables import samples_schema, samples_table
from timelapse.writing.entries import pack, pack_table

if TYPE_CHECKING:
    import pyarrow as pa
    from mlflow import MlflowClient

    from timelapse.rounds import Round, Trigger
    from timelapse.samples import SampleSet
    from timelapse.writing.recorder import Recorder

CLOSE_SECONDS = 15.0
"""How long a run's end waits for an MLflow that takes nothing; `TIMELAPSE_CLOSE_SECONDS` overrides it."""
LONGEST_CLOSE_SECONDS = 600.0
"""How long it waits for an MLflow that takes what there is, but slowly."""


class TrainingRun(AbstractContextManager["TrainingRun"]):
    """A training run in MLflow: what is logged is on disk when the call returns, and sent in the background.

    As a context manager it ends the run on leaving: FINISHED; FAILED if an error passes through; KILLED after
    an interrupt or a signal. A run that somebody else opened is left open. What MLflow does is never raised.
    """

    def __init__(
        self,
        recorder: Recorder,
        tracking_uri: str,
        *,
        experiment_id: str | None = None,
        fresh: bool = False,
        former: str | None = None,
    ) -> None:
        self.experiment_id = experiment_id
        """The MLflow experiment's id; None if MLflow could not be reached when the run began."""
        self.former_status = former
        """The MLflow status of a run of ours that was there before; None of a new one."""
        self.fence: Fence = recorder.fence
        """Holds the failures so far."""
        self._recorder, self._tracking_uri = recorder, tracking_uri
        self._ledger = Ledger(self._place, fresh=fresh)
        self._status = RunStatus()
        self._sets: dict[str, dict[str, Any]] = {}
        self._unfinished = self._ended = self._sending = False
        self._unwatch: Callable[[], None] | None = None

    @property
    def run_id(self) -> str | None:
        """The MLflow run's id; None as long as the run could not be created there."""
        return self._recorder.header.run_id

    @property
    def run_name(self) -> str:
        """The MLflow run's name."""
        return self._recorder.header.run_name or "unnamed"

    @property
    def owned(self) -> bool:
        """Whether we opened the run, and so end it."""
        return self._recorder.header.owned

    @property
    def ended(self) -> bool:
        """Whether it has been finished or let go of."""
        return self._ended

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
        origin = samples.report.source if samples.report else "samples given in code"
        about = {
            "set": samples.name,
            "fingerprint": samples.fingerprint,
            "count": len(samples),
            "source": origin,
            "dataset": True,
            "decoding": dict(decoding or {}),
            "chat_template": chat_template,
            "packages": package_versions(),
        }
        with self.fence.guard("keeping the samples", "The training goes on."):
            table = samples_table([samples], rendered or {})
            self._ledger.enter_samples(samples.name, table.to_pylist())
            self._record_samples(table, about)

    def next_attempt(self, samples: SampleSet, step: int) -> int:
        """Return the attempt number for a training of this run that begins at a step.

        0 in a fresh run; one more than the highest there is if rounds behind `step` (or at it, for a training
        from the start) exist already, so that no stored round is ever written over.

        Raises:
            RunError: The run's rounds of this set answer other samples; says in what they differ.
        """
        return self._ledger.next_attempt(samples, step)

    def log_round(self, round_: Round, metrics: Mapping[str, float] | None = None) -> None:
        """Store a round; `metrics` (by bare name) join its own under `predictions/`.

        Returns once the disk holds it. It is scored and sent in the background. The same round again changes
        nothing; other answers at the same step and attempt are kept as the next attempt.
        """
        guard = self.fence.guard("keeping a round", "It is lost; the training goes on.")
        with guard, self._recorder.right_of_way():
            if not round_.predictions:
                raise ValueError(f"the round at step {round_.step} holds no predictions")
            self._tell_failed(len(round_.failed), len(round_.predictions), round_.step)
            extra = {name: float(value) for name, value in (metrics or {}).items()}
            about = {"seconds": round_.seconds, "metrics": extra}
            self._record_round(round_table(round_), (round_.set_name, round_.step, round_.attempt), about)

    def log_predictions(
        self,
        data: Any,
        *,
        step: int,
        set: str = names.DEFAULT_SET,  # noqa: A002 - the word for it
        epoch: float | None = None,
        trigger: Trigger = "manual",
        scores: Sequence[str] = (),
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Store answers from your own inference (vLLM, an API, a reinforcement-learning loop) as a round.

        Args:
            data: A pandas or polars frame, an Arrow table, mappings (also from a generator) or a mapping of
                columns, with
                - `prediction` (also `completion`, `response`, `output`): the answer; where none is, it was
                  skipped. Numbers become text, chat turns their text, other objects JSON;
                - `prompt` (also `messages`, `question`, `input`): what is asked, read as `load_samples` does;
                  or `sample_id`, which decides where both are given (without a prompt also `id`). The same
                  question is the same sample in every round and run;
                - `reference` (also `ground_truth`, `expected`, `target`), if there is one: it is scored;
                - `system` and `tools` of the prompt, as for `load_samples`;
                - `status`, `error` (a text or an exception), `finish_reason`, `prompt_tokens`,
                  `prediction_tokens`, `mean_logprob`, `least_confident_token`, `least_confident_position`,
                  `least_confident_logprob`, `reference_nll`, `seconds`, `generation`, `scores` (a mapping),
                  as in a round;
                - any other columns, which are kept in their types.
                Several answers to one question are its generations 0, 1, …. NaN is a missing value.
            step: The step of the training at which they were given, from 0.
            set: Name of the sample set.
            epoch: Passes over the training data so far.
            trigger: What caused the round.
            scores: Columns of numbers that are scores of yours, such as `["reward"]`.
            metrics: Numbers of the round, logged under `predictions/`.

        Raises:
            SampleError: The data cannot be taken, and nothing of it is; says which column or row (from 0),
                and what was expected.
        """
        step = _whole_step(step)
        if not (isinstance(set, str) and names.is_set_name(set)):
            raise SampleError(f"set={set!r} is no name for a sample set: use letters, digits, '_' and '-'.")
        numbers = {name: argument(name, value) for name, value in (metrics or {}).items()}
        known = self._ledger.samples(set)
        answers = read_answers(
            data, known, step=step, set_name=set, epoch=epoch, trigger=trigger, scores=scores
        )
        guard = self.fence.guard("keeping a round", "It is lost; the training goes on.")
        with guard, self._recorder.right_of_way():
            self._add_samples(set, known, answers.samples)
            failed = answers.table.column("status").to_pylist().count("error")
            self._tell_failed(failed, len(answers.table), step)
            number = self._ledger.attempt_at(set, step)
            table = with_attempt(answers.table, number) if number else answers.table
            about = {"seconds": _sum(table.column("seconds")), "metrics": numbers}
            self._record_round(table, (set, step, number), about)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Log numbers of the training itself (loss, learning rate) under their own names.

        Here and for parameters and tags, characters that MLflow does not take in a name become `_`.
        """
        with self.fence.guard("logging metrics", "They are lost; the training goes on."):
            now, at = time.time_ns() // 1_000_000, operator.index(step)
            points = [[names.plain(str(name)), float(value), now, at] for name, value in metrics.items()]
            self._recorder.record("numbers", pack({"metrics": points}))

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters under the prefix `timelapse.`, cut at MLflow's limit of 6,000 characters.

        MLflow keeps a parameter's first value for ever: another one becomes the tag
        `timelapse.changed.<name>`.
        """
        with self.fence.guard("logging parameters", "They are lost; the training goes on."):
            named = {
                names.plain(f"{names.PARAM_PREFIX}{name}"): _storable(value)[:6000]
                for name, value in params.items()
            }
            self._recorder.record("numbers", pack({"params": named}))

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags of the MLflow run, cut at its limit of 8,000 characters."""
        with self.fence.guard("setting tags", "They are lost; the training goes on."):
            short = {names.plain(str(key)): _storable(value)[:8000] for key, value in tags.items()}
            self._recorder.record("numbers", pack({"tags": short}))

    def log_text(self, text: str, file: str) -> None:
        """Store a text as the artifact `timelapse/<file>`; `file` is a plain name without folders."""
        with self.fence.guard(f"storing {file}", "It is lost; the training goes on."):
            if not names.is_free(file):
                raise ValueError(
                    f"{file[:80]!r} is no plain file name of at most 200 bytes, or one of Timelapse's own"
                )
            self._recorder.record("file", pack({"name": file, "text": _storable(text)}))

    def disable(self, reason: str) -> None:
        """Say that no predictions will be made in this run, and why."""
        said = self._status.disable(reason)
        self._tag({names.TAG_SCHEMA: str(names.SCHEMA_VERSION), names.TAG_STATUS: said})

    def degrade(self, trouble: str) -> None:
        """Say in the run's status that something went wrong; the training goes on."""
        self._tag({names.TAG_STATUS: self._status.degrade(trouble)})

    def _tell_failed(self, failed: int, rows: int, step: int) -> None:
        if failed:
            self.degrade(f"{failed} of {rows} rows failed at step {step}")

    def give_up(self, reason: str) -> None:
        """Say in the run's status, before anything else, that no more rounds of a set are made, and why."""
        self._tag({names.TAG_STATUS: self._status.give_up(reason)})

    def limit(self, about: str, left_out: str) -> None:
        """Say in the run's status what a budget has left out; a later text `about` the same replaces this."""
        said = self._status.limit(about, left_out)
        if said is not None:
            self._tag({names.TAG_STATUS: said})

    def link_checkpoint(self, folder: str | PurePath, *, step: int, attempt: int = 0) -> None:
        """Enter a saved checkpoint as an output of the MLflow run: a logged model with its step and folder.

        Only where the checkpoint lies is sent, never its weights. Repeating it changes nothing.
        """
        with self.fence.guard("linking a checkpoint", "It is not linked; the training goes on."):
            self._unfinished = True
            about = {"path": _storable(folder), "step": _whole_step(step), "attempt": attempt}
            self._recorder.record("checkpoint", pack(about))

    def flush(self, seconds: float | None = None) -> bool:
        """Wait until MLflow holds all that was logged, and return whether it does.

        Args:
            seconds: How long to wait for an MLflow that takes nothing; 15 (`TIMELAPSE_CLOSE_SECONDS`) by
                default.
        """
        return self._recorder.settle(close_patience() if seconds is None else seconds, rest=False)

    def complete(self) -> None:
        """Send what still waits, and complete the predictions. The MLflow run stays open."""
        if not self._unfinished:
            return
        self._tag({names.TAG_STATUS: self._final_status()})
        self._unfinished = not self._recorder.settle(close_patience(), rest=True)
        self._say_what_waits()

    def where(self) -> str:
        """Return where a person finds this run: its page, and the command that shows it."""
        if self.run_id is None or self.experiment_id is None:
            why = "TIMELAPSE_OFFLINE is set" if self._recorder.is_offline else "MLflow does not answer"
            return f"kept in {self._recorder.folder}, because {why}"
        link = run_link(self._tracking_uri, self.experiment_id, self.run_id)
        return f"{link} | in the terminal: {show_command(self._tracking_uri, self.run_id)}"

    def summary(self) -> str:
        """Return in a few words what has been stored: `4 rounds in run 'proud-fox-3'`."""
        count = self._ledger.logged()
        failed = len(self._status.troubles)
        troubles = f", {failed} with failed rows" if failed else ""
        return f"{count} round{'s' * (count != 1)}{troubles} in run '{self.run_name}'"

    def finish(
        self, status: str = "FINISHED", reason: str | None = None, seconds: float | None = None
    ) -> None:
        """Complete the predictions and, if the run is ours, end it as FINISHED, FAILED or KILLED.

        Args:
            status: MLflow's status of the run.
            reason: Why it did not finish; becomes the tag `timelapse.status`.
            seconds: The longest time that this may take; by default as long as MLflow takes what waits, and
                15 seconds (`TIMELAPSE_CLOSE_SECONDS`) of getting nowhere. The rest is left to
                `timelapse sync`.
        """
        guard = self.fence.guard("ending the run", "`timelapse sync` does what is left to do.")
        if self._ended:
            if self._sending and seconds is not None:  # a signal, while it ends: there is no time left
                with guard:
                    self._end_before_rounds(seconds, seconds)
                    self._say_what_waits()
            return
        self._ended = True
        try:
            if self._recorder.forked:  # the run is the parent's to end
                self._recorder.close(done=self._recorder.settle(close_patience(), rest=False))
                return
            with guard:
                final = f"failed: {reason}" if reason else self._final_status()
                self._recorder.note_final(final)
                if reason or self._unfinished:
                    self._tag({names.TAG_STATUS: final})
                self._close(status, seconds)
        finally:
            if self._unwatch is not None:
                self._unwatch()

    def release(self) -> None:
        """Let go of a run of somebody else's to which nothing has been logged, without a word."""
        self._ended = True
        if self._unwatch is not None:
            self._unwatch()
        self._recorder.close(done=True)

    def watch(self, *, training: bool) -> None:
        """Have the run ended if the program ends without it; for a `training` that is a failure."""
        self._unwatch = endings.watch(
            self.finish,
            at_exit="FAILED" if training else "FINISHED",
            reason_at_exit="the program ended before the training did" if training else None,
            in_cells=training,
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the run: FINISHED, KILLED on an interrupt or a signal, FAILED on any other error."""
        self.finish(*endings.verdict(error))

    def _add_samples(self, set_name: str, known: KnownSamples, new: list[dict[str, Any]]) -> None:
        """Store samples that came with answers; the set's fingerprint is left to whoever has time for it."""
        if new:
            import pyarrow as pa

            known.add(new)
            about = {"set": set_name, "packages": package_versions() if set_name not in self._sets else {}}
            self._record_samples(pa.Table.from_pylist(new, schema=samples_schema()), about)

    def _record_samples(self, table: pa.Table, about: dict[str, Any]) -> None:
        before = self._sets.get(about["set"])
        if before == about and "fingerprint" in about:
            return
        if before is None or "fingerprint" in about:
            self._sets[about["set"]] = about
        self._recorder.record("samples", pack_table(table, about))
        if before is None or "fingerprint" in about:
            main = self._sets.get(names.DEFAULT_SET, about).get("fingerprint")
            tags = {names.TAG_SAMPLE_SET: main} if main else {}
            self._tag({names.TAG_SCHEMA: str(names.SCHEMA_VERSION), names.TAG_STATUS: "live", **tags})

    def _record_round(self, table: pa.Table, place: Place, about: Mapping[str, Any]) -> None:
        entered = self._ledger.enter(place, table)
        if entered is None:
            return
        if entered != place:
            set_name, step, number = entered
            table = with_attempt(table, number)
            self.fence.report(
                f"logging step {step} of set '{set_name}' once",
                "it was logged before, with other rows",
                f"Both are kept: this one as attempt {number}, which is the one that is shown.",
            )
        meta = {
            "time": time.time_ns() // 1_000_000,
            "rounds": self._ledger.rounds(),
            "tentative": self._ledger.is_tentative,
            **about,
        }
        self._unfinished = True
        self._recorder.record("round", pack_table(table, meta))

    def _tag(self, tags: Mapping[str, str]) -> None:
        self._unfinished = True
        self.log_tags(tags)

    def _place(self) -> tuple[MlflowClient, str] | None:
        """Return where the run is, if MLflow has it and may be asked."""
        if self.run_id is None or self._recorder.is_offline:
            return None
        import mlflow

        return mlflow.MlflowClient(self._tracking_uri), self.run_id

    def _close(self, status: str, seconds: float | None) -> None:
        """Have everything sent, the end of the run last; where that fails the end goes before the rounds."""
        patience = close_patience() if seconds is None else seconds / 2
        longest = LONGEST_CLOSE_SECONDS if seconds is None else patience
        if self.owned:
            end = {"status": status, "time": time.time_ns() // 1_000_000}
            self._recorder.record("end", pack(end))
        self._sending = True
        done = self._recorder.settle(patience, rest=seconds is None, longest=longest)
        if not done:
            done = self._end_before_rounds(min(patience, 2.0), longest)
        self._sending = False
        self._say_what_waits()
        self._recorder.close(done=done)
        if self.owned and self.run_id:
            _leave(self.run_id, status, TIMEOUT_SECONDS if done else 1.0)

    def _end_before_rounds(self, patience: float, longest: float) -> bool:
        """Say in the run what still waits, let its end go first, and return whether all was sent then."""
        rounds = sum(entry.kind == "round" for entry in self._recorder.waiting())
        what = _waiting(rounds) if rounds else "not everything could be sent"
        self._tag({names.TAG_STATUS: f"degraded: {what}: {self._recorder.why()}"})
        done = self._recorder.settle(patience, rest=False, end_now=True, longest=longest)
        if done and rounds and self._recorder.header.final:  # none of them waits any more
            self._tag({names.TAG_STATUS: self._recorder.header.final})
            done = self._recorder.settle(min(patience, 1.0), rest=False, longest=longest)
        return done

    def _say_what_waits(self) -> None:
        waiting = self._recorder.waiting()
        if not waiting:
            return
        rounds = sum(entry.kind == "round" for entry in waiting)
        self.fence.report(
            "handing everything to MLflow",
            f"{_waiting(rounds)}, and {len(waiting) - rounds} of the run's other entries "
            f"({self._recorder.why()})",
            f"They lie in {self._recorder.folder}: `{self._recorder.sync_command}` sends them once MLflow "
            "takes them.",
        )

    def _final_status(self) -> str:
        return self._status.final(self._ledger.logged(), self._recorder.troubles)


def _waiting(rounds: int) -> str:
    """Return how many wait: `1 round waits`, `2 rounds wait`."""
    return "1 round waits" if rounds == 1 else f"{rounds} rounds wait"


def _whole_step(step: Any) -> int:
    """Return a step as a plain int; numpy's whole numbers are steps, too."""
    whole = None
    if not isinstance(step, bool) and hasattr(step, "__index__"):
        with contextlib.suppress(TypeError):  # an array, or a tensor with a fraction
            whole = operator.index(step)
    if whole is None or whole < 0:
        raise SampleError(f"step={step!r} is no step: give a whole number from 0.")
    return whole


def _storable(value: Any) -> str:
    """Return any value as a text that UTF-8 can hold; an argument of the shell may be none."""
    return storable(str(value)) or ""


def _sum(column: pa.ChunkedArray) -> float:
    import pyarrow.compute as pc

    return float(pc.sum(column).as_py() or 0.0)


def close_patience() -> float:
    """Return how long the end of a run waits for an MLflow that takes nothing, in seconds."""
    text = os.environ.get("TIMELAPSE_CLOSE_SECONDS", "")
    try:
        return max(0.0, float(text))
    except ValueError:
        return CLOSE_SECONDS


def _leave(run_id: str, status: str, timeout: float) -> None:
    """Let MLflow's active run go, if it is this one, before MLflow's own exit hook calls it FINISHED."""
    import mlflow

    active = mlflow.active_run()
    if active and active.info.run_id == run_id:
        with polite_requests(timeout=timeout, quiet=False), untouched_random_state():
            attempt(lambda: mlflow.end_run(status))
