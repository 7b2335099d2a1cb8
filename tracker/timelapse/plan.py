"""The plan of a training: every round that will happen and why, and what the rounds will cost.

Pure arithmetic on given counts; who counts tokens and measures seconds is `timelapse_training`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from timelapse.config.sets import set_configs
from timelapse.course import Course, Moment, course_of
from timelapse.errors import ScheduleError
from timelapse.names import base_set_name
from timelapse.round_cost import RoundCost, SetCounts, Speed, cost_of_round
from timelapse.schedule import Schedule

if TYPE_CHECKING:
    from timelapse.config.model import Config, PredictionsConfig
    from timelapse.rounds import Trigger

MOST_SHARE = 0.2
"""The share of the training time above which a plan warns."""
_BY_THE_BASE = "the base without its adapters, before the first step"
MOST_ROUNDS = 100_000
"""Nobody wants more, and a plan must not fill the memory."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What a training and its rounds have to chew."""

    rows: int
    """Rows that the model is trained on, each epoch."""
    row_tokens: int
    """Tokens of these rows together, without padding."""
    sets: tuple[SetCounts, ...] = ()
    """The sample sets; none if predictions are switched off."""
    ranks: int = 1
    """Processes that train together and share the rows and the samples."""


@dataclass(frozen=True, slots=True)
class PlannedRound:
    """A round that will happen, and what it will cost."""

    set: str
    """The sample set."""
    step: int
    """The global step."""
    epoch: float
    """Passes over the training data so far."""
    trigger: Trigger
    """What causes the round."""
    why: str
    """The cause in words."""
    samples: int
    """Samples that are answered."""
    prompt_tokens: int
    """Tokens of their prompts together."""
    new_tokens: int
    """Tokens of the answers, if they are as long as the references. Answers without reference, and those of
    a base model, which has not learned where to end, count as long as they may become."""
    most_new_tokens: int
    """Tokens of the answers if each is as long as it may become (`max_new_tokens`)."""
    seconds: float | None = None
    """Time for `new_tokens`; None where the speed is not known."""
    most_seconds: float | None = None
    """Time for `most_new_tokens`; None where the speed is not known."""
    allowed_seconds: float | None = None
    """The budget `max_seconds_per_round`; None where there is none, or it does not hold for this round."""

    @property
    def is_over_budget(self) -> bool:
        """Whether it will take longer than its budget allows, as far as that is known."""
        known = self.seconds is not None and self.allowed_seconds is not None
        return known and (self.seconds or 0.0) > (self.allowed_seconds or 0.0)


@dataclass(frozen=True, slots=True)
class Plan:
    """Every round of a training in order, and the cost of them all."""

    course: Course
    """The training's steps and epochs."""
    rounds: tuple[PlannedRound, ...]
    """The rounds; at one step in the order of the sets."""
    train_tokens: int
    """Tokens that the model is trained on, padding not counted."""
    train_seconds: float | None = None
    """Time of all optimizer steps, without evaluations and checkpoints; None where the speed is not known."""
    allowed_share: float | None = None
    """The budget `max_share_of_training_time`, if there is one."""

    @property
    def seconds(self) -> float | None:
        """Time of all rounds, if the answers are as long as their references."""
        return self._total([each.seconds for each in self.rounds])

    @property
    def most_seconds(self) -> float | None:
        """Time of all rounds, if each answer is as long as it may become."""
        return self._total([each.most_seconds for each in self.rounds])

    @property
    def share(self) -> float | None:
        """Share of `seconds` in the time of the whole training, the rounds included; from 0 to 1."""
        return self._share(self.seconds)

    @property
    def most_share(self) -> float | None:
        """Share of `most_seconds` in the time of the whole training."""
        return self._share(self.most_seconds)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What should be changed, in a sentence each."""
        found = []
        if self.share is not None and self.share > MOST_SHARE:
            found.append(
                f"predictions take {self.share:.0%} of the training time, more than {MOST_SHARE:.0%}. Choose "
                "fewer rounds (sample_frequency, step_interval), fewer samples or a lower max_new_tokens."
            )
        if self.share is not None and self.allowed_share is not None and self.share > self.allowed_share:
            found.append(
                f"predictions take {self.share:.0%} of the training time, more than "
                f"max_share_of_training_time: {self.allowed_share:g} allows. Some rounds will be left out."
            )
        over = sorted((each for each in self.rounds if each.is_over_budget), key=_seconds_of)
        for name, longest in {each.set: each for each in over}.items():
            found.append(
                f"a round of set {name} takes {longest.seconds:.3g} s, more than max_seconds_per_round: "
                f"{longest.allowed_seconds:g} allows. Later rounds will ask fewer samples."
            )
        return tuple(found)

    def _total(self, seconds: Sequence[float | None]) -> float | None:
        if self.train_seconds is None:
            return None
        return sum(each for each in seconds if each is not None)

    def _share(self, seconds: float | None) -> float | None:
        if seconds is None or self.train_seconds is None:
            return None
        whole = seconds + self.train_seconds
        return seconds / whole if whole else 0.0


def plan_training(config: Config, counts: Counts, speed: Speed | None = None) -> Plan:
    """Return the plan of a configured training.

    Args:
        config: The configuration.
        counts: Its rows and tokens, counted.
        speed: How fast the machine is; without it the plan has tokens but no seconds.

    Raises:
        ConfigError: A schedule never fires, asks for more than 100,000 rounds, or the rows make no batch.
    """
    course = course_of(config, counts.rows, ranks=counts.ranks)
    rounds: list[PlannedRound] = []
    if config.predictions.enabled:
        told = set_configs(config.predictions)
        for place, each in enumerate(counts.sets):
            predictions = told.get(each.name, config.predictions)
            if place:  # the score that each evaluation computes is that of the first set
                predictions = predictions.model_copy(update={"eval_score": None})
            rounds += plan_set(each, predictions, course, ranks=counts.ranks, speed=speed)
    # Stable: at one step the sets keep their order. What the bases answer comes before everything else.
    rounds.sort(key=lambda round_: (round_.step, round_.why != _BY_THE_BASE))
    return Plan(
        course,
        tuple(rounds),
        train_tokens=round(counts.row_tokens * course.epochs),
        train_seconds=None if speed is None else speed.step * course.max_steps,
        allowed_share=config.predictions.max_share_of_training_time,
    )


def plan_set(
    counts: SetCounts,
    predictions: PredictionsConfig,
    course: Course,
    *,
    ranks: int = 1,
    speed: Speed | None = None,
) -> list[PlannedRound]:
    """Return the rounds of one sample set, in order.

    Args:
        counts: Its tokens.
        predictions: When its rounds are due, and how its answers are drawn.
        course: The training's steps and epochs.
        ranks: Processes that share its samples.
        speed: How fast the machine is.

    Raises:
        ScheduleError: No round would ever happen, or more than 100,000 would.
    """
    schedule, scored = Schedule.of(predictions), predictions.eval_score is not None
    course.check(schedule)
    due = list(islice(rounds_due(schedule, course, scored=scored), MOST_ROUNDS + 1))
    if len(due) > MOST_ROUNDS:
        raise ScheduleError(
            f"predictions.sample_frequency: more than {MOST_ROUNDS:,} rounds would happen in a training of "
            f"{course.max_steps:,} steps. Set sample_frequency: steps and a larger step_interval."
        )
    base = cost_of_round(counts, predictions, ranks, speed, knows_the_end=False)
    later = cost_of_round(counts, predictions, ranks, speed, knows_the_end=True)
    planned = [
        _planned(moment, trigger, schedule, course, counts, later if moment.step else base)
        for moment, trigger in due
    ]
    if not scored:  # a round that a score is waited for is made whatever it costs
        allowed = predictions.max_seconds_per_round
        planned = [replace(each, allowed_seconds=allowed) for each in planned]
    return [_by_the_base(counts, base), *planned] if predictions.base_model else planned


def rounds_due(
    schedule: Schedule, course: Course, *, scored: bool = False
) -> Iterator[tuple[Moment, Trigger]]:
    """Yield the rounds that a schedule makes in a training: when, and with which trigger.

    Args:
        schedule: When rounds are due.
        course: The training's steps and epochs.
        scored: Whether each evaluation computes a score of the answers, and so has a round in any case.
    """
    last_round = None
    for moment in course.moments(schedule, evaluations=scored):
        trigger = schedule.due(moment.event, moment.step, last_round)
        if trigger is None and scored and moment.event == "eval" and moment.step != last_round:
            trigger = "eval"
        if trigger is not None:
            last_round = moment.step
            yield moment, trigger


def _planned(
    moment: Moment, trigger: Trigger, schedule: Schedule, course: Course, counts: SetCounts, cost: RoundCost
) -> PlannedRound:
    return PlannedRound(
        counts.name,
        moment.step,
        moment.epoch,
        trigger,
        _why(moment, trigger, schedule, course),
        len(counts.prompt_tokens),
        *astuple(cost),
    )


def _seconds_of(round_: PlannedRound) -> float:
    return round_.seconds or 0.0


def _by_the_base(counts: SetCounts, cost: RoundCost) -> PlannedRound:
    """Return the round that the base of a PEFT model makes before the first step."""
    return PlannedRound(
        base_set_name(counts.name),
        0,
        0.0,
        "baseline",
        _BY_THE_BASE,
        len(counts.prompt_tokens),
        *astuple(cost),
    )


def _why(moment: Moment, trigger: Trigger, schedule: Schedule, course: Course) -> str:
    if trigger == "baseline":
        return "the base model, before the first step"
    if trigger == "steps":
        return f"every {schedule.step_interval} steps"
    if trigger == "epoch":
        return f"epoch {moment.epoch:g} is done"
    if trigger == "end":
        return "the last step is done"
    if moment.step == 0:
        return "evaluation before the first step"
    if course.eval_strategy == "epoch":
        return f"evaluation after epoch {moment.epoch:g}"
    last = moment.step == course.max_steps and moment.step % (course.eval_every or 1)
    return "evaluation after the last step" if last else f"evaluation every {course.eval_every} steps"
