"""Spool entries: what was logged, as bytes that a later process can read without us."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["samples", "round", "file", "numbers", "checkpoint", "end"]
ARTIFACT_KINDS = ("samples", "round", "file")
"""What goes to the artifact store; the others go to the tracking store alone."""

_META = b"timelapse"
_NAME = re.compile(r"(\d{8,})-(samples|round|file|numbers|checkpoint|end)-([0-9a-f]{8})")


class DamagedEntryError(Exception):
    """A spool entry's bytes are not those that were written."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was logged and that MLflow does not hold yet."""

    number: int
    """Its place in the order of logging, from 1."""
    kind: Kind
    """What it holds."""
    path: Path | None
    """Its file; None if it is held in memory, because the disk would not take it."""
    data: bytes | None = None
    """Its content, if it is held in memory."""

    def read(self) -> bytes:
        """Return the content.

        Raises:
            DamagedEntryError: The file is not what was written: cut off, or altered.
        """
        if self.path is None:
            assert self.data is not None
            return self.data
        found = _NAME.fullmatch(self.path.name)
        try:
            data = self.path.read_bytes()
        except FileNotFoundError as error:
            raise DamagedEntryError(f"{self.path} is gone: somebody removed it before it was sent") from error
        if found is None or zlib.crc32(data) != int(found[3], 16):
            raise DamagedEntryError(f"{self.path} is damaged: its content does not fit its name")
        return data


def entry_name(number: int, kind: Kind, data: bytes) -> str:
    """Return the file name of an entry: number, kind and checksum (CRC-32) of the content."""
    return f"{number:08d}-{kind}-{zlib.crc32(data):08x}"


def entry_at(path: Path) -> Entry | None:
    """Return the entry that a file of the spool is, or None if it is none."""
    found = _NAME.fullmatch(path.name)
    return Entry(int(found[1]), found[2], path) if found else None  # type: ignore[arg-type]


def pack_table(table: pa.Table, meta: Mapping[str, Any]) -> bytes:
    """Return a table as an Arrow IPC stream, with `meta` (JSON values) in its schema."""
    import pyarrow as pa

    table = table.replace_schema_metadata({_META: json.dumps(meta).encode()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(memoryview(sink.getvalue()))


def unpack_table(data: bytes) -> tuple[pa.Table, dict[str, Any]]:
    """Return the table and the `meta` of `pack_table`."""
    import pyarrow as pa

    table = pa.ipc.open_stream(data).read_all()
    meta = json.loads(table.schema.metadata[_META])
    return table.replace_schema_metadata(None), meta


def pack(value: Mapping[str, Any]) -> bytes:
    """Return a JSON object as bytes; what JSON does not know becomes its text."""
    return json.dumps(value, default=str).encode()


def unpack(data: bytes) -> dict[str, Any]:
    """Return the object of `pack`."""
    value: dict[str, Any] = json.loads(data)
    return value
