"""The predictions' settings as keywords of a script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from timelapse.config.model import PredictionsConfig
from timelapse.config.problems import describe
from timelapse.errors import ConfigError
from timelapse.hints import nearest


def predictions_config(config: PredictionsConfig | None, settings: Mapping[str, Any]) -> PredictionsConfig:
    """Return the settings that a script gives, either as one object or as keywords.

    Raises:
        ConfigError: Both are given, a keyword is not known (with the nearest one that is), or a value is
            wrong. A file keeps keys that are not known; a keyword in a script is a mistake.
    """
    if config is not None and settings:
        raise ConfigError(
            f"Give either config or keywords, not both: {', '.join(settings)}. To change a field of a "
            "configuration, use config.model_copy(update={...})."
        )
    if config is not None:
        return config
    known = list(PredictionsConfig.model_fields)
    for name in settings:
        if name not in known:
            raise ConfigError(
                f"'{name}' is no setting of predictions.{nearest(name, known)} Known: {', '.join(known)}."
            )
    try:
        found = PredictionsConfig(**settings)
    except ValidationError as error:
        raise ConfigError("\n".join(f"predictions.{problem}" for problem in describe(error))) from None
    if found.step_interval is not None and found.sample_frequency != "steps":
        raise ConfigError(
            f"predictions.step_interval: {found.step_interval} has no effect while sample_frequency is "
            f"'{found.sample_frequency}'. Add sample_frequency='steps'."
        )
    for name, block in found.sets.items():
        unknown = next(iter(block.model_extra or {}), None)
        if unknown is not None:
            fields = list(type(block).model_fields)
            raise ConfigError(
                f"predictions.sets.{name}: '{unknown}' is no setting of a sample set."
                f"{nearest(unknown, fields)} Known: {', '.join(fields)}."
            )
    return found
