"""The API in a server process: a real training logs through it over HTTP while somebody watches."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from api_server import ApiServer
from stored_runs import make_round, make_samples

from timelapse import load_predictions, start_run

SAMPLES = make_samples(5)


@pytest.fixture(scope="module")
def server(new_store: Callable[[Path], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    folder = tmp_path_factory.mktemp("api-server")
    before = mlflow.get_tracking_uri()
    with pytest.MonkeyPatch.context() as patch, ApiServer(folder, new_store(folder)) as server:
        patch.setenv("TIMELAPSE_SPOOL", str(folder / "spool"))
        patch.setenv("TIMELAPSE_CACHE", str(folder / "cache"))
        mlflow.MlflowClient(server.uri).create_experiment("verbs")  # its files go through the server
        yield server
    mlflow.set_tracking_uri(before)


def get(server: ApiServer, path: str, **headers: str) -> Any:
    request = urllib.request.Request(server.api + path, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def test_a_training_is_watched_while_it_runs(server: ApiServer) -> None:
    with start_run("watched", experiment="verbs", tracking_uri=server.uri) as run:
        run.log_samples(SAMPLES)
        for step in (0, 10, 20):
            run.log_round(make_round(SAMPLES, step, right=step / 20))
            run.flush()
            told = get(server, f"/runs/{run.run_id}/overview")
            assert told["run"]["state"]["kind"] == "live"
            assert [each["step"] for each in told["rounds"]] == list(range(0, step + 1, 10))
            assert told["problems"] == []
    told = get(server, f"/runs/{run.run_id}/overview")
    assert told["run"]["state"]["kind"] == "finished"
    assert told["trends"]["exact_match"] == [0.0, pytest.approx(0.4, abs=0.21), 1.0]
    frame = load_predictions(run.run_id, tracking_uri=server.uri)
    rows = get(server, f"/runs/{run.run_id}/predictions")["rows"]
    assert [row["prediction"] for row in rows] == frame["prediction"].tolist()
    assert get(server, f"/runs/{run.run_id}")["rounds"] == 3


def test_many_who_ask_for_a_cold_run_at_once_all_get_it(server: ApiServer) -> None:
    with start_run("asked for", experiment="verbs", tracking_uri=server.uri) as run:
        run.log_samples(SAMPLES)
        run.log_round(make_round(SAMPLES, 0))
    told: list[Any] = []

    def ask() -> None:
        told.append(get(server, f"/runs/{run.run_id}/overview"))

    threads = [threading.Thread(target=ask) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 30
    assert all(each == told[0] for each in told)
