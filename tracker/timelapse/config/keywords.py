"""The predictions' settings as keywords of a script."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from timelapse.config.model import PredictionsConfig
from timelapse.config.problems import describe
from timelapse.errors import ConfigError
from timelapse.fence import warn
from timelapse.hints import nearest
from timelapse.samples import SampleSet


def predictions_config(
    config: PredictionsConfig | None, settings: Mapping[str, Any], samples: Any = None
) -> PredictionsConfig:
    """Return the settings that a script gives, either as one object or as keywords.

    Args:
        config: The settings as one object.
        settings: The settings as keywords.
        samples: The samples that stand beside them.

    Raises:
        ConfigError: Both are given, a keyword is not known (with the nearest one that is), or a value is
            wrong or has no effect. A file keeps keys that are not known; a keyword in a script is a mistake.
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
    _check_samples(samples, settings)
    for name, block in found.sets.items():
        unknown = next(iter(block.model_extra or {}), None)
        if unknown is not None:
            fields = list(type(block).model_fields)
            raise ConfigError(
                f"predictions.sets.{name}: '{unknown}' is no setting of a sample set."
                f"{nearest(unknown, fields)} Known: {', '.join(fields)}."
            )
    return found


def _check_samples(samples: Any, settings: Mapping[str, Any]) -> None:
    """Tell of a keyword that the samples beside it leave without effect.

    Raises:
        ConfigError: Samples are given twice.
    """
    path = settings.get("samples_path")
    if path is not None and samples is not None and not isinstance(samples, Mapping):
        raise ConfigError(
            f"predictions.samples_path: {path} has no effect, because samples are given, too. Remove one."
        )
    asked = samples if samples is not None else path
    is_whole = isinstance(asked, str | os.PathLike | list | tuple | SampleSet)
    if is_whole and "sample_count" in settings:
        warn(
            f"predictions.sample_count: {settings['sample_count']} has no effect, because a file or list is "
            "used whole. Remove it, or draw: timelapse.load_samples(...).draw(count, seed)."
        )
