"""Against a real MLflow server that is killed and comes back: every round is stored once, in order."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from timelapse import load_predictions, names
from timelapse.attach import start_run
from timelapse.errors import TimelapseWarning
from timelapse.rounds import Prediction, Round
from timelapse.samples import Sample, SampleSet


class Server:
    """`mlflow server` on a port of its own, that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder = folder
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self.folder / 'server.db'}", "--workers", "1"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        log = (self.folder / "server.log").open("ab")
        self.process = subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        log.close()
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError((self.folder / "server.log").read_text())

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, 9)
            self.process.wait()
            self.process = None


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIMELAPSE_SPOOL", str(tmp_path / "spool"))
    before = mlflow.get_tracking_uri()
    running = Server(tmp_path)
    running.start()
    mlflow.set_tracking_uri(running.uri)
    yield running
    mlflow.set_tracking_uri(before)
    running.kill()


def make_round(samples: SampleSet, step: int) -> Round:
    rows = tuple(
        Prediction(sample.sample_id, f"answer at {step}", finish_reason="stop") for sample in samples
    )
    return Round(step, rows, seconds=1.0)


def test_rounds_made_while_the_server_is_dead_arrive_when_it_is_back(
    server: Server,
) -> None:
    samples = SampleSet((Sample(({"role": "user", "content": "go"},), "answer at 3"),))
    with pytest.warns(TimelapseWarning) as warned, start_run("survivor") as run:
        run.log_samples(samples)
        run.log_round(make_round(samples, 1))
        server.kill()
        for step in (2, 3):
            run.log_round(make_round(samples, step))
            run.log_metrics({"loss": 1 / step}, step)
        assert len(list(Path("spool").rglob("round-*.parquet"))) == 2
        server.start()
        run.log_round(make_round(samples, 4))  # too soon after the failure: it waits with the others
        assert len(list(Path("spool").rglob("round-*.parquet"))) == 3

    [warning] = [str(warning.message) for warning in warned]
    assert "Sending to MLflow failed: storing round-00000002.parquet" in warning
    assert "rounds wait on disk, and are sent when MLflow answers again" in warning
    client = mlflow.MlflowClient()
    stored = client.get_run(str(run.run_id))
    assert stored.info.status == "FINISHED"
    assert stored.data.tags[names.TAG_STATUS] == "finished"
    assert stored.data.tags[names.TAG_ROUNDS] == "4"
    scores = client.get_metric_history(str(run.run_id), "predictions/exact_match")
    assert [(metric.step, metric.value) for metric in scores] == [(1, 0.0), (2, 0.0), (3, 1.0), (4, 0.0)]
    losses = client.get_metric_history(str(run.run_id), "loss")
    assert [metric.step for metric in losses] == [2, 3]
    frame = load_predictions("survivor")
    assert frame["prediction"].tolist() == [f"answer at {step}" for step in (1, 2, 3, 4)]
    table = mlflow.load_table("timelapse/latest.json", run_ids=[str(run.run_id)])
    assert table["prediction"].tolist() == ["answer at 4"]
    assert not list(Path("spool").rglob("*.parquet"))


def test_a_deleted_run_is_said_once_and_the_rounds_are_kept(server: Server) -> None:
    samples = SampleSet((Sample(({"role": "user", "content": "go"},), "went"),))
    with pytest.warns(TimelapseWarning) as warned, start_run() as run:
        run.log_samples(samples)
        mlflow.MlflowClient().delete_run(str(run.run_id))
        run.log_round(make_round(samples, 1))
    texts = [str(warning.message) for warning in warned]
    assert any("It is not sent. The training goes on." in text for text in texts)
    assert any("They are kept in" in text for text in texts)
    [kept] = Path("spool").rglob("round-*.parquet")
    assert pd.read_parquet(kept)["prediction"].tolist() == ["answer at 1"]
