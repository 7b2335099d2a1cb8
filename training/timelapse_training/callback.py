"""The callback for Transformers' and TRL's trainers: hooks only, everything else lives elsewhere."""

from __future__ import annotations

import math
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from accelerate.utils import extract_model_from_parallel
from transformers import TrainerCallback

from timelapse import endings
from timelapse.attach import RunTarget, make_judges, open_run
from timelapse.config.keywords import predictions_config
from timelapse.errors import ConfigError
from timelapse.fence import Fence
from timelapse.run import TrainingRun
from timelapse.samples import SampleSet
from timelapse.schedule import Event, Schedule
from timelapse.selection import ChosenSet, select_sets
from timelapse_training.base_model import check_base_model
from timelapse_training.best import EvalScore, check_direction, check_eval_score, is_evaluation
from timelapse_training.budget import Budget, Clock, budget_of
from timelapse_training.checkpoints import checkpoint_folder, marked_run
from timelapse_training.distributed import Ranks
from timelapse_training.meeting import open_on_ranks
from timelapse_training.preparing import check_can_answer, check_schedule, generation_settings, next_attempt
from timelapse_training.prompts import text_tokenizer
from timelapse_training.session import TRAINING_GOES_ON, Session
from timelapse_training.sharding import refusal

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
        - Every rank of a DDP or FSDP training answers its part of the samples, and rank 0 writes; give the
          callback on every rank. A rank that fails leaves rows with its error, and no rank waits for it.
          Under DeepSpeed ZeRO-3 and tensor parallelism predictions are off, and say so (docs/ranks.md).

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

    _latest: ClassVar[tuple[weakref.ref[Any], weakref.ref[Any]] | None] = None  # a training and its callback

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
        self.config = predictions_config(config, settings, samples)
        if samples is None and self.config.samples_path is None and not self.config.enabled:
            samples = SampleSet(())
        self._chosen = select_sets(samples, self.config)
        self.samples = self._chosen[0].samples
        self._schedules = [Schedule.of(chosen.config) for chosen in self._chosen]
        self._judges = make_judges(self.config.scorers, self.config.validators)
        self._tokenizer = tokenizer
        self._run = run
        self._target = RunTarget(run_id=run_id, experiment=experiment)
        self._fence = Fence()
        self._sessions: list[Session] = []
        self._ranks: Ranks | None = None
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
        if self._check_alone(state) and self._ranks is not None:
            return  # the trainer has been given this callback twice
        if self._score is not None:
            self._score.begin()
            check_direction(self._score, args)
            if reason := refusal(args, kwargs["model"]):
                raise ConfigError(
                    f"predictions.eval_score: there would be no score to choose the best model by, because "
                    f"{reason}. Or remove eval_score."
                )
        self._epoch_over_at = self._saved = None
        self._ranks, sessions = open_on_ranks(
            lambda ranks: self._open_sessions(args, state, kwargs, ranks),
            lambda: self._text_tokenizer(kwargs.get("processing_class")),
            self._fence,
            patience=args.ddp_timeout,
        )
        self._sessions = sessions or []
        if self._ranks is not None and self.config.base_model:
            self._ranks.together(lambda: self._make_base_rounds(state, kwargs), kwargs["model"])
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
            trains = self._ranks is not None  # afterwards the weights may be those of another step
            history = state.log_history[-1] if state.log_history else {}
            if trains and self._score is not None and is_evaluation(history):
                known = self._score.known_at(state.global_step)
                if known is not None and known == known:
                    history[self._score.metric] = known

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
        if self._sessions:
            self._sessions[0].close(end_run=self._run is None)
            self._sessions = []
        if self._ranks is not None:
            self._ranks.close()
            self._ranks = None

    def _check_alone(self, state: TrainerState) -> bool:
        """Return whether this callback watches this training already.

        Raises:
            ConfigError: Another callback watches it: each would end the other's run.
        """
        training, other = self._latest or (None, None)
        if training is not None and other is not None and training() is state:
            found = other()
            if found is self:
                return True
            if found is not None and found._run is None and self._run is None:
                endings.end_abandoned("two PredictionsCallbacks watch the same training")
                raise ConfigError(
                    "Two PredictionsCallbacks watch the same training. Give one of them all sample sets: "
                    "PredictionsCallback({'main': ..., 'probe': ...}); or give both the same run=."
                )
        PredictionsCallback._latest = (weakref.ref(state), weakref.ref(self))
        return False

    def _open_sessions(
        self, args: TrainingArguments, state: TrainerState, kwargs: dict[str, Any], ranks: Ranks
    ) -> list[Session] | None:
        """Open the run and what makes its rounds, on rank 0; None if this model cannot answer."""
        for schedule in self._schedules:
            check_schedule(schedule, args, state)
        bare = extract_model_from_parallel(kwargs["model"], keep_torch_compile=False)
        check_can_answer(bare)
        if self.config.base_model:
            check_base_model(bare)
        tokenizer = self._text_tokenizer(kwargs.get("processing_class"))
        run = self._run or self._open_run(args, state)
        if reason := refusal(args, kwargs["model"]):
            run.disable(reason)
            self._fence.report("making predictions", reason, TRAINING_GOES_ON)
            return None
        clock = Clock()
        sessions = [
            Session(
                chosen.samples,
                run,
                tokenizer,
                generation_settings(chosen.config, args),
                self._fence,
                next_attempt(run, chosen.samples, state.global_step, ours=self._run is None),
                clock=clock,
                budget=self._budget(chosen),
                ranks=ranks,
            )
            for chosen in self._chosen
        ]
        for session, schedule in zip(sessions, self._schedules, strict=True):
            session.open(schedule.describe())
        return sessions

    def _event(self, event: Event, state: TrainerState, kwargs: dict[str, Any]) -> None:
        """Make the rounds that may be due. The ranks meet wherever one may be: that hangs on nothing else."""
        due = any(schedule.due(event, state.global_step, None) for schedule in self._schedules)
        if self._ranks is not None and due:
            self._ranks.together(lambda: self._make_rounds(event, state, kwargs), kwargs["model"])
        self._link(state)

    def _make_rounds(self, event: Event, state: TrainerState, kwargs: dict[str, Any]) -> None:
        """Make the rounds that are due, one sample set after the other."""
        for session, schedule in zip(self._sessions, self._schedules, strict=True):
            trigger = schedule.due(event, state.global_step, session.last_round)
            if trigger is not None:
                session.make_round(kwargs["model"], trigger, step=state.global_step, epoch=state.epoch)

    def _make_base_rounds(self, state: TrainerState, kwargs: dict[str, Any]) -> None:
        for session in self._sessions:
            session.make_base_round(kwargs["model"], step=state.global_step, epoch=state.epoch)

    def _score_evaluation(
        self, metrics: dict[str, float], state: TrainerState, kwargs: dict[str, Any]
    ) -> None:
        """Put the score of this step's answers into an evaluation's metrics, on every rank."""
        score, step = self._score, state.global_step
        if score is None or self._ranks is None:
            return
        value = score.known_at(step)
        if value is None:
            told = self._ranks.together(lambda: self._scored(score, state, kwargs), kwargs["model"])
            value = told.get(score.name, math.nan)
        score.put(metrics, step, value)

    def _scored(self, score: EvalScore, state: TrainerState, kwargs: dict[str, Any]) -> dict[str, float]:
        session = self._sessions[0]
        if session.last_round != state.global_step:
            session.make_round(kwargs["model"], "eval", step=state.global_step, epoch=state.epoch)
        return {score.name: score.compute(session.latest, state.global_step)}

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
        """Open the run: that of the checkpoint from which training goes on, unless another is given.

        With `auto_find_batch_size` the trainer begins again after it ran out of memory: in the same run.
        """
        if args.auto_find_batch_size and self._sessions and not self._sessions[0].run.ended:
            return self._sessions[0].run
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


def _stops(state: TrainerState, control: TrainerControl) -> bool:
    """Return whether the step just done is the last one."""
    return control.should_training_stop or state.global_step >= state.max_steps
