"""What comes before the first step, for the callback and for a loop of one's own alike."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from transformers import IntervalStrategy

from timelapse.endings import OVER
from timelapse.errors import ConfigError, RunError
from timelapse.fence import describe
from timelapse.samples import SampleSet
from timelapse.selection import select_samples
from timelapse_training.generation import GenerationSettings

if TYPE_CHECKING:
    from transformers import TrainerState, TrainingArguments

    from timelapse.config.model import PredictionsConfig
    from timelapse.run import TrainingRun
    from timelapse.schedule import Schedule


def asked_samples(samples: Any, config: PredictionsConfig, asker: str) -> SampleSet:
    """Return the samples that the model will answer, under the name of their set.

    Args:
        samples: What the script gave; else `config.samples_path` counts.
        config: The settings.
        asker: Who asks, for the error.

    Raises:
        ConfigError: There are none.
        SampleError: They cannot be read.
    """
    if config.sets:
        raise ConfigError(
            f"predictions.sets: {asker} has one sample set. Make an object for each, with the same run= and "
            "its own sample_set=, or train with a trainer."
        )
    source = samples if samples is not None else config.samples_path
    if source is None and not config.enabled:
        return SampleSet(())
    if source is None:
        raise ConfigError(
            f"{asker} has no samples: pass samples='eval.jsonl', a list of rows, or your evaluation data set."
        )
    chosen = select_samples(source, config)
    return replace(chosen, name=config.sample_set) if config.sample_set is not None else chosen


def decoding_of(
    config: PredictionsConfig, *, autocast: torch.dtype | None, seed: int, progress: bool
) -> GenerationSettings:
    """Return how to decode, in the training's precision; `seed` counts if the settings have none."""
    return GenerationSettings(
        max_new_tokens=config.max_new_tokens,
        batch_size=config.batch_size,
        do_sample=config.do_sample,
        temperature=config.temperature,
        top_p=config.top_p,
        seed=config.seed if config.seed is not None else seed,
        template=config.template,
        generations=config.generations,
        reference_nll=config.reference_nll,
        keep_tokens=config.keep_tokens,
        autocast=autocast,
        progress=progress,
    )


def check_schedule(schedule: Schedule, args: TrainingArguments, state: TrainerState) -> None:
    """Raise a `ScheduleError` if a schedule never fires in a trainer's training."""
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


def check_can_answer(model: Any) -> None:
    """Raise a `ConfigError` if a model has no way to generate: a classifier, a reward model, an encoder."""
    if not callable(getattr(model, "generate", None)):
        raise ConfigError(
            f"{type(model).__name__} cannot generate text, so there is nothing to predict: it has no "
            "language-modelling head. Remove the predictions, or switch them off with enabled=False."
        )


def next_attempt(run: TrainingRun, samples: SampleSet, step: int, *, ours: bool) -> int:
    """Return the number of this attempt; a run of `ours` that is refused is let go before the error goes on.

    Raises:
        RunError: The run holds rounds of other samples.
    """
    try:
        return run.next_attempt(samples, step)
    except RunError as error:
        if ours and run.former_status in OVER:  # nothing has happened to it: it stays what it was
            run.finish(run.former_status)
        elif ours and run.owned:
            run.finish("FAILED", describe(error))
        elif ours:
            run.release()
        raise
