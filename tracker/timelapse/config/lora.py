"""One `lora` block from the two places where its values may stand: `lora.r` and `training.lora_r`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from timelapse.config.problems import Problem, show

LIFTED = {
    "use_lora": "enabled",
    "lora_r": "r",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "lora_target_modules": "target_modules",
}
"""What `training` may hold of LoRA, and what it is called in the `lora` block."""

_IN_TRAINING = {field: key for key, field in LIFTED.items()}
_SWITCH = TypeAdapter(bool)


@dataclass(frozen=True, slots=True)
class Lifted:
    """A raw configuration whose LoRA values all stand in one block."""

    data: dict[str, Any]
    """The configuration: `lora` is a complete block or absent, `training` has no LoRA values."""
    origins: Mapping[str, str]
    """For a field of the block that came from `training`: the key it had there."""
    notes: tuple[str, ...] = ()
    """What the user should know: values that are there but switched off."""
    problems: tuple[Problem, ...] = ()
    """What is wrong; the block is then left out of `data`."""


def lift_lora(data: Mapping[str, Any]) -> Lifted:
    """Move `training.lora_*` and `training.use_lora` into the top-level `lora` block.

    There is a block only if LoRA is on, and then it has both `r` and `alpha`. Lifting twice changes nothing.
    """
    training, lora = _block(data.get("training")), _block(data.get("lora"))
    if training is None or lora is None:  # no mapping: for the model to complain about
        return Lifted(dict(data), {})
    above = {LIFTED[key]: value for key, value in training.items() if key in LIFTED and value is not None}
    own = {key: value for key, value in lora.items() if value is not None or key not in _IN_TRAINING}
    merged = above | own
    origins = {field: _IN_TRAINING[field] for field in above if field not in own}
    rest = {key: value for key, value in data.items() if key != "lora"}
    if "training" in data:
        rest["training"] = {key: value for key, value in training.items() if key not in LIFTED}

    enabled, problems = _switch(above, own)
    if not problems and merged and not enabled:
        return Lifted(rest, origins, notes=_off_note(merged, origins))
    problems += _differing(above, own)
    problems += _missing(merged, origins) if merged else []
    if problems or not merged:
        return Lifted(rest, origins, problems=tuple(problems))
    return Lifted(rest | {"lora": merged}, origins)


def _block(value: Any) -> dict[str, Any] | None:
    if value is None:
        return {}
    if isinstance(value, bool):
        return {"enabled": value}
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_unset=True)
    return dict(value) if isinstance(value, Mapping) else None


def _name(field: str, in_training: bool) -> str:
    return f"training.{_IN_TRAINING[field]}" if in_training else f"lora.{field}"


def _switch(above: Mapping[str, Any], own: Mapping[str, Any]) -> tuple[bool, list[Problem]]:
    values, problems = set(), []
    for block, path in ((above, ("training", "use_lora")), (own, ("lora", "enabled"))):
        if "enabled" not in block:
            continue
        try:
            values.add(_SWITCH.validate_python(block["enabled"]))
        except ValidationError:
            problems.append(Problem(path, f"expected true or false, got {show(block['enabled'])}"))
    if len(values) > 1:
        text = (
            f"says {show(above['enabled'])}, but lora.enabled says {show(own['enabled'])}. Remove one of them"
        )
        problems.append(Problem(("training", "use_lora"), text))
    return values != {False}, problems


def _differing(above: Mapping[str, Any], own: Mapping[str, Any]) -> list[Problem]:
    return [
        Problem(
            ("training", _IN_TRAINING[field]),
            f"says {show(value)}, but lora.{field} says {show(own[field])}. Remove one of them",
        )
        for field, value in above.items()
        if field != "enabled" and field in own and own[field] != value
    ]


def _missing(merged: Mapping[str, Any], origins: Mapping[str, str]) -> list[Problem]:
    in_training = bool(origins)
    given = ", ".join(_name(field, field in origins) for field in merged)
    switch = "training.use_lora" if in_training else "lora.enabled"
    return [
        Problem(
            ("training", _IN_TRAINING[field]) if in_training else ("lora", field),
            f"is missing. LoRA needs both r and alpha, and {given or 'an empty block'} is there. "
            f"Set it, or switch LoRA off with {switch}: false",
        )
        for field in ("r", "alpha")
        if field not in merged
    ]


def _off_note(merged: Mapping[str, Any], origins: Mapping[str, str]) -> tuple[str, ...]:
    unused = [_name(field, field in origins) for field in merged if field != "enabled"]
    if not unused:
        return ()
    switch = _name("enabled", "enabled" in origins)
    return (f"LoRA is switched off ({switch}: false), so {', '.join(unused)} is not used and not stored.",)
