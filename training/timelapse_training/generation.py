"""Generation: a model's answers to a set of samples, as one round."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from timelapse.names import DEFAULT_SET
from timelapse.rounds import Round, Trigger
from timelapse.samples import Sample, SampleSet
from timelapse_training.answering import Answering, PromptTooLongError, error_row
from timelapse_training.base_model import base_weights
from timelapse_training.capacity import mixed_precision
from timelapse_training.memory import BatchLimits
from timelapse_training.prompts import text_tokenizer
from timelapse_training.reference_loss import ReferenceLoss
from timelapse_training.settings import GenerationSettings
from timelapse_training.state import inference_state

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["GenerationSettings", "PromptTooLongError", "failed_round", "generate"]


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    samples: SampleSet | Sequence[Sample],
    settings: GenerationSettings | None = None,
    *,
    step: int = 0,
    epoch: float | None = None,
    trigger: Trigger = "manual",
    base_model: bool = False,
    limits: BatchLimits | None = None,
) -> Round:
    """Let a model answer samples, and return the round: a row for each sample, in their order.

    Model, tokenizer and random generators are afterwards as they were, in the middle of a training too.
    A sample that cannot be answered has status `error` and says why; the others are not affected. Where
    memory runs out, batches are halved; where a single sample does not fit, the round is given up there.

    Args:
        model: A causal or encoder-decoder model with `generate`, PEFT models included; not wrapped for
            distributed training.
        tokenizer: Its tokenizer or processor; padding side and pad token do not matter.
        samples: What to answer. Of several generations all rows of a sample stand together.
        settings: How to decode; greedy by default.
        step: The trainer's global step, stored in the round.
        epoch: Passes over the training data so far, stored in the round.
        trigger: What caused the round, stored in it.
        base_model: Let the base of a PEFT model answer, its adapters switched off meanwhile.
        limits: What earlier rounds found to fit into memory; kept up to date.

    Raises:
        BaseModelError: `base_model`, and there is no base to be had; says why.
    """
    settings = settings or GenerationSettings()
    limits = limits or BatchLimits()
    started = time.perf_counter()
    with (
        inference_state(model, settings.autocast or mixed_precision(model)),
        base_weights(model) if base_model else nullcontext(model) as answerer,
    ):
        torch.manual_seed(settings.seed)
        answering = Answering(answerer, text_tokenizer(tokenizer), settings)
        prompts = answering.prompts(samples)
        rows = answering.rows(samples, prompts, limits.answers, f"predictions at step {step}")
        if settings.reference_nll:
            answered = {row.sample_id for row in rows if row.status == "ok"}  # what fails there fails here
            asked = [sample for sample in samples if sample.sample_id in answered]
            losses = ReferenceLoss(answering, limits.references).by_sample(asked, prompts)
            rows = [replace(row, reference_nll=losses.get(row.sample_id)) for row in rows]
    return Round(
        step,
        tuple(rows),
        epoch=epoch,
        trigger=trigger,
        set_name=samples.name if isinstance(samples, SampleSet) else DEFAULT_SET,
        seconds=time.perf_counter() - started,
    )


def failed_round(
    samples: SampleSet,
    error: BaseException,
    *,
    step: int,
    epoch: float | None,
    trigger: Trigger,
    generations: int = 1,
) -> Round:
    """Return the round of a pass that failed as a whole: a row for each answer wanted, with the error."""
    rows = tuple(
        error_row(sample.sample_id, error, generation)
        for sample in samples
        for generation in range(generations)
    )
    return Round(step, rows, epoch=epoch, trigger=trigger, set_name=samples.name)
