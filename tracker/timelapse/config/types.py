"""Types of configuration fields: what YAML and people write for them, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

from timelapse.errors import ConfigError, SampleError
from timelapse.formats.adapters import FORMATS
from timelapse.formats.fields import FieldMapping
from timelapse.hints import nearest
from timelapse.scoring.scorer import make_scorers
from timelapse.scoring.validators import read_spec

T = TypeVar("T")


def _not_bool(value: Any) -> Any:
    # Python counts True as 1, so `learning_rate: yes` would train with a rate of 1.
    if isinstance(value, bool):
        raise ValueError(f"expected a number, got {str(value).lower()}")
    return value


def _steps_or_ratio(value: float) -> float:
    if value < 1:
        return value
    if value != int(value):
        raise ValueError(f"expected a whole number of steps, or a ratio below 1, got {value}")
    return int(value)


def _whole_if_it_is(value: float) -> float:
    # peft writes alpha into the adapter's file, where other programs expect 16 and not 16.0.
    return int(value) if value == int(value) else value


def _off_is_no(value: Any) -> Any:
    return "no" if value is False else value  # YAML reads `eval_strategy: no` as false


def _label(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def _text_or_list(value: Any) -> Any:
    if isinstance(value, str) or (isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)):
        return value
    raise ValueError("expected text, such as all-linear, or a list of module names")


def _bool_or_auto(value: Any) -> Any:
    if value == "auto" or isinstance(value, bool):
        return value
    raise ValueError(f"expected true, false or auto, got {value!r}")


def _known_format(value: str) -> str:
    known = [known.name for known in FORMATS]
    if value not in known:
        raise ValueError(f"'{value}' is not known.{nearest(value, known)} Known: {', '.join(known)}")
    return value


def _known_fields(value: dict[str, Any]) -> dict[str, Any]:
    try:
        FieldMapping.from_dict(value)
    except SampleError as error:  # it names its parts `fields.prompt`, and stands behind `data.fields: `
        raise ValueError(re.sub(r"(?<!')\bfields[. ]", "", str(error)).rstrip(".")) from None
    return value


def _judge(value: Any) -> Any:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, dict) and len(value) == 1 and all(isinstance(name, str) and name for name in value):
        return value
    raise ValueError(
        f"expected text, or one name with its options, got {value!r}. Put it in quotes to make it text"
    )


def _known_scorers(value: list[Any]) -> list[Any]:
    """Refuse what is known to be wrong; what has to be imported is looked up when the training begins."""
    names = (spec if isinstance(spec, str) else next(iter(spec), "") for spec in value)
    _refused(make_scorers, [spec for spec, name in zip(value, names, strict=True) if ":" not in name])
    return value


def _known_validators(value: list[Any]) -> list[Any]:
    for spec in value:
        _refused(read_spec, spec)
    return value


def _refused(check: Callable[[Any], Any], value: Any) -> None:
    try:
        check(value)
    except ConfigError as error:
        raise ValueError(str(error).rstrip(".")) from None


def _empty_blocks(value: Any) -> Any:
    # A block whose lines are all commented out is null in YAML.
    if value is None:
        return {}
    if isinstance(value, dict):
        return {name: {} if block is None else block for name, block in value.items()}
    return value


def name_block(value: Any) -> Any:
    """Return a bare text as the name in a block."""
    return {"name": value} if isinstance(value, str) else value


def switch_block(value: Any) -> Any:
    """Return a bare true or false as the switch of a block."""
    return {"enabled": value} if isinstance(value, bool) else value


# Bounds stand before the functions, or they are missing in the JSON schema.
NoSwitch = BeforeValidator(_not_bool)
Text = Annotated[str, Field(min_length=1)]
Whole = Annotated[int, NoSwitch]
Count = Annotated[int, Field(ge=1), NoSwitch]
Seed = Annotated[int, Field(ge=0, lt=2**32), NoSwitch]
Positive = Annotated[float, Field(gt=0), NoSwitch]
NotNegative = Annotated[float, Field(ge=0), NoSwitch]
Scale = Annotated[float, Field(gt=0), NoSwitch, AfterValidator(_whole_if_it_is)]
Interval = Annotated[float, Field(gt=0), NoSwitch, AfterValidator(_steps_or_ratio)]
Warmup = Annotated[float, Field(ge=0), NoSwitch, AfterValidator(_steps_or_ratio)]
Label = Annotated[str, BeforeValidator(_label)]
BoolOrAuto = Annotated[bool | Literal["auto"], BeforeValidator(_bool_or_auto)]
TargetModules = Annotated[str | list[str], BeforeValidator(_text_or_list)]
Strategy = Annotated[Literal["no", "steps", "epoch"], BeforeValidator(_off_is_no)]
SaveStrategy = Annotated[Literal["no", "steps", "epoch", "best"], BeforeValidator(_off_is_no)]
FormatName = Annotated[str, Field(min_length=1), AfterValidator(_known_format)]
Fields = Annotated[dict[str, Any], AfterValidator(_known_fields)]
Judge = Annotated[str | dict[str, Any], BeforeValidator(_judge)]
Scorers = Annotated[list[Judge], AfterValidator(_known_scorers)]
Validators = Annotated[list[Judge], AfterValidator(_known_validators)]
Share = Annotated[float, Field(gt=0, le=1), NoSwitch]
SetBlocks = Annotated[dict[str, T], BeforeValidator(_empty_blocks)]
Template = Literal["auto", "chat", "plain"]
