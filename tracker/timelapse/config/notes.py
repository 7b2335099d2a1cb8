"""What is not wrong in a configuration, but has no effect: said, never dropped in silence."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from pydantic import BaseModel

from timelapse.config.lora import LIFTED
from timelapse.config.model import Config
from timelapse.config.problems import dotted

if TYPE_CHECKING:
    from collections.abc import Iterator


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


def _hint(key: str, path: tuple[str, ...]) -> str:
    names = _known_names()
    near = get_close_matches(key, names[path], n=1)
    if near:
        return f" Did you mean {near[0]}?"
    elsewhere = [(*place, key) for place, known in names.items() if key in known]
    if elsewhere:
        return f" Did you mean {' or '.join(dotted(place) for place in elsewhere)}?"
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
