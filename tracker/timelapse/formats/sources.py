"""Sources of rows: a file, a list of dicts, a pandas DataFrame, a Hugging Face `Dataset`."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timelapse.errors import SampleError
from timelapse.formats.files import read_file
from timelapse.samples import SkippedRow

Source = str | os.PathLike[str] | Iterable[Any]
"""A file, or rows in memory: dicts, a DataFrame, a `datasets.Dataset`, samples."""

_DEEPEST = 100
_EXPECTED = "Expected a file, a list of dicts, a pandas DataFrame, a datasets.Dataset or a list of Samples"


@dataclass(frozen=True, slots=True)
class Row:
    """One readable row of a source."""

    place: str
    """Where it stands: `line 7` or `item 7`."""
    fields: Mapping[str, Any]
    """Its columns, as plain Python values; a missing number (NaN) is None."""
    filled: frozenset[str] = frozenset()
    """Columns from Arrow, which gives every object in a column the keys of all, None where it has none."""


def read_rows(source: Source) -> list[Row | SkippedRow]:
    """Read all rows of a source, in order; a row that cannot be read is a `SkippedRow` with the reason.

    Raises:
        SampleError: If the source cannot be read as a whole, or holds no rows.
    """
    arrow = _is_arrow(source)
    rows = [_row(place, value, arrow) for place, value in _entries(source)]
    if not rows:
        raise SampleError(f"{describe(source)} holds no rows. {_EXPECTED}, with at least one row.")
    return rows


def is_file(source: Source) -> bool:
    """Tell whether a source is a file's path, not rows in memory."""
    return isinstance(source, str | os.PathLike)


def describe(source: Source) -> str:
    """Return how reports and errors name a source: a file's path as given, else `The list`."""
    return os.fspath(source) if isinstance(source, str | os.PathLike) else f"The {type(source).__name__}"


def locate(source: Source, place: str) -> str:
    """Return where a row came from: `eval.jsonl:7` in a file, else its place."""
    if not isinstance(source, str | os.PathLike):
        return place
    return f"{Path(source).name}:{place.rpartition(' ')[2]}"


def _is_arrow(source: Source) -> bool:
    if isinstance(source, str | os.PathLike):
        return Path(source).suffix.lower() == ".parquet"
    return any(base.__module__.partition(".")[0] == "datasets" for base in type(source).__mro__)


def _entries(source: Source) -> Iterable[tuple[str, Any]]:
    if isinstance(source, str | os.PathLike):
        return read_file(Path(source).expanduser())
    return ((f"item {number}", value) for number, value in enumerate(_items(source), 1))


def _items(source: Iterable[Any]) -> Iterable[Any]:
    # Whoever holds a DataFrame has imported pandas: nobody else need wait for it.
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(source, pandas.DataFrame):
        return _frame_rows(source)
    if isinstance(source, Mapping):
        keys = ", ".join(map(str, list(source)[:5]))
        raise SampleError(f"{describe(source)} is a mapping of {keys}. {_EXPECTED}: pass one of its values.")
    if isinstance(source, bytes | bytearray) or not isinstance(source, Iterable):
        raise SampleError(
            f"Samples cannot be read from a value of type {type(source).__name__}. {_EXPECTED}."
        )
    return source


def _frame_rows(frame: Any) -> Iterable[Any]:
    repeated = sorted({str(name) for name in frame.columns[frame.columns.duplicated()]})
    if repeated:
        raise SampleError(f"The DataFrame names a column twice: {', '.join(repeated)}. Rename one of them.")
    rows: Iterable[Any] = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return rows


def _row(place: str, value: Any, arrow: bool) -> Row | SkippedRow:
    if isinstance(value, SkippedRow):
        return value
    if not isinstance(value, Mapping):
        return SkippedRow(place, f"not an object but a value of type {type(value).__name__}")
    try:
        fields = {_plain(str(name)): _plain(cell) for name, cell in value.items()}
    except _UnfitValueError as error:
        return SkippedRow(place, str(error))
    # Tables that pandas read from Arrow hold arrays where others hold lists.
    filled = frozenset(str(name) for name, cell in value.items() if arrow or hasattr(cell, "tolist"))
    return Row(place, {name: None if _is_nan(cell) else cell for name, cell in fields.items()}, filled)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


class _UnfitValueError(ValueError):
    """A value that no sample can hold."""


def _plain(value: Any, depth: int = 0) -> Any:
    """Return a value made of Python's own lists and dicts, where numpy, torch or Arrow made it."""
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise _UnfitValueError("text with a lone surrogate, which UTF-8 cannot hold")
        return value
    if depth > _DEEPEST:
        raise _UnfitValueError(f"nested deeper than {_DEEPEST} levels")
    if isinstance(value, Mapping):
        return {_plain(str(key)): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    return _plain(value.tolist(), depth + 1) if hasattr(value, "tolist") else value
