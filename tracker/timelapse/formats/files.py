"""Files of rows: JSON, JSON lines, CSV, TSV and Parquet; the text ones also compressed with gzip."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import zlib
from typing import TYPE_CHECKING, Any

from timelapse.errors import SampleError
from timelapse.samples import SkippedRow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Entry = tuple[str, Any]
"""A row's place (`line 7`, `item 7`) and its value, or the `SkippedRow` that says why there is none."""

KINDS = {
    ".json": "a JSON list of objects",
    ".jsonl": "one JSON object a line",
    ".ndjson": "one JSON object a line",
    ".csv": "a header line that names the columns, then a row a line",
    ".tsv": "a header line that names the columns, then a row a line",
    ".parquet": "a Parquet table",
}
_MOST_CELL_BYTES = 2**31 - 1  # the largest that `csv` takes on every platform; its default is 131,072


def read_file(path: Path) -> list[Entry]:
    """Read every row of a file, in order.

    Lines are counted from 1 as an editor counts them (a CSV header is line 1), list items and table rows
    from 1 too.

    Raises:
        SampleError: If there is no such file, it is of no known kind, or it cannot be decoded as a whole.
            A single bad line is no error but an entry with a `SkippedRow`.
    """
    kind = _kind(path)
    if kind == ".parquet":
        return _parquet(path)
    data = _content(path, kind)
    if kind == ".json":
        return _json(path, data)
    if kind in (".csv", ".tsv"):
        return _table(path, data, "," if kind == ".csv" else "\t")
    return list(_lines(data))


def _kind(path: Path) -> str:
    known = "Expected .json, .jsonl, .ndjson, .csv or .tsv, each also as .gz, or .parquet"
    if path.is_dir():
        raise SampleError(f"{path} is a folder. {known}: name one file in it.")
    if not path.exists():
        raise SampleError(f"There is no file {path}. {known}: check the path and the working folder.")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    zipped = suffixes[-1:] == [".gz"]
    kind = "".join(suffixes[-2:-1] if zipped else suffixes[-1:])
    if kind not in KINDS or (zipped and kind == ".parquet"):
        raise SampleError(f"The kind of {path} is not known. {known}: convert or rename it.")
    return kind


def _content(path: Path, kind: str) -> bytes:
    expected = f"Expected {KINDS[kind]}"
    try:
        data = path.read_bytes()
        if path.suffix.lower() == ".gz":
            data = gzip.decompress(data)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise SampleError(
            f"{path} is not a whole gzip file ({error}). {expected}, compressed with gzip: "
            "write it again, or drop .gz from the name if it is not compressed."
        ) from error
    except OSError as error:
        raise SampleError(f"{path} cannot be read ({error}). {expected}: check its permissions.") from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise SampleError(f"{path} is UTF-16 text. {expected}, in UTF-8: save it as UTF-8.")
    data = data.removeprefix(codecs.BOM_UTF8)
    if not data.strip():
        raise SampleError(f"{path} is empty. {expected}: add at least one row.")
    return data


def _lines(data: bytes) -> Iterator[Entry]:
    for number, line in enumerate(io.BytesIO(data), 1):
        place = f"line {number}"
        try:
            yield place, _parse(line.decode().rstrip()) if line.strip() else SkippedRow(place, "blank line")
        except (ValueError, RecursionError) as error:
            yield place, SkippedRow(place, _fault(error))


def _json(path: Path, data: bytes) -> list[Entry]:
    try:
        document = _parse(data.decode())
    except (ValueError, RecursionError) as error:
        if _is_object(next(line for line in data.splitlines() if line.strip())):
            return list(_lines(data))  # JSON lines under the wrong name
        start = data[: error.start] if isinstance(error, UnicodeDecodeError) else b""
        line = error.lineno if isinstance(error, json.JSONDecodeError) else start.count(b"\n") + 1
        raise SampleError(
            f"{path} cannot be decoded: line {line}: {_fault(error)}. Expected {KINDS['.json']}, in UTF-8: "
            "mend it there, or name it .jsonl if each line is an object of its own."
        ) from error
    return [(f"item {number}", row) for number, row in enumerate(_rows_of(path, document), 1)]


def _rows_of(path: Path, document: Any) -> list[Any]:
    if isinstance(document, list):
        return document
    if not isinstance(document, dict):
        raise SampleError(f"{path} holds a single value. Expected {KINDS['.json']}: put the rows in a list.")
    lists = [key for key, value in document.items() if _holds_objects(value)]
    # A chat is a list of objects too, but its turns are no rows: such an object is itself one.
    if not lists or any(_is_chat(document[key]) for key in lists):
        return [document]
    if len(lists) > 1:
        raise SampleError(
            f"{path} holds several lists: {', '.join(lists)}. Expected {KINDS['.json']}, or an object with "
            "exactly one: put each list into a file of its own."
        )
    rows: list[Any] = document[lists[0]]
    return rows


def _table(path: Path, data: bytes, delimiter: str) -> list[Entry]:
    records = _records(data, delimiter)
    header: list[str] = []
    entries: list[Entry] = []
    for line, cells in records:
        place = f"line {line}"
        if header:
            entries.append((place, _table_row(place, header, cells)))
        elif cells:
            header = _header(path, cells)
    if not entries:
        raise SampleError(f"{path} holds a header line but no rows. Expected {KINDS['.csv']}: add a row.")
    return entries


def _header(path: Path, cells: list[str] | str) -> list[str]:
    expected = f"Expected {KINDS['.csv']}"
    if isinstance(cells, str):
        raise SampleError(f"The header line of {path} cannot be read: {cells}. {expected}: mend it.")
    names = [cell.strip() for cell in cells]
    if not any(names) or any("\n" in name or not _is_text(name) for name in names):
        raise SampleError(f"{path} has no header. {expected}: put the names into the first line.")
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        raise SampleError(f"{path} names a column twice: {', '.join(repeated)}. {expected}: rename one.")
    return [name or f"column {index}" for index, name in enumerate(names, 1)]


def _table_row(place: str, header: list[str], cells: list[str] | str) -> dict[str, Any] | SkippedRow:
    if isinstance(cells, str):
        return SkippedRow(place, cells)
    if not any(cell.strip() for cell in cells):
        return SkippedRow(place, "blank line")
    if len(cells) != len(header):
        return SkippedRow(place, f"{len(cells)} cells where the header names {len(header)} columns")
    if not all(map(_is_text, cells)):
        return SkippedRow(place, "not valid UTF-8")
    # A table of text has no other way to say that a value is missing.
    return {name: cell or None for name, cell in zip(header, cells, strict=True)}


def _records(data: bytes, delimiter: str) -> list[tuple[int, list[str] | str]]:
    """Return each record's first line and its cells, or what is wrong with it."""
    # Undecodable bytes become lone surrogates, so that they spoil their own row and no other.
    text = io.TextIOWrapper(io.BytesIO(data), "utf-8", "surrogateescape", newline="")
    previous = csv.field_size_limit(_MOST_CELL_BYTES)  # global: hence everything is read before it goes back
    try:
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        records: list[tuple[int, list[str] | str]] = []
        while True:
            start = reader.line_num + 1
            try:
                records.append((start, next(reader)))
            except csv.Error as error:
                records.append((start, _quote_fault(str(error), reader.line_num - start)))
            except StopIteration:
                return records
    finally:
        csv.field_size_limit(previous)


def _quote_fault(message: str, swallowed: int) -> str:
    if message != "unexpected end of data":
        return f"not valid CSV ({message})"
    return f"a quoted cell that is never closed swallows the rest of the file ({swallowed} more lines)"


def _parquet(path: Path) -> list[Entry]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: list[Any] = []
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches():
                rows.extend(batch.to_pylist())
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SampleError(
            f"{path} cannot be read ({error}). Expected {KINDS['.parquet']}: write it again."
        ) from error
    return [(f"item {number}", row) for number, row in enumerate(rows, 1)]


def _parse(text: str) -> Any:
    # Python writes a missing number as NaN, which JSON does not know.
    return json.loads(text, parse_constant=lambda name: None if name == "NaN" else float(name))


def _fault(error: ValueError | RecursionError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not valid JSON ({error.msg} at column {error.colno})"
    if isinstance(error, UnicodeDecodeError):
        return f"not valid UTF-8 (byte 0x{error.object[error.start]:02x})"
    return "nested too deeply" if isinstance(error, RecursionError) else f"not valid JSON ({error})"


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(_parse(line.decode()), dict)
    except (ValueError, RecursionError):
        return False


def _holds_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _is_chat(turns: list[dict[str, Any]]) -> bool:
    return all("role" in turn or "from" in turn for turn in turns)


def _is_text(cell: str) -> bool:
    return cell.isascii() or not any("\ud800" <= character <= "\udfff" for character in cell)
