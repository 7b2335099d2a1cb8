"""Scores of stored rows as columns, without a Python loop over the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def score_columns(rounds: pa.Table) -> dict[str, pa.Array]:
    """Return each score of a table of rounds as a float64 array, null where a row does not have it.

    Null, too, where a scorer failed (which is stored as NaN): SQL would take NaN for a large number.

    The scores come in the order in which the rows first have them. Of a name that a row has twice, the last
    value counts.
    """
    import numpy as np
    import pyarrow as pa

    maps = rounds.column("scores").combine_chunks()
    count, offsets = len(maps), maps.offsets.to_numpy()
    inside = slice(int(offsets[0]), int(offsets[-1]))
    rows = np.repeat(np.arange(count), np.diff(offsets))
    keys, items = maps.keys[inside].dictionary_encode(), maps.items[inside]
    values = items.to_numpy(zero_copy_only=False)
    places = keys.indices.to_numpy(zero_copy_only=False) * np.int64(count) + rows
    present = items.is_valid().to_numpy(zero_copy_only=False) & ~np.isnan(values)
    if maps.null_count:
        present &= maps.is_valid().to_numpy(zero_copy_only=False)[rows]
    if not present.all():
        places, values = places[present], values[present]
    names = keys.dictionary.to_pylist()
    # All scores at once, one below the other: picking each one's pairs out takes twice as long.
    scores, missing = np.zeros(len(names) * count), np.ones(len(names) * count, dtype=bool)
    scores[places], missing[places] = values, False
    parts = [slice(start, start + count) for start in range(0, len(scores), count or 1)]
    return {name: pa.array(scores[part], mask=missing[part]) for name, part in zip(names, parts, strict=True)}
