"""One training under observation, from its first step to its last."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from timelapse.fence import Fence, attempt, warn
from timelapse.names import DEFAULT_SET
from timelapse_training.base_model import base_set
from timelapse_training.budget import Budget, Clock, nested, with_skipped
from timelapse_training.checkpoints import mark_run
from timelapse_training.distributed import Alone, Ranks
from timelapse_training.generation import GenerationSettings, failed_round
from timelapse_training.memory import BatchLimits
from timelapse_training.prompts import render, template_fingerprint

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

    from timelapse.rounds import Round, Trigger
    from timelapse.run import TrainingRun
    from timelapse.samples import SampleSet

TRAINING_GOES_ON = "The training goes on."
MOST_FAILURES = 3
"""After so many rounds in a row without a single answer, no more are tried."""
_DISPENSABLE = ("epoch", "eval", "steps")
"""Triggers of rounds that a budget may leave out; what frames a training, or is asked for, is made."""


@dataclass
class Session:
    """Makes the rounds of one sample set and stores them. Nothing in here raises into the training.

    A training with several sets has a session for each, with one run and one clock.
    """

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
    clock: Clock | None = field(default_factory=Clock)
    """Measures the rounds' share of the training's time; None outside a training."""
    budget: Budget = field(default_factory=Budget)
    """What rounds may cost."""
    ranks: Ranks = field(default_factory=Alone)
    """The processes of the training, which answer together."""
    last_round: int | None = field(default=None, init=False)
    """The step of the latest round."""
    latest: Round | None = field(default=None, init=False)
    """The latest round, not judged."""
    given_up: bool = field(default=False, init=False)
    """Whether no more rounds are tried, because too many have failed."""

    def __post_init__(self) -> None:
        self._failures = 0
        self._seconds_a_sample: float | None = None
        self._left_out: list[int] = []
        self._fewest: int | None = None
        self._limits = BatchLimits()

    def open(self, plan: str) -> None:
        """Store the samples, and say in one line what will happen (`plan`) and where it can be seen."""
        with self.fence.guard("storing the samples", TRAINING_GOES_ON), self._beside():
            self._log_samples(self.samples)
            of_set = f" of set '{self.samples.name}'" if self.samples.name != DEFAULT_SET else ""
            count = f"{len(self.samples)} sample{'s' * (len(self.samples) != 1)}"
            say(f"{count}{of_set}, {plan} -> {self.run.where()}")

    def make_round(self, model: Any, trigger: Trigger, *, step: int, epoch: float | None) -> None:
        """Let the model answer, and store the round; a budget may leave samples or the whole round out."""
        if self.given_up:
            return
        with self.fence.guard("making a round of predictions", TRAINING_GOES_ON):
            count = self._allowance(trigger)
            if not count:
                self._leave_out(step)
                return
            started = time.perf_counter()
            self.last_round = step
            asked = nested(self.samples, count)
            round_ = self._answer(model, trigger, step, epoch, asked)
            self._seconds_a_sample = (time.perf_counter() - started) / max(count, 1)
            if count < len(self.samples):
                round_ = with_skipped(round_, self.samples, self._say_fewer(count, step))
            self.latest = round_
            if round_.failed:
                self._report(round_)
            self.run.log_round(round_, self._share(time.perf_counter() - started))
            if self.clock is not None:
                self.clock.beside += time.perf_counter() - started - round_.seconds
            self._count_failures(round_)

    def link(self, checkpoint: Path, step: int) -> None:
        """Link a checkpoint that was saved at the step of a round to the run."""
        with self.fence.guard("linking a checkpoint", TRAINING_GOES_ON), self._beside():
            if checkpoint.is_dir():
                self.run.link_checkpoint(checkpoint.absolute(), step=step, attempt=self.attempt_number)

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
            self.run.log_round(replace(round_, attempt=number), self._share(time.perf_counter() - started))

    def mark(self, checkpoint: Path) -> None:
        """Note in a checkpoint which run it belongs to."""
        with self.fence.guard("marking a checkpoint with its run", TRAINING_GOES_ON), self._beside():
            mark_run(checkpoint, self.run.run_id)

    def close(self, *, end_run: bool) -> None:
        """Send what still waits; end the run, too, if it is ours and `end_run`."""
        with self.fence.guard("completing the run", TRAINING_GOES_ON):
            paid, began = str(self.clock or ""), time.perf_counter()
            if end_run:
                self.run.finish()
            else:
                self.run.complete()
            stored = f"storing the rest {time.perf_counter() - began:.1f} s"
            cost = f"; {paid}, then {stored}" if paid else ""
            say(f"{self.run.summary()}{cost} -> {self.run.where()}")

    def _beside(self) -> AbstractContextManager[None]:
        return self.clock.besides() if self.clock is not None else nullcontext()

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
            return self.ranks.generate(
                model,
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

    def _allowance(self, trigger: Trigger) -> int:
        """Return how many samples a round may ask; 0 leaves it out.

        The only decision that depends on measured time: several ranks have to agree on it.
        """
        pace = self._seconds_a_sample
        count = self.budget.samples(len(self.samples), pace)
        if trigger not in _DISPENSABLE or pace is None or self.clock is None:
            return count
        return count if self.budget.allows(self.clock, count * pace) else 0

    def _share(self, seconds: float) -> dict[str, float]:
        """Return the share of the time that all rounds have taken, with one more of so many seconds."""
        if self.clock is None:
            return {}
        self.clock.spent += seconds
        return {"share_of_training_time": self.clock.share()}

    def _leave_out(self, step: int) -> None:
        """Say that a round is left out: the first time aloud, always in the run's status."""
        if step in self._left_out[-1:]:  # several events at one step
            return
        self._left_out.append(step)
        name, limit = self.samples.name, f"max_share_of_training_time = {self.budget.max_share:g}"
        if len(self._left_out) == 1:
            warn(
                f"The round of set '{name}' at step {step} is left out to keep {limit}, and so are others "
                "until there is time for them again. The run's status counts them."
            )
        rounds = f"{len(self._left_out)} round{'s' * (len(self._left_out) != 1)}"
        self.run.limit(f"rounds of {name}", f"{rounds} of set '{name}' left out to keep {limit}")

    def _say_fewer(self, count: int, step: int) -> str:
        """Say that a round asks fewer samples, and return why, for the rows of the others."""
        every, limit = len(self.samples), f"max_seconds_per_round = {self.budget.max_seconds:g}"
        name = self.samples.name
        if self._fewest is None:
            warn(
                f"The round of set '{name}' at step {step} asks {count} of {every} samples to keep {limit}. "
                "The rows of the others are 'skipped'."
            )
        if self._fewest is None or count < self._fewest:
            self._fewest = count
            self.run.limit(
                f"samples of {name}", f"as few as {count} of {every} samples of set '{name}' to keep {limit}"
            )
        return f"{count} of {every} samples are asked to keep {limit}"

    def _count_failures(self, round_: Round) -> None:
        """Give up after too many rounds in a row in which every row is an error."""
        asked = [row for row in round_.predictions if row.status != "skipped"]
        self._failures = self._failures + 1 if len(round_.failed) == len(asked) else 0
        if self._failures < MOST_FAILURES:
            return
        self.given_up = True
        reason = (
            f"gave up on set '{self.samples.name}' at step {round_.step}: {MOST_FAILURES} rounds in a row "
            f"without an answer, last {round_.failed[0].error}"
        )
        self.run.give_up(reason)
        self.fence.report(
            f"answering set '{self.samples.name}'",
            f"{MOST_FAILURES} rounds in a row without an answer, last {round_.failed[0].error}",
            "No more of its rounds are tried. " + TRAINING_GOES_ON,
        )

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
