"""Several sample sets: what each of them takes from `predictions`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from timelapse.names import DEFAULT_SET

if TYPE_CHECKING:
    from timelapse.config.model import PredictionsConfig, SetConfig


def set_configs(predictions: PredictionsConfig) -> dict[str, PredictionsConfig]:
    """Return the settings of every set by its name, that of the top-level fields first.

    Each is what a training with this set alone would be told: no further sets, and `sample_set` its name.
    """
    name = predictions.sample_set or DEFAULT_SET
    main = predictions.model_copy(update={"sets": {}, "sample_set": name})
    return {name: main, **further_sets(predictions)}


def further_sets(predictions: PredictionsConfig) -> dict[str, PredictionsConfig]:
    """Return the settings of the sets under `predictions.sets`, as `set_configs` does."""
    return {name: _completed(predictions, name, block) for name, block in predictions.sets.items()}


def _completed(predictions: PredictionsConfig, name: str, block: SetConfig) -> PredictionsConfig:
    """Return the settings of a set: what it says, and for the rest what `predictions` says.

    A samples file is never taken over, since two sets of the same samples would be one set; with a file of
    its own, a set does not take over how the other file is read, either.
    """
    said: dict[str, Any] = {key: getattr(block, key) for key in type(block).model_fields}
    own = ("samples_path", "format", "fields") if block.samples_path else ("samples_path",)
    said = {key: value for key, value in said.items() if value is not None or key in own}
    if said.get("sample_frequency", "steps") != "steps":
        said["step_interval"] = None
    return predictions.model_copy(update={**said, "sets": {}, "sample_set": name})
