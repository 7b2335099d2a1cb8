"""Cells: what one value of a table must be, read or refused with the reason."""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from numbers import Real
from typing import Any, get_args

from timelapse.errors import SampleError
from timelapse.fence import describe
from timelapse.formats.turns import RowError, answer_text
from timelapse.rounds import Status, storable

_LARGEST = 2**31 - 1


def each(column: str, cells: Iterable[Any], read: Callable[[Any], Any]) -> list[Any]:
    """Return what a column's cells say; None where there is nothing.

    Raises:
        SampleError: `read` refused a cell with a `RowError`; names its row, from 0, and the column.
    """
    found = []
    for place, cell in enumerate(cells):
        try:
            found.append(None if cell is None else read(cell))
        except RowError as error:
            raise SampleError(f"Row {place}, column '{column}': {error}.") from error
    return found


def argument(name: str, value: Any) -> float:
    """Return an argument that must be a number under a name for MLflow; numpy's and torch's will do.

    Raises:
        SampleError: It is none, or the name does not fit; names the argument.
    """
    try:
        metric_name(name)
        return number(value.item() if hasattr(value, "item") else value)
    except RowError as error:
        raise SampleError(f"{name}: {error}.") from error


def answer(cell: Any) -> str:
    """Return an answer: text as it is, a number as Python writes it, chat turns as their text, else JSON."""
    if isinstance(cell, str):
        return storable(cell) or ""
    if not isinstance(cell, Real | Decimal | Mapping | list):
        raise RowError(f"it holds {_shown(cell)}. Give the answer as text")
    return storable(answer_text({"answer": cell}, "answer")) or ""


def text(cell: Any) -> str | None:
    """Return a text, or an exception as `ErrorType: message`; None if it is empty."""
    if isinstance(cell, BaseException):
        return storable(describe(cell))
    if not isinstance(cell, str):
        raise RowError(f"it holds {_shown(cell)}. Give a text")
    return storable(cell) or None


def status(cell: Any) -> str:
    """Return a row's status."""
    if cell not in get_args(Status):
        raise RowError(f"it holds {_shown(cell)}. A status is one of {', '.join(get_args(Status))}")
    return str(cell)


def count(cell: Any) -> int:
    """Return a whole number from 0 that 32 bits hold; pandas makes floats of those in a column with gaps."""
    whole = math.nan if isinstance(cell, bool) else number(cell)
    if not (whole.is_integer() and 0 <= whole <= _LARGEST):
        raise RowError(f"it holds {_shown(cell)}. Give a whole number from 0 to {_LARGEST}")
    return int(whole)


def number(cell: Any) -> float:
    """Return a number; true is 1 and false is 0."""
    if not isinstance(cell, Real | Decimal):
        raise RowError(f"it holds {_shown(cell)}. Give a number")
    try:
        return float(cell)
    except (OverflowError, ValueError) as error:
        raise RowError(f"it holds {_shown(cell)}. Give a number that a float can hold") from error


def scores(cell: Any) -> dict[str, float]:
    """Return scores by name: of a mapping, or of the pairs as which Arrow hands out its maps."""
    pairs = list(cell.items()) if isinstance(cell, Mapping) else cell
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs
    ):
        raise RowError(f"it holds {_shown(cell)}. Give a mapping of names to numbers, {{'reward': 0.5}}")
    return {metric_name(name): number(value) for name, value in pairs if value is not None}


def metric_name(name: Any) -> str:
    """Return a name if MLflow takes it for a metric; another one would hold up all that follows."""
    text = str(name)
    if not re.fullmatch(r"[\w.\- :/]{1,200}", text) or posixpath.normpath(f"x/{text}") != f"x/{text}":
        raise RowError(
            f"{text[:80]!r} cannot be a metric's name in MLflow. Use letters, digits, '_', '-', '.', ':' and "
            "blanks, such as 'pass_at_1'"
        )
    return text


def _shown(cell: Any) -> str:
    shown = repr(cell)
    return f"{shown if len(shown) <= 80 else shown[:80] + '…'} ({type(cell).__name__})"
