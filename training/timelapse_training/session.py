"""One training under observation, from its first step to its last."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from accelerate.utils import extract_model_from_parallel
from tqdm.auto import tqdm

from timelapse.fence import Fence, attempt
from timelapse_training.base_model import base_set
from timelapse_training.checkpoints import mark_run
from timelapse_training.generation import GenerationSettings, failed_round, generate
from timelapse_training.memory import BatchLimits
from timelapse_training.prompts import render, template_fingerprint

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

    from timelapse.rounds import Round, Trigger
    from timelapse.run import TrainingRun
    from timelapse.samples import SampleSet

TRAINING_GOES_ON = "The training goes on."


@dataclass
class Session:
    """Makes the rounds of one training and stores them. Nothing in here raises into the training."""

    samples: SampleSet
    """What is asked, round after round."""
    run: TrainingRun
    """Where the rounds go."""
    tokenizer: PreTrainedTokenizerBase
    """The model's tokenizer."""
    settings: GenerationSettings
    """How answers are decoded."""
    fence: Fence
    """Takes the failures."""
    attempt_number: int = 0
    """0 for the first training of a run, then one more for each further one."""
    last_round: int | None = field(default=None, init=False)
    """The step of the latest round."""

    def __post_init__(self) -> None:
        self._began, self._spent = time.perf_counter(), 0.0
        self._limits = BatchLimits()

    def open(self, plan: str) -> None:
        """Store the samples, and say in one line what will happen (`plan`) and where it can be seen."""
        with self.fence.guard("storing the samples", TRAINING_GOES_ON):
            self._log_samples(self.samples)
            say(f"{len(self.samples)} samples, {plan} -> {self.run.where()}")

    def make_round(self, model: Any, trigger: Trigger, *, step: int, epoch: float | None) -> None:
        """Let the model answer, and store the round."""
        started = time.perf_counter()
        self.last_round = step
        with self.fence.guard("making a round of predictions", TRAINING_GOES_ON):
            round_ = self._answer(model, trigger, step, epoch, self.samples)
            if round_.failed:
                self._report(round_)
            self._spent += time.perf_counter() - started
            share = self._spent / max(time.perf_counter() - self._began, 1e-9)
            self.run.log_round(round_, {"share_of_training_time": share})

    def make_base_round(self, model: Any, *, step: int, epoch: float | None) -> None:
        """Let the base of a PEFT model answer, and store that as a round of the set `<set>-base`."""
        started = time.perf_counter()
        with self.fence.guard("making a round with the base model", TRAINING_GOES_ON):
            samples = base_set(self.samples)
            number = self.run.next_attempt(samples, step)
            self._log_samples(samples)
            round_ = self._answer(model, "baseline", step, epoch, samples, base_model=True)
            if round_.failed:
                self._report(round_)
            self.run.log_round(replace(round_, attempt=number))
        self._spent += time.perf_counter() - started

    def mark(self, checkpoint: Path) -> None:
        """Note in a checkpoint which run it belongs to."""
        with self.fence.guard("marking a checkpoint with its run", TRAINING_GOES_ON):
            mark_run(checkpoint, self.run.run_id)

    def close(self, *, end_run: bool) -> None:
        """Send what still waits; end the run, too, if it is ours and `end_run`."""
        with self.fence.guard("completing the run", TRAINING_GOES_ON):
            if end_run:
                self.run.finish()
            else:
                self.run.complete()
            say(f"{self.run.summary()} -> {self.run.where()}")

    def _log_samples(self, samples: SampleSet) -> None:
        rendered = {}
        for sample in samples:
            text, _error = attempt(partial(render, self.tokenizer, sample, self.settings.template))
            if text is not None:  # what cannot be rendered gets an error row in each round
                rendered[sample.sample_id] = text
        self.run.log_samples(
            samples,
            rendered=rendered,
            decoding=self.settings.decoding(),
            chat_template=template_fingerprint(self.tokenizer),
        )

    def _answer(
        self,
        model: Any,
        trigger: Trigger,
        step: int,
        epoch: float | None,
        samples: SampleSet,
        *,
        base_model: bool = False,
    ) -> Round:
        def answer() -> Round:
            return generate(
                extract_model_from_parallel(model, keep_torch_compile=False),
                self.tokenizer,
                samples,
                self.settings,
                step=step,
                epoch=epoch,
                trigger=trigger,
                base_model=base_model,
                limits=self._limits,
            )

        round_, error = attempt(answer)
        if round_ is None:
            assert error is not None
            round_ = failed_round(
                samples,
                error,
                step=step,
                epoch=epoch,
                trigger=trigger,
                generations=self.settings.generations,
            )
        return replace(round_, attempt=self.attempt_number)

    def _report(self, round_: Round) -> None:
        first = round_.failed[0].error or "unknown error"
        self.fence.report(
            "answering samples",
            f"{len(round_.failed)} of {len(round_.predictions)} at step {round_.step}, first {first}",
            "Their rows hold the error. " + TRAINING_GOES_ON,
        )


def say(message: str) -> None:
    """Print one line of ours without tearing a progress bar apart."""
    tqdm.write(f"Timelapse: {message}")
