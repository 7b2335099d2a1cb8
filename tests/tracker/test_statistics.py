from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from timelapse.analysis.statistics import (
    RESAMPLES,
    Change,
    bootstrap_interval,
    mean,
    paired_result,
    sign_test,
)

counts = st.integers(0, 40)
differences = st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0]), min_size=2, max_size=30)


@given(counts, counts)
def test_the_sign_test_is_scipys_exact_binomial_test(wins: int, losses: int) -> None:
    expected = stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0

    assert sign_test(wins, losses) == pytest.approx(expected, rel=1e-12)
    assert sign_test(wins, losses) == sign_test(losses, wins)


@pytest.mark.parametrize("trials", range(1, 9))
def test_the_sign_test_counts_all_equally_likely_splits(trials: int) -> None:
    heads = [sum(coins) for coins in itertools.product((0, 1), repeat=trials)]
    for wins in range(trials + 1):
        as_uneven = sum(abs(2 * each - trials) >= abs(2 * wins - trials) for each in heads)
        assert sign_test(wins, trials - wins) == pytest.approx(as_uneven / 2**trials)


def test_the_sign_test_neither_overflows_nor_crawls() -> None:
    assert sign_test(5_000, 5_000) == 1.0
    assert sign_test(0, 3_000) == 0.0
    assert sign_test(1_450, 1_550) == pytest.approx(stats.binomtest(1_450, 3_000).pvalue, rel=1e-9)


@given(st.floats(-1, 1), st.integers(2, 30), st.integers(0, 5))
def test_differences_that_are_all_the_same_have_no_spread(value: float, n: int, seed: int) -> None:
    interval = bootstrap_interval([value] * n, seed=seed)

    assert interval is not None
    assert interval == pytest.approx((value, value))


@given(differences, st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_the_order_of_rows_does_not_matter(values: list[float], shuffler: random.Random) -> None:
    changes = [Change(difference=value) for value in values]
    shuffled = shuffler.sample(changes, len(changes))

    assert paired_result(changes) == paired_result(shuffled)


@given(differences)
@settings(max_examples=30)
def test_the_interval_holds_the_mean_and_stays_within_the_values(values: list[float]) -> None:
    low, high = bootstrap_interval(values)  # type: ignore[misc]  # there are two values or more

    assert min(values) - 1e-12 <= low <= mean(values) + 1e-12  # type: ignore[operator]
    assert mean(values) - 1e-12 <= high <= max(values) + 1e-12  # type: ignore[operator]


@pytest.mark.parametrize("digits", [1, 2])  # few distinct values, and many, are drawn in two ways
def test_the_interval_is_that_of_scipy_up_to_the_draw(digits: int) -> None:
    values = np.random.default_rng(3).normal(0.1, 0.5, 200).round(digits)
    found = bootstrap_interval(values.tolist(), seed=1)
    expected = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=RESAMPLES, rng=np.random.default_rng(2)
    ).confidence_interval

    assert found == pytest.approx((expected.low, expected.high), abs=0.005)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    draw = np.random.default_rng(0)
    truth, hits = 0.2, 0
    for seed in range(300):
        values = draw.choice([-1.0, 0.0, 1.0], size=60, p=[0.1, 0.6, 0.3]).tolist()
        low, high = bootstrap_interval(values, seed=seed, resamples=2_000)  # type: ignore[misc]
        hits += low <= truth <= high

    assert 0.91 <= hits / 300 <= 0.98


def test_a_seed_decides_and_global_random_state_is_neither_read_nor_changed() -> None:
    values = [0.0, 1.0, -1.0, 0.3, 0.7]
    before = np.random.get_state()[1].tolist()

    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    np.random.seed(5)
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    np.random.seed(5)
    state = np.random.get_state()[1].tolist()
    bootstrap_interval(values, seed=2)
    assert np.random.get_state()[1].tolist() == state
    assert len(before) == len(state)
    assert bootstrap_interval([0.1 * n for n in range(40)], seed=1) != bootstrap_interval(
        [0.1 * n for n in range(40)], seed=2
    )


@given(st.lists(st.builds(Change, st.integers(-2, 2), st.none() | st.sampled_from([-1.0, 0.0, 0.5]))))
@settings(max_examples=60)
def test_swapping_the_runs_turns_wins_into_losses(changes: list[Change]) -> None:
    mirrored = [
        Change(-each.recovered, None if each.difference is None else -each.difference) for each in changes
    ]
    one, other = paired_result(changes), paired_result(mirrored)

    assert (one.wins, one.losses, one.ties) == (other.losses, other.wins, other.ties)
    assert (one.failed, one.recovered) == (other.recovered, other.failed)
    assert one.p_value == other.p_value
    assert one.compared == len(changes)
    if one.difference is not None:
        assert other.difference == pytest.approx(-one.difference)


@given(st.integers(1, 50))
def test_equal_runs_tie_everywhere(n: int) -> None:
    result = paired_result([Change(difference=0.0)] * n)

    assert (result.wins, result.losses, result.ties, result.p_value) == (0, 0, n, 1.0)
    assert result.difference == 0.0
    if n > 1:
        assert result.interval == (0.0, 0.0)


def test_a_failure_is_worse_than_any_fall_of_the_score() -> None:
    assert Change(recovered=-1, difference=1.0).sign == -1
    assert Change(recovered=1, difference=-1.0).sign == 1
    assert Change(difference=None).sign == 0
    result = paired_result([Change(recovered=-1), Change(recovered=1), Change(difference=0.5)])
    assert (result.wins, result.losses, result.failed, result.recovered) == (2, 1, 1, 1)
    assert result.difference == 0.5
    assert result.interval is None


def test_nothing_to_compare_is_no_result() -> None:
    result = paired_result([])

    assert (result.compared, result.difference, result.interval, result.p_value) == (0, None, None, 1.0)


def test_a_large_graded_set_is_handled_in_blocks() -> None:
    values = np.random.default_rng(0).normal(0.0, 1.0, 3_000).tolist()
    interval = bootstrap_interval(values, resamples=1_500)

    assert interval is not None
    assert interval.high - interval.low == pytest.approx(2 * 1.96 / 3_000**0.5, rel=0.1)
