"""The files of a configuration (training and evaluation data, samples), read as the trainer reads them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from timelapse.config.limits import read_limits
from timelapse.config.problems import Problem
from timelapse.formats.loading import load_samples, read_examples
from timelapse.selection import draw_samples, hold_out, unique_samples

if TYPE_CHECKING:
    from timelapse.config.findings import Findings
    from timelapse.config.model import DataConfig, PredictionsConfig
    from timelapse.samples import Sample, SampleSet


def check_examples(found: Findings, data: DataConfig) -> tuple[list[Sample] | None, list[Sample] | None]:
    """Return what is trained on and what is evaluated on; None where it cannot be read."""
    train = _read(found, data, "train", data.train)
    if train is not None and not answered(train):
        text = f"none of its {len(train)} examples has an answer, so there is nothing to learn. Give answers"
        found.problems.append(Problem(("data", "train"), text))
    if not (found.knows("data", "eval") and found.knows("data", "eval_fraction")):
        return train, None
    if data.eval is not None:
        return train, _read(found, data, "eval", data.eval)
    if train is None or data.eval_fraction is None:
        return train, [] if data.eval_fraction is None else None
    seed = found.reading.config.seed if found.reading.config else 0
    return found.attempt(partial(hold_out, train, data.eval_fraction, seed)) or (train, None)


def _read(found: Findings, data: DataConfig, split: str, path: str) -> list[Sample] | None:
    name = f"data.{split}"
    read = partial(read_examples, path, format=data.format, fields=data.fields, tools=_tools(found))
    read_rows = found.attempt(read, ("data", split))
    if read_rows is None:
        return None
    samples, report = read_rows
    found.report(name, report)
    missing = len(samples) - answered(samples)
    if missing and missing < len(samples):
        found.notes.append(f"{name}: {missing} of {len(samples)} examples have no answer and are left out.")
    return samples


def check_samples(
    found: Findings,
    predictions: PredictionsConfig,
    train: list[Sample] | None,
    held_out: list[Sample] | None,
    place: tuple[str, ...] = ("predictions",),
) -> SampleSet | None:
    """Return the samples of a set as the trainer will choose them, or None if there are none.

    `predictions` is what counts for this set, `place` where its own block stands.
    """
    if not (found.knows(*place, "samples_path") and found.knows(*place, "samples_from")):
        return None
    if predictions.samples_path is not None:
        limits = found.attempt(read_limits)
        load = partial(
            load_samples,
            predictions.samples_path,
            format=predictions.format,
            fields=predictions.fields,
            tools=_tools(found),
            limit=limits.max_sample_count if limits else None,
        )
        samples = found.attempt(load, (*place, "samples_path"))
        found.report(".".join((*place, "samples_path")), samples.report if samples else None)
    else:
        pool = train if predictions.samples_from == "train" else held_out
        if pool is None:
            return None
        if not pool:
            text = (
                "there is no evaluation data to draw samples from. Give data.eval, data.eval_fraction or "
                f"{'.'.join(place)}.samples_path; or set {'.'.join(place)}.samples_from: train"
            )
            found.problems.append(Problem(place, text))
            return None
        seed = found.reading.config.seed if found.reading.config else 0
        samples = draw_samples(unique_samples(pool), predictions, seed)
    if samples and train and (predictions.samples_path or predictions.samples_from == "eval"):
        _note_overlap(found, samples, train)
    return samples


def _note_overlap(found: Findings, samples: SampleSet, train: Sequence[Sample]) -> None:
    trained = {sample.sample_id for sample in train}
    shared = sum(sample.sample_id in trained for sample in samples)
    if shared:
        found.notes.append(
            f"predictions: {shared} of {len(samples)} samples are in the training data, too: their scores "
            "show memory, not learning."
        )


def answered(samples: Sequence[Sample]) -> int:
    """Return how many examples have an answer."""
    return sum(sample.reference is not None for sample in samples)


def _tools(found: Findings) -> list[dict[str, Any]] | None:
    config = found.reading.config
    return (config.tools or None) if config else None
