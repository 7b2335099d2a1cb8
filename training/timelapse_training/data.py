"""The data of a configured training: read, split, and turned into tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from timelapse.config.sets import set_configs
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

    from timelapse.config.model import Config, PredictionsConfig


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


def choose_sets(config: Config, data: TrainingData) -> dict[str, SampleSet] | None:
    """Return the samples of all sets by name, the main one first, or None if predictions are switched off.

    A samples file is used whole; else samples are drawn from the evaluation data, or from the training
    data where the configuration says so. Where there are further sets, the main one is left out, with a
    warning, if it has no samples file and there is no evaluation data to draw it from.
    """
    predictions = config.predictions
    if not predictions.enabled:
        return None
    sets: dict[str, SampleSet] = {}
    for name, told in set_configs(predictions).items():
        further = name in predictions.sets
        if not further and predictions.sets and not told.samples_path and not _examples(told, data):
            warn(
                f"There is no evaluation data to draw the samples of set '{name}' from: the rounds are those "
                f"of predictions.sets alone ({', '.join(predictions.sets)})."
            )
            continue
        place = f"predictions.sets.{name}" if further else "predictions"
        sets[name] = replace(_chosen(config, data, told, place), name=name)
    return sets


def _chosen(config: Config, data: TrainingData, told: PredictionsConfig, place: str) -> SampleSet:
    if told.samples_path:
        samples = select_samples(told.samples_path, told, tools=config.tools, seed=config.seed)
    else:
        samples = draw_samples(_pool(told, data, place), told, config.seed)
    if told.samples_path or told.samples_from == "eval":
        _warn_of_overlap(samples, data.train)
    return samples


def _examples(told: PredictionsConfig, data: TrainingData) -> list[Sample]:
    return data.train if told.samples_from == "train" else data.eval


def _pool(told: PredictionsConfig, data: TrainingData, place: str) -> SampleSet:
    pool = _examples(told, data)
    if not pool:
        raise ConfigError(
            f"{place}: there is no evaluation data to draw samples from. Give data.eval, "
            f"data.eval_fraction or {place}.samples_path; or set {place}.samples_from: train to "
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
