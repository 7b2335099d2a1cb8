"""Trajectories against tables made by hand, and against a slow definition on random frames."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_runs import finished_files, make_round, make_samples, round_files, store_run

from timelapse import load_predictions
from timelapse.analysis.trajectories import (
    CLASSES,
    class_counts,
    classify,
    round_changes,
    settled_since,
    trajectories,
)
from timelapse.errors import RunError
from timelapse.reading.tidy import COLUMNS
from timelapse.scoring.scorers import edit_similarity

if TYPE_CHECKING:
    import mlflow

    Row = dict[str, Any]

TRAJECTORY_TYPES = {
    **dict.fromkeys(("run_id", "run_name", "set", "sample_id", "prompt", "reference"), "str"),
    **dict.fromkeys(("rounds", "first_right", "last_right", "flips"), "Int64"),
    **dict.fromkeys(("forgetting_events", "settled_since"), "Int64"),
    "class": "string",
}
CHANGE_TYPES = {
    "run_id": "str",
    "set": "str",
    "step": "int64",
    "epoch": "float64",
    **dict.fromkeys(("right", "known", "learned", "forgotten", "net"), "Int64"),
    **dict.fromkeys(("churn", "edit_distance"), "float64"),
}


def row(sample: str, step: int, value: float | None, text: str | None = None, **more: Any) -> Row:
    defaults: Row = {
        "run_id": "r1",
        "run_name": "fox",
        "epoch": step / 10,
        "set": "main",
        "generation": 0,
        "attempt": 0,
        "prompt": f"{sample}?",
        "reference": f"{sample}!",
        "status": "ok",
    }
    given_ = {"sample_id": sample, "step": step, "prediction": text, "exact_match": value}
    return {**dict.fromkeys(COLUMNS), **defaults, **given_, **more}


def framed(rows: list[Row]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=[*COLUMNS, "exact_match", *({*rows[0]} - {*COLUMNS, "exact_match"})])
    return frame.astype(COLUMNS | {"exact_match": "float64"})


def of_patterns(**patterns: str) -> pd.DataFrame:
    """A frame where R, W, ? and x stand for right, wrong, unscored and failed; the text is the letter."""
    values = {"R": 1.0, "W": 0.0, "?": None, "x": None}
    return framed(
        [
            row(name, 10 * place, values[letter], letter, status="error" if letter == "x" else "ok")
            for name, pattern in patterns.items()
            for place, letter in enumerate(pattern)
        ]
    )


def plain(value: Any) -> Any:
    return None if pd.isna(value) else value


def records(frame: pd.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    rows = zip(*(frame[name].tolist() for name in columns), strict=True)
    return [tuple(map(plain, each)) for each in rows]


def test_what_each_sample_went_through_is_that_of_the_table_made_by_hand() -> None:
    frame = of_patterns(
        always="RRRR",
        never="WWWW",
        learned="WWRR",
        forgotten="RRWW",
        lost_again="WRRW",
        saved="RWRR",
        twice="RWRW",
        skipping="W?xR",
        unknown="?xx?",
    )

    found = trajectories(frame)

    columns = ("rounds", "first_right", "last_right", "flips", "forgetting_events", "class")
    assert records(found, "sample_id", *columns) == [
        ("always", 4, 0, 30, 0, 0, "always_right"),
        ("never", 4, None, None, 0, 0, "never"),
        ("learned", 4, 20, 30, 1, 0, "learned"),
        ("forgotten", 4, 0, 10, 1, 1, "forgotten"),
        ("lost_again", 4, 10, 20, 2, 1, "forgotten"),
        ("saved", 4, 0, 30, 2, 1, "oscillating"),
        ("twice", 4, 0, 20, 3, 2, "oscillating"),
        ("skipping", 2, 30, 30, 1, 0, "learned"),
        ("unknown", 0, None, None, 0, 0, None),
    ]
    assert records(found, "run_id", "run_name", "set", "prompt", "reference")[2] == (
        *("r1", "fox", "main", "learned?", "learned!"),
    )
    assert found["class"].iloc[-1] is pd.NA
    assert found.dtypes.map(str).to_dict() == TRAJECTORY_TYPES
    assert list(found.columns) == list(TRAJECTORY_TYPES)
    counts = class_counts(found)
    assert list(counts) == list(CLASSES)
    assert list(counts.values()) == [1, 2, 2, 2, 1]


def test_a_text_is_settled_since_the_step_at_which_it_became_what_it_stayed() -> None:
    texts = {"same": "aaaa", "early": "abbb", "last": "aaab", "back": "abab", "gap": "ax.a", "once": "xxax"}
    rows = [
        row(name, 10 * place, 0.0, letter, status="error" if letter in "x." else "ok")
        for name, letters in texts.items()
        for place, letter in enumerate(letters)
    ]

    found = trajectories(framed(rows))

    assert records(found, "sample_id", "settled_since") == [
        ("same", 0),
        ("early", 10),
        ("last", None),
        ("back", None),
        ("gap", 0),
        ("once", None),
    ]


def test_what_each_round_changed_is_that_of_the_table_made_by_hand() -> None:
    table = {
        0: {"a": (0.0, "cat"), "b": (1.0, "dog"), "c": (0.0, "x"), "d": (None, None)},
        10: {"a": (1.0, "cats"), "b": (0.0, "dog "), "c": (None, None), "d": (1.0, "y")},
        20: {"a": (1.0, "cats"), "b": (1.0, "dog "), "c": (1.0, "z"), "d": (1.0, "y")},
        30: {"a": (1.0, "cats"), "b": (1.0, "dog "), "c": (0.0, "z"), "d": (1.0, "y")},
    }
    rows = [
        row(name, step, value, text, status="ok" if text else "error")
        for step, answers in table.items()
        for name, (value, text) in answers.items()
    ]
    frame = framed(rows)

    found = round_changes(frame)

    columns = ("step", "epoch", "right", "known", "learned", "forgotten", "net", "churn")
    assert records(found, *columns) == [
        (0, 0.0, 1, 3, None, None, None, None),
        (10, 1.0, 2, 3, 1, 1, 0, 1.0),  # a learned, b forgotten; both texts changed, b's in its white space
        (20, 2.0, 4, 4, 2, 0, 2, 0.0),  # b and c, wrong when last known; c has no text to compare with
        (30, 3.0, 3, 4, 0, 1, -1, 0.0),
    ]
    assert records(found, "edit_distance") == [(None,), (pytest.approx(0.25 / 2),), (0.0,), (0.0,)]
    assert found.dtypes.map(str).to_dict() == CHANGE_TYPES
    assert list(found.columns) == list(CHANGE_TYPES)
    assert settled_since(frame) == {("r1", "main"): 20}


def test_a_run_has_settled_only_if_its_last_rounds_say_so() -> None:
    rows = []
    for run, letters in {"still": "abb", "moving": "aab", "one": "a", "failed": "aax", "flat": "aaa"}.items():
        for place, letter in enumerate(letters):
            status = "error" if letter == "x" else "ok"
            rows.append(row("s", 5 * place, None, letter, run_id=run, status=status))
    rows += [row("s", 0, None, "a", run_id="still", set="probe"), row("s", 7, None, "a", set="probe")]

    assert settled_since(framed(rows).drop(columns="exact_match")) == {
        ("still", "main"): 10,
        ("moving", "main"): None,
        ("one", "main"): None,
        ("failed", "main"): None,
        ("flat", "main"): 5,
        ("still", "probe"): None,
        ("r1", "probe"): None,
    }


def test_of_several_generations_the_mean_decides_and_each_text_counts() -> None:
    values = {0: (0.7, 0.7, 0.7), 10: (1.0, 1.0, 0.0), 20: (1.0, None, None)}
    texts = {0: "abc", 10: "abd", 20: "abd"}
    rows = [
        row("s", step, value, text, generation=place)
        for step in values
        for place, (value, text) in enumerate(zip(values[step], texts[step], strict=True))
    ]
    frame = framed(rows)

    strict, lenient = trajectories(frame), trajectories(frame, right=0.7)

    assert records(strict, "rounds", "first_right", "class", "settled_since") == [(3, 20, "learned", 10)]
    assert records(lenient, "rounds", "first_right", "class") == [(3, 0, "oscillating")]
    assert records(round_changes(frame), "right", "known", "churn") == [
        (0, 1, None),
        (0, 1, pytest.approx(1 / 3)),
        (1, 1, 0.0),
    ]


def test_only_the_newest_attempt_at_a_step_counts_and_as_a_whole() -> None:
    rows = [
        row("a", 0, 0.0, "old"),
        row("a", 10, 1.0, "older", attempt=0),
        row("b", 10, 1.0, "gone", attempt=0),
        row("a", 10, 0.0, "old", attempt=1),
        row("b", 10, None, None, attempt=1, status="error"),
        row("a", 20, 1.0, "new"),
        row("b", 0, 0.0, "b"),
    ]
    frame = framed(rows[::-1])

    assert records(trajectories(frame), "sample_id", "rounds", "first_right", "class") == [
        ("b", 1, None, "never"),
        ("a", 3, 20, "learned"),
    ]
    assert records(round_changes(frame), "step", "right", "known") == [(0, 0, 2), (10, 0, 1), (20, 1, 1)]
    without = framed(rows).drop(columns="attempt")
    assert records(trajectories(without), "sample_id", "class") == [("a", "learned"), ("b", "never")]


def test_the_score_is_exact_match_else_the_first_and_any_column_of_numbers_by_name() -> None:
    frame = of_patterns(s="WR").assign(
        bleu=[30.0, 20.0], votes=pd.array([3, None], "Int64"), good=[True, False]
    )

    assert trajectories(frame)["class"].tolist() == ["learned"]
    assert trajectories(frame.drop(columns="exact_match"))["class"].tolist() == ["always_right"]
    assert trajectories(frame, "bleu", right=25)["class"].tolist() == ["forgotten"]
    assert records(trajectories(frame, "votes"), "rounds", "class") == [(1, "always_right")]
    assert trajectories(frame, "good")["class"].tolist() == ["forgotten"]
    infinite = frame.assign(exact_match=[math.inf, 0.0])
    assert records(trajectories(infinite), "rounds", "class") == [(1, "never")]


def test_what_is_missing_is_named_with_the_nearest() -> None:
    frame = of_patterns(s="WR")

    with pytest.raises(RunError, match=r"no score 'exact_mtch'. Did you mean 'exact_match'\?"):
        trajectories(frame, "exact_mtch")
    with pytest.raises(RunError, match="no score 'prompt'"):
        round_changes(frame, "prompt")
    with pytest.raises(RunError, match=r"no column 'prediction'. Did you mean 'predictions'\?"):
        trajectories(frame.rename(columns={"prediction": "predictions"}))
    with pytest.raises(RunError, match="no column 'epoch'"):
        settled_since(frame.drop(columns="epoch"))
    with pytest.raises(RunError, match="no scores"):
        trajectories(frame.drop(columns="exact_match"))
    with pytest.raises(RunError, match=r"no column 'class'.*trajectories"):
        class_counts(frame)


def test_texts_change_without_any_score_too() -> None:
    found = round_changes(of_patterns(s="WR").drop(columns="exact_match"))

    assert records(found, "right", "known", "learned", "churn") == [(0, 0, None, None), (0, 0, 0, 1.0)]


@pytest.mark.parametrize("columns", [[*COLUMNS], [*COLUMNS, "exact_match"]])
def test_no_rows_give_no_rows_of_the_same_types(columns: list[str]) -> None:
    for frame in (pd.DataFrame(columns=columns), of_patterns(s="WR").iloc[:0][columns]):
        for score in (None, "exact_match"):
            assert trajectories(frame, score).dtypes.map(str).to_dict() == TRAJECTORY_TYPES
            assert round_changes(frame, score).dtypes.map(str).to_dict() == CHANGE_TYPES
            assert len(trajectories(frame, score)) == len(round_changes(frame, score)) == 0
        assert settled_since(frame) == {}
        assert class_counts(trajectories(frame)) == dict.fromkeys(CLASSES, 0)


def test_unknown_names_prompts_and_references_stay_missing() -> None:
    bare = {"run_name": None, "prompt": None, "reference": None}
    found = trajectories(framed([row("s", step, 1.0, None, status=None, **bare) for step in (0, 10)]))

    assert found[[*bare]].isna().all(axis=None)
    assert records(found, "class", "settled_since") == [("always_right", 0)]
    assert found.dtypes.map(str).to_dict() == TRAJECTORY_TYPES


def test_stored_runs_are_told_apart(tracking: mlflow.MlflowClient) -> None:
    samples, probe = make_samples(), make_samples(1, name="probe")
    first = [make_round(samples, 0, right=0), make_round(samples, 10), make_round(probe, 10)]
    second = [make_round(samples, 0), make_round(samples, 10, right=0.34)]
    for name, rounds in (("first", first), ("second", second)):
        store_run(tracking, "0", finished_files([samples, probe], round_files(rounds)), name=name)
    frame = load_predictions(["second", "first"], attempts="all")
    before = frame.copy()

    found = trajectories(frame)

    assert records(found, "run_name", "set", "prompt", "class") == [
        ("second", "main", "main question 0", "always_right"),
        ("second", "main", "main question 1", "forgotten"),
        ("second", "main", "main question 2", "forgotten"),
        ("first", "main", "main question 0", "learned"),
        ("first", "main", "main question 1", "learned"),
        ("first", "main", "main question 2", "learned"),
        ("first", "probe", "probe question 0", "always_right"),
    ]
    assert records(round_changes(frame), "set", "step", "net") == [
        ("main", 0, None),
        ("main", 10, -2),
        ("main", 0, None),
        ("main", 10, 3),
        ("probe", 10, None),
    ]
    pd.testing.assert_frame_equal(frame, before)


known_or_not = st.lists(st.sampled_from([True, False, None]), max_size=7)


def by_definition(right: list[bool | None]) -> str | None:
    letters = "".join("WR"[each] for each in right if each is not None)
    if not letters:
        return None
    for name, shapes in {
        "always_right": ("R",),
        "never": ("W",),
        "learned": ("WR",),
        "forgotten": ("RW", "WRW"),
    }.items():
        if "".join(b for a, b in pairwise(" " + letters) if a != b) in shapes:
            return name
    return "oscillating"


@given(known_or_not)
def test_a_class_is_what_its_definition_says(right: list[bool | None]) -> None:
    assert classify(right) == by_definition(right)


@given(st.lists(known_or_not.filter(len), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_the_frame_says_what_classify_says(lists: list[list[bool | None]]) -> None:
    letters = {True: "R", False: "W", None: "?"}
    patterns = {f"s{place}": "".join(letters[each] for each in right) for place, right in enumerate(lists)}

    assert records(trajectories(of_patterns(**patterns)), "class") == [(classify(each),) for each in lists]


random_rows = st.lists(
    st.builds(
        row,
        st.sampled_from("ab"),
        st.sampled_from([0, 10, 20, 30]),
        st.sampled_from([0.0, 0.5, 1.0, None]),
        st.sampled_from(["cat", "cats", " cat", "dog", ""]),
        run_id=st.sampled_from(["r1", "r2"]),
        generation=st.sampled_from([0, 1]),
        attempt=st.sampled_from([0, 0, 1]),
        status=st.sampled_from(["ok", "ok", "ok", "error"]),
    ),
    min_size=1,
    max_size=40,
    unique_by=lambda each: tuple(
        each[name] for name in ("run_id", "sample_id", "generation", "attempt", "step")
    ),
)


@given(random_rows, st.sampled_from([0.5, 0.75, 1.0]))
@settings(max_examples=60, deadline=None)
def test_random_frames_agree_with_a_slow_definition(rows: list[Row], right: float) -> None:
    frame = framed(rows).set_index(np.zeros(len(rows), dtype=int))  # an index of no use
    newest = {(each["run_id"], each["step"]): 0 for each in rows}
    for each in rows:
        key = each["run_id"], each["step"]
        newest[key] = max(newest[key], each["attempt"])
    kept = [each for each in rows if each["attempt"] == newest[each["run_id"], each["step"]]]

    found, changes = trajectories(frame, right=right), round_changes(frame, right=right)

    columns = ("rounds", "first_right", "last_right", "flips", "forgetting_events", "settled_since", "class")
    assert records(found, "run_id", "sample_id", *columns) == [
        (*key, *slow_trajectory([each for each in kept if (each["run_id"], each["sample_id"]) == key], right))
        for key in dict.fromkeys((each["run_id"], each["sample_id"]) for each in kept)
    ]
    runs = dict.fromkeys(each["run_id"] for each in kept)
    expected = [
        (run, *change)
        for run in runs
        for change in slow_changes([each for each in kept if each["run_id"] == run], right)
    ]
    columns = ("step", "right", "known", "learned", "forgotten", "net", "churn", "edit_distance")
    assert records(changes, "run_id", *columns) == [tuple(map(pytest.approx, each)) for each in expected]
    assert settled_since(frame) == {
        (run, "main"): slow_settled([each[1:] for each in expected if each[0] == run]) for run in runs
    }
    assert changes["forgotten"].sum() == found["forgetting_events"].sum()
    assert (changes["learned"].sum() + changes["forgotten"].sum()) == found["flips"].sum()


def slow_states(rows: list[Row], right: float) -> dict[int, bool]:
    """Whether one sample was right, by step."""
    values: dict[int, list[float]] = {}
    for each in sorted(rows, key=lambda each: each["step"]):
        if each["status"] == "ok" and each["exact_match"] is not None:
            values.setdefault(each["step"], []).append(each["exact_match"])
    return {step: sum(each) / len(each) >= right for step, each in values.items()}


def slow_trajectory(rows: list[Row], right: float) -> tuple[Any, ...]:
    states = slow_states(rows, right)
    steps = [step for step, good in states.items() if good]
    pairs = list(pairwise(states.values()))
    given_ = sorted((each for each in rows if each["status"] == "ok"), key=lambda each: each["step"])
    answered = sorted({each["step"] for each in given_})
    changed_at = [
        after["step"]
        for generation in (0, 1)
        for before, after in pairwise(each for each in given_ if each["generation"] == generation)
        if before["prediction"] != after["prediction"]
    ]
    quiet = [step for step in answered[:-1] if all(at <= step for at in changed_at)]
    return (
        len(states),
        min(steps, default=None),
        max(steps, default=None),
        sum(a != b for a, b in pairs),
        pairs.count((True, False)),
        min(quiet, default=None),
        by_definition(list(states.values())),
    )


def slow_changes(rows: list[Row], right: float) -> list[tuple[Any, ...]]:
    samples = dict.fromkeys(each["sample_id"] for each in rows)
    states = {
        name: slow_states([each for each in rows if each["sample_id"] == name], right) for name in samples
    }
    changes: list[tuple[Any, ...]] = []
    steps = sorted({each["step"] for each in rows})
    for before, step in zip([None, *steps], steps, strict=False):
        now = {name: known[step] for name, known in states.items() if step in known}
        earlier = {
            name: [good for at, good in known.items() if at < step][-1:] for name, known in states.items()
        }
        learned = sum(good and earlier[name] == [False] for name, good in now.items())
        forgotten = sum(not good and earlier[name] == [True] for name, good in now.items())
        texts = [
            {
                (each["sample_id"], each["generation"]): each["prediction"]
                for each in rows
                if each["step"] == at and each["status"] == "ok"
            }
            for at in (before, step)
        ]
        pairs = [(texts[0][key], texts[1][key]) for key in texts[0].keys() & texts[1].keys()]
        counts = (None, None, None) if before is None else (learned, forgotten, learned - forgotten)
        churn = sum(a != b for a, b in pairs) / len(pairs) if pairs else None
        distance = sum(1 - edit_similarity(a, b) for a, b in pairs) / len(pairs) if pairs else None
        changes.append((step, sum(now.values()), len(now), *counts, churn, distance))
    return changes


def slow_settled(changes: list[tuple[Any, ...]]) -> int | None:
    since = None
    for step, *_, churn, _distance in reversed(changes):
        if churn != 0:
            break
        since = step
    return since


def test_the_churn_is_the_metric_of_the_round() -> None:
    from timelapse.rounds import Prediction, Round
    from timelapse.writing.metrics import round_metrics

    texts = {0: ("a", "b", None, "d"), 10: ("a", " b", "c", "e")}
    rounds = [
        Round(step, tuple(Prediction(f"s{n}", t, "ok" if t else "error") for n, t in enumerate(each)))
        for step, each in texts.items()
    ]
    frame = framed(
        [
            row(each.sample_id, round_.step, None, each.prediction, status=each.status)
            for round_ in rounds
            for each in round_.predictions
        ]
    )

    assert round_changes(frame)["churn"].tolist()[1] == round_metrics(rounds[1], rounds[0])["churn"] == 2 / 3
