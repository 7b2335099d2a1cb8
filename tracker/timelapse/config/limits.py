"""Limits on predictions that whoever runs the machine sets through `PREDICTIONS_*` variables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from timelapse.config.problems import describe
from timelapse.config.sets import further_sets
from timelapse.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from timelapse.config.model import PredictionsConfig

ENV_PREFIX = "PREDICTIONS_"


class Limits(BaseSettings):
    """What a single job may ask for. Every field is read from the environment when an object is made."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_ignore_empty=True, frozen=True)

    max_sample_count: int = Field(default=100, ge=1, description="Most samples in a round.")
    min_step_interval: int = Field(default=10, ge=1, description="Fewest training steps between rounds.")


def read_limits() -> Limits:
    """Return the limits that hold now.

    Raises:
        ConfigError: a `PREDICTIONS_*` variable is not a whole number of at least 1.
    """
    try:
        return Limits()
    except ValidationError as error:
        lines = [
            f"The environment variable {ENV_PREFIX}{str(problem.path[-1]).upper()}: {problem.text}. "
            "Correct it, or unset it to have the default."
            for problem in describe(error)
        ]
        raise ConfigError("\n".join(lines)) from None


def check_limits(predictions: PredictionsConfig, limits: Limits | None = None) -> None:
    """Check what a configuration asks for against the limits; predictions that are off ask for nothing.

    Args:
        predictions: What is asked for.
        limits: The limits; those of the environment, read now, if not given.

    Raises:
        ConfigError: a limit is passed. Names each field, its value, the limit, and the variable to set.
    """
    if not predictions.enabled:
        return
    limits = limits or read_limits()
    problems: list[str] = []
    for place, asked in _asked(predictions):
        problems += _passed(place, asked, limits)
    if problems:
        raise ConfigError("\n".join(problems))


def _asked(predictions: PredictionsConfig) -> Iterator[tuple[str, PredictionsConfig]]:
    """Yield what each sample set asks for, with the place where it is written."""
    yield "predictions", predictions
    for name, asked in further_sets(predictions).items():
        block = predictions.sets[name]
        # What a set takes from `predictions` is reported there, unless only the set makes it count.
        count = asked.sample_count if block.sample_count is not None else 1
        alike = block.step_interval is None and predictions.sample_frequency == "steps"
        changes = {"sample_count": count, "step_interval": None if alike else asked.step_interval}
        yield f"predictions.sets.{name}", asked.model_copy(update=changes)


def _passed(place: str, asked: PredictionsConfig, limits: Limits) -> Iterator[str]:
    count, interval = asked.sample_count, asked.step_interval
    if count > limits.max_sample_count:
        yield (
            f"{place}.sample_count: {count} is above the limit of {limits.max_sample_count}. "
            f"Lower it, or set {ENV_PREFIX}MAX_SAMPLE_COUNT={count}."
        )
    by_steps = asked.sample_frequency == "steps"
    if by_steps and interval is not None and interval < limits.min_step_interval:
        yield (
            f"{place}.step_interval: {interval} is below the limit of {limits.min_step_interval}. "
            f"Raise it, or set {ENV_PREFIX}MIN_STEP_INTERVAL={interval}."
        )
