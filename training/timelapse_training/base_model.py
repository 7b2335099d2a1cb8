"""The base of a PEFT model: the same weights without what was trained beside them, and no second model.

Its answers are a sample set of their own, `<set>-base`, and not the round at step 0 of the set itself: that
one shows the model before this training, and an adapter may have been trained before. Under the one name
both would be one answer at one step; as a set the base has metrics of its own beside the training's
(`predictions/main-base/exact_match`), and no churn or forgetting is counted between it and the adapter.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from timelapse.errors import ConfigError
from timelapse.names import DEFAULT_SET, base_set_name
from timelapse.samples import SampleSet


class BaseModelError(ConfigError):
    """A model has no base that could answer; says why, and what to do."""


def base_set(samples: SampleSet) -> SampleSet:
    """Return the same samples as the set that the base model answers: `main-base` for `main`."""
    return replace(samples, name=base_set_name(samples.name or DEFAULT_SET))


@contextmanager
def base_weights(model: Any) -> Iterator[Any]:
    """Switch a PEFT model's adapters off, yield what answers as the base, and switch them on again.

    Modules that are trained as copies (`modules_to_save`) stand back for the originals. What peft changes
    on the way, which weights are trained and two methods, is put back.

    Raises:
        BaseModelError: See `check_base_model`.
    """
    check_base_model(model)
    if model.active_peft_config.is_prompt_learning:
        yield model.get_base_model()  # a whole model, that knows nothing of the prompt in front of it
        return
    trained = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    own = dict(vars(model))
    try:
        with model.disable_adapter():
            yield model
    finally:
        for parameter, requires_grad in trained:
            parameter.requires_grad_(requires_grad)
        for name in set(vars(model)) - set(own):
            del vars(model)[name]


def check_base_model(model: Any) -> None:
    """Check that switching a model's adapters off gives its base.

    Raises:
        BaseModelError: It has none, they are merged into the weights, or the base is trained with them.
    """
    if not hasattr(model, "disable_adapter") or not hasattr(model, "peft_config"):
        raise BaseModelError(
            "predictions.base_model: the model has no adapters of peft's that could be switched off. Its "
            "base is what answers at step 0: set baseline: true instead."
        )
    if model.active_peft_config.is_adaption_prompt:
        raise BaseModelError(
            "predictions.base_model: peft does not tell an adaption prompt's weights from the base's. Remove "
            "it: a new adaption prompt changes no answer, so the base is what answers at step 0."
        )
    if not model.active_peft_config.is_prompt_learning:
        _check_layers(model)
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    adapters = set(model.peft_config)
    trained = [name for name in names if not adapters & set(name.split("."))]
    if trained:
        raise BaseModelError(
            f"predictions.base_model: {len(trained)} weights of the base are trained, too ({trained[0]}), so "
            "that it is no longer there. Freeze them (bias='none'), or list their modules in modules_to_save."
        )


def _check_layers(model: Any) -> None:
    status = model.get_model_status()
    if status.merged_adapters:
        raise BaseModelError(
            "predictions.base_model: an adapter is merged into the base's weights. Call unmerge_adapter() "
            "before the training."
        )
    if status.enabled is not True:
        raise BaseModelError(
            "predictions.base_model: some layers of the adapters are switched off, and would be switched on "
            "by it. Call enable_adapter_layers() before the training."
        )
