"""What the pages show of a run, against what `load_predictions`, `trajectories` and the metrics say of it."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored_runs import make_samples

from timelapse import Prediction, Round, SampleSet
from timelapse.analysis.learning import Right, learning
from timelapse.errors import RunError
from timelapse.reading.loader import RunRounds
from timelapse.report import documents
from timelapse.report.marks import Mark
from timelapse.report.run_view import RunView
from timelapse.report.state import state
from timelapse.report.values import LONGEST
from timelapse.rounds import round_table
from timelapse.scoring.findings import Finding
from timelapse.scoring.validators import Validation
from timelapse.tables import samples_table
from timelapse.writing.metrics import round_metrics

SAMPLES = make_samples(4)
IDS = [each.sample_id for each in SAMPLES]
INFO = documents.RunInfo("r", "name", "1", "verbs", "FINISHED", state({}, "FINISHED"), 0, 1, None, None, None)
BAD = Validation("json", "json", False, (Finding("$", "expected"),))


def view(rounds: list[Round], samples: Any = SAMPLES, **chosen: Any) -> RunView:
    table = pa.concat_tables(map(round_table, rounds), promote_options="permissive")
    return RunView(RunRounds(table, samples_table([samples], {})), **chosen)


def answer(sample: int, text: str | None, score: float | None = None, **more: Any) -> Prediction:
    scores = {} if score is None else {"exact_match": score}
    return Prediction(IDS[sample], text, scores=scores, **more)


def marked(shown: RunView, lane: int) -> list[set[str]]:
    return [{mark.name or "" for mark in Mark if mark & value} for value in shown.marks[lane].tolist()]


def test_each_mark_says_what_happened() -> None:
    rounds = [
        Round(0, (answer(0, "a", 0.0, flags=("loop",), finish_reason="length"), answer(1, "b", 1.0))),
        Round(5, (answer(0, "a", 1.0, validations=(BAD,)), answer(1, None, status="error", error="boom"))),
        Round(9, (answer(0, "c", 1.0), answer(1, "", 0.0, flags=("empty",)))),
    ]
    shown = view(rounds)
    assert marked(shown, 0) == [
        {"OK", "WRONG", "LOOP", "TRUNCATED"},
        {"OK", "RIGHT", "LEARNED", "INVALID"},
        {"OK", "RIGHT", "CHANGED"},
    ]
    assert marked(shown, 1) == [
        {"OK", "RIGHT"},
        {"FAILED"},
        {"OK", "WRONG", "CHANGED", "FORGOTTEN", "EMPTY"},
    ]
    overview = shown.overview(INFO)
    assert [(each.step, each.rows, each.failed) for each in overview.rounds] == [
        (0, 2, 0),
        (5, 2, 1),
        (9, 2, 0),
    ]
    assert overview.trends["learned"] == [None, 1.0, 0.0]
    assert overview.trends["forgotten"] == [None, 0.0, 1.0]
    assert overview.trends["churn"] == [None, 0.0, 1.0]
    assert [(each.sample_class, each.class_step) for each in overview.samples] == [
        ("learned", 5),
        ("forgotten", 9),
        (None, None),
        (None, None),
    ]
    assert shown.texts([1]).lanes[0].errors == [None, "boom", None]
    assert shown.texts([0]).lanes[0].findings == [None, "json: $: expected", None]
    assert json.dumps(dataclasses.asdict(overview), allow_nan=False)


PREDICTIONS = st.builds(
    lambda text, score, failed, loss, flags, valid: (
        {"prediction": None, "status": "error", "error": "it broke"}
        if failed
        else {
            "prediction": text,
            "scores": {} if score is None else {"exact_match": score},
            "reference_nll": loss,
            "flags": tuple(flags),
            "validations": () if valid is None else (Validation("v", "json", valid, ()),),
        }
    ),
    st.sampled_from(["", "a", "b"]),
    st.sampled_from([0.0, 0.5, 1.0, math.nan, None]),
    st.booleans(),
    st.sampled_from([0.5, 2.0, None]),
    st.lists(st.sampled_from(["loop", "empty", "echo", "length_drift", "script_switch"]), unique=True),
    st.sampled_from([True, False, None]),
)


@st.composite
def stories(draw: st.DrawFn) -> list[Round]:
    generations = draw(st.integers(1, 2))
    cells = [(sample, generation) for sample in IDS for generation in range(generations)]
    return [
        Round(
            step,
            tuple(
                Prediction(sample, generation=generation, **draw(PREDICTIONS))
                for sample, generation in draw(st.lists(st.sampled_from(cells), unique=True, min_size=1))
            ),
        )
        for step in range(0, 10 * draw(st.integers(1, 4)), 10)
    ]


@given(stories())
def test_numbers_are_those_of_the_metrics_and_classes_those_of_show(rounds: list[Round]) -> None:
    shown = view(rounds)
    overview = shown.overview(INFO)
    right = Right("exact_match", 1.0)
    for at, round_ in enumerate(rounds):
        expected = round_metrics(round_, rounds[at - 1] if at else None, right)
        for name in ("exact_match", "error_rate", "loop_rate", "empty_rate", "valid_rate", "reference_nll"):
            found = overview.trends.get(name, [None] * len(rounds))[at]
            assert found == pytest.approx(expected.get(name)), (name, at)
    if shown.right is None:
        return
    learned = learning(rounds, right)
    classes = {each.sample_id: each.sample_class for each in overview.samples if each.sample_class}
    assert classes == dict(learned.classes)
    assert overview.best_step == learned.best
    assert overview.settled_since == learned.settled_since


def test_attempts_and_sets_are_chosen_and_refused_by_name() -> None:
    rounds = [
        Round(0, (answer(0, "old"),)),
        Round(0, (answer(0, "new"),), attempt=1),
        Round(5, (answer(0, "later"),)),
        Round(0, (Prediction(IDS[0], "probe"),), set_name="probe"),
    ]
    assert view(rounds).texts([0]).lanes[0].predictions == ["new", "later"]
    assert view(rounds, attempt=0).texts([0]).lanes[0].predictions == ["old", "later"]
    assert view(rounds, set_name="probe").texts([0]).lanes[0].predictions == ["probe"]
    assert view(rounds).overview(INFO).attempts == [0, 1]
    with pytest.raises(RunError, match=r"no sample set 'x'. There are: main, probe"):
        view(rounds, set_name="x")
    with pytest.raises(RunError, match=r"no attempt '7'. There are: 0, 1"):
        view(rounds, attempt=7)


def test_a_run_without_rounds_is_an_empty_document() -> None:
    shown = view([Round(0, ())])
    overview = shown.overview(INFO)
    assert (overview.rounds, overview.lanes, overview.marks, overview.trends) == ([], [], [], {})
    assert [each.index for each in overview.samples] == [0, 1, 2, 3]
    assert shown.texts([]).lanes == []
    assert shown.search("x") == documents.Found([], [])


def test_search_finds_texts_whatever_their_case() -> None:
    shown = view([Round(0, (answer(0, "Straße"), answer(1, None))), Round(1, (answer(0, "x"),))])
    assert shown.search("STRASSE") == documents.Found([], [[0], []])
    assert shown.search("QUESTION 1").always == [1]


def test_a_timeline_is_whole_and_an_overview_short() -> None:
    long = "é" * 10_000
    given = answer(0, long, math.nan, reference_nll=math.inf, validations=(BAD,))
    rounds = [Round(0, (given,), epoch=math.nan)]
    shown = view(rounds)
    found = shown.timeline(IDS[0])
    [row] = found.rounds[0]["answers"]
    assert row["prediction"] == long
    assert row["scores"] == {"exact_match": None}
    assert row["reference_nll"] is None
    assert row["validations"][0]["errors"] == [{"path": "$", "message": "expected"}]
    assert found.sample["messages"] == [{"role": "user", "content": "main question 0"}]
    for document in (found, shown.overview(INFO)):
        assert json.dumps(dataclasses.asdict(document), allow_nan=False)
    assert shown.matrix("reference_nll").values == [[None]]
    assert len(shown.overview(INFO).samples[0].prompt or "") <= LONGEST
    with pytest.raises(RunError, match="has no sample 'nobody'"):
        shown.timeline("nobody")
    with pytest.raises(RunError, match="no lane 1: there are 1"):
        shown.texts([1])
    with pytest.raises(RunError, match=r"no score 'bleu'. There are: exact_match"):
        shown.matrix("bleu")


@pytest.mark.parametrize(
    ("told", "status", "rounds", "kind"),
    [
        (None, "RUNNING", False, "not_started"),
        ("live", "RUNNING", False, "not_started"),
        ("live", "RUNNING", True, "live"),
        ("live", "KILLED", True, "killed"),
        ("live", "FINISHED", True, "degraded"),
        ("degraded: 3 rows failed at step 40", "FINISHED", True, "degraded"),
        ("disabled: FSDP", "RUNNING", False, "disabled"),
        ("failed: ValueError: x", "FAILED", True, "failed"),
        ("finished", "FINISHED", True, "finished"),
        ("something new", "FINISHED", True, "finished"),
    ],
)
def test_every_state_has_a_reason(told: str | None, status: str, rounds: bool, kind: str) -> None:
    tags = {} if told is None else {"timelapse.schema": "1", "timelapse.status": told}
    found = state(tags, status, rounds=rounds)
    assert found.kind == kind
    assert found.text


@pytest.mark.parametrize("seconds", [math.inf, math.nan, 5e-324])
def test_seconds_that_cannot_be_leave_a_page_that_json_can_hold(seconds: float) -> None:
    rows = (answer(0, "a", seconds=seconds, prediction_tokens=3), answer(1, "b", seconds=2.0))
    told = view([Round(0, rows)]).overview(INFO)
    json.dumps(dataclasses.asdict(told), allow_nan=False)
    assert told.trends["seconds"] == [2.0]


def test_no_speed_is_told_that_no_number_can_hold() -> None:
    told = view([Round(0, (answer(0, "a", seconds=5e-324, prediction_tokens=3),))]).overview(INFO)
    assert "tokens_per_second" not in told.trends


def test_tags_that_came_with_the_answers_are_tags() -> None:
    """`log_predictions` keeps a column of lists as it is: slices know it as tags, and so must the chips."""
    stored = [round_table(Round(step, (answer(0, "a"), answer(1, "b")))) for step in (0, 5)]
    own, kinds = ["known"], pa.list_(pa.string())
    samples = SampleSet((dataclasses.replace(SAMPLES[0], tags=tuple(own)), *tuple(SAMPLES)[1:]))
    first = stored[0].append_column("tags", pa.array([["old"], ["easy"]], kinds))
    second = stored[1].append_column("tags", pa.array([["hard", *own, "de", "hard"], None], kinds))
    shown = RunView(RunRounds(pa.concat_tables([first, second]), samples_table([samples], {})))
    infos = shown.overview(INFO).samples
    assert [each.tags for each in infos[:2]] == [[*own, "hard", "de"], [*SAMPLES[1].tags, "easy"]]
    assert all("tags" not in each.metadata for each in infos)
    assert shown.timeline(IDS[0]).sample["tags"] == [*own, "hard", "de"]
    gone = stored[1].append_column("tags", pa.array([[], None], kinds))
    shown = RunView(RunRounds(pa.concat_tables([first, gone]), samples_table([samples], {})))
    assert [each.tags for each in shown.overview(INFO).samples[:2]] == [own, [*SAMPLES[1].tags, "easy"]]
    texts = stored[0].append_column("tags", pa.array(["one", "two"]))
    shown = RunView(RunRounds(texts, samples_table([SAMPLES], {})))
    assert shown.overview(INFO).samples[0].metadata["tags"] == "one"
