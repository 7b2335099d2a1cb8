"""Answers from one's own inference, through a real MLflow and back."""

from __future__ import annotations

import datetime
import json
import math
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import timelapse
from timelapse import Sample, SampleSet, load_predictions, load_samples, start_run
from timelapse.answers import KnownSamples, read_answers
from timelapse.errors import SampleError, TimelapseWarning

ROW = {"prompt": "q", "prediction": "a"}
PAGE = Path(__file__).resolve().parents[2] / "docs" / "own-inference.md"

in_mlflow = pytest.mark.usefixtures("tracking")


def stored(data: Any, **options: Any) -> pd.DataFrame:
    """What a reader gets of one round."""
    with start_run("one") as run:
        run.log_predictions(data, **{"step": 3} | options)
    return load_predictions("last")


def read(data: Any, known: KnownSamples | None = None, **options: Any) -> list[dict[str, Any]]:
    """The rows that would be stored; `known` learns the samples, as it does in a run."""
    known = known if known is not None else KnownSamples()
    answers = read_answers(data, known, step=0, set_name="main", **options)
    known.add(answers.samples)
    return [row | {"scores": dict(row["scores"])} for row in answers.table.to_pylist()]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


# --- forms in which people hold a table


def as_generator() -> Iterator[dict[str, Any]]:
    yield {"prompt": "p", "prediction": "x", "n": 1}
    yield {"prompt": "q", "n": 2}


FORMS = {
    "list": lambda: list(as_generator()),
    "generator": as_generator,
    "frame": lambda: pd.DataFrame({"prompt": ["p", "q"], "prediction": ["x", math.nan], "n": [1, 2]}),
    "frame of objects": lambda: pd.DataFrame(list(as_generator())).astype(object),
    "columns": lambda: {"prompt": ("p", "q"), "prediction": pd.Series(["x", None]), "n": np.arange(1, 3)},
    "table": lambda: pa.table({"prompt": ["p", "q"], "prediction": ["x", None], "n": [1, 2]}),
    "batch": lambda: pa.record_batch({"prompt": ["p", "q"], "prediction": ["x", None], "n": [1, 2]}),
    "slice of chunks": lambda: pa.table(
        {
            "prompt": pa.chunked_array([["o", "p"], ["q"]]).dictionary_encode(),
            "prediction": pa.chunked_array([["w"], ["x", None]], pa.large_string()),
            "n": [0, 1, 2],
        }
    ).slice(1),
}


@in_mlflow
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_round(form: str) -> None:
    frame = stored(FORMS[form]())
    assert frame["prompt"].tolist() == ["p", "q"]
    assert frame["prediction"].fillna("-").tolist() == ["x", "-"]
    assert frame["status"].tolist() == ["ok", "skipped"]
    assert frame["n"].tolist() == [1, 2]
    assert str(frame["n"].dtype) == "Int64"


@in_mlflow
def test_a_polars_frame_is_read() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(
        {
            "prompt": ["p", "q"],
            "prediction": ["x", None],
            "kind": polars.Series(["u", "v"], dtype=polars.Categorical),
        }
    )
    rows = stored(frame)
    assert rows["status"].tolist() == ["ok", "skipped"]
    assert rows["kind"].tolist() == ["u", "v"]


@in_mlflow
def test_users_columns_come_back_in_their_types() -> None:
    frame = pd.DataFrame(
        {
            "prompt": ["p", "q"],
            "prediction": ["x", "y"],
            "category": pd.Categorical(["u", None]),
            "whole": pd.array([2**53 + 1, None], dtype="Int64"),
            "number": np.array([0.5, math.nan], dtype="float32"),
            "truth": [True, False],
            "time": pd.to_datetime(["2026-01-01", None]).tz_localize("Europe/Berlin"),
            "list": [[1], []],
            "vector": [np.array([1, 2], dtype="float32"), None],
            "matrix": [np.eye(2), None],
            "object": [{"a": 1}, {"b": "x"}],
            "uuid": [uuid.UUID(int=1), None],
            "period": pd.period_range("2026", periods=2, freq="M"),
            "sparse": pd.arrays.SparseArray([0.0, 1.0]),
            "nothing": [None, None],
            "broken": pd.Series(["\ud800", "\0"], dtype=object),
            "run_id": [7, 8],
        }
    )
    rows = stored(frame)
    assert {
        name: str(rows[name].dtype) for name in ("category", "whole", "number", "truth", "time", "vector")
    } == {
        "category": "str",
        "whole": "Int64",
        "number": "float64",
        "truth": "boolean",
        "time": "timestamp[us, tz=Europe/Berlin][pyarrow]",
        "vector": "list<element: float>[pyarrow]",
    }
    assert rows["category"].fillna("-").tolist() == ["u", "-"]
    assert rows["whole"][0] == 2**53 + 1
    assert pd.isna(rows["whole"][1])
    assert rows["time"][0] == pd.Timestamp("2026-01-01", tz="Europe/Berlin")
    assert rows["list"].map(list).tolist() == [[1], []]
    assert np.array_equal(rows["matrix"][0], np.eye(2))
    assert rows["object"].tolist() == [{"a": 1, "b": None}, {"a": None, "b": "x"}]
    assert rows["uuid"][0] == str(uuid.UUID(int=1))
    assert rows["period"].tolist() == ["2026-01", "2026-02"]
    assert rows["sparse"].tolist() == [0.0, 1.0]
    assert rows["broken"].tolist() == ["\ufffd", "\0"]
    assert rows["user_run_id"].tolist() == [7, 8]
    assert rows["run_id"].nunique() == 1
    assert rows.attrs["problems"] == []


@in_mlflow
@pytest.mark.parametrize(
    "kind", [pa.string_view(), pa.list_view(pa.int64()), pa.large_string(), pa.float16(), pa.duration("s")]
)
def test_arrows_special_types_are_stored_in_ones_that_pandas_knows(kind: pa.DataType) -> None:
    value = {"list_view<item: int64>": [1], "halffloat": 1.0, "duration[s]": 1}.get(str(kind), "x")
    table = pa.table({"prompt": ["p"], "prediction": ["x"], "extra": pa.array([value], kind)})
    rows = stored(table)
    assert "extra" in rows.to_string()


# --- answers


@pytest.mark.parametrize(
    ("given_answer", "text"),
    [
        ("", ""),
        ("nan", "nan"),
        (5, "5"),
        (np.float64(0.5), "0.5"),
        (True, "True"),
        ({"city": "Köln"}, '{"city": "Köln"}'),
        ([1, 2], "[1, 2]"),
        ([{"role": "assistant", "content": "hi"}], "hi"),
        ('[{"role": "assistant", "content": "hi"}]', '[{"role": "assistant", "content": "hi"}]'),
        ("a\ud800\0b", "a\ufffd\0b"),
    ],
)
def test_an_answer_becomes_text(given_answer: Any, text: str) -> None:
    [row] = read([{"prompt": "q", "prediction": given_answer}])
    assert (row["prediction"], row["status"]) == (text, "ok")


@pytest.mark.parametrize("missing", [None, math.nan, np.float32("nan"), pd.NA, pd.NaT])
def test_a_missing_answer_is_skipped_and_never_a_text(missing: Any) -> None:
    rows = read([{"prompt": "q", "prediction": missing}, {"prompt": "r", "prediction": "nan"}])
    assert [(row["prediction"], row["status"]) for row in rows] == [(None, "skipped"), ("nan", "ok")]


@in_mlflow
def test_failed_requests_are_rows_even_if_all_of_them_failed() -> None:
    frame = stored([{"prompt": "q", "error": TimeoutError("30 s")}, {"prompt": "r", "error": "no quota"}])
    assert frame["error"].tolist() == ["TimeoutError: 30 s", "no quota"]
    assert frame["status"].tolist() == ["error", "error"]


@in_mlflow
def test_what_is_known_about_an_answer_is_kept() -> None:
    about = {
        "finish_reason": "length",
        "prompt_tokens": 4.0,
        "prediction_tokens": np.int32(5),
        "mean_logprob": -0.5,
        "least_confident_token": " went",
        "least_confident_position": np.int64(3),
        "least_confident_logprob": -2.5,
        "reference_nll": 2,
        "seconds": 0.25,
    }
    frame = stored([ROW | about, {"prompt": "r", "prediction": "b"}], epoch=np.float32(0.5), trigger="eval")
    assert {name: frame[name][0] for name in about} == about
    assert frame[list(about)].isna().iloc[1].all()
    assert frame["epoch"].tolist() == [0.5, 0.5]
    assert frame["trigger"].tolist() == ["eval", "eval"]


def test_scores_come_from_columns_and_from_a_mapping(tracking: mlflow.MlflowClient) -> None:
    rows = [
        {"prompt": "p", "prediction": "x", "reward": np.float32(0.5), "won": True, "scores": {"length": 1}},
        {"prompt": "q", "prediction": "x", "reward": None, "won": False, "scores": None},
        {"prompt": "r", "prediction": "x", "reward": 1, "won": None, "scores": {"length": 3, "reward": 9}},
    ]
    frame = stored(rows, scores=["reward", "won"], metrics={"kl": np.float32(0.5)})
    assert frame["reward"].fillna(-1).tolist() == [0.5, -1, 1.0]
    assert frame["won"].fillna(-1).tolist() == [1.0, 0.0, -1]
    assert frame["length"].fillna(-1).tolist() == [1.0, -1, 3.0]
    metrics = tracking.get_run(frame["run_id"][0]).data.metrics
    assert metrics["predictions/reward"] == 0.75
    assert metrics["predictions/kl"] == 0.5


@pytest.mark.parametrize("kind", [None, pa.map_(pa.string(), pa.float64())])
def test_a_column_of_scores_in_arrow_is_read(kind: pa.DataType | None) -> None:
    scores = (
        pa.array([{"a": 1.0}, {"b": 2.0}], kind) if kind is None else pa.array([[("a", 1)], [("b", 2)]], kind)
    )
    rows = read(pa.table({"prompt": ["p", "q"], "prediction": ["x", "y"], "scores": scores}))
    assert [row["scores"] for row in rows] == [{"a": 1.0}, {"b": 2.0}]


# --- which sample a row answers

CHAT = [{"role": "system", "content": "Be brief."}, user("2+2?")]


@pytest.mark.parametrize(
    "asks",
    [
        {"prompt": "2+2?"},
        {"question": "2+2?"},
        {"input": "2+2?"},
        {"messages": CHAT},
        {"prompt": CHAT},
        {"prompt": json.dumps(CHAT)},
        {"question": "2+2?", "system": "Be brief."},
        {"messages": CHAT, "tools": [{"type": "function", "function": {"name": "add", "parameters": {}}}]},
        {"messages": [{"from": "human", "value": "2+2?"}]},
    ],
)
def test_a_row_is_the_sample_that_load_samples_makes_of_it(asks: dict[str, Any]) -> None:
    answer = {"answer": "4"} if "question" in asks else {"output": "4"} if "input" in asks else {}
    conversation = {"prompt": asks["messages"], **asks} if "messages" in asks else asks
    source = {name: cell for name, cell in conversation.items() if name != "messages"} | answer
    [sample] = load_samples([source])
    for form in ([asks | {"prediction": "4"}], pa.Table.from_pylist([asks | {"prediction": "4"}])):
        [row] = read(form)
        assert row["sample_id"] == sample.sample_id


def test_keys_that_arrow_fills_change_no_sample() -> None:
    chats = [
        [
            {"role": "assistant", "tool_calls": [{"function": {"name": "add", "arguments": arguments}}]},
            user("?"),
        ]
        for arguments in ({"a": "2"}, {"b": "3"})
    ]
    rows = [{"messages": chat, "prediction": "4"} for chat in chats]
    expected = [row["sample_id"] for row in read(rows)]
    assert [row["sample_id"] for row in read(pa.Table.from_pylist(rows))] == expected
    arrays = pa.Table.from_pylist(rows).to_pandas()  # cells are numpy arrays of mappings
    assert [row["sample_id"] for row in read(arrays)] == expected


@in_mlflow
def test_logged_samples_are_found_by_text_by_hash_and_by_id() -> None:
    known = SampleSet((Sample(tuple(CHAT), reference="4"), Sample((user("3+3?"),), reference="6")))
    asks = [{"prompt": "2+2?"}, {"question": "2+2?"}, {"messages": CHAT}, {"sample_id": known[0].sample_id}]
    with start_run("one") as run:
        run.log_samples(known)
        for step, ask in enumerate(asks):
            run.log_predictions([{"prompt": "3+3?", "prediction": "6"}], step=step, set="other")
            run.log_predictions([ask | {"prediction": "4"}], step=step)
    frame = load_predictions("last")
    main = frame[frame["set"] == "main"]
    assert main["sample_id"].tolist() == [known[0].sample_id] * 4
    assert main["exact_match"].tolist() == [1.0] * 4
    assert frame[frame["set"] == "other"]["exact_match"].isna().all()  # its samples have no references


def test_another_system_message_is_another_sample() -> None:
    known = KnownSamples()
    other = [{"role": "system", "content": "Be verbose."}, user("2+2?")]
    rows = [read([{"messages": chat, "prediction": "4"}], known)[0] for chat in (CHAT, other)]
    assert rows[0]["sample_id"] != rows[1]["sample_id"]
    with pytest.raises(SampleError, match=r"Row 0, column 'prompt': 2 samples ask this, .* give 'sample_id'"):
        read([{"prompt": "2+2?", "prediction": "4"}], known)
    [alone] = read([{"messages": [user("2+2?")], "prediction": "4"}], known)
    assert alone["sample_id"] not in {row["sample_id"] for row in rows}
    assert read([{"prompt": "2+2?", "prediction": "4"}], known)[0]["sample_id"] == alone["sample_id"]


@pytest.mark.parametrize(
    ("given_id", "stored_id"),
    [("x", "x"), (7, "7"), (np.int64(7), "7"), (7.0, "7"), (uuid.UUID(int=7), str(uuid.UUID(int=7)))],
)
def test_an_id_may_be_a_text_a_whole_number_or_a_uuid(given_id: Any, stored_id: str) -> None:
    assert read([{"sample_id": given_id, "prediction": "a"}])[0]["sample_id"] == stored_id
    assert read([{"id": given_id, "prediction": "a"}])[0]["sample_id"] == stored_id


def test_a_prompt_decides_where_the_id_may_be_anything_and_sample_id_where_it_is_given() -> None:
    [row] = read([{"id": "chatcmpl-1", **ROW}])
    assert row["sample_id"] == load_samples([{"prompt": "q"}])[0].sample_id
    assert row["id"] == "chatcmpl-1"
    assert read([{"sample_id": "mine", **ROW}])[0]["sample_id"] == "mine"


@in_mlflow
def test_prompts_and_references_may_come_later_but_not_change() -> None:
    with start_run("one") as run:
        run.log_predictions([{"sample_id": 1, "prediction": "a"}], step=0)
        run.log_predictions([{"sample_id": 1, "prompt": "q", "prediction": "a"}], step=1)
        run.log_predictions([{"prompt": "q", "prediction": "a", "reference": "a"}], step=2)
        run.log_predictions([{"prompt": "q", "prediction": "b"}], step=3)
        with pytest.raises(SampleError, match=r"Row 0, column 'reference': it holds 'b', but .* 'a' already"):
            run.log_predictions(
                [{"prompt": "q", "prediction": "b", "target": None, "reference": "b"}], step=4
            )
        with pytest.raises(
            SampleError, match="Row 0, column 'prompt': it asks 'r', but the sample '1' asks 'q'"
        ):
            run.log_predictions([{"sample_id": 1, "prompt": "r", "prediction": "b"}], step=4)
        with pytest.raises(SampleError, match="Row 0, column 'sample_id': no sample has the id '2'"):
            run.log_predictions([{"sample_id": 2, "prediction": "b"}], step=4)
    frame = load_predictions("last")
    assert frame["step"].tolist() == [0, 1, 2, 3]
    assert frame["sample_id"].unique().tolist() == ["1"]
    assert frame["prompt"].unique().tolist() == ["q"]
    assert frame["reference"].unique().tolist() == ["a"]
    assert frame["exact_match"].fillna(-1).tolist() == [-1, -1, 1.0, 0.0]


@in_mlflow
def test_a_run_that_is_resumed_knows_its_samples() -> None:
    with start_run("one") as run:
        run.log_predictions([{"sample_id": 1, "prompt": "q", "prediction": "a", "reference": "a"}], step=0)
    with start_run(run_id=run.run_id) as again:
        again.log_predictions(
            [{"prompt": "q", "prediction": "a"}, {"prompt": "r", "prediction": "b"}], step=5
        )
    frame = load_predictions("last")
    assert frame["step"].tolist() == [0, 5, 5]
    assert frame["sample_id"].tolist()[:2] == ["1", "1"]
    assert frame["exact_match"].fillna(-1).tolist() == [1.0, 1.0, -1]
    assert frame["prompt"].tolist() == ["q", "q", "r"]


def test_several_answers_to_a_question_are_its_generations() -> None:
    texts = ["p", "q", "p", "p"]
    assert [row["generation"] for row in read([{"prompt": t, "prediction": t} for t in texts])] == [
        0,
        0,
        1,
        2,
    ]
    given_numbers = pd.DataFrame({"prompt": ["p", "p"], "prediction": ["x", "y"], "generation": [1.0, 0.0]})
    assert [row["generation"] for row in read(given_numbers)] == [1, 0]


@in_mlflow
def test_two_calls_at_one_step_are_both_kept_and_that_is_said_once() -> None:
    with (
        pytest.warns(TimelapseWarning, match="logged before, with other rows") as said,
        start_run("one") as run,
    ):
        for text in ("a", "b", "c", "c"):
            run.log_predictions([{"prompt": "q", "prediction": text}], step=np.int64(0))
    assert len(said) == 1
    assert load_predictions("last")["prediction"].tolist() == ["c"]
    every = load_predictions("last", attempts="all")
    assert every["prediction"].tolist() == ["a", "b", "c"]


# --- what is refused

REFUSED: list[tuple[Any, str]] = [
    ([], "no rows"),
    (pd.DataFrame({"prompt": [], "prediction": []}), "no rows"),
    (None, "type NoneType"),
    ("text", "type str"),
    ([ROW, 5], "Row 1 is a value of type int"),
    (ROW, r"column 'prompt' is a value of type str.*\[\{…\}\]"),
    ({"prompt": ["p", "q"], "prediction": ["x"]}, "'prompt' 2, 'prediction' 1"),
    (pa.table([["p"], ["q"]], names=["prompt", "prompt"]), "Two columns are named 'prompt'"),
    ([{"prompt": "q", "predicton": "a"}], "no column 'prediction'.*Did you mean 'predicton'"),
    ([{"question": "q", "answer": "a"}], "'answer' may be the model's or the expected one"),
    ([{"prompt": "q", "error": None}], "no column 'prediction'"),
    ([{"promt": "q", "prediction": "a"}], "neither a column 'prompt'.*Did you mean 'promt'"),
    ([ROW, {"prediction": "a"}], "Row 1, column 'prompt': the row has neither"),
    ([ROW | {"prompt": " "}], "Row 0, column 'prompt': it is blank"),
    ([ROW | {"prompt": 3}], "Row 0, column 'prompt': it holds 3"),
    ([ROW | {"prompt": [user("q"), {"role": "assistant", "content": "a"}]}], "ends with an answer"),
    ([ROW | {"prompt": []}], "no turns"),
    ([ROW | {"step": 1}], "column 'step' would stand beside our own"),
    ([ROW | {"flags": ["mine"]}], "column 'flags' would stand beside our own"),
    ([ROW | {"prediction": b"x"}], "Row 0, column 'prediction': it holds b'x'"),
    ([ROW | {"status": "fine"}], "Row 0, column 'status': it holds 'fine'"),
    ([ROW | {"generation": "a"}], "Row 0, column 'generation': it holds 'a'"),
    ([ROW | {"generation": 0}, ROW | {"generation": 0}], "Rows 0 and 1 are both generation 0"),
    ([ROW | {"prompt_tokens": 1.5}], "Row 0, column 'prompt_tokens': it holds 1.5"),
    ([ROW | {"prompt_tokens": 2**31}], "whole number from 0 to 2147483647"),
    ([ROW | {"seconds": "1"}], "Row 0, column 'seconds': it holds '1'"),
    ([ROW | {"scores": 3}], "Row 0, column 'scores': it holds 3"),
    ([ROW | {"scores": {"a": "b"}}], "Row 0, column 'scores': it holds 'b'"),
    ([ROW | {"scores": {"pass@1": 1}}], "'pass@1' cannot be a metric's name"),
    ([ROW | {"sample_id": True}], "Row 0, column 'sample_id': it holds True"),
    ([ROW | {"sample_id": 1.5}], "Row 0, column 'sample_id': it holds 1.5"),
    ([ROW | {"extra": 1}, ROW | {"extra": "a"}], r"'extra' mixes types: int \(row 0\) and str \(row 1\)"),
    ([ROW, ROW | {"extra": 1j}], "Row 1 of the column 'extra' holds a complex"),
    ([ROW | {"extra": {}}], "'extra' holds values of the type struct<>"),
    ([ROW | {"reference": "a"}, ROW | {"reference": "b"}], "Row 1, column 'reference': it holds 'b'"),
]


@in_mlflow
@pytest.mark.parametrize(("data", "message"), REFUSED, ids=[message[:30] for _data, message in REFUSED])
def test_wrong_data_is_refused_and_nothing_of_it_is_stored(data: Any, message: str) -> None:
    with start_run("one") as run:
        run.log_predictions([{"prompt": "right", "prediction": "a"}], step=0)
        with pytest.raises(SampleError, match=message):
            run.log_predictions(data, step=1)
    assert load_predictions("last")["prompt"].tolist() == ["right"]


@in_mlflow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step": -1}, "step=-1"),
        ({"step": 1.5}, "step=1.5"),
        ({"step": True}, "step=True"),
        ({"step": np.True_}, "step="),
        ({"step": np.array([1, 2])}, r"step=array\(\[1, 2\]\) is no step"),
        ({"step": 2**63}, "64 bits"),
        ({"set": "a b"}, "set='a b'"),
        ({"set": None}, "set=None"),
        ({"trigger": "now"}, "trigger='now' is not known; it is one of baseline"),
        ({"epoch": "1"}, "epoch: it holds '1'"),
        ({"metrics": {"kl": "x"}}, "kl: it holds 'x'"),
        ({"metrics": {"a//b": 1}}, "'a//b' cannot be a metric's name"),
        ({"scores": ["reard"]}, "no column 'reard'.*Did you mean 'reward'"),
        ({"scores": "prompt"}, "Row 0, column 'prompt': it holds 'q'"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with start_run("one") as run, pytest.raises(SampleError, match=message):
        run.log_predictions([ROW | {"reward": 1}], **{"step": 0} | options)


# --- properties

CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(),
    st.just("\ud800"),
    st.binary(max_size=3),
    st.datetimes(),
    st.lists(st.integers(0, 9), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(0, 9), max_size=2),
)


@settings(deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from([*ROW, "reference", "sample_id", "extra", "scores"]), CELLS),
        max_size=4,
    )
)
def test_any_rows_are_taken_or_refused_with_a_reason(rows: list[dict[str, Any]]) -> None:
    try:
        found = read(rows)
    except SampleError:
        return
    assert len(found) == len(rows)
    assert len({(row["sample_id"], row["generation"]) for row in found}) == len(rows)
    for row in found:
        assert (row["prediction"] is None) == (row["status"] == "skipped")


@settings(deadline=None)
@given(st.lists(st.sampled_from("pqr"), min_size=1, max_size=6), st.randoms())
def test_the_order_of_rows_changes_no_sample(prompts: list[str], random: Any) -> None:
    rows = [{"prompt": text, "prediction": str(place)} for place, text in enumerate(prompts)]
    shuffled = random.sample(rows, len(rows))
    asked = {(row["sample_id"], row["prediction"]) for row in read(rows)}
    assert asked == {(row["sample_id"], row["prediction"]) for row in read(shuffled)}


@in_mlflow
def test_the_code_of_the_page_runs() -> None:
    for code in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S):
        exec(compile(code, PAGE.name, "exec"), {})


@in_mlflow
def test_dates_and_times_are_kept() -> None:
    rows = stored([ROW | {"day": datetime.date(2026, 1, 2), "at": datetime.datetime(2026, 1, 2, 3)}])
    assert rows["day"][0] == datetime.date(2026, 1, 2)
    assert rows["at"][0] == pd.Timestamp("2026-01-02 03:00")
    assert timelapse.as_arrow("last")["day"].type == pa.date32()
