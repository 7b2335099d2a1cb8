"""Names of round files: what is written is read back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from timelapse.names import metric, round_file, round_place


@given(st.integers(0, 10**10), st.integers(0, 200), st.sampled_from(["main", "probe", "held-out", "a-b"]))
def test_step_and_attempt_are_read_back_from_the_name(step: int, attempt: int, set_name: str) -> None:
    assert round_place(round_file(step, attempt, set_name)) == (step, attempt)


def test_names_are_those_of_the_documentation() -> None:
    assert round_file(120) == "round-00000120.parquet"
    assert round_file(120, 1) == "round-00000120-a1.parquet"
    assert round_place("samples.parquet") is None
    assert round_place("rounds.parquet") is None
    assert metric("exact_match") == "predictions/exact_match"
    assert metric("exact_match", "probe") == "predictions/probe/exact_match"
