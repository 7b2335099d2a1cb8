"""The pure question "is a round due?", and whether a schedule can fire at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from timelapse.errors import ScheduleError
from timelapse.rounds import Trigger

if TYPE_CHECKING:
    from timelapse.config.model import PredictionsConfig

Frequency = Literal["epoch", "eval", "steps"]
Event = Literal["begin", "step", "eval", "epoch", "end"]
"""What the trainer reports: it begins; a step, an evaluation or an epoch is done; it ends."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When rounds happen: at the start, then every epoch, evaluation or N steps, then at the end."""

    frequency: Frequency = "epoch"
    """What drives the rounds between start and end."""
    step_interval: int | None = None
    """N, for the frequency `steps`."""
    baseline: bool = True
    """A round before the first step."""
    end: bool = True
    """A round after the last step."""

    def __post_init__(self) -> None:
        if self.frequency == "steps" and (self.step_interval is None or self.step_interval < 1):
            raise ScheduleError(
                "predictions.step_interval: the frequency 'steps' needs an interval of at least 1, "
                f"got {self.step_interval!r}."
            )

    @classmethod
    def of(cls, predictions: PredictionsConfig) -> Schedule:
        """Return the schedule that a configuration sets."""
        return cls(
            predictions.sample_frequency,
            predictions.step_interval,
            baseline=predictions.baseline,
            end=predictions.end,
        )

    def due(self, event: Event, step: int, last_round: int | None) -> Trigger | None:
        """Return the trigger of the round that is due, or None.

        Args:
            event: What has just happened.
            step: The trainer's global step.
            last_round: The step of the latest round; there is one round a step, whatever falls on it.
        """
        if last_round is not None and step <= last_round:
            return None
        if event == "begin":
            return "baseline" if self.baseline and step == 0 else None
        if event == "end":
            return "end" if self.end else None
        if event == "step" and self.frequency == "steps":
            assert self.step_interval is not None
            return "steps" if step % self.step_interval == 0 else None
        if event == self.frequency == "epoch":
            return "epoch"
        if event == self.frequency == "eval":
            return "eval"
        return None

    def describe(self) -> str:
        """Return the schedule in words: `rounds at the start, after each epoch, at the end`."""
        every = {"epoch": "after each epoch", "eval": "after each evaluation"}
        times = [every.get(self.frequency, f"every {self.step_interval} steps")]
        return "rounds " + ", ".join(["at the start"] * self.baseline + times + ["at the end"] * self.end)

    def check(
        self, *, max_steps: int, eval_every: int | None, evaluates: bool, eval_delay: float = 0
    ) -> None:
        """Raise a `ScheduleError` if this schedule never fires in such a training.

        Args:
            max_steps: Optimizer steps of the whole training.
            eval_every: Steps between evaluations, None if they follow the epochs.
            evaluates: Whether the trainer evaluates at all.
            eval_delay: Steps before which it does not.
        """
        if self.frequency == "steps" and self.step_interval is not None and self.step_interval > max_steps:
            raise ScheduleError(
                f"predictions.step_interval: a round every {self.step_interval} steps never happens in a "
                f"training of {max_steps} steps. Choose at most {max_steps}, or the frequency 'epoch'."
            )
        if self.frequency != "eval":
            return
        if not evaluates:
            raise ScheduleError(
                "predictions.sample_frequency: 'eval' never fires, because the trainer does not evaluate. "
                "Set eval_strategy (and give it an eval_dataset), or choose the frequency 'epoch' or 'steps'."
            )
        if eval_delay > max_steps:
            raise ScheduleError(
                f"predictions.sample_frequency: 'eval' never fires: eval_delay puts the first evaluation off "
                f"to step {eval_delay:.0f} of a training of {max_steps} steps. Lower eval_delay."
            )
        if eval_every is not None and eval_every > max_steps:
            raise ScheduleError(
                f"predictions.sample_frequency: 'eval' never fires: an evaluation every {eval_every} steps "
                f"never happens in a training of {max_steps} steps. Lower eval_steps to at most {max_steps}."
            )
