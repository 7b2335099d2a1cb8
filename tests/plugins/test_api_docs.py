"""docs/api.md: its examples run against a real server, its paths and bounds are the real ones."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import mlflow
from api_server import ApiServer
from stored_runs import finished_files, make_round, make_samples, round_files, store_run

from timelapse_plugins.api import build, compare, http, memory, predictions, run_files
from timelapse_plugins.inner import InProcess

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text(encoding="utf-8")


def test_the_examples_run(new_store: Callable[[Path], str], tmp_path: Path) -> None:
    samples = make_samples(6)
    uri = new_store(tmp_path)
    rounds = [make_round(samples, step, right=0.5) for step in (0, 20)]
    run_id = store_run(
        mlflow.MlflowClient(uri), "0", finished_files([samples], round_files(rounds)), name="documented"
    )
    examples = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
    assert len(examples) == 3
    with ApiServer(tmp_path, uri) as server:
        for code in examples:
            given = {"api": server.api, "run_id": run_id, "auth": None}
            exec(compile(code, "api.md", "exec"), given)
            if "rows" in given:
                assert [row["step"] for row in given["rows"]] == [20] * 3  # type: ignore[attr-defined]


def test_every_path_is_documented() -> None:
    async def nothing(*_: object) -> None:
        raise AssertionError

    document = build(InProcess(nothing)).openapi()
    assert set(re.findall(r"^\| `(/[^`]*)` \|", PAGE, re.M)) == set(document["paths"])


def test_the_bounds_are_the_real_ones() -> None:
    rounds, samples = run_files.ROUNDS, run_files.SAMPLES
    assert (rounds.file_bytes, samples.file_bytes) == (64 << 20, 64 << 20)
    assert (rounds.rows, rounds.decoded_bytes) == (1_000_000, 256 << 20)
    assert (samples.rows, samples.decoded_bytes) == (100_000, 64 << 20)
    assert rounds.characters == 200_000
    assert compare.MOST_BYTES == 512 << 20
    assert (memory.DEFAULT_MB, http.MOST_QUERY, predictions.MOST_ROWS) == (256, 64 << 10, 500)
