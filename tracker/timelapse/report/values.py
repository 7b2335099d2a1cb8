"""Stored values as a document can hold them: short, finite, and whatever somebody wrote into a file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

LONGEST = 300
"""Characters of a prompt, reference or metadata value in an overview; the timeline has them whole."""

_DIGITS = 6


def found_by(validations: Sequence[Mapping[str, Any]]) -> str:
    """Return what validators found in an answer, a line a finding."""
    return "\n".join(
        f"{each['name']}: {error['path']}: {error['message']}"
        for each in validations
        if each["passed"] is False
        for error in each["errors"] or ()
    )


def number(value: float) -> float | None:
    """Return a number to six digits; None where it is not finite."""
    return round(value, _DIGITS) if math.isfinite(value) else None


def cut(value: Any) -> Any:
    """Return a value that is short: other than texts, numbers and truth values as JSON."""
    if isinstance(value, bool | int) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def from_json(text: str | None) -> Any:
    """Return what a JSON text holds; None where it is none."""
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):  # a file may be anybody's
        return None


def metadata_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a sample's other columns."""
    found = from_json(row.get("metadata"))
    return found if isinstance(found, dict) else {}


def is_texts(kind: pa.DataType) -> bool:
    """Return whether a column's type is that of lists of texts."""
    import pyarrow as pa

    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return bool(lists and (pa.types.is_string(kind.value_type) or pa.types.is_large_string(kind.value_type)))


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """Return a stored row as JSON can hold it: scores as an object, and no number that is not finite."""
    scores = dict(row.get("scores") or ())
    return {name: _finite(value) for name, value in (row | {"scores": scores}).items()}


def _finite(value: Any) -> Any:
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return str(value)
