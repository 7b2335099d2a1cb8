"""Names of round files: what is written is read back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from timelapse.names import is_free, metric, plain, round_file, round_place


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


@given(st.text(max_size=8) | st.text("/. a@", max_size=8), st.sampled_from([1, 100]))
def test_mlflow_takes_every_name_that_was_made_plain(name: str, times: int) -> None:
    from mlflow.utils import validation

    name *= times
    assert len(plain(name)) <= 250
    validation._validate_metric_name(plain(name))
    validation._validate_param_name(plain(name))
    validation._validate_tag_name(plain(name))
    assert plain(plain(name)) == plain(name)


def test_a_text_never_takes_the_place_of_a_file_of_ours() -> None:
    for name in ("manifest.json", "round-00000001.parquet", "scores-0123.parquet"):
        assert not is_free(name)
    for name in ("", "..", "a/b", "x" * 300):
        assert not is_free(name)
    assert is_free("config.yaml")
    assert is_free("notes.parquet")
