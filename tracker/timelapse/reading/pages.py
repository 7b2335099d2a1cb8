"""What a Parquet file really decodes to: by the headers of its pages, because footers can lie.

A decompressor allocates what a page's header says, whatever the footer said; so the headers are read here,
before anything is decompressed. They are Thrift structs in the compact protocol.

Sources: Apache Parquet, "parquet.thrift" (PageHeader) and "Data Pages"; Apache Thrift, "Compact Protocol".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from timelapse.reading.bounds import ExcessError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

MOST_PAGES = 20_000
"""Pages of a file whose headers are looked at."""

_DELTA_BYTE_ARRAY = 7  # repeats the beginning of the text before: a few bytes can be any number of them
_DICTIONARY_PAGE = 2
_STRUCT, _BINARY, _DOUBLE = 12, 8, 7
_VALUE_BYTES = 8  # of a value in memory, its levels counted; wider ones are counted by their width
_WORST_CASE = 16 << 20  # of a column of texts, below which nobody looks closer


class Chunk(NamedTuple):
    """What the pages of one column chunk hold."""

    decompressed: int
    """Bytes of its pages."""
    values: int
    """Values in it, nulls counted."""
    dictionary: int
    """Bytes of its dictionary, which every value may repeat; 0 without one."""


def decoded_bytes(file: pq.ParquetFile, content: bytes, columns: Iterable[str], most: int) -> int:
    """Return at least how many bytes the columns of a file decode to; the sum is right, or above `most`.

    Raises:
        ExcessError: There are too many pages, or a column is encoded in a way that nobody can foresee.
        ValueError: A page has no header that can be read.
    """
    wanted, metadata = set(columns), file.metadata
    total, pages, suspicious = 0, 0, dict[str, int]()
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for place in range(group.num_columns):
            column = group.column(place)
            root = column.path_in_schema.partition(".")[0]
            if root not in wanted:
                continue
            chunk, count = _chunk(content, column)
            pages += count
            if pages > MOST_PAGES:
                raise ExcessError(f"it has more than {MOST_PAGES:,} pages")
            width = max(_VALUE_BYTES, file.schema.column(place).length or 0)
            total += chunk.decompressed + chunk.values * width
            if column.physical_type == "BYTE_ARRAY":
                suspicious[root] = suspicious.get(root, 0) + chunk.values * chunk.dictionary
            if total > most:
                return total
    roots = [root for root, worst in suspicious.items() if worst > _WORST_CASE]
    return total + (_text_bytes(content, file, roots, most) if roots else 0)


def _text_bytes(content: bytes, file: pq.ParquetFile, roots: list[str], most: int) -> int:
    """Return the bytes of texts, read as indices into their dictionaries: so none is repeated in memory."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    leaves = [file.schema.column(place) for place in range(len(file.schema.names))]
    texts = [leaf.path for leaf in leaves if leaf.path.partition(".")[0] in roots]
    coded = pq.ParquetFile(pa.BufferReader(content), read_dictionary=texts)
    total = 0
    for batch in coded.iter_batches(columns=roots, use_threads=False):
        total += sum(map(_repeated, batch.columns))
        if total > most:
            break
    return total


def _repeated(array: pa.Array) -> int:
    """Return how many bytes the texts of an array have that is dictionary-encoded, at whatever depth."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(array.type):
        lengths = pc.binary_length(array.dictionary).take(array.indices)
        return pc.sum(lengths.cast(pa.int64())).as_py() or 0
    if pa.types.is_struct(array.type):
        return sum(map(_repeated, array.flatten()))
    if pa.types.is_map(array.type):
        return _repeated(array.keys) + _repeated(array.items)
    return _repeated(array.flatten()) if pa.types.is_list(array.type) else 0


def _chunk(content: bytes, column: Any) -> tuple[Chunk, int]:
    """Return what a column chunk holds, and in how many pages."""
    start = column.data_page_offset
    if column.has_dictionary_page and 0 < column.dictionary_page_offset < start:
        start = column.dictionary_page_offset
    decompressed = values = dictionary = count = 0
    for page in _pages(content, start, start + column.total_compressed_size):
        count += 1
        size = _natural(page.get(2))
        decompressed += size
        header = page.get(5) or page.get(8) or {}
        encoding = header.get(2 if 5 in page else 4)
        if encoding == _DELTA_BYTE_ARRAY:
            raise ExcessError("it uses the encoding DELTA_BYTE_ARRAY, which is not read here")
        if page.get(1) == _DICTIONARY_PAGE:
            dictionary += size
        else:
            values += _natural(header.get(1, 0))
    return Chunk(decompressed, values, dictionary), count


def _pages(content: bytes, start: int, end: int) -> Iterator[dict[int, Any]]:
    if not 0 <= start <= end <= len(content):
        raise ValueError("a column lies outside the file")
    count = 0
    while start < end:
        count += 1
        if count > MOST_PAGES:
            raise ExcessError(f"it has more than {MOST_PAGES:,} pages")
        reader = _Compact(content, start)
        try:
            page = reader.struct()
        except IndexError:
            raise ValueError("a page has no header that can be read") from None
        start = reader.place + _natural(page.get(3))
        yield page


def _natural(number: Any) -> int:
    if not isinstance(number, int) or number < 0:
        raise ValueError("a page has no header that can be read")
    return number


class _Compact:
    """Reads structs of Thrift's compact protocol: integers and structs are kept, the rest is passed over."""

    def __init__(self, content: bytes, place: int) -> None:
        self._content, self.place = content, place

    def struct(self, depth: int = 0) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        number = 0
        while True:
            head = self._byte()
            if head == 0:
                return fields
            number = number + (head >> 4) if head >> 4 else self._integer()
            fields[number] = self._value(head & 15, depth)

    def _value(self, kind: int, depth: int) -> Any:
        if depth > 8:
            raise ValueError("a page has no header that can be read")
        if kind in (1, 2):
            return kind == 1
        if kind == 3:
            return self._byte()
        if kind in (4, 5, 6):
            return self._integer()
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind == _DOUBLE:
            self.place += 8
        elif kind == _BINARY:
            length = self._varint()  # which moves the place, too
            self.place += length
        else:  # lists, sets and maps: no field of a page's header is one
            raise ValueError("a page has no header that can be read")
        return None

    def _byte(self) -> int:
        self.place += 1
        return self._content[self.place - 1]

    def _varint(self) -> int:
        result = shift = 0
        while True:
            byte = self._byte()
            result |= (byte & 127) << shift
            if byte < 128:
                return result
            shift += 7
            if shift > 63:
                raise ValueError("a page has no header that can be read")

    def _integer(self) -> int:
        coded = self._varint()
        return (coded >> 1) ^ -(coded & 1)
