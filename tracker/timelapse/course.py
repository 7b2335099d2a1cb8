"""The course of a training in numbers: its steps and epochs, and what a trainer reports at each of them."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

from timelapse.errors import ConfigError
from timelapse.schedule import Event, Schedule

if TYPE_CHECKING:
    from timelapse.config.model import Config


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that the trainer reports."""

    event: Event
    """What has just happened."""
    step: int
    """The global step: optimizer steps so far."""
    epoch: float
    """Passes over the training data so far."""


@dataclass(frozen=True, slots=True)
class Course:
    """What a training goes through, counted as Transformers' `Trainer` counts."""

    batches_per_epoch: int
    """Batches in a pass over the data, on each rank; the last one may be smaller."""
    accumulation: int
    """Batches that make one optimizer step; the last step of an epoch may have fewer."""
    max_steps: int
    """Optimizer steps of the whole training."""
    eval_strategy: Literal["no", "steps", "epoch"] = "no"
    """When the trainer evaluates."""
    eval_every: int | None = None
    """Steps between evaluations, where they do not follow the epochs."""
    eval_delay: float = 0
    """Steps (or epochs, if evaluations follow them) before which there is none."""
    eval_on_start: bool = False
    """Whether there is an evaluation before the first step."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in a pass over the data."""
        return math.ceil(self.batches_per_epoch / self.accumulation)

    @property
    def epochs(self) -> float:
        """Passes over the data in the whole training; the last may be a part of one."""
        return self.epoch_at(self.max_steps)

    def epoch_at(self, step: int) -> float:
        """Return the passes over the data that are done after a step, as the trainer's state has them."""
        if step == 0:
            return 0.0
        whole, before = divmod(step - 1, self.steps_per_epoch)
        batches = min((before + 1) * self.accumulation, self.batches_per_epoch)
        return whole + batches / self.batches_per_epoch

    def check(self, schedule: Schedule) -> None:
        """Raise a `ScheduleError` if a schedule never fires in this training."""
        steps_a_unit = self.max_steps / math.ceil(self.epochs) if self.eval_strategy == "epoch" else 1
        schedule.check(
            max_steps=self.max_steps,
            eval_every=self.eval_every,
            evaluates=self.eval_strategy != "no",
            eval_delay=self.eval_delay * steps_a_unit,
        )

    def moments(self, schedule: Schedule, *, evaluations: bool = False) -> Iterator[Moment]:
        """Yield what the callback hears of a training, in its order, less the steps without meaning.

        Left out are steps at which this schedule can never be due, so that a long training costs nothing;
        with `evaluations`, those of evaluations are there in any case.
        """
        yield Moment("begin", 0, 0)
        if self.eval_on_start:
            yield Moment("eval", 0, 0)
        for step in self._steps(schedule, evaluations=evaluations):
            epoch = self.epoch_at(step)
            for event in self._events(step, epoch):
                yield Moment(event, step, epoch)
        yield Moment("end", self.max_steps, self.epochs)

    def _steps(self, schedule: Schedule, *, evaluations: bool) -> Iterator[int]:
        """Yield the steps at which a schedule may be due, perhaps those of evaluations, and the last one."""
        by_evaluations = (self.eval_every or 1) if self.eval_strategy == "steps" else self.steps_per_epoch
        intervals = {
            "steps": schedule.step_interval or 1,
            "eval": by_evaluations,
            "epoch": self.steps_per_epoch,
        }
        wanted = {intervals[schedule.frequency]} | ({by_evaluations} if evaluations else set())
        steps = heapq.merge(*(range(interval, self.max_steps, interval) for interval in wanted))
        yield from (step for step, _same in groupby(steps))
        yield self.max_steps

    def _events(self, step: int, epoch: float) -> Iterator[Event]:
        """Yield the events of one step as `PredictionsCallback` takes them.

        The last round comes while the weights are still the last step's: at the end of the last epoch, or
        after the evaluation that follows it.
        """
        last = step == self.max_steps
        yield "step"
        if self.eval_strategy == "steps" and step >= self.eval_delay:
            assert self.eval_every is not None
            if last or step % self.eval_every == 0:
                yield "eval"
        if not last and step % self.steps_per_epoch:
            return
        evaluates = self.eval_strategy == "epoch" and epoch >= self.eval_delay
        if last and epoch % 1:  # max_steps lies inside the epoch
            yield "end"
        yield "epoch"
        if last and not evaluates:
            yield "end"
        if evaluates:
            yield "eval"


def course_of(config: Config, rows: int, *, ranks: int = 1) -> Course:
    """Return the course of a configured training.

    Args:
        config: The configuration. Of `training.arguments` those count that change the course:
            `dataloader_drop_last`, `eval_delay` and `eval_on_start`.
        rows: Rows that the model is trained on.
        ranks: Processes that train together, each on its own part of the rows.

    Raises:
        ConfigError: There is not one whole batch in the rows.
    """
    training, extra = config.training, config.training.arguments
    batches = _batches(
        rows, training.per_device_train_batch_size, ranks, _flag(extra, "dataloader_drop_last")
    )
    if batches < 1:
        raise ConfigError(
            f"training.per_device_train_batch_size: {rows} rows make no whole batch of "
            f"{training.per_device_train_batch_size} for each of {ranks} ranks. Lower it, or set "
            "training.arguments.dataloader_drop_last: false."
        )
    steps = math.ceil(batches / training.gradient_accumulation_steps)
    max_steps = training.max_steps
    if max_steps < 0:
        max_steps = math.ceil(training.num_train_epochs * steps)
    eval_every = None
    if training.eval_strategy == "steps":
        eval_every = _absolute(training.eval_steps or training.logging_steps, max_steps)
    return Course(
        batches,
        training.gradient_accumulation_steps,
        max_steps,
        training.eval_strategy,
        eval_every,
        _delay(extra),
        _flag(extra, "eval_on_start"),
    )


def _batches(rows: int, size: int, ranks: int, drop_last: bool) -> int:
    """Return the batches of each rank: whole batches are dealt out, and at the end some are repeated."""
    if drop_last:
        return rows // size // ranks
    return math.ceil(math.ceil(rows / size) / ranks)


def _absolute(steps: float, max_steps: int) -> int:
    return math.ceil(max_steps * steps) if steps < 1 else int(steps)


def _flag(arguments: dict[str, Any], name: str) -> bool:
    value = arguments.get(name, False)
    if not isinstance(value, bool):
        raise ConfigError(f"training.arguments.{name}: expected true or false, got {value!r}.")
    return value


def _delay(arguments: dict[str, Any]) -> float:
    value = arguments.get("eval_delay") or 0
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"training.arguments.eval_delay: expected a number, got {value!r}.")
    return value
