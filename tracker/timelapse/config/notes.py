"""What is not wrong in a configuration, but has no effect: said, never dropped in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel

from timelapse.config.lora import LIFTED
from timelapse.config.model import Config, SetConfig
from timelapse.config.problems import dotted
from timelapse.hints import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator


_SHORT_FORMS = {"lr": ("training", "learning_rate"), "epochs": ("training", "num_train_epochs")}
"""What people write for names that are spelled quite differently."""


def notes_on(config: Config) -> tuple[str, ...]:
    """Return a sentence for every key that is not known and every value that has no effect."""
    return (*_unknown(config, ()), *_without_effect(config))


def _unknown(model: BaseModel, path: tuple[str, ...]) -> Iterator[str]:
    for key in model.model_extra or {}:
        name = dotted((*path, key))
        yield f"{name} is not known and is not used; it is kept in the stored config.{_hint(key, path)}"
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _unknown(value, (*path, name))
        if name == "sets" and isinstance(value, dict):
            for set_name, block in value.items():
                yield from _unknown(block, (*path, name, set_name))


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
        section = next((kind for kind in _kinds(field.annotation) if isinstance(kind, type)), None)
        if section is not None and issubclass(section, BaseModel):
            names[(name,)] = list(section.model_fields)
    names[("training",)] += LIFTED
    return names


def _kinds(annotation: object) -> tuple[object, ...]:
    return getattr(annotation, "__args__", None) or (annotation,)


def _without_effect(config: Config) -> Iterator[str]:
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


def _without_effect_in_set(place: str, block: SetConfig, inherited: str) -> Iterator[str]:
    frequency = block.sample_frequency or inherited
    if block.step_interval is not None and frequency != "steps":
        yield f"{place}.step_interval has no effect: sample_frequency is {frequency}, not steps."
    for name in ("sample_count", "samples_from"):
        if block.samples_path and getattr(block, name) is not None:
            yield f"{place}.{name} has no effect: the file samples_path is used whole."
