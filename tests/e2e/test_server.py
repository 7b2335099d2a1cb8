"""Against a real MLflow server that is killed and comes back: every round is stored once, in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from servers import MlflowServer

from timelapse import load_predictions, names
from timelapse.attach import start_run
from timelapse.errors import TimelapseWarning
from timelapse.rounds import Prediction, Round
from timelapse.samples import Sample, SampleSet


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowServer]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIMELAPSE_SPOOL", str(tmp_path / "spool"))
    before = mlflow.get_tracking_uri()
    with MlflowServer(tmp_path) as running:
        mlflow.set_tracking_uri(running.uri)
        yield running
    mlflow.set_tracking_uri(before)


def make_round(samples: SampleSet, step: int) -> Round:
    rows = tuple(
        Prediction(sample.sample_id, f"answer at {step}", finish_reason="stop") for sample in samples
    )
    return Round(step, rows, seconds=1.0)


@pytest.mark.filterwarnings("ignore::timelapse.errors.TimelapseWarning")
def test_rounds_made_while_the_server_is_dead_arrive_when_it_is_back(server: MlflowServer) -> None:
    samples = SampleSet((Sample(({"role": "user", "content": "go"},), "answer at 3"),))
    with start_run("survivor") as run:
        run.log_samples(samples)
        run.log_round(make_round(samples, 1))
        server.kill()
        for step in (2, 3):
            run.log_round(make_round(samples, step))
            run.log_metrics({"loss": 1 / step}, step)
        assert list(Path("spool").iterdir()), "they wait on disk"
        server.start()
        run.log_round(make_round(samples, 4))

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
    assert not list(Path("spool").iterdir()), "nothing waits any more"


@pytest.mark.usefixtures("workplace")
def test_the_rounds_of_a_deleted_run_are_kept_on_disk(
    mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMELAPSE_CLOSE_SECONDS", "1")
    samples = SampleSet((Sample(({"role": "user", "content": "go"},), "went"),))
    with (
        pytest.warns(TimelapseWarning) as warned,
        start_run("doomed", experiment="doomed", tracking_uri=mlflow_server.uri) as run,
    ):
        run.log_samples(samples)
        mlflow.MlflowClient(mlflow_server.uri).delete_run(str(run.run_id))
        run.log_round(make_round(samples, 1))
    [folder] = Path("spool").iterdir()
    assert any(folder.name in str(warning.message) for warning in warned), "it is said where they are"
