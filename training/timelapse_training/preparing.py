"""What comes before the first step, for the callback and for a loop of one's own alike."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from timelapse.errors import ConfigError, RunError
from timelapse.fence import describe
from timelapse.samples import SampleSet
from timelapse.selection import select_samples
from timelapse_training.generation import GenerationSettings

if TYPE_CHECKING:
    import torch

    from timelapse.config.model import PredictionsConfig
    from timelapse.run import TrainingRun


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
        if ours and run.owned:
            run.finish("FAILED", describe(error))
        elif ours:
            run.release()
        raise
