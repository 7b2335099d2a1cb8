"""The callback for Transformers' and TRL's trainers: hooks only, everything else lives elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import extract_model_from_parallel
from transformers import IntervalStrategy, TrainerCallback

from timelapse.attach import RunTarget, make_judges, open_run
from timelapse.config.keywords import predictions_config
from timelapse.errors import ConfigError, RunError
from timelapse.fence import Fence, describe
from timelapse.run import TrainingRun
from timelapse.samples import SampleSet
from timelapse.schedule import Event, Schedule
from timelapse.selection import select_samples
from timelapse_training.base_model import check_base_model
from timelapse_training.checkpoints import checkpoint_folder, marked_run
from timelapse_training.generation import GenerationSettings
from timelapse_training.prompts import text_tokenizer
from timelapse_training.session import TRAINING_GOES_ON, Session

if TYPE_CHECKING:
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
            samples are drawn.
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
        source = samples if samples is not None else self.config.samples_path
        if source is None and not self.config.enabled:
            source = SampleSet(())
        if source is None:
            raise ConfigError(
                "PredictionsCallback has no samples: pass samples='eval.jsonl', a list of rows, or your "
                "evaluation data set."
            )
        self.samples = select_samples(source, self.config)
        if self.config.sample_set is not None:
            self.samples = replace(self.samples, name=self.config.sample_set)
        self._schedule = Schedule(
            self.config.sample_frequency,
            self.config.step_interval,
            baseline=self.config.baseline,
            end=self.config.end,
        )
        self._judges = make_judges(self.config.scorers, self.config.validators)
        self._tokenizer = tokenizer
        self._run = run
        self._target = RunTarget(run_id=run_id, experiment=experiment)
        self._fence = Fence()
        self._session: Session | None = None
        self._epoch_over_at: int | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Check the schedule, open the run, and let the base model answer."""
        if not self.config.enabled or not state.is_world_process_zero:
            return
        self._check_schedule(args, state)
        if self.config.base_model:
            check_base_model(extract_model_from_parallel(kwargs["model"], keep_torch_compile=False))
        tokenizer = self._text_tokenizer(kwargs.get("processing_class"))
        run = self._run or self._open_run(args, state)
        if sharding := _sharding(args):
            run.disable(f"weights sharded by {sharding}")
            self._fence.report("making predictions", f"weights sharded by {sharding}", TRAINING_GOES_ON)
            return
        settings = generation_settings(self.config, args)
        attempt = self._next_attempt(run, state.global_step)
        self._session = Session(self.samples, run, tokenizer, settings, self._fence, attempt)
        self._session.open(self._schedule.describe())
        if self.config.base_model:
            self._session.make_base_round(kwargs["model"], step=state.global_step, epoch=state.epoch)
        self._event("begin", state, kwargs)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Make a round every N steps."""
        self._event("step", state, kwargs)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Make a round after an evaluation; after that of the last epoch, the last round too."""
        self._event("eval", state, kwargs)
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

        The mark names the run: a training resumed from this checkpoint goes on in it.
        """
        if self._session is not None:
            self._session.mark(checkpoint_folder(args, state))
        if self._epoch_over_at == state.global_step and _stops(state, control):
            self._event("end", state, kwargs)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Make the last round if it is still due, and complete the run."""
        # With load_best_model_at_end the weights are by now those of an earlier step.
        if not (args.load_best_model_at_end and state.best_model_checkpoint):
            self._event("end", state, kwargs)
        if self._session is not None:
            self._session.close(end_run=self._run is None)
            self._session = None

    def _event(self, event: Event, state: TrainerState, kwargs: dict[str, Any]) -> None:
        session = self._session
        if session is None:
            return
        trigger = self._schedule.due(event, state.global_step, session.last_round)
        if trigger is not None:
            session.make_round(kwargs["model"], trigger, step=state.global_step, epoch=state.epoch)

    def _next_attempt(self, run: TrainingRun, step: int) -> int:
        try:
            return run.next_attempt(self.samples, step)
        except RunError as error:
            if self._run is None and run.owned:
                run.finish("FAILED", describe(error))
            elif self._run is None:
                run.release()
            raise

    def _open_run(self, args: TrainingArguments, state: TrainerState) -> TrainingRun:
        """Open the run: that of the checkpoint from which training goes on, unless another is given."""
        resumed = marked_run(checkpoint_folder(args, state)) if state.global_step else None
        target = replace(self._target, resumed_id=resumed)
        return open_run(target, activate=False, judges=self._judges)

    def _check_schedule(self, args: TrainingArguments, state: TrainerState) -> None:
        strategy = IntervalStrategy(args.eval_strategy).value
        in_steps = strategy == "steps"
        steps_a_unit = 1 if in_steps else state.max_steps / max(state.num_train_epochs, 1)
        self._schedule.check(
            max_steps=state.max_steps,
            eval_every=int(state.eval_steps) if in_steps and state.eval_steps else None,
            evaluates=strategy != "no",
            eval_delay=(args.eval_delay or 0) * steps_a_unit,
        )

    def _text_tokenizer(self, processing_class: Any) -> PreTrainedTokenizerBase:
        processor = self._tokenizer or processing_class
        if processor is None:
            raise ConfigError(
                "The trainer has no tokenizer to answer with: pass processing_class=tokenizer to the "
                "trainer, or tokenizer=tokenizer to PredictionsCallback."
            )
        return text_tokenizer(processor)


def generation_settings(config: PredictionsConfig, args: TrainingArguments) -> GenerationSettings:
    """Return how to decode, in the precision of the training."""
    autocast = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None
    return GenerationSettings(
        max_new_tokens=config.max_new_tokens,
        batch_size=config.batch_size,
        do_sample=config.do_sample,
        temperature=config.temperature,
        top_p=config.top_p,
        seed=config.seed if config.seed is not None else args.seed,
        template=config.template,
        generations=config.generations,
        reference_nll=config.reference_nll,
        keep_tokens=config.keep_tokens,
        autocast=autocast,
        progress=not args.disable_tqdm,
    )


def _stops(state: TrainerState, control: TrainerControl) -> bool:
    """Return whether the step just done is the last one."""
    return control.should_training_stop or state.global_step >= state.max_steps


def _sharding(args: TrainingArguments) -> str | None:
    """Return what splits the weights over ranks, if anything does."""
    if args.deepspeed:
        return "DeepSpeed"
    return "FSDP" if args.fsdp else None
