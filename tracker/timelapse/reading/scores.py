"""Scores of stored rows as columns, without a Python loop over the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


def score_columns(rounds: pa.Table) -> dict[str, pa.Array]:
    """Return each score of a table of rounds as a float64 array, null where a row does not have it.

    Null, too, where a scorer failed (which is stored as NaN): SQL would take NaN for a large number.

    The scores come in the order in which the rows first have them. Of a name that a row has twice, the last
    value counts.
    """
    import numpy as np

    maps = rounds.column("scores").combine_chunks()
    offsets = maps.offsets.to_numpy()
    inside = slice(int(offsets[0]), int(offsets[-1]))
    rows = np.repeat(np.arange(len(maps)), np.diff(offsets))
    keys, items = maps.keys[inside].dictionary_encode(), maps.items[inside]
    codes = keys.indices.to_numpy(zero_copy_only=False)
    values = items.to_numpy(zero_copy_only=False)
    present = items.is_valid().to_numpy(zero_copy_only=False) & ~np.isnan(values)
    if maps.null_count:
        present &= maps.is_valid().to_numpy(zero_copy_only=False)[rows]
    columns = {}
    for code, name in enumerate(keys.dictionary.to_pylist()):
        mine = present & (codes == code)
        columns[name] = _column(len(maps), rows[mine], values[mine])
    return columns


def _column(count: int, rows: np.ndarray, values: np.ndarray) -> pa.Array:
    import numpy as np
    import pyarrow as pa

    column, missing = np.zeros(count), np.ones(count, dtype=bool)
    column[rows], missing[rows] = values, False
    return pa.array(column, mask=missing)
