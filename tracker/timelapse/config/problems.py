"""What is wrong with a configuration, in words: which field, what was expected, what stands there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from timelapse.config.redact import REDACTED, is_secret_key, redact_text

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

_LONGEST_VALUE = 60

# pydantic's error types, by the beginning of their names.
_EXPECTED = {
    "int_": "a whole number",
    "float_": "a number",
    "finite_number": "a finite number",
    "bool_": "true or false",
    "string_type": "text",
    "string_too_short": "a text that is not empty",
    "too_short": "at least one item",
    "literal_error": "one of {expected}",
    "greater_than_equal": "at least {ge}",
    "greater_than": "a number above {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "a number below {lt}",
    "model_": "a mapping, a block of `name: value` lines",
    "dict_type": "a mapping, a block of `name: value` lines",
    "list_type": "a list",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with one field."""

    path: tuple[str | int, ...]
    """Where: `("training", "learning_rate")`."""
    text: str
    """What was expected and what is there, without the field's name; never the value of a secret."""

    def __str__(self) -> str:
        return f"{dotted(self.path)}: {self.text}" if self.path else self.text


def dotted(path: Sequence[str | int]) -> str:
    """Return a path as people write it: `tools[0].name`. A secret in a key is not shown."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{redact_text(part)}" for part in path]
    return "".join(parts).removeprefix(".")


def describe(error: ValidationError) -> list[Problem]:
    """Return what pydantic found, in our words and without the values of secrets."""
    return [
        Problem((*found["loc"], *_inside(found)), _text(found)) for found in error.errors(include_url=False)
    ]


def problems_of(error: Exception, sections: Iterable[str]) -> list[Problem]:
    """Return an error of ours as problems, one a line, each at the field whose name its line begins with.

    Args:
        error: Its message may begin with `training.eval_strategy: `; if not, the problem is of no field.
        sections: The names at the top level of a configuration.
    """
    known = set(sections)
    problems = []
    for line in str(error).splitlines():
        name, colon, text = line.partition(": ")
        parts = re.findall(r"[\w-]+", name) if colon and re.fullmatch(r"\w+(\.[\w-]+|\[\d+\])*", name) else []
        path = (
            tuple(int(part) if part.isdigit() else part for part in parts) if set(parts[:1]) & known else ()
        )
        problems.append(Problem(path, text if path else line))
    return problems


def show(value: Any, path: Sequence[str | int] = ()) -> str:
    """Return a wrong value for a message: shortened, masked under a secret's name, no contents of blocks."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if any(isinstance(part, str) and is_secret_key(part) for part in path):
        return REDACTED
    text = repr(redact_text(value) if isinstance(value, str) else value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def _inside(found: ErrorDetails) -> tuple[str, ...]:
    """Return where in its field an error lies that a validator of ours has placed."""
    return tuple(found.get("ctx", {}).get("path", ())) if found["type"] == "inside" else ()


def _text(found: ErrorDetails) -> str:
    kind, value, context = found["type"], found["input"], found.get("ctx", {})
    if kind == "missing":
        return "is required"
    if kind == "value_error":
        return str(context["error"])
    if kind == "inside":
        return str(context["text"])
    expected = next((text for start, text in _EXPECTED.items() if kind.startswith(start)), None)
    if expected is None:
        return f"{found['msg']}, got {show(value, found['loc'])}"
    bounds = {name: _bare(bound) for name, bound in context.items()}
    text = f"expected {expected.format(**bounds)}, got {show(value, found['loc'])}"
    # YAML reads 1234567, 12e45 and yes as something else than text.
    unquoted = kind == "string_type" and isinstance(value, bool | int | float)
    return f"{text}. Put it in quotes to make it text" if unquoted else text


def _bare(bound: Any) -> Any:
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound
