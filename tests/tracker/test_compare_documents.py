"""What the compare page shows, against what `timelapse.compare` says of the same runs."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from typing import Any

import mlflow
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored import question_set, store_run

from timelapse import Prediction, Round, Sample, SampleSet, compare
from timelapse.analysis.comparison import Comparison
from timelapse.errors import RunError
from timelapse.reading.loader import RunRounds, load_rounds
from timelapse.report import compare_rows
from timelapse.report.compare_documents import CompareDocument
from timelapse.report.compare_export import comparison_file
from timelapse.report.compare_view import compare_document, compare_read
from timelapse.report.documents import RunInfo
from timelapse.report.state import state
from timelapse.rounds import round_table
from timelapse.tables import samples_table

VERBS = {"go": "went", "be": "was", "sing": "sang", "run": "ran"}
SAMPLES = question_set(VERBS)
IDS = [each.sample_id for each in SAMPLES]


def info(run_id: str, name: str) -> RunInfo:
    return RunInfo(run_id, name, "1", "verbs", "FINISHED", state({}, "FINISHED"), 0, 1, None, None, None)


def read(client: mlflow.MlflowClient, *run_ids: str) -> dict[str, tuple[RunInfo, RunRounds]]:
    names = {run_id: client.get_run(run_id).info.run_name for run_id in run_ids}
    return {run_id: (info(run_id, names[run_id]), load_rounds(client, run_id)) for run_id in run_ids}


def held(rounds: list[Round], samples: SampleSet = SAMPLES, **manifest: Any) -> RunRounds:
    table = pa.concat_tables(map(round_table, rounds), promote_options="permissive")
    return RunRounds(table, samples_table([samples], {}), manifest=manifest)


def shown(first: RunRounds, second: RunRounds, **wanted: Any) -> CompareDocument:
    runs = {"1" * 32: (info("1" * 32, "one"), first), "2" * 32: (info("2" * 32, "two"), second)}
    return compare_document(compare_read(runs, list(runs), **wanted))


def answer(place: int, text: str | None, score: float | None = None, **more: Any) -> Prediction:
    return Prediction(IDS[place], text, scores={} if score is None else {"exact_match": score}, **more)


@pytest.fixture
def three(tracking: mlflow.MlflowClient) -> tuple[str, str, str]:
    """`old` is best at step 10, `new` loses `go` and wins `sing`, `short` lacks one, fails one."""
    return (
        store_run(
            tracking, "old", SAMPLES, {0: {**VERBS, "go": "x", "be": "x"}, 10: {**VERBS, "sing": "singed"}}
        ),
        store_run(tracking, "new", SAMPLES, {0: {}, 20: {**VERBS, "go": "goed"}}),
        store_run(tracking, "short", SAMPLES, {20: {"go": "went", "be": ValueError("no"), "sing": "sang"}}),
    )


def assert_same(found: CompareDocument, expected: Comparison) -> None:
    places = {each.label: place for place, each in enumerate(found.runs)}
    assert found.runs[found.against].label == expected.against
    assert {(each.label, each.run.run_id, each.step, each.failed) for each in found.runs} == {
        (each.label, each.run_id, each.step, each.failed) for each in expected.rounds
    }
    for line in expected.scoreboard:
        cell = found.scoreboard[line.score][places[line.run]]
        assert (cell.mean, cell.scored, cell.unscored) == (line.mean, line.n, line.unscored)
        if line.result is None:
            assert cell.paired is None
            continue
        assert cell.paired is not None
        low, high = line.result.interval or (None, None)
        names = ("wins", "losses", "ties", "failed", "recovered", "difference", "p_value")
        assert [getattr(cell.paired, name) for name in names] == [
            getattr(line.result, name) for name in names
        ]
        assert (cell.paired.low, cell.paired.high) == (low, high)
    rows = {(row.sample_id, row.generation): row for row in found.rows}
    for pair in expected.pairs:
        row, place = rows[pair.sample_id, pair.generation], places[pair.run]
        assert (row.outcomes[place], row.differences[place]) == (pair.outcome, pair.difference)
        for answered, at in ((pair.before, found.against), (pair.after, place)):
            told = row.answers[at]
            if answered.status == "missing":
                assert told is None
            else:
                assert told is not None
                assert (told.status, told.text, told.error) == (
                    answered.status,
                    answered.prediction,
                    answered.error,
                )
    assert json.dumps(dataclasses.asdict(found), allow_nan=False)


@pytest.mark.parametrize(
    ("round_", "against"), [("best", None), ("last", 1), (20, 2), ("first", None)], ids=str
)
def test_it_says_what_compare_says(
    tracking: mlflow.MlflowClient, three: tuple[str, str, str], round_: Any, against: int | None
) -> None:
    ids = three if round_ != 20 else (*three[1:], f"{three[0]}@10")
    wanted = None if against is None else ids[min(against, len(ids) - 1)]
    compared = compare_read(read(tracking, *three), ids, round_, wanted)
    found = compare_document(compared)
    assert_same(found, compare(ids, round_, wanted))
    assert [each.selector for each in found.runs] == list(ids), "columns stand in the order asked for"
    assert found.round == str(round_)


def test_rows_tell_what_the_filters_ask(tracking: mlflow.MlflowClient, three: tuple[str, str, str]) -> None:
    found = compare_document(compare_read(read(tracking, *three), three))
    assert [(row.prompt, row.reference, row.outcomes) for row in found.rows] == [
        ("go", "went", [None, "loss", "tie"]),
        ("be", "was", [None, "tie", "loss"]),
        ("sing", "sang", [None, "win", "win"]),
        ("run", "ran", [None, "tie", None]),
    ]
    right = [[each and each.right for each in row.answers] for row in found.rows]
    assert right == [[True, False, True], [True, True, None], [False, True, True], [True, True, None]]
    assert found.rows[3].answers[2] is None
    assert (found.shared, found.alike) == (3, False)
    assert [(each.run, each.alike, each.shared, each.only_against) for each in found.likeness] == [
        (1, True, 4, 0),
        (2, False, 3, 1),
    ]
    assert found.right is not None
    assert (found.right.score, found.right.least) == ("exact_match", 1.0)
    assert found.runs[0].best_step == 10
    assert (found.runs[0].steps, found.runs[0].trends["exact_match"]) == ([0, 10], [0.5, 0.75])


def test_two_rounds_of_one_run_are_compared(
    tracking: mlflow.MlflowClient, three: tuple[str, str, str]
) -> None:
    ids = [f"{three[0]}@first", f"{three[0]}@last"]
    found = compare_document(compare_read(read(tracking, three[0]), ids))
    assert [(each.label, each.selector, each.step) for each in found.runs] == [
        ("old@0", ids[0], 0),
        ("old@10", ids[1], 10),
    ]
    with pytest.raises(RunError, match="is named twice"):
        compare_read(read(tracking, three[0]), [three[0], f"{three[0]}@10"])
    with pytest.raises(RunError, match="needs two runs or more"):
        compare_read(read(tracking, three[0]), [three[0]])
    with pytest.raises(RunError, match=r"no round at step 7. There are: 0, 10"):
        compare_read(read(tracking, three[0]), [three[0], f"{three[0]}@7"])


def test_slices_and_likeness_are_told() -> None:
    samples = SampleSet(
        tuple(
            Sample(each.messages, each.reference, tags=("hard",) if place < 3 else ())
            for place, each in enumerate(SAMPLES)
        )
    )
    rows = [answer(place, "a", 1.0) for place in range(4)]
    worse = [answer(place, "b", 0.0) for place in range(4)]
    decoding = {"decoding": {"max_new_tokens": 8}, "chat_template": "x"}
    found = shown(
        held([Round(0, tuple(rows))], samples, **decoding),
        held([Round(0, tuple(worse))], samples, decoding={"max_new_tokens": 9}, chat_template="x"),
    )
    [one] = found.slices
    assert (one.run, one.name, one.count, one.before, one.after, one.why) == (
        1, "tag:hard", 3, 1.0, 0.0, "fell most",
    )  # fmt: skip
    assert (found.likeness[0].settings, found.alike) == (["decoding.max_new_tokens"], False)
    assert any("decoding.max_new_tokens: 8 / 9" in each for each in found.likeness[0].sentences)
    assert [row.tags for row in found.rows] == [["hard"], ["hard"], ["hard"], []]


def test_tags_that_came_with_the_answers_stand_at_the_rows() -> None:
    run = held([Round(0, tuple(answer(place, "a", 1.0) for place in range(4)))])
    tags = pa.array([["hard"], None, ["hard", "de"], []], pa.list_(pa.string()))
    tagged = dataclasses.replace(run, rounds=run.rounds.append_column("tags", tags))
    assert [row.tags for row in shown(tagged, run).rows] == [["hard"], [], ["hard", "de"], []]


def test_texts_are_cut_and_rows_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    long = "é" * 20_000
    rows = tuple(answer(place, long, 1.0) for place in range(4))
    found = shown(held([Round(0, rows)]), held([Round(0, rows)]))
    first = found.rows[0].answers[0]
    assert first is not None
    assert (len(first.text or ""), first.cut) == (compare_rows.LONGEST_TEXT, True)

    monkeypatch.setattr(compare_rows, "MOST_CHARACTERS", 4_000)
    monkeypatch.setattr("timelapse.report.compare_view.MOST_ROWS", 3)
    monkeypatch.setattr(compare_rows, "MOST_ROWS", 3)
    found = shown(held([Round(0, rows)]), held([Round(0, rows)]))
    assert (len(found.rows), found.left_out, found.shared) == (3, 1, 4)
    assert found.scoreboard["exact_match"][0].scored == 4
    total = sum(len(each.text or "") for row in found.rows for each in row.answers if each)
    assert total < 4_000


def test_an_export_holds_everything(tracking: mlflow.MlflowClient, three: tuple[str, str, str]) -> None:
    compared = compare_read(read(tracking, *three), three)
    rows = list(csv.DictReader(io.StringIO(comparison_file(compared, "csv").decode())))
    assert len(rows) == len(compared.comparison.pairs) == 8
    assert {row["run"] for row in rows} == {"new", "short"}
    whole = json.loads(comparison_file(compared, "json"))
    assert whole["against"] == "old"
    assert len(whole["pairs"]) == 8


ANSWERS = st.builds(
    lambda place, generation, text, score, failed: answer(
        place,
        None if failed else text,
        None if failed else score,
        generation=generation,
        **({"status": "error", "error": "E: no"} if failed else {}),
    ),
    st.integers(0, 3),
    st.integers(0, 1),
    st.sampled_from(["", "a", "b"]),
    st.sampled_from([0.0, 0.5, 1.0, None]),
    st.booleans(),
)
ROUNDS = st.lists(
    st.lists(ANSWERS, min_size=1, max_size=6, unique_by=lambda row: (row.sample_id, row.generation)),
    min_size=1,
    max_size=2,
).map(lambda found: [Round(10 * step, tuple(rows)) for step, rows in enumerate(found)])


@settings(max_examples=40, deadline=None)
@given(ROUNDS, ROUNDS)
def test_no_answer_is_lost_or_made_up(first: list[Round], second: list[Round]) -> None:
    found = shown(held(first), held(second), round_="last")
    for at, rounds in enumerate((first, second)):
        asked = {(row.sample_id, row.generation): row for row in rounds[-1].predictions}
        told = {
            (row.sample_id, row.generation): each
            for row in found.rows
            if (each := row.answers[at]) is not None
        }
        assert told.keys() == asked.keys()
        for key, each in told.items():
            assert (each.status, each.text) == (asked[key].status, asked[key].prediction)
    outcomes = [row.outcomes[1] for row in found.rows]
    if found.score is None:
        assert set(outcomes) == {None}
        return
    paired = found.scoreboard[found.score][1].paired
    assert paired is not None
    by_sample = {row.sample_id for row in found.rows if row.outcomes[1] is not None}
    assert paired.wins + paired.losses + paired.ties == len(by_sample)
