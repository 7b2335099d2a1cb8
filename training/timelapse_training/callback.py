"""The callback for Transformers' and TRL's trainers: hooks only, everything else lives elsewhere."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import extract_model_from_parallel
from transformers import IntervalStrategy, TrainerCallback

from timelapse.attach import RunTarget, make_judges, open_run
from timelapse.config.keywords import predictions_config
from timelapse.errors import ConfigError
from timelapse.fence import Fence
from timelapse.run import TrainingRun
from timelapse.samples import SampleSet
from timelapse.schedule import Event, Schedule
from timelapse.selection import ChosenSet, select_sets
from timelapse_training.base_model import check_base_model
from timelapse_training.best import EvalScore, check_direction, check_eval_score, is_evaluation, of_rank_0
from timelapse_training.budget import Budget, Clock, budget_of
from timelapse_training.checkpoints import checkpoint_folder, marked_run
from timelapse_training.generation import GenerationSettings
from timelapse_training.preparing import (
    check_can_answer,
    decoding_of,
    next_attempt,
    schedule_of,
)
from timelapse_training.prompts import text_tokenizer
from timelapse_training.session import TRAINING_GOES_ON, Session

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase, TrainerControl, TrainerState, TrainingArguments

    from timelapse.config.model import PredictionsConfig


class PredictionsCallback(TrainerCallback):
    """Lets the model answer the same samples round after round, and stores each round in MLflow.

    `callbacks=[PredictionsCallback("eval.jsonl")]` is enough: rounds before the first step, after each
    epoch and at the end go to MLflow's active run, or to a new run that is ended with the training.

    What it promises:
        - The training is the same with and without it, bit for bit: evaluation mode, random generators,
          gradient checkpointing and precision are restored after each round.
        - Once training has begun nothing it does stops it. A failed answer is a row with its error, a
          failed round leaves such rows for every sample, and the run's tag `timelapse.status` says so.
        - A mistake that makes it useless (a missing file, a schedule that never fires) is an error
          *before* the first step.
        - Rank 0 generates and writes; the other ranks wait at their next collective operation. Weights
          sharded over ranks (FSDP, DeepSpeed) are not gathered: predictions are then off, and say so.

    The cost is the generation itself: samples times new tokens, batched. It is stored with each round as
    `predictions/seconds` and `predictions/share_of_training_time`.

    Args:
        samples: A samples file or list (used whole), a `SampleSet`, or a data set of which `sample_count`
            samples are drawn. For several sets a mapping: `{"main": "eval.jsonl", "probe": train_rows}`; the
            keyword `sets={"probe": {"sample_frequency": "steps", "step_interval": 50}}` says what is
            different for one of them.
        config: The settings as one object; or give its fields as keywords: `sample_frequency="steps",
            step_interval=50, max_new_tokens=64`.
        tokenizer: Needed only if the trainer has no `processing_class`.
        run: A run from `timelapse.start_run`; it is not ended by the callback.
        run_id: An existing MLflow run to write into. Without either, and without an active run of MLflow's,
            a training resumed from a checkpoint goes on in the run of that checkpoint.
        experiment: The experiment for a new run.
        settings: Fields of `timelapse.PredictionsConfig`.

    Raises:
        ConfigError: A setting is wrong.
        SampleError: The samples cannot be read.
    """

    def __init__(
        self,
        samples: Any = None,
        *,
        config: PredictionsConfig | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        run: TrainingRun | None = None,
        run_id: str | None = None,
        experiment: str | None = None,
        **settings: Any,
    ) -> None:
        self.config = predictions_config(config, settings)
        if samples is None and self.config.samples_path is None and not self.config.enabled:
            samples = SampleSet(())
        self._chosen = select_sets(samples, self.config)
        self.samples = self._chosen[0].samples
        self._schedules = [schedule_of(chosen.config) for chosen in self._chosen]
        self._judges = make_judges(self.config.scorers, self.config.validators)
        self._tokenizer = tokenizer
        self._run = run
        self._target = RunTarget(run_id=run_id, experiment=experiment)
        self._fence = Fence()
        self._sessions: list[Session] = []
        self._trains = False
        self._epoch_over_at: int | None = None
        self._saved: tuple[int, Path] | None = None
        self._score: EvalScore | None = None
        if self.config.enabled and self.config.eval_score is not None:
            self._score = EvalScore(self.config.eval_score, self._judges.scorers, self.samples)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Check the schedules, open the run, and let the base model answer."""
        check_eval_score(self.config, args, state)
        if not self.config.enabled:
            return
        if self._score is not None:
            self._score.begin()
            check_direction(self._score, args)
            if sharding := _sharding(args):
                raise ConfigError(
                    f"predictions.eval_score: weights sharded by {sharding} are not gathered, so there would "
                    "be no score to choose the best model by. Remove eval_score, or the sharding."
                )
        self._trains = True
        if not state.is_world_process_zero:
            return
        for schedule in self._schedules:
            _check_schedule(schedule, args, state)
        if self.config.base_model:
            check_base_model(extract_model_from_parallel(kwargs["model"], keep_torch_compile=False))
        check_can_answer(kwargs["model"])
        self._epoch_over_at = None
        tokenizer = self._text_tokenizer(kwargs.get("processing_class"))
        run = self._run or self._open_run(args, state)
        if sharding := _sharding(args):
            run.disable(f"weights sharded by {sharding}")
            self._fence.report("making predictions", f"weights sharded by {sharding}", TRAINING_GOES_ON)
            return
        clock = Clock()
        self._sessions = [
            Session(
                chosen.samples,
                run,
                tokenizer,
                generation_settings(chosen.config, args),
                self._fence,
                next_attempt(run, chosen.samples, state.global_step, ours=self._run is None),
                clock=clock,
                budget=self._budget(chosen),
            )
            for chosen in self._chosen
        ]
        for session, schedule in zip(self._sessions, self._schedules, strict=True):
            session.open(schedule.describe())
        for session in self._sessions if self.config.base_model else ():
            session.make_base_round(kwargs["model"], step=state.global_step, epoch=state.epoch)
        self._event("begin", state, kwargs)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Make a round every N steps."""
        self._event("step", state, kwargs)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Put `eval_score` into what an evaluation logs.

        It is the dict that `on_evaluate` is handed next: early stopping finds the score there whichever
        callback comes first.
        """
        if logs is not None and is_evaluation(logs):
            self._score_evaluation(logs, state, kwargs)
            if self._score is not None and state.log_history and is_evaluation(state.log_history[-1]):
                known = self._score.known_at(state.global_step)
                if known is not None and known == known:
                    state.log_history[-1][self._score.metric] = known

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Make a round after an evaluation; after that of the last epoch, the last round too."""
        self._event("eval", state, kwargs)
        if metrics is not None:  # a trainer may have logged a copy
            self._score_evaluation(metrics, state, kwargs)
        if self._epoch_over_at == state.global_step and _stops(state, control):
            self._event("end", state, kwargs)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Make a round after an epoch; the last one too, while the weights are still the last step's."""
        self._epoch_over_at = state.global_step
        stops = _stops(state, control)
        if stops and not float(state.epoch or 0).is_integer():  # max_steps lies inside the epoch
            self._event("end", state, kwargs)
        self._event("epoch", state, kwargs)
        if stops and not control.should_evaluate:
            self._event("end", state, kwargs)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Make the last round if the evaluation just before has stopped the training; mark the checkpoint.

        The mark names the run: a training resumed from this checkpoint goes on in it. A checkpoint of a
        round's step is linked to the run, too.
        """
        folder = checkpoint_folder(args, state)
        if self._sessions:
            self._sessions[0].mark(folder)
            self._saved = (state.global_step, folder)
            self._link(state)
        if self._epoch_over_at == state.global_step and _stops(state, control):
            self._event("end", state, kwargs)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Make the last round if it is still due, and complete the run."""
        # With load_best_model_at_end the weights are by now those of an earlier step.
        if not (args.load_best_model_at_end and state.best_model_checkpoint):
            self._event("end", state, kwargs)
        self._trains = False
        if self._sessions:
            self._sessions[0].close(end_run=self._run is None)
            self._sessions = []

    def _event(self, event: Event, state: TrainerState, kwargs: dict[str, Any]) -> None:
        """Make the rounds that are due, one sample set after the other."""
        # There are no sessions outside a training.
        for session, schedule in zip(self._sessions, self._schedules, strict=False):
            trigger = schedule.due(event, state.global_step, session.last_round)
            if trigger is not None:
                session.make_round(kwargs["model"], trigger, step=state.global_step, epoch=state.epoch)
        self._link(state)

    def _score_evaluation(
        self, metrics: dict[str, float], state: TrainerState, kwargs: dict[str, Any]
    ) -> None:
        """Put the score of this step's answers into an evaluation's metrics, on every rank."""
        score, step = self._score, state.global_step
        if score is None or not self._trains:
            return
        value = score.known_at(step)
        if value is None:
            value = of_rank_0(self._scored(score, state, kwargs) if self._sessions else math.nan)
        score.put(metrics, step, value)

    def _scored(self, score: EvalScore, state: TrainerState, kwargs: dict[str, Any]) -> float:
        session = self._sessions[0]
        if session.last_round != state.global_step:
            session.make_round(kwargs["model"], "eval", step=state.global_step, epoch=state.epoch)
        return score.compute(session.latest, state.global_step)

    def _link(self, state: TrainerState) -> None:
        """Link the checkpoint of this step, once it is there and so is a round; either may come first."""
        step, folder = self._saved or (None, None)
        rounds = any(session.last_round == state.global_step for session in self._sessions)
        if self.config.link_checkpoints and rounds and folder is not None and step == state.global_step:
            self._saved = None
            self._sessions[0].link(folder, state.global_step)

    def _budget(self, chosen: ChosenSet) -> Budget:
        """Return the budget of a set; the score that chooses the best is over the same samples each time."""
        scored = self._score is not None and chosen is self._chosen[0]
        return Budget() if scored else budget_of(chosen.config)

    def _open_run(self, args: TrainingArguments, state: TrainerState) -> TrainingRun:
        """Open the run: that of the checkpoint from which training goes on, unless another is given."""
        resumed = marked_run(checkpoint_folder(args, state)) if state.global_step else None
        target = replace(self._target, resumed_id=resumed)
        return open_run(target, activate=False, judges=self._judges)

    def _text_tokenizer(self, processing_class: Any) -> PreTrainedTokenizerBase:
        processor = self._tokenizer or processing_class
        if processor is None:
            raise ConfigError(
                "The trainer has no tokenizer to answer with: pass processing_class=tokenizer to the "
                "trainer, or tokenizer=tokenizer to PredictionsCallback."
            )
        return text_tokenizer(processor)


def _check_schedule(schedule: Schedule, args: TrainingArguments, state: TrainerState) -> None:
    strategy = IntervalStrategy(args.eval_strategy).value
    in_steps = strategy == "steps"
    steps_a_unit = 1 if in_steps else state.max_steps / max(state.num_train_epochs, 1)
    schedule.check(
        max_steps=state.max_steps,
        eval_every=int(state.eval_steps) if in_steps and state.eval_steps else None,
        evaluates=strategy != "no",
        eval_delay=(args.eval_delay or 0) * steps_a_unit,
    )


def generation_settings(config: PredictionsConfig, args: TrainingArguments) -> GenerationSettings:
    """Return how to decode, in the precision of the training."""
    # On a CPU accelerate sets fp16 aside, and trains in the precision of the weights.
    fp16 = args.fp16 and args.device.type != "cpu"
    autocast = torch.bfloat16 if args.bf16 else torch.float16 if fp16 else None
    return decoding_of(config, autocast=autocast, seed=args.seed, progress=not args.disable_tqdm)


def _stops(state: TrainerState, control: TrainerControl) -> bool:
    """Return whether the step just done is the last one."""
    return control.should_training_stop or state.global_step >= state.max_steps


def _sharding(args: TrainingArguments) -> str | None:
    """Return what splits the weights over ranks, if anything does."""
    if args.deepspeed:
        return "DeepSpeed"
    return "FSDP" if args.fsdp else None
