"""What validators and health checks said of stored rows, as plain columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from timelapse.scoring.validators import all_passed

if TYPE_CHECKING:
    import pyarrow as pa

JUDGED: Mapping[str, str] = {"valid": "validations", "findings": "validations", "flags": "flags"}
"""The columns made here, and the stored column that each is made from."""


def judged_column(name: str, rounds: pa.Table) -> pa.ChunkedArray:
    """Return a column of `JUDGED` for a table of rounds.

    - `valid`: whether a row passed every validator; null where none looked at it, or one failed at its work;
    - `findings`: what they found, as `validator: path: message`, joined by `; `; null where none looked,
      empty where all passed;
    - `flags`: the signs of broken generation, joined by commas, empty without any; null where nobody looked.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = pa.bool_() if name == "valid" else pa.string()
    stored = rounds.column(JUDGED[name])
    if name == "flags":
        return pc.binary_join(stored, ",")
    if not pc.sum(pc.list_value_length(stored)).as_py():  # the same as below, faster
        return pa.chunked_array([pa.nulls(len(stored), kind)])
    make = _is_valid if name == "valid" else _findings
    return pa.chunked_array(
        [pa.array([make(found) if found else None for found in stored.to_pylist()], kind)]
    )


def _is_valid(found: list[dict[str, Any]]) -> bool | None:
    return all_passed([each["passed"] for each in found])


def _findings(found: list[dict[str, Any]]) -> str:
    return "; ".join(
        f"{each['name']}: {error['path']}: {error['message']}"
        for each in found
        for error in each["errors"] or ()
    )
