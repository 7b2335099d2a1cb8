"""What is not wrong in a configuration, but has no effect: said, never dropped in silence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from timelapse.config.lora import LIFTED
from timelapse.config.model import Config, SetConfig
from timelapse.config.problems import dotted
from timelapse.hints import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator


_SHORT_FORMS = {"lr": ("training", "learning_rate"), "epochs": ("training", "num_train_epochs")}
"""What people write for names that are spelled quite differently."""


def unknown_keys(
    data: Mapping[str, Any], model: type[BaseModel] = Config, path: tuple[str, ...] = ()
) -> Iterator[str]:
    """Yield a sentence for every key that is not known, of a configuration that may be wrong elsewhere.

    Args:
        data: The configuration as it is written, or a block of it.
        model: What it should be.
        path: Where the block stands.
    """
    for key in data:
        if isinstance(key, str) and key not in model.model_fields:
            name = dotted((*path, key))
            yield f"{name} is not known and is not used; it is kept in the stored config.{_hint(key, path)}"
    for name, field in model.model_fields.items():
        block, section = data.get(name), _section(field.annotation)
        if section is None or not isinstance(block, Mapping):
            continue
        if section is SetConfig:
            for set_name, each in block.items():
                if isinstance(each, Mapping):
                    yield from unknown_keys(each, section, (*path, name, set_name))
        else:
            yield from unknown_keys(block, section, (*path, name))


def values_without_effect(config: Config) -> Iterator[str]:
    """Yield a sentence for every value of a configuration that has no effect."""
    predictions = config.predictions
    if predictions.step_interval is not None and predictions.sample_frequency != "steps":
        yield (
            "predictions.step_interval has no effect: "
            f"sample_frequency is {predictions.sample_frequency}, not steps."
        )
    for name, block in predictions.sets.items():
        yield from _without_effect_in_set(f"predictions.sets.{name}", block, predictions.sample_frequency)
    training = config.training
    if training.eval_steps is not None and training.eval_strategy != "steps":
        yield f"training.eval_steps has no effect: eval_strategy is {training.eval_strategy}, not steps."
    # A stored configuration writes out every field, so there none of them says what somebody wants.
    explicit = predictions.model_fields_set
    if predictions.samples_path and not explicit >= type(predictions).model_fields.keys():
        for name in ("sample_count", "samples_from"):
            if name in explicit:
                yield f"predictions.{name} has no effect: the file samples_path is used whole."


def _hint(key: str, path: tuple[str, ...]) -> str:
    names = _known_names()
    elsewhere = [(*place, key) for place, known in names.items() if key in known]
    if key in _SHORT_FORMS:
        elsewhere = [_SHORT_FORMS[key]]
    if elsewhere:
        places = " or ".join(f"'{dotted(place)}'" for place in elsewhere)
        return f" Did you mean {places}?"
    known = names[path] if path in names else list(SetConfig.model_fields)
    near = nearest(key, known)
    if near:
        return near
    if path == ("training",):
        return " Other arguments of Transformers and TRL go under training.arguments."
    return ""


def _known_names() -> dict[tuple[str, ...], list[str]]:
    names: dict[tuple[str, ...], list[str]] = {(): list(Config.model_fields)}
    for name, field in Config.model_fields.items():
        if (section := _section(field.annotation)) is not None:
            names[(name,)] = list(section.model_fields)
    names[("training",)] += LIFTED
    return names


def _section(annotation: object) -> type[BaseModel] | None:
    """Return the model that a field holds: one, perhaps none, or one for each name."""
    kinds = getattr(annotation, "__args__", None) or (annotation,)
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _without_effect_in_set(place: str, block: SetConfig, inherited: str) -> Iterator[str]:
    frequency = block.sample_frequency or inherited
    if block.step_interval is not None and frequency != "steps":
        yield f"{place}.step_interval has no effect: sample_frequency is {frequency}, not steps."
    for name in ("sample_count", "samples_from"):
        if block.samples_path and getattr(block, name) is not None:
            yield f"{place}.{name} has no effect: the file samples_path is used whole."
