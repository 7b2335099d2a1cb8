"""Noise between draws and between seeds: against counting by hand, all subsets, and scipy."""

from __future__ import annotations

import itertools
import math
import statistics
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from timelapse.analysis.noise import Summary, generation_noise, pass_at_k, seed_summary

numbers = st.floats(-1e3, 1e3).map(lambda value: round(value, 3))


@pytest.mark.parametrize("n", range(1, 8))
def test_pass_at_k_is_the_share_of_subsets_with_a_right_answer(n: int) -> None:
    for c in range(n + 1):
        for k in range(1, n + 1):
            subsets = list(itertools.combinations([True] * c + [False] * (n - c), k))
            expected = sum(map(any, subsets)) / len(subsets)
            assert pass_at_k(n, c, k) == pytest.approx(expected, abs=1e-15)


@given(st.integers(1, 400), st.data())
def test_pass_at_k_is_the_exact_fraction_for_large_counts_too(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    exact = 1 - Fraction(math.comb(n - c, k), math.comb(n, k))

    assert pass_at_k(n, c, k) == pytest.approx(float(exact), rel=1e-9, abs=1e-12)
    assert 0.0 <= pass_at_k(n, c, k) <= 1.0


def test_pass_at_k_neither_overflows_nor_crawls() -> None:
    assert pass_at_k(10_000_000, 5, 5_000_000) == pytest.approx(1 - 0.5**5, rel=1e-5)
    assert pass_at_k(100_000, 50_000, 50_000) == 1.0


@pytest.mark.parametrize(("n", "c", "k"), [(3, 1, 4), (3, 1, 0), (0, 0, 1), (3, 4, 1), (3, -1, 1)])
def test_pass_at_k_refuses_what_cannot_be(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="must be in"):
        pass_at_k(n, c, k)


def test_the_noise_of_generations_is_that_counted_by_hand() -> None:
    values = {"a": [1.0, 0.0, 0.0], "b": [1.0, 1.0, 1.0, 1.0], "c": [0.0, 0.0, 0.0]}
    texts = {"a": ["x", "y", " y "], "b": ["z"] * 4, "c": ["p", "q", "r"]}

    assert generation_noise(values, texts) == {
        "pass_at_1": pytest.approx((1 / 3 + 1 + 0) / 3),
        "pass_at_2": pytest.approx((2 / 3 + 1 + 0) / 3),
        "pass_at_3": pytest.approx((1 + 1 + 0) / 3),
        "agreement": pytest.approx((2 / 3 + 1 + 1 / 3) / 3),
        "spread": pytest.approx((math.sqrt(1 / 3) + 0 + 0) / 3),
    }
    assert list(generation_noise({"a": [1.0] * 9}, {})) == [
        *("pass_at_1", "pass_at_2", "pass_at_4", "pass_at_8", "pass_at_9", "spread")
    ]


def test_an_answer_is_right_from_the_value_on_that_is_given() -> None:
    values = {"a": [0.4, 0.5]}

    assert generation_noise(values, {})["pass_at_1"] == 0.0
    assert generation_noise(values, {}, right=0.5)["pass_at_1"] == 0.5


def test_scores_that_are_no_number_are_left_out() -> None:
    values = {"a": [1.0, math.nan, 0.0], "b": [math.nan, math.nan], "c": [1.0, 1.0]}

    assert generation_noise(values, {"a": ["x", "x"], "b": [], "c": ["y"]}) == {
        "pass_at_1": 0.75,
        "pass_at_2": 1.0,
        "agreement": 1.0,
        "spread": pytest.approx(math.sqrt(0.5) / 2),
    }
    assert generation_noise({"a": [math.nan] * 2}, {"a": ["x", "y"]}) == {"agreement": 0.5}


def test_a_sample_answered_once_does_not_hide_the_noise_of_the_others() -> None:
    found = generation_noise({"a": [1.0, 0.0], "b": [1.0]}, {"a": ["x", "y"], "b": ["z"]})

    assert found == {"pass_at_1": 0.75, "agreement": 0.5, "spread": pytest.approx(math.sqrt(0.5))}


def test_one_generation_each_has_no_noise_to_tell() -> None:
    assert generation_noise({"a": [1.0], "b": [0.0]}, {"a": ["x"], "b": ["y"]}) == {}
    assert generation_noise({}, {}) == {}


@given(
    st.dictionaries(st.text(max_size=2), st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=2, max_size=9))
)
def test_more_tries_never_pass_less_and_one_try_is_the_share_of_right_answers(
    values: dict[str, list[float]],
) -> None:
    found = generation_noise(values, {})

    passes = [number for name, number in found.items() if name.startswith("pass_at_")]
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(passes))
    if values:
        shares = [each.count(1.0) / len(each) for each in values.values()]
        assert found["pass_at_1"] == pytest.approx(statistics.mean(shares))
        assert found["spread"] == pytest.approx(statistics.mean(map(statistics.stdev, values.values())))


@given(st.lists(numbers, min_size=2, max_size=20))
def test_the_interval_of_seeds_is_scipys(values: list[float]) -> None:
    found = seed_summary(values)

    assert found.n == len(values)
    assert found.mean == pytest.approx(statistics.mean(values), abs=1e-9)
    assert found.std == pytest.approx(statistics.stdev(values), abs=1e-9)
    if found.std:
        expected = stats.ttest_1samp(values, 0).confidence_interval(0.95) if found.std > 1e-6 else None
        if expected:
            assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-6)
    else:
        assert found.low == found.mean == found.high


def test_three_seeds_are_summed_up_as_in_the_textbook() -> None:
    found = seed_summary([1.0, 2.0, 3.0])

    assert (found.n, found.mean, found.std) == (3, 2.0, 1.0)
    reach = 4.302653 / math.sqrt(3)  # Student's t for 2 degrees of freedom and 95 %
    assert (found.low, found.high) == pytest.approx((2 - reach, 2 + reach), abs=1e-6)


def test_one_seed_has_no_interval_and_none_has_nothing() -> None:
    assert seed_summary([0.5]) == Summary(1, 0.5, None, None, None)
    assert seed_summary([0.5, math.nan]) == Summary(1, 0.5, None, None, None)
    assert seed_summary([]) == Summary(0, None, None, None, None)
