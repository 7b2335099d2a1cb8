"""Paging: whatever the limit, the filter and the order, every row comes exactly once."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inner_mlflow import Place, served
from stored_runs import finished_files, make_round, make_samples, round_files, store_run

from timelapse import load_predictions

# Starlette's bridge, on which MLflow's server is built, leaves files that it has sent to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SAMPLES = make_samples(7)
KEY = ("step", "sample_id", "generation", "attempt")


@pytest.fixture(scope="module")
def place(
    new_store: Callable[[Path], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Place, str]]:
    folder = tmp_path_factory.mktemp("paging")
    with served(new_store(folder), folder / "mlruns") as place:
        rounds = [make_round(SAMPLES, step, right=step / 10) for step in range(0, 9, 3)]
        yield place, store_run(place.client, "0", finished_files([SAMPLES], round_files(rounds)))


def pages(place: Place, path: str, **query: Any) -> Iterator[dict[str, Any]]:
    cursor = ""
    while True:
        page = place.get(path, cursor=cursor, **query)
        yield page
        cursor = page["next_cursor"]
        if not cursor:
            return


@settings(deadline=None, max_examples=25)
@given(
    st.integers(1, 30),
    st.sampled_from(["", "step", "exact_match", "prompt", "prediction", "sample_class", "reference_nll"]),
    st.sampled_from(["asc", "desc"]),
    st.lists(st.sampled_from([0, 3, 6, 7]), max_size=2),
)
def test_every_row_comes_once(
    place: tuple[Place, str], limit: int, sort: str, order: str, steps: list[int]
) -> None:
    api, run_id = place
    query = {"sort": sort, "order": order, "step": steps}
    whole = api.get(f"/runs/{run_id}/predictions", limit=500, **query)
    found = list(pages(api, f"/runs/{run_id}/predictions", limit=limit, **query))
    rows = [row for page in found for row in page["rows"]]
    assert rows == whole["rows"]
    assert len({tuple(row[name] for name in KEY) for row in rows}) == len(rows)
    assert {page["total"] for page in found} == {len(rows)}
    assert all(len(page["rows"]) == limit for page in found[:-1])
    frame = load_predictions(run_id, tracking_uri=api.uri)
    wanted = frame[frame["step"].isin(steps)] if steps else frame
    assert sorted(row["prediction"] for row in rows) == sorted(wanted["prediction"])


@pytest.mark.parametrize(
    "cursor",
    [
        *("x", "é", "=" * 50, "AAAA"),
        base64.urlsafe_b64encode(json.dumps(["x", 3, []]).encode()).decode(),
        base64.urlsafe_b64encode(b"[" * 1000).decode(),
        base64.urlsafe_b64encode(json.dumps([[], -1, 5]).encode()).decode(),
        base64.urlsafe_b64encode(b'["x", 1e999, []]').decode(),
        *(
            base64.urlsafe_b64encode(json.dumps(["x", 3, key]).encode()).decode()
            for key in ([1, "\ud800", 0, 0], [[], "s", 0, 0], [2**63, "s", 0, 0], ["1", "s", 0, 0])
        ),
    ],
)
def test_a_cursor_that_is_none_is_refused(place: tuple[Place, str], cursor: str) -> None:
    api, run_id = place
    answer = api.api.get(f"/runs/{run_id}/predictions", params={"cursor": cursor})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("cursor: ")
    assert "next_cursor" in answer.json()["hint"]


def test_a_cursor_belongs_to_its_query(place: tuple[Place, str]) -> None:
    api, run_id = place
    cursor = api.get(f"/runs/{run_id}/predictions", limit=1)["next_cursor"]
    for other in ({"sort": "step"}, {"order": "desc"}, {"status": "ok"}):
        answer = api.api.get(f"/runs/{run_id}/predictions", params={"cursor": cursor, **other})
        assert answer.status_code == 422
        assert "another query" in answer.json()["detail"]
