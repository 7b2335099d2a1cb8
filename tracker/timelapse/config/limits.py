"""Limits on predictions that whoever runs the machine sets through `PREDICTIONS_*` variables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from timelapse.config.problems import describe
from timelapse.errors import ConfigError

if TYPE_CHECKING:
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
    problems = []
    count, interval = predictions.sample_count, predictions.step_interval
    if count > limits.max_sample_count:
        problems.append(
            f"predictions.sample_count: {count} is above the limit of {limits.max_sample_count}. "
            f"Lower it, or set {ENV_PREFIX}MAX_SAMPLE_COUNT={count}."
        )
    if (
        predictions.sample_frequency == "steps"
        and interval is not None
        and interval < limits.min_step_interval
    ):
        problems.append(
            f"predictions.step_interval: {interval} is below the limit of {limits.min_step_interval}. "
            f"Raise it, or set {ENV_PREFIX}MIN_STEP_INTERVAL={interval}."
        )
    if problems:
        raise ConfigError("\n".join(problems))
