"""A short measurement: how fast this machine trains a model, and lets it answer."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import PrinterCallback, TrainerCallback

from timelapse.errors import ConfigError
from timelapse.round_cost import Speed
from timelapse_training.arguments import sft_arguments, weights_dtype
from timelapse_training.generation import generate
from timelapse_training.preparing import generation_settings
from timelapse_training.trainer import sft_trainer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainerControl

    from timelapse.config.model import Config
    from timelapse.samples import Sample
    from timelapse_training.counting import Counted
    from timelapse_training.generation import GenerationSettings

STEPS = 4
"""Optimizer steps of the probe; the first one warms up."""
TRAINING_SECONDS = 60.0
"""No batch is begun after this time."""
NEW_TOKENS = 32
"""The most tokens of an answer in the probe."""

# Of `training.arguments`, what would evaluate, store, publish or report.
_LEFT_OUT = (
    "load_best_model_at_end",
    "eval_on_start",
    "eval_delay",
    "report_to",
    "push_to_hub",
    "hub_model_id",
)


class Stopwatch(TrainerCallback):
    """Takes the time of each batch and each optimizer step, and ends the training early."""

    def __init__(self, longest: float = TRAINING_SECONDS) -> None:
        self.batches: list[float] = []
        self.steps: list[float] = []
        self._longest = longest

    def on_train_begin(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        """Start."""
        self._began = self._step_began = self._last = now()

    def on_substep_end(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        """Take the time of a batch behind which no optimizer step stands."""
        self._batch_done(control)

    def on_step_end(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        """Take the time of a batch and of the step that it completes."""
        self._batch_done(control)
        self.steps.append(self._last - self._step_began)
        self._step_began = self._last

    def step_seconds(self, batches_per_step: int) -> float:
        """Return the time of an optimizer step; without the first, which warms up, if there are more."""
        if self.steps:
            return fmean(self.steps[1:] or self.steps)
        return fmean(self.batches[1:] or self.batches) * batches_per_step

    def _batch_done(self, control: TrainerControl) -> None:
        moment = now()
        self.batches.append(moment - self._last)
        self._last = moment
        if moment - self._began > self._longest:
            control.should_training_stop = True


def measure(config: Config, counted: Counted) -> Speed:
    """Train a few steps and answer one batch, and return how fast that went.

    At most 4 optimizer steps and a minute of training, then answers of at most 32 tokens. Nothing is saved,
    reported or sent. The model, its optimizer and the process's random state are not fit for use afterwards.

    Raises:
        ConfigError: The model cannot be loaded or cannot answer, or an argument is wrong.
    """
    with tempfile.TemporaryDirectory(prefix="timelapse-probe-") as folder:
        arguments = sft_arguments(_short(config, folder), evaluates=False)
        stopwatch = Stopwatch()
        trainer = sft_trainer(
            config,
            counted.source.load(weights_dtype(config)),
            counted.tokenizer,
            arguments,
            train=counted.rows,
            callbacks=[stopwatch],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        step = stopwatch.step_seconds(config.training.gradient_accumulation_steps)
        if not counted.samples:
            return Speed(step, 0.0, 0.0)
        settings = generation_settings(config.predictions, arguments)
        return _answering(cast("PreTrainedModel", trainer.model), counted, settings, step)


def _short(config: Config, folder: str) -> Config:
    """Return a configuration whose training is over soon, and leaves nothing behind."""
    training = config.training
    extra = {name: value for name, value in training.arguments.items() if name not in _LEFT_OUT}
    short = {
        "output_dir": folder,
        "max_steps": STEPS,
        "eval_strategy": "no",
        "save_strategy": "no",
        "arguments": extra | {"disable_tqdm": True},
    }
    board = config.tensorboard.model_copy(update={"enabled": False})
    return config.model_copy(update={"training": training.model_copy(update=short), "tensorboard": board})


def _answering(model: PreTrainedModel, counted: Counted, settings: GenerationSettings, step: float) -> Speed:
    """Measure one batch: once with a single new token, which is the prompts' time, then with several."""
    assert counted.samples is not None
    batch = counted.samples[: settings.batch_size]
    one = replace(settings, max_new_tokens=1)
    several = replace(settings, max_new_tokens=min(NEW_TOKENS, settings.max_new_tokens))

    def answer(how: GenerationSettings) -> tuple[float, int]:
        return timed(lambda: _longest_answer(model, counted, batch, how))

    answer(one)  # warms up
    reading, _one = answer(one)
    writing, longest = answer(several)
    width = max(counted.counts.sets[0].prompt_tokens[: len(batch)])
    token = (writing - reading) / (longest - 1) if longest > 1 else reading
    return Speed(step, reading / (len(batch) * width), max(token, 0.0))


def _longest_answer(
    model: PreTrainedModel, counted: Counted, batch: tuple[Sample, ...], settings: GenerationSettings
) -> int:
    """Return how many tokens the longest answer took, its end included: the batch ran as long as that."""
    made = generate(model, counted.tokenizer, batch, settings)
    lengths = [
        row.prediction_tokens + (row.finish_reason == "stop")
        for row in made.predictions
        if row.prediction_tokens is not None
    ]
    if not lengths:
        raise ConfigError(f"predictions: the probe could answer no sample: {made.failed[0].error}.")
    return max(lengths)


def timed(call: Callable[[], int]) -> tuple[float, int]:
    """Return the seconds that a call took, work on an accelerator included, and its result."""
    began = now()
    result = call()
    return now() - began, result


def now() -> float:
    """Return a clock's seconds once the accelerator has done what it was given."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return time.perf_counter()
