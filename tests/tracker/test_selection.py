"""Which samples are asked: explicit ones whole and within the limit, drawn ones from a data set."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pytest

from timelapse.config.model import PredictionsConfig
from timelapse.errors import SampleError
from timelapse.formats.loading import load_samples
from timelapse.samples import Sample, SampleSet
from timelapse.selection import select_samples, unique_samples

ROWS = [{"question": f"question {n}", "answer": str(n)} for n in range(8)]


@pytest.fixture(autouse=True)
def _limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREDICTIONS_MAX_SAMPLE_COUNT", "6")


class OtherPath(os.PathLike[str]):
    """A path that is neither text nor of pathlib."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __fspath__(self) -> str:
        return str(self._path)


def test_the_limit_holds_for_everything_that_is_used_whole(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    config = PredictionsConfig(sample_count=3)
    for source in (ROWS, path, str(path), OtherPath(path), load_samples(ROWS)):
        with pytest.raises(
            SampleError, match=r"holds 8 samples, .* the limit of 6.*PREDICTIONS_MAX_SAMPLE_COUNT"
        ):
            select_samples(source, config)
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS[:6]))
    for source in (ROWS[:6], path, str(path), OtherPath(path), load_samples(ROWS[:6])):
        assert len(select_samples(source, config)) == 6


def test_a_sample_set_is_returned_as_it_is() -> None:
    samples = load_samples(ROWS[:6], name="mine")
    assert select_samples(samples, PredictionsConfig(sample_count=3)) is samples


def test_samples_are_drawn_from_a_data_set() -> None:
    frame = pd.DataFrame(ROWS)
    drawn = select_samples(frame, PredictionsConfig(sample_count=3), seed=1)
    assert len(drawn) == 3
    assert select_samples(frame, PredictionsConfig(sample_count=3), seed=1) == drawn
    assert select_samples(frame, PredictionsConfig(sample_count=3, seed=1), seed=2) == drawn


def test_of_examples_that_ask_the_same_the_first_stays() -> None:
    first, other, second = (
        Sample(({"role": "user", "content": text},), answer)
        for text, answer in (("a", "1"), ("b", "2"), ("a", "3"))
    )
    assert unique_samples([first, other, second]) == SampleSet((first, other))
