"""What validators and health checks said of stored rows, as plain columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

JUDGED: Mapping[str, str] = {"valid": "validations", "findings": "validations", "flags": "flags"}
"""The columns made here, and the stored column that each is made from."""


def judged_column(name: str, rounds: pa.Table) -> pa.ChunkedArray:
    """Return a column of `JUDGED` for a table of rounds.

    - `valid`: whether a row passed every validator; null where none looked at it;
    - `findings`: what they found, as `validator: path: message`, joined by `; `; null where `valid` is null,
      empty where it is true;
    - `flags`: the signs of broken generation, joined by commas, empty without any; null where nobody looked.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = pa.bool_() if name == "valid" else pa.string()
    stored = rounds.column(JUDGED[name])
    if stored.null_count == len(stored) or (
        name != "flags" and not pc.any(pc.greater(lengths(stored), 0)).as_py()
    ):
        return pa.chunked_array([pa.nulls(len(stored), kind)])
    if name == "flags":
        return pc.binary_join(stored, ",")
    make = _is_valid if name == "valid" else _findings
    return pa.chunked_array(
        [pa.array([make(found) if found else None for found in stored.to_pylist()], kind)]
    )


def lengths(lists: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return how long each list is; 0 for null."""
    import pyarrow.compute as pc

    return pc.fill_null(pc.list_value_length(lists), 0)


def _is_valid(found: list[dict[str, Any]]) -> bool:
    return all(each["passed"] for each in found)


def _findings(found: list[dict[str, Any]]) -> str:
    return "; ".join(
        f"{each['name']}: {error['path']}: {error['message']}"
        for each in found
        for error in each["errors"] or ()
    )
