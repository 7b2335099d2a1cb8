import csv
import gzip
import io
import json

import datasets
import numpy as np
import pandas as pd
import pytest

from timelapse.errors import SampleError
from timelapse.formats.sources import Row, describe, locate, read_rows
from timelapse.samples import SkippedRow

ROWS = [{"prompt": "go\nön?", "completion": "went"}, {"prompt": "see?", "completion": "saw 😀"}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def found(source):
    """Places with the row's fields, or with the reason why there are none."""
    rows = read_rows(source)
    assert all(isinstance(row, Row | SkippedRow) for row in rows)
    return [(row.place, dict(row.fields) if isinstance(row, Row) else row.reason) for row in rows]


def fault(source):
    with pytest.raises(SampleError) as caught:
        read_rows(source)
    return str(caught.value)


def csv_text(rows, delimiter=","):
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


TEXTS = {
    "eval.json": json.dumps(ROWS, indent=1),
    "eval.jsonl": LINES,
    "eval.ndjson": LINES.replace("\n", "\r\n"),
    "eval.csv": csv_text(ROWS),
    "eval.tsv": csv_text(ROWS, "\t"),
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"], ids=["plain", "bom"])
@pytest.mark.parametrize("zipped", [False, True], ids=["", "gz"])
def test_every_text_kind_gives_the_same_rows(tmp_path, name, bom, zipped):
    data = bom + TEXTS[name].encode()
    path = write(tmp_path, name + ".gz" * zipped, gzip.compress(data) if zipped else data)
    assert [row for _, row in found(path)] == ROWS


def test_a_parquet_file_gives_the_same_rows(tmp_path):
    pd.DataFrame(ROWS).to_parquet(tmp_path / "eval.parquet")
    assert found(tmp_path / "eval.parquet") == [("item 1", ROWS[0]), ("item 2", ROWS[1])]


def test_a_file_may_be_named_by_text_and_in_capitals(tmp_path):
    assert [row for _, row in found(str(write(tmp_path, "EVAL.JSONL", LINES)))] == ROWS


def test_bad_lines_are_skipped_with_their_numbers(tmp_path):
    path = write(
        tmp_path,
        "eval.jsonl",
        b'{"a": 1}\n\n   \r\n{"a": \n[1, 2]\n"text"\n{"a": "\xff"}\n{"a": "\\ud800"}\n{"a": NaN}\n'
        + b'{"a":'
        + b"[" * 5000
        + b"]" * 5000
        + b"}\n"
        + b'{"a":'
        + b"[" * 150
        + b"]" * 150
        + b'}\n{"a": 2}',
    )
    assert found(path) == [
        ("line 1", {"a": 1}),
        ("line 2", "blank line"),
        ("line 3", "blank line"),
        ("line 4", "not valid JSON (Expecting value at column 6)"),
        ("line 5", "not an object but a value of type list"),
        ("line 6", "not an object but a value of type str"),
        ("line 7", "not valid UTF-8 (byte 0xff)"),
        ("line 8", "text with a lone surrogate, which UTF-8 cannot hold"),
        ("line 9", {"a": None}),
        ("line 10", "nested too deeply"),
        ("line 11", "nested deeper than 100 levels"),
        ("line 12", {"a": 2}),
    ]


def test_a_line_separator_inside_text_is_no_end_of_line(tmp_path):
    path = write(tmp_path, "eval.jsonl", '{"a": "x\u2028y\x85z"}\n')
    assert found(path) == [("line 1", {"a": "x\u2028y\x85z"})]


def test_rows_in_an_object_with_one_list(tmp_path):
    path = write(tmp_path, "eval.json", json.dumps({"version": 2, "tags": ["x"], "data": ROWS}))
    assert found(path) == [("item 1", ROWS[0]), ("item 2", ROWS[1])]


@pytest.mark.parametrize("indent", [None, 2])
def test_a_lone_object_is_a_row_and_its_chat_no_list_of_rows(tmp_path, indent):
    row = {"messages": [{"role": "user", "content": "go?"}, {"role": "assistant", "content": "went"}]}
    assert found(write(tmp_path, "eval.json", json.dumps(row, indent=indent))) == [("item 1", row)]
    assert found(write(tmp_path, "one.json", json.dumps(ROWS[0], indent=indent))) == [("item 1", ROWS[0])]


def test_json_lines_in_a_json_file_keep_their_line_numbers(tmp_path):
    path = write(tmp_path, "eval.json", b"\n" + LINES.encode() + b'broken\n{"a": "\xff"}\n')
    assert found(path) == [
        ("line 1", "blank line"),
        ("line 2", ROWS[0]),
        ("line 3", ROWS[1]),
        ("line 4", "not valid JSON (Expecting value at column 1)"),
        ("line 5", "not valid UTF-8 (byte 0xff)"),
    ]


def test_items_of_a_json_list_that_are_no_objects_are_skipped(tmp_path):
    path = write(tmp_path, "eval.json", '[{"a": 1}, 7, null, {"a": 2}]')
    assert found(path) == [
        ("item 1", {"a": 1}),
        ("item 2", "not an object but a value of type int"),
        ("item 3", "not an object but a value of type NoneType"),
        ("item 4", {"a": 2}),
    ]


def test_csv_places_are_the_lines_where_records_begin(tmp_path):
    path = write(
        tmp_path,
        "eval.csv",
        b'\nq , a,\r\n"one\r\ntwo",1,x\r\n\r\n,,\r\nthree,3\r\n'
        b'"bad"quote,4,\r\nfour,\xff,\r\nfive,,y\r\nsix,"6\r\n7,8,9\r\n',
    )
    assert found(path) == [
        ("line 3", {"q": "one\r\ntwo", "a": "1", "column 3": "x"}),
        ("line 5", "blank line"),
        ("line 6", "blank line"),
        ("line 7", "2 cells where the header names 3 columns"),
        ("line 8", "not valid CSV (',' expected after '\"')"),
        ("line 9", "not valid UTF-8"),
        ("line 10", {"q": "five", "a": None, "column 3": "y"}),
        ("line 11", "a quoted cell that is never closed swallows the rest of the file (1 more lines)"),
    ]


def test_a_csv_cell_may_be_large_and_the_global_limit_stays(tmp_path):
    standard = csv.field_size_limit(1000)
    try:
        path = write(tmp_path, "eval.csv", csv_text([{"a": "x" * 300_000, "b": "1"}]))
        assert found(path) == [("line 2", {"a": "x" * 300_000, "b": "1"})]
        assert csv.field_size_limit() == 1000
    finally:
        csv.field_size_limit(standard)


def test_a_missing_file(tmp_path):
    assert fault(tmp_path / "eval.jsonl") == (
        f"There is no file {tmp_path}/eval.jsonl. Expected .json, .jsonl, .ndjson, .csv or .tsv, each also "
        "as .gz, or .parquet: check the path and the working folder."
    )


def test_a_folder(tmp_path):
    assert fault(tmp_path).startswith(f"{tmp_path} is a folder. Expected .json, ")
    assert fault(tmp_path).endswith("name one file in it.")


@pytest.mark.parametrize("name", ["eval.txt", "eval", "eval.parquet.gz", "eval.gz", "eval.txt.gz"])
def test_an_unknown_kind(tmp_path, name):
    message = fault(write(tmp_path, name, LINES))
    assert message.startswith(f"The kind of {tmp_path}/{name} is not known. Expected .json, .jsonl, ")
    assert message.endswith("convert or rename it.")


@pytest.mark.parametrize("content", ["", "\n \n", b"\xef\xbb\xbf", gzip.compress(b"", mtime=0)], ids=repr)
@pytest.mark.parametrize("kind", ["json", "jsonl", "csv"])
def test_an_empty_file(tmp_path, content, kind):
    zipped = isinstance(content, bytes) and content.startswith(b"\x1f")
    path = write(tmp_path, f"eval.{kind}" + ".gz" * zipped, content)
    expected = {
        "json": "a JSON list of objects",
        "jsonl": "one JSON object a line",
        "csv": "a header line that names the columns, then a row a line",
    }
    assert fault(path) == f"{path} is empty. Expected {expected[kind]}: add at least one row."


def test_no_rows(tmp_path):
    path = write(tmp_path, "a.json", "[]")
    assert fault(path).startswith(f"{path} holds no rows.")


def test_an_empty_list_frame_and_table(tmp_path):
    assert fault([]).startswith(
        "The list holds no rows. Expected a file, a list of dicts, a pandas DataFrame"
    )
    assert fault(pd.DataFrame({"prompt": []})).startswith("The DataFrame holds no rows.")
    pd.DataFrame({"prompt": []}).to_parquet(tmp_path / "a.parquet")
    assert fault(tmp_path / "a.parquet").startswith(f"{tmp_path}/a.parquet holds no rows.")


def test_a_broken_json_list_names_line_and_column(tmp_path):
    path = write(tmp_path, "eval.json", '[\n  {"a": 1},\n  {"a": oops}\n]')
    assert fault(path) == (
        f"{path} cannot be decoded: line 3: not valid JSON (Expecting value at column 9). Expected a JSON "
        "list of objects, in UTF-8: mend it there, or name it .jsonl if each line is an object of its own."
    )
    message = fault(write(tmp_path, "eval.json", b'[\n  {"a": "\xff"}]'))
    assert f"{path} cannot be decoded: line 2: not valid UTF-8 (byte 0xff)." in message
    assert "nested too deeply" in fault(write(tmp_path, "eval.json", "[" * 9000))


def test_json_that_holds_several_lists_or_a_single_value(tmp_path):
    path = write(tmp_path, "eval.json", json.dumps({"train": ROWS, "test": ROWS}))
    assert fault(path) == (
        f"{path} holds several lists: train, test. Expected a JSON list of objects, or an object with "
        "exactly one: put each list into a file of its own."
    )
    assert fault(write(tmp_path, "eval.json", "42")) == (
        f"{path} holds a single value. Expected a JSON list of objects: put the rows in a list."
    )


def test_utf16_is_named(tmp_path):
    path = write(tmp_path, "eval.csv", csv_text(ROWS).encode("utf-16"))
    assert fault(path).startswith(f"{path} is UTF-16 text. Expected a header line that names the columns")
    assert fault(path).endswith("save it as UTF-8.")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            ",\nx,y\n",
            "has no header. Expected a header line that names the columns, then a row a line: put the names",
        ),
        ('"a\nb",c\nx,y\n', "has no header."),
        ("a,b,a\n1,2,3\n", "names a column twice: a. Expected a header line"),
        ("a,b\n", "holds a header line but no rows."),
        ('"a"b,c\n1,2\n', "cannot be read: not valid CSV (',' expected after '\"')."),
    ],
)
def test_a_csv_without_usable_header(tmp_path, content, message):
    path = write(tmp_path, "eval.csv", content)
    assert message in fault(path)
    assert str(path) in fault(path)


@pytest.mark.parametrize(
    "content", [LINES.encode(), gzip.compress(LINES.encode() * 99)[:-20]], ids=["plain", "cut"]
)
def test_a_broken_gzip_file(tmp_path, content):
    path = write(tmp_path, "eval.jsonl.gz", content)
    assert fault(path).startswith(f"{path} is not a whole gzip file (")
    assert fault(path).endswith(
        "). Expected one JSON object a line, compressed with gzip: write it again, "
        "or drop .gz from the name if it is not compressed."
    )


def test_a_broken_parquet_file(tmp_path):
    path = write(tmp_path, "eval.parquet", "PAR1 nothing")
    assert fault(path).startswith(f"{path} cannot be read (")
    assert fault(path).endswith("Expected a Parquet table: write it again.")


def test_a_frame_gives_plain_values_and_none_for_what_is_missing():
    frame = pd.DataFrame(
        {
            "prompt": ["go?", None],
            "level": [1.5, np.nan],
            "when": [pd.NaT, pd.Timestamp("2020-01-01")],
            "chat": [np.array([{"role": "user", "parts": np.array(["x"])}]), None],
            7: pd.array([1, None], dtype="Int64"),
        }
    )
    assert found(frame) == [
        (
            "item 1",
            {"prompt": "go?", "level": 1.5, "when": None, "chat": [{"role": "user", "parts": ["x"]}], "7": 1},
        ),
        (
            "item 2",
            {"prompt": None, "level": None, "when": pd.Timestamp("2020-01-01"), "chat": None, "7": None},
        ),
    ]
    twice = pd.DataFrame([[1, 2]], columns=["a", "a"])
    assert fault(twice) == "The DataFrame names a column twice: a. Rename one of them."


def test_a_hugging_face_data_set_and_any_other_rows():
    assert found(datasets.Dataset.from_list(ROWS)) == [("item 1", ROWS[0]), ("item 2", ROWS[1])]
    assert found(row for row in ROWS) == [("item 1", ROWS[0]), ("item 2", ROWS[1])]
    assert found([ROWS[0], "x", {"a": float("nan")}]) == [
        ("item 1", ROWS[0]),
        ("item 2", "not an object but a value of type str"),
        ("item 3", {"a": None}),
    ]


def test_what_comes_from_arrow_is_marked(tmp_path):
    row = {"chat": [{"role": "user", "content": "go?"}], "level": 1}
    datasets.Dataset.from_list([row]).to_parquet(tmp_path / "a.parquet")

    def filled(source):
        return [sorted(row.filled) for row in read_rows(source)]

    assert filled(tmp_path / "a.parquet") == filled(datasets.Dataset.from_list([row])) == [["chat", "level"]]
    assert filled(pd.read_parquet(tmp_path / "a.parquet")) == [["chat"]]
    assert filled(pd.DataFrame([row])) == filled([row]) == [[]]


def test_what_is_no_source():
    splits = datasets.DatasetDict(test=datasets.Dataset.from_list(ROWS))
    assert fault(splits).startswith("The DatasetDict is a mapping of test. Expected a file")
    assert fault(splits).endswith("pass one of its values.")
    assert fault(42).startswith("Samples cannot be read from a value of type int. Expected a file")
    assert fault(b"x").startswith("Samples cannot be read from a value of type bytes.")


def test_names_of_sources(tmp_path):
    assert describe("a/eval.jsonl") == "a/eval.jsonl"
    assert describe([]) == "The list"
    assert locate(tmp_path / "eval.jsonl", "line 7") == "eval.jsonl:7"
    assert locate([], "item 3") == "item 3"
