"""Which samples a training is asked: a whole file, or a draw from a data set."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

from timelapse.config.limits import ENV_PREFIX, check_limits, read_limits
from timelapse.config.sets import set_configs
from timelapse.errors import ConfigError, SampleError
from timelapse.fence import warn
from timelapse.formats.loading import load_samples
from timelapse.formats.sources import describe
from timelapse.samples import Sample, SampleSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from timelapse.config.model import PredictionsConfig


@dataclass(frozen=True, slots=True)
class ChosenSet:
    """A sample set with the settings of its rounds."""

    samples: SampleSet
    """What is asked."""
    config: PredictionsConfig
    """When and how; `sample_set` is the set's name."""


def select_sets(source: Any, config: PredictionsConfig) -> list[ChosenSet]:
    """Return the sample sets of a training, the main one first.

    Args:
        source: The samples of the main set, as `select_samples` takes them; or a mapping of such by the name
            of their set, those of `config.sets` or others, which follow the settings of `config` itself.
            Where nothing is given, the `samples_path` of `config` or of the set is read.
        config: The settings.

    Raises:
        SampleError: Samples cannot be read.
        ConfigError: There are no samples, or none for a set that is configured.
    """
    if isinstance(source, SampleSet) and config.sample_set is None and source.name not in config.sets:
        config = config.model_copy(update={"sample_set": source.name})
    configs = set_configs(config)
    main = next(iter(configs))
    sources = dict(source) if isinstance(source, Mapping) else {} if source is None else {main: source}
    chosen = []
    for name in dict.fromkeys((*configs, *sources)):
        told = configs.get(name) or configs[main].model_copy(update={"sample_set": name})
        samples = sources.get(name, told.samples_path if name in configs else None)
        if samples is None and name == main:
            continue  # it may be left out where there are others
        if samples is None:
            raise ConfigError(
                f"predictions.sets.{name}: has no samples. Give it a samples_path, or pass them: "
                f"PredictionsCallback(samples={{'{name}': ...}})."
            )
        chosen.append(ChosenSet(replace(select_samples(samples, told), name=name), told))
    if not chosen:
        raise ConfigError(
            "PredictionsCallback has no samples: pass samples='eval.jsonl', a list of rows, or your "
            "evaluation data set."
        )
    for one, other in combinations(chosen, 2):
        if one.samples.fingerprint == other.samples.fingerprint and len(one.samples):
            warn(f"The sets '{one.samples.name}' and '{other.samples.name}' ask the same samples.")
    return chosen


def select_samples(
    source: Any, config: PredictionsConfig, *, tools: Sequence[Mapping[str, Any]] = (), seed: int = 0
) -> SampleSet:
    """Return the sample set for a training.

    A path, list or `SampleSet` is an explicit choice and used whole, up to the limit
    `PREDICTIONS_MAX_SAMPLE_COUNT`. From a data set (a table with more rows than anybody wants to read)
    `sample_count` samples are drawn with a generator of our own. Rows that cannot be used are reported in one
    warning.

    Args:
        source: A path, a list of rows or samples, a `SampleSet`, a pandas frame or a `datasets.Dataset`.
        config: Says how many samples to draw, and how rows are read.
        tools: Functions for samples that bring none of their own.
        seed: Seed of the draw, unless the configuration has one.

    Raises:
        SampleError: The source cannot be read, or holds more samples than the limit.
        ConfigError: The configuration is beyond its limits.
    """
    limits = read_limits()
    # How often rounds happen is limited for jobs (`timelapse train`), not for the author of a script.
    check_limits(config, limits.model_copy(update={"min_step_interval": 1}))
    if isinstance(source, SampleSet):
        if len(source) > limits.max_sample_count:
            raise SampleError(
                f"{describe(source)} holds {len(source)} samples, more than the limit of "
                f"{limits.max_sample_count}. Pass fewer, or set {ENV_PREFIX}MAX_SAMPLE_COUNT to allow more."
            )
        if not len(source) and config.enabled:
            raise SampleError(
                f"The sample set '{source.name}' is empty: give it at least one sample, or set enabled=False."
            )
        return source
    explicit = isinstance(source, str | os.PathLike | list | tuple)
    limit = limits.max_sample_count if explicit else None
    samples = load_samples(
        source, format=config.format, fields=config.fields, tools=tools or None, limit=limit
    )
    if samples.report and samples.report.skipped:
        warn(f"Some rows are no usable samples. {samples.report}")
    return samples if explicit else draw_samples(samples, config, seed)


def draw_samples(samples: SampleSet, config: PredictionsConfig, seed: int) -> SampleSet:
    """Return `sample_count` of the samples, in their order."""
    return samples.draw(config.sample_count, config.seed if config.seed is not None else seed)


def unique_samples(samples: Iterable[Sample]) -> SampleSet:
    """Return examples as a sample set: of those that ask the same, the first."""
    first: dict[str, Sample] = {}
    for sample in samples:
        first.setdefault(sample.sample_id, sample)
    return SampleSet(tuple(first.values()))


def hold_out(samples: Sequence[Sample], fraction: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Split examples into those to train on and a share held out, by a draw with a generator of our own.

    Examples that ask the same go to the same side: nothing held out has been trained on.

    Raises:
        ConfigError: All examples ask the same, so that one side would be empty.
    """
    inputs = sorted({sample.sample_id for sample in samples})
    if len(inputs) < 2:
        raise ConfigError(
            f"data.eval_fraction: nothing can be held out of data.train, because all of its examples "
            f"({len(samples)}) ask the same. Give data.eval, or remove data.eval_fraction."
        )
    count = max(1, round(len(inputs) * fraction))
    chosen = random.Random(seed).sample(inputs, min(count, len(inputs) - 1))  # noqa: S311 - not secret
    held_out = set(chosen)
    return (
        [sample for sample in samples if sample.sample_id not in held_out],
        [sample for sample in samples if sample.sample_id in held_out],
    )
