"""Parquet files that are small and would decode to much, and one whose footer does not say so."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def stored(columns: dict[str, Any], **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, compression="zstd", **options)
    return file.getvalue()


def repeated(text: str, count: int) -> bytes:
    """Return a file with one text in every row, made without the memory that it would decode to."""
    column = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), count), [text])
    return stored(rows(count, prediction=column), store_schema=False)


def rows(count: int, **columns: Any) -> dict[str, Any]:
    return {"sample_id": pa.repeat("s", count), "step": pa.repeat(0, count), **columns}


def understated(content: bytes) -> bytes:
    """Return a file whose footer says that its columns hold a few bytes: the numbers are varints."""
    footer = int.from_bytes(content[-8:-4], "little")
    head, told = content[: -8 - footer], content[-8 - footer : -8]
    metadata = pq.ParquetFile(pa.BufferReader(content)).metadata
    group = metadata.row_group(0)
    sizes = {group.column(place).total_uncompressed_size for place in range(group.num_columns)}
    for size in {*sizes, group.total_byte_size}:
        number = varint(2 * size)
        if len(number) > 3:
            told = told.replace(number, varint(2 * 42))
    return head + told + len(told).to_bytes(4, "little") + b"PAR1"


def varint(number: int) -> bytes:
    found = b""
    while number > 127:
        found, number = found + bytes([number & 127 | 128]), number >> 7
    return found + bytes([number])
