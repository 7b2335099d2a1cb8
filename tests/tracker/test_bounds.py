"""Bounded decoding: what is too much is refused before it is decoded, whatever the file says of itself."""

from __future__ import annotations

import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parquet_bombs import repeated, rows, stored, understated
from stored_runs import make_round, make_samples

from timelapse.reading.bounds import Bounds, Budget, ExcessError, shortened
from timelapse.reading.parquet import read_round, read_samples
from timelapse.rounds import round_table
from timelapse.tables import parquet_bytes, samples_table

MEGABYTE = 1 << 20


def peak(content: bytes, bounds: Bounds) -> int:
    """Return the bytes that Arrow takes at most to refuse a file."""
    before, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(pool)
    try:
        with pytest.raises(ExcessError):
            read_round(content, budget=Budget(bounds))
    finally:
        pa.set_memory_pool(before)
    most: int = pool.max_memory()
    return most


def test_what_is_within_bounds_is_read_as_without_any() -> None:
    samples = make_samples(50)
    content = parquet_bytes(round_table(make_round(samples, 3)))
    budget = Budget(Bounds())
    assert read_round(content, budget=budget).equals(read_round(content))
    assert budget.rows == Bounds().rows - 50
    assert budget.decoded_bytes < Bounds().decoded_bytes
    file = parquet_bytes(samples_table([samples], {}))
    assert read_samples(file, Budget(Bounds())).equals(read_samples(file))


def test_a_small_file_that_repeats_a_text_a_hundred_thousand_times_is_refused() -> None:
    content = repeated("x" * 10_000, 100_000)
    assert len(content) < 47_000, "it would be a gigabyte"
    assert peak(content, Bounds()) < 64 * MEGABYTE
    with pytest.raises(ExcessError, match=r"decodes to at least [\d,]+ bytes; 268,435,456 more are read"):
        read_round(content, budget=Budget(Bounds()))


def test_a_repeated_text_is_found_in_lists_and_maps_too() -> None:
    text = "x" * 100_000
    nested = pa.array([[text] * 30] * 10)
    keys = pa.array([[(text, 1.0)] * 30] * 10, pa.map_(pa.string(), pa.float64()))
    for column in (nested, keys):
        content = stored(rows(10, mine=column))
        assert len(content) < 10_000, "it would be 30 megabytes"
        assert peak(content, Bounds(decoded_bytes=20 * MEGABYTE)) < 5 * MEGABYTE


def test_a_footer_that_lies_is_not_believed() -> None:
    texts = ["x" * 10_000] * 6_000
    honest = stored(rows(6_000, prediction=texts), use_dictionary=False, data_page_size=1 << 30)
    lying = understated(honest)
    assert pq.ParquetFile(pa.BufferReader(lying)).metadata.row_group(0).total_byte_size < 1000
    assert len(read_round(lying)) == 6_000, "to Arrow it is a sound file"
    assert peak(lying, Bounds(decoded_bytes=50 * MEGABYTE)) < 5 * MEGABYTE


def test_rows_are_counted_over_all_files() -> None:
    content = stored(rows(1_000_001))
    assert len(content) < 47_000
    with pytest.raises(ExcessError, match="1,000,001 rows; 1,000,000 more are read here, of 1,000,000"):
        read_round(content, budget=Budget(Bounds()))
    budget = Budget(Bounds(rows=1500))
    read_round(stored(rows(1000)), budget=budget)
    with pytest.raises(ExcessError, match="1,000 rows; 500 more are read here, of 1,500"):
        read_round(stored(rows(1000)), budget=budget)
    budget.renew()
    assert len(read_round(stored(rows(1000)), budget=budget)) == 1000


def test_a_file_that_is_too_large_is_not_opened() -> None:
    with pytest.raises(ExcessError, match="it has 101 bytes; 100 are read here"):
        read_round(b"x" * 101, budget=Budget(Bounds(file_bytes=100)))


def test_an_encoding_that_hides_repetition_is_refused() -> None:
    encodings = {"sample_id": "DELTA_BYTE_ARRAY"}
    content = stored(rows(10), use_dictionary=False, column_encoding=encodings)
    assert len(read_round(content)) == 10
    with pytest.raises(ExcessError, match="DELTA_BYTE_ARRAY, which is not read here"):
        read_round(content, budget=Budget(Bounds()))


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_a_damaged_file_is_an_error_and_nothing_else(data: st.DataObject) -> None:
    content = bytearray(DAMAGED)
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(content)))
    budget = Budget(Bounds(decoded_bytes=MEGABYTE))
    try:
        table = read_round(bytes(content[:end] if data.draw(st.booleans()) else content), budget=budget)
    except (ValueError, OSError, KeyError, NotImplementedError):
        return
    assert table.nbytes <= 2 * MEGABYTE


DAMAGED = parquet_bytes(round_table(make_round(make_samples(20), 3)))


def test_long_texts_are_cut_and_the_reader_is_told() -> None:
    table = pa.table(
        {"prediction": ["é" * 1000, "short", None], "mine": ["y" * 101, "y" * 100, ""], "n": [1, 2, 3]}
    )
    cut, problems = shortened(table, 100)
    assert cut.column("prediction").to_pylist() == ["é" * 99 + "…", "short", None]
    assert cut.column("mine").to_pylist() == ["y" * 99 + "…", "y" * 100, ""]
    assert cut.column("n") == table.column("n")
    assert problems == [
        "column 'prediction': 1 text has more than 100 characters: cut here",
        "column 'mine': 1 text has more than 100 characters: cut here",
    ]


def test_refusing_takes_no_memory_of_pythons_either() -> None:
    content = repeated("x" * 10_000, 100_000)
    tracemalloc.start()
    with pytest.raises(ExcessError):
        read_round(content, budget=Budget(Bounds()))
    _now, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10 * MEGABYTE
