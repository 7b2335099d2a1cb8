"""The data of a configured training: read, split, and turned into tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from timelapse.errors import ConfigError
from timelapse.fence import warn
from timelapse.formats.loading import read_examples
from timelapse.samples import Sample, SampleSet
from timelapse.selection import draw_samples, hold_out, select_samples, unique_samples
from timelapse_training.loading import training_rows
from timelapse_training.session import say

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from timelapse.config.model import Config


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The examples of a training."""

    train: list[Sample]
    """What the model learns from."""
    eval: list[Sample]
    """What it is evaluated on; empty if there is no evaluation data."""

    def tokenised(
        self, tokenizer: PreTrainedTokenizerBase, config: Config, split: Literal["train", "eval"]
    ) -> Dataset | None:
        """Return a split as tokens with the loss on the answer only, or None if it is empty."""
        samples = self.train if split == "train" else self.eval
        if not samples:
            return None
        limit = config.training.max_length
        rows = training_rows(tokenizer, samples, template=config.data.template, max_length=limit)
        if rows.cut or rows.dropped:
            warn(
                f"data.{split}: {rows.cut} answers were cut at training.max_length = {limit} tokens, "
                f"{rows.dropped} examples are left out (no answer, or the prompt alone is that long)."
            )
        return rows.dataset


def read_data(config: Config) -> TrainingData:
    """Return the examples of training and evaluation."""
    train = _read(config, config.data.train)
    if config.data.eval:
        return TrainingData(train, _read(config, config.data.eval))
    if config.data.eval_fraction:
        return split_off(train, config.data.eval_fraction, config.seed)
    return TrainingData(train, [])


def split_off(samples: list[Sample], fraction: float, seed: int) -> TrainingData:
    """Hold a share of the examples out for evaluation; see `timelapse.selection.hold_out`."""
    return TrainingData(*hold_out(samples, fraction, seed))


def choose_samples(config: Config, data: TrainingData) -> SampleSet | None:
    """Return the samples of the rounds, or None if predictions are switched off.

    A samples file is used whole; else samples are drawn from the evaluation data, or from the training
    data where the configuration says so.
    """
    predictions = config.predictions
    if not predictions.enabled:
        return None
    if predictions.samples_path:
        samples = select_samples(predictions.samples_path, predictions, tools=config.tools, seed=config.seed)
    else:
        samples = draw_samples(_pool(config, data), predictions, config.seed)
    if predictions.samples_path or predictions.samples_from == "eval":
        _warn_of_overlap(samples, data.train)
    return samples


def _pool(config: Config, data: TrainingData) -> SampleSet:
    pool = data.train if config.predictions.samples_from == "train" else data.eval
    if not pool:
        raise ConfigError(
            "predictions: there is no evaluation data to draw samples from. Give data.eval, "
            "data.eval_fraction or predictions.samples_path; or set predictions.samples_from: train to "
            "watch examples that the model is trained on."
        )
    unique = unique_samples(pool)
    if len(unique) < len(pool):
        warn(
            f"{len(pool) - len(unique)} of {len(pool)} examples ask the same as an earlier one. They are "
            "left out of the pool that samples are drawn from; training uses them."
        )
    return unique


def _warn_of_overlap(samples: SampleSet, train: list[Sample]) -> None:
    trained = {sample.sample_id for sample in train}
    shared = sum(sample.sample_id in trained for sample in samples)
    if shared:
        warn(
            f"{shared} of {len(samples)} samples are in the training data, too: their scores show "
            "memory, not learning. Training goes on with them."
        )


def _read(config: Config, path: str) -> list[Sample]:
    samples, report = read_examples(
        path, format=config.data.format, fields=config.data.fields, tools=config.tools or None
    )
    say(str(report))
    return samples
