"""Counting the tokens of a training before it: with its tokenizer and its data, without its model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from timelapse.plan import Counts
from timelapse.round_cost import SetCounts
from timelapse_training.arguments import check_names
from timelapse_training.data import choose_sets, read_data
from timelapse_training.loading import ModelSource, load_tokenizer, training_rows
from timelapse_training.prompts import encode

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from timelapse.config.model import Config
    from timelapse.samples import Sample, SampleSet
    from timelapse_training.prompts import Template


@dataclass(frozen=True, slots=True)
class Counted:
    """A training as far as it can be had without its model."""

    counts: Counts
    """Its rows and tokens."""
    source: ModelSource
    """Where the model is."""
    tokenizer: PreTrainedTokenizerBase
    """Its tokenizer."""
    rows: Dataset
    """The tokenised rows of the training."""
    samples: SampleSet | None
    """The samples of the first set; None if predictions are switched off."""


def count_training(config: Config, *, ranks: int = 1) -> Counted:
    """Return the rows and tokens of a training, read and tokenised as `timelapse train` will do it.

    Args:
        config: The configuration.
        ranks: Processes that will train together.

    Raises:
        ConfigError: The tokenizer cannot be loaded, or no row is left.
        SampleError: The data cannot be read.
    """
    check_names(config)
    source = ModelSource(config.model)
    data = read_data(config)
    chosen = choose_sets(config, data) or {}
    tokenizer = load_tokenizer(source, config)
    rows = data.tokenised(tokenizer, config, "train")
    assert rows is not None  # no data at all is an error of reading
    template = config.predictions.template
    sets = tuple(count_set(tokenizer, samples, template) for samples in chosen.values())
    counts = Counts(len(rows), sum(map(len, rows["input_ids"])), sets, ranks)
    return Counted(counts, source, tokenizer, rows, next(iter(chosen.values()), None))


def count_set(tokenizer: PreTrainedTokenizerBase, samples: SampleSet, template: Template) -> SetCounts:
    """Return the tokens of a sample set: of each prompt and each reference."""
    return SetCounts(
        tuple(len(encode(tokenizer, sample, template).token_ids) for sample in samples),
        tuple(_reference_tokens(tokenizer, sample, template) for sample in samples),
        samples.name,
    )


def _reference_tokens(tokenizer: PreTrainedTokenizerBase, sample: Sample, template: Template) -> int | None:
    """Return the tokens that a model writes that has learned this answer, its end included."""
    if sample.reference is None:
        return None
    [row] = training_rows(tokenizer, [sample], template=template, max_length=None).dataset
    return int(sum(label != -100 for label in row["labels"]))
