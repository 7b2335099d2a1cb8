"""The best checkpoint by its answers: one score, computed at each evaluation for the trainer to read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from transformers import IntervalStrategy

from timelapse.analysis.learning import score_means
from timelapse.errors import ConfigError, ScheduleError
from timelapse.fence import attempt, warn
from timelapse.hints import nearest
from timelapse.randomness import untouched_random_state
from timelapse.scoring.engine import Judges, Question, judge
from timelapse.scoring.scorer import scorer_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformers import TrainerState, TrainingArguments

    from timelapse.config.model import PredictionsConfig
    from timelapse.rounds import Round
    from timelapse.samples import SampleSet
    from timelapse.scoring.scorer import Scorer

PREFIX = "predictions_"
"""Begins the names of our scores among the metrics of an evaluation, behind the trainer's own `eval_`."""


class EvalScore:
    """The mean of one score over a round, computed in the training thread.

    Raises:
        ConfigError: The run has no such score, or no sample has the reference that it needs.
    """

    def __init__(self, name: str, scorers: Mapping[str, Scorer], samples: SampleSet) -> None:
        owner = scorer_of(name, scorers)
        if owner is None:
            raise ConfigError(
                f"predictions.eval_score: '{name}' is no score of this run.{nearest(name, scorers)} "
                f"Scores: {', '.join(scorers)}. Others are added with predictions.scorers."
            )
        self.name, self.scorer = name, scorers[owner]
        if self.scorer.needs_reference and all(sample.reference is None for sample in samples):
            raise ConfigError(
                f"predictions.eval_score: '{name}' compares with references, and no sample of set "
                f"'{samples.name}' has one. Give references, or choose a score that needs none."
            )
        self._judges = Judges({self.scorer.name: self.scorer}, {})
        self._questions = {sample.sample_id: Question(sample.prompt, sample.reference) for sample in samples}
        self._known: tuple[int, float] | None = None
        self._said = False

    def begin(self) -> None:
        """Forget the scores of an earlier training."""
        self._known, self._said = None, False

    @property
    def metric(self) -> str:
        """The name under which the trainer finds it."""
        return f"eval_{PREFIX}{self.name}"

    def known_at(self, step: int) -> float | None:
        """Return the score of a step, if it has been computed."""
        return self._known[1] if self._known and self._known[0] == step else None

    def compute(self, round_: Round | None, step: int) -> float:
        """Return the score's mean over a round; NaN, said once, where no answer has it.

        NaN is never the best: the trainer goes on with the best that it knows.
        """
        value, error = None, None
        if round_ is not None and round_.step == step:
            with untouched_random_state():
                judged, error = attempt(lambda: judge(round_, self._questions, self._judges))
            value = score_means(judged[0]).get(self.name) if judged else None
        if value is None and not self._said:
            self._said = True
            warn(
                f"There is no {self.metric} at step {step}{f' ({error})' if error else ''}: no answer could "
                "be scored. It is NaN, which is never the best; early stopping counts it as no improvement."
            )
        return math.nan if value is None else value

    def put(self, metrics: dict[str, float], step: int, value: float) -> None:
        """Enter the score of a step into an evaluation's metrics, and remember it."""
        self._known = (step, value)
        metrics[self.metric] = value


def check_eval_score(config: PredictionsConfig, args: TrainingArguments, state: TrainerState) -> None:
    """Raise before the first step if the trainer will look for a score of ours that will not be there.

    Raises:
        ConfigError: `metric_for_best_model` names a score that is not computed at evaluations.
        ScheduleError: No evaluation ever happens.
    """
    metric = (args.metric_for_best_model or "").removeprefix("eval_")
    wanted = metric.removeprefix(PREFIX) if metric.startswith(PREFIX) else None
    given = config.eval_score if config.enabled else None
    if wanted is not None and wanted != given:
        now = f"it is '{given}' now" if given else "none is" if config.enabled else "predictions are off"
        raise ConfigError(
            f"metric_for_best_model: '{args.metric_for_best_model}' needs the score '{wanted}' at each "
            f"evaluation, and {now}. Set predictions.eval_score: {wanted}, or "
            f"PredictionsCallback(eval_score='{wanted}')."
        )
    if given is not None:
        _check_evaluates(given, args, state)


def check_direction(score: EvalScore, args: TrainingArguments) -> None:
    """Raise if the trainer would take the worst answers for the best.

    Raises:
        ConfigError: `greater_is_better` contradicts a built-in score; that of others is the user's to know.
    """
    metric = f"eval_{(args.metric_for_best_model or '').removeprefix('eval_')}"
    if metric != score.metric or score.scorer.foreign:
        return
    better = score.scorer.higher_is_better
    if bool(args.greater_is_better) != better:
        raise ConfigError(
            f"greater_is_better: {args.greater_is_better} would make the model with the worst "
            f"'{score.name}' the best. Set greater_is_better={better} in the training arguments."
        )


def _check_evaluates(score: str, args: TrainingArguments, state: TrainerState) -> None:
    strategy = IntervalStrategy(args.eval_strategy).value
    by_steps = strategy == "steps"
    a_unit = 1 if by_steps else state.max_steps / max(state.num_train_epochs, 1)
    first = max(
        int(state.eval_steps) if by_steps and state.eval_steps else 0, (args.eval_delay or 0) * a_unit
    )
    if strategy == "no":
        raise ScheduleError(
            f"predictions.eval_score: '{score}' is never computed, because the trainer does not evaluate. "
            "Set eval_strategy (and give it an eval_dataset), or remove eval_score."
        )
    if first > state.max_steps:
        raise ScheduleError(
            f"predictions.eval_score: '{score}' is never computed, because the first evaluation would be at "
            f"step {first:.0f} of a training of {state.max_steps} steps. Lower eval_steps or eval_delay."
        )


def is_evaluation(logs: Mapping[str, object]) -> bool:
    """Return whether what a trainer logs is the result of an evaluation."""
    return any(name.startswith("eval_") and name.endswith("_runtime") for name in logs)
