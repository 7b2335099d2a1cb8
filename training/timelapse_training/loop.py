"""Rounds in a training loop of one's own, without any trainer."""

from __future__ import annotations

import operator
from contextlib import AbstractContextManager
from math import floor, isfinite
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import torch
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.tensor import DTensor

from timelapse import endings
from timelapse.attach import RunTarget, make_judges, open_run
from timelapse.config.keywords import predictions_config
from timelapse.errors import ConfigError
from timelapse.fence import Fence
from timelapse.run import TrainingRun
from timelapse.schedule import Schedule
from timelapse_training.budget import budget_of
from timelapse_training.preparing import asked_samples, check_can_answer, decoding_of, next_attempt
from timelapse_training.prompts import text_tokenizer
from timelapse_training.session import TRAINING_GOES_ON, Session

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from timelapse.config.model import PredictionsConfig
    from timelapse.rounds import Trigger
    from timelapse.schedule import Event


class PredictionRounds(AbstractContextManager["PredictionRounds"]):
    """Lets a model answer the same samples round after round, in a training loop that you wrote yourself.

    ```
    with PredictionRounds("eval.jsonl", model, tokenizer) as rounds:  # the base model answers here
        for step, batch in enumerate(batches, start=1):
            ...  # forward, backward, optimizer.step()
            rounds.maybe(step, epoch=step / batches_an_epoch)
    ```

    The run is opened when the object is made: MLflow's active run, or a new one. Leaving the block makes the
    last round and ends the run, if it was opened here: FINISHED; FAILED if an error passes through; KILLED
    after an interrupt. Without `with`, call `maybe(0)` before the first step and `close()` after the last; a
    program that crashes in between still ends its run.

    It promises what `PredictionsCallback` promises: model, tokenizer and random generators are afterwards as
    they were, and once the object is made nothing that it does raises into the loop. Under
    DistributedDataParallel rank 0 generates and writes; on the other ranks the calls do nothing.

    Args:
        samples: A samples file or list (used whole), a `SampleSet`, or a data set of which `sample_count`
            samples are drawn; None for the settings' `samples_path`.
        model: The model that is trained, with or without DistributedDataParallel around it.
        tokenizer: Its tokenizer or processor.
        config: The settings as one object; or give its fields as keywords: `sample_frequency="steps",
            step_interval=50, max_new_tokens=64`.
        run: A run from `timelapse.start_run`; it is not ended here.
        run_id: An existing MLflow run to write into.
        experiment: The experiment for a new run.
        step: The step from which the loop begins: that of the checkpoint if it is resumed.
        autocast: Precision of the forward passes, as in the loop's `torch.autocast`. None: the weights' own.
        settings: Fields of `timelapse.PredictionsConfig`. The frequency `eval` belongs to trainers: call
            `make` after an evaluation.

    Raises:
        ConfigError: A setting is wrong, the model cannot generate, or its weights are sharded over ranks.
        SampleError: The samples cannot be read.
        RunError: MLflow refuses the run, or it holds rounds of other samples.
    """

    def __init__(
        self,
        samples: Any,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        *,
        config: PredictionsConfig | None = None,
        run: TrainingRun | None = None,
        run_id: str | None = None,
        experiment: str | None = None,
        step: int = 0,
        autocast: torch.dtype | None = None,
        **settings: Any,
    ) -> None:
        self.config = predictions_config(config, settings, samples)
        self.samples = asked_samples(samples, self.config, "PredictionRounds")
        self.run: TrainingRun | None = None
        """Where the rounds go; None on other ranks than 0, and with `enabled=False`."""
        self._model, self._schedule, self._ends_run = model, Schedule.of(self.config), run is None
        self._start, self._step = step, step
        self._epoch: float | None = None if step else 0.0
        self._passes = self._epoch
        self._fence = Fence()
        self._session: Session | None = None
        if self.config.enabled:
            self._check()
        if self.config.enabled and _rank() == 0:
            judges = make_judges(self.config.scorers, self.config.validators)
            target = RunTarget(run_id=run_id, experiment=experiment)
            self.run = run or open_run(target, activate=False, judges=judges)
            attempt = next_attempt(self.run, self.samples, step, ours=self._ends_run)
            decoding = decoding_of(self.config, autocast=autocast, seed=0, progress=False)
            text = text_tokenizer(tokenizer)
            self._session = Session(
                self.samples, self.run, text, decoding, self._fence, attempt, budget=budget_of(self.config)
            )
            self._session.open(self._schedule.describe())

    def maybe(self, step: int, epoch: float | None = None) -> bool:
        """Make a round if one is due, and return whether one was made; call it after each step.

        Args:
            step: Optimizer steps done so far, of the whole training; 0 before the first one.
            epoch: Passes over the data done so far, such as `step / len(loader)`. Where rounds follow the
                epochs, one is due each time this reaches another whole number.
        """
        before = self._latest
        with self._fence.guard("asking whether a round is due", TRAINING_GOES_ON):
            epoch_is_over = self._note(step, epoch)
            events: tuple[Event, ...] = ("step", "epoch") if epoch_is_over else ("step",)
            for event in ("begin",) if self._step == self._start else events:
                self._make(event)
        return self._latest != before

    def make(self, step: int, epoch: float | None = None) -> bool:
        """Make a round now, whatever the schedule says, and return whether one was made.

        A step has one round: at a step that has one, or lies behind the latest, nothing happens.
        """
        before = self._latest
        with self._fence.guard("making a round of predictions", TRAINING_GOES_ON):
            self._note(step, epoch)
            self._make(None)
        return self._latest != before

    def close(self) -> None:
        """Make the last round, send what still waits, and end the run if it was opened here."""
        self._make("end")
        self._leave(None)

    def __enter__(self) -> Self:
        """Let the base model answer, unless the loop is resumed."""
        self.maybe(self._start, self._epoch)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close; an error leaves out the last round, and the run is then FAILED or KILLED."""
        if error is None:
            self.close()
        else:
            self._leave(error)

    def _leave(self, error: BaseException | None) -> None:
        session, self._session = self._session, None
        if session is not None and error is not None and self._ends_run:
            session.run.finish(*endings.verdict(error))
        elif session is not None:
            session.close(end_run=self._ends_run)

    @property
    def _latest(self) -> int | None:
        return None if self._session is None else self._session.last_round

    def _make(self, event: Event | None) -> None:
        """Make the round that an event asks for, or without one any."""
        last, session = self._latest, self._session
        trigger: Trigger | None = "manual" if last is None or self._step > last else None
        if event is not None:
            trigger = self._schedule.due(event, self._step, last)
        if session is not None and trigger is not None:
            session.make_round(self._model, trigger, step=self._step, epoch=self._epoch)

    def _note(self, step: int, epoch: float | None) -> bool:
        """Remember where the loop is, and return whether an epoch is over."""
        before, self._step = self._step, operator.index(step)
        if self._step < before:
            self._fence.report(
                "counting steps",
                f"step {self._step} came after step {before}",
                "Count those of the whole training, not of an epoch: a step that was passed gets no round.",
            )
        self._epoch = None if epoch is None or not isfinite(epoch) else float(epoch)
        if self._epoch is None:
            if self.config.sample_frequency == "epoch" and self._step > self._start:
                self._fence.report(
                    "following the epochs",
                    "sample_frequency is 'epoch', and no epoch was given",
                    "Pass epoch=step / len(loader), or choose sample_frequency='steps'.",
                )
            return False
        passes, self._passes = self._passes, self._epoch
        if passes is None:  # resumed: in the midst of an epoch, unless it says otherwise
            return self._epoch.is_integer()
        return floor(self._epoch) > floor(passes)

    def _check(self) -> None:
        bare = getattr(self._model, "module", self._model)
        sharded = isinstance(self._model, FullyShardedDataParallel) or any(
            isinstance(parameter, DTensor) for parameter in bare.parameters()
        )
        if sharded:
            raise ConfigError(
                "The model's weights are sharded over ranks (FSDP), and PredictionRounds does not gather "
                "them. Use Transformers' Trainer with PredictionsCallback, or generate yourself and hand the "
                "answers to run.log_predictions."
            )
        check_can_answer(bare)
        if self.config.sample_frequency == "eval":
            raise ConfigError(
                "predictions.sample_frequency: 'eval' never fires in a loop without a trainer. Choose "
                "'epoch' or 'steps', and call rounds.make(step) after an evaluation."
            )


def _rank() -> int:
    """Return this process's rank; 0 where there is only one."""
    distributed = torch.distributed
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0
