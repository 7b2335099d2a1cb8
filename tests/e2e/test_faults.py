"""Whatever a server does while a model trains: no round is lost, none is stored twice, the run ends well."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from click.testing import CliRunner, Result
from faults import ARTIFACTS, FaultProxy
from servers import MlflowServer

from timelapse import Prediction, Round, Sample, SampleSet, TrainingRun, load_predictions, names, start_run
from timelapse.cli.main import main
from timelapse.writing.spool import spool_folders

pytestmark = [
    pytest.mark.usefixtures("workplace"),
    pytest.mark.filterwarnings("ignore::timelapse.errors.TimelapseWarning"),
]

STEPS = range(10, 70, 10)
SAMPLES = SampleSet(tuple(Sample(({"role": "user", "content": verb},), verb) for verb in ("go", "sing")))

FAULTS: dict[str, dict[str, Any]] = {
    "refuse": {"kind": "refuse"},
    "hang": {"kind": "hang"},
    "status 500": {"kind": "status", "status": 500},
    "status 503": {"kind": "status", "status": 503},
    "reset in the request": {"kind": "reset_request"},
    "reset in the answer": {"kind": "reset_response"},
    "artifacts reset in the request": {"kind": "reset_request", "path": ARTIFACTS},
    "artifacts reset in the answer": {"kind": "reset_response", "path": ARTIFACTS},
    "artifacts 500": {"kind": "status", "status": 500, "path": ARTIFACTS},
    "artifacts 403": {"kind": "status", "status": 403, "path": ARTIFACTS},
}

PATIENCE = ("MLFLOW_HTTP_REQUEST_TIMEOUT", "TIMELAPSE_CLOSE_SECONDS")

faults = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)


@pytest.fixture
def experiment(mlflow_server: MlflowServer) -> str:
    name = f"faults {uuid.uuid4().hex[:8]}"
    mlflow.MlflowClient(tracking_uri=mlflow_server.uri).create_experiment(name)
    return name


@pytest.fixture
def proxy(
    mlflow_server: MlflowServer, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FaultProxy]:
    """A server with a proxy before it, whose silence counts as a failure after a second.

    The experiment is there before: making it twice, where a busy server took longer, would be an error.
    """
    for name in PATIENCE:
        monkeypatch.setenv(name, "1")
    with FaultProxy(mlflow_server.uri) as proxy:
        yield proxy


def recover(proxy: FaultProxy) -> None:
    """Let the server answer again, in its own time: on a busy machine it may need more than a second."""
    proxy.heal()
    os.environ.update(dict.fromkeys(PATIENCE, "60"))  # the fixture puts them back


def answers_at(step: int) -> tuple[str, str]:
    """Return a round's answers: the first is always right, the second from step 40 on."""
    return "go", "sing" if step >= 40 else f"sung at {step}"


def log_step(run: TrainingRun, step: int) -> None:
    pairs = zip(SAMPLES, answers_at(step), strict=True)
    rows = tuple(Prediction(sample.sample_id, text) for sample, text in pairs)
    run.log_round(Round(step, rows, seconds=1.0))
    run.log_metrics({"loss": 1 / step}, step)


def wait_until(holds: Callable[[], object]) -> None:
    """Wait for what happens in the background."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "it has not happened within 20 seconds"
        time.sleep(0.05)


def train(proxy: FaultProxy, experiment: str, fault: dict[str, Any], *, heal: bool) -> str:
    """Train with a server that fails after the second round, and recovers after the fourth if `heal`."""
    with start_run("survivor", experiment=experiment, tracking_uri=proxy.uri) as run:
        run.log_samples(SAMPLES)
        for step in STEPS[:2]:
            log_step(run, step)
        proxy.fault(**fault)
        for step in STEPS[2:4]:
            log_step(run, step)
        if fault["kind"] != "refuse" and fault.get("path") != names.ROUNDS_FILE:  # nobody knocks there yet
            wait_until(lambda: proxy.failed)
        if heal:
            recover(proxy)
        for step in STEPS[4:]:
            log_step(run, step)
    return str(run.run_id)


def assert_all_is_there(server: MlflowServer, experiment: str, run_id: str) -> None:
    """Every round is there once, with one point of each metric, and the run is over."""
    frame = load_predictions(experiment=experiment, tracking_uri=server.uri, attempts="all")
    assert frame.attrs["problems"] == []
    assert set(frame["run_id"]) == {run_id}
    expected = [(step, text) for step in STEPS for text in answers_at(step)]
    assert list(zip(frame["step"], frame["prediction"], strict=True)) == expected

    client = mlflow.MlflowClient(tracking_uri=server.uri)
    stored = client.get_run(run_id)
    assert stored.info.status == "FINISHED"
    assert stored.data.tags[names.TAG_ROUNDS] == str(len(STEPS))
    scores = [(step, 1.0 if step >= 40 else 0.5) for step in STEPS]
    assert history(client, run_id, "predictions/exact_match") == scores
    assert history(client, run_id, "loss") == [(step, pytest.approx(1 / step)) for step in STEPS]
    [dataset] = stored.inputs.dataset_inputs
    assert dataset.dataset.digest == SAMPLES.fingerprint
    table = client.load_table(stored.info.experiment_id, "timelapse/latest.json", run_ids=[run_id])
    assert table["prediction"].tolist() == ["go", "sing"]


def history(client: mlflow.MlflowClient, run_id: str, metric: str) -> list[tuple[int, Any]]:
    points = client.get_metric_history(run_id, metric)
    return sorted((point.step, point.value) for point in points)


def sync(uri: str) -> Result:
    return CliRunner().invoke(main, ["sync", "--tracking-uri", uri, "--patience", "2"])


def assert_synced(uri: str) -> None:
    done = sync(uri)
    assert done.exit_code == 0, done.output


@faults
def test_a_server_that_recovers_during_the_training_gets_everything(
    proxy: FaultProxy, mlflow_server: MlflowServer, experiment: str, fault: dict[str, Any]
) -> None:
    run_id = train(proxy, experiment, fault, heal=True)

    assert_all_is_there(mlflow_server, experiment, run_id)


@faults
def test_a_server_that_recovers_after_the_training_gets_everything_from_sync(
    proxy: FaultProxy, mlflow_server: MlflowServer, experiment: str, fault: dict[str, Any]
) -> None:
    run_id = train(proxy, experiment, fault, heal=False)
    recover(proxy)
    assert_synced(proxy.uri)

    assert_all_is_there(mlflow_server, experiment, run_id)


def test_rounds_that_a_proxy_does_not_take_in_one_file_are_read_one_by_one(
    proxy: FaultProxy, mlflow_server: MlflowServer, experiment: str
) -> None:
    """As before a server with nginx, whose limit for a request is one megabyte unless somebody raises it."""
    os.environ.update(dict.fromkeys(PATIENCE, "60"))
    run_id = train(
        proxy, experiment, {"kind": "status", "status": 413, "path": names.ROUNDS_FILE}, heal=False
    )

    assert any(names.ROUNDS_FILE in line for line in proxy.failed)
    assert_all_is_there(mlflow_server, experiment, run_id)
    stored = mlflow.MlflowClient(tracking_uri=mlflow_server.uri).get_run(run_id)
    assert stored.data.tags[names.TAG_STATUS] == "finished"
    assert list(spool_folders()) == []


def test_sync_that_meets_the_fault_too_loses_nothing(
    proxy: FaultProxy, mlflow_server: MlflowServer, experiment: str
) -> None:
    run_id = train(proxy, experiment, FAULTS["status 503"], heal=False)
    proxy.fault("reset_response", path=ARTIFACTS)
    assert sync(proxy.uri).exit_code == 1
    recover(proxy)
    assert_synced(proxy.uri)

    assert_all_is_there(mlflow_server, experiment, run_id)


KILLED_TRAINING = """
import os, signal, sys
sys.path[:0] = sys.argv[3:]
from test_faults import SAMPLES, STEPS, log_step
from timelapse import start_run
with start_run("survivor", experiment=sys.argv[2], tracking_uri=sys.argv[1]) as run:
    print(run.run_id, flush=True)
    run.log_samples(SAMPLES)
    for step in STEPS:
        log_step(run, step)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_sync_finishes_what_a_killed_training_has_left(
    proxy: FaultProxy, mlflow_server: MlflowServer, experiment: str
) -> None:
    proxy.fault("status", 503, path=ARTIFACTS)
    here = Path(__file__).resolve().parent
    arguments = [proxy.uri, experiment, str(here), str(here.parent / "support")]
    command = [sys.executable, "-c", KILLED_TRAINING, *arguments]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert killed.returncode == -9, killed.stderr
    recover(proxy)
    assert_synced(proxy.uri)

    run_id = killed.stdout.strip()
    frame = load_predictions(run_id, tracking_uri=mlflow_server.uri, attempts="all")
    assert frame["step"].tolist() == [step for step in STEPS for _ in SAMPLES]
    client = mlflow.MlflowClient(tracking_uri=mlflow_server.uri)
    assert client.get_run(run_id).info.status == "KILLED"
    assert [step for step, _ in history(client, run_id, "predictions/exact_match")] == list(STEPS)


def test_a_training_that_never_saw_the_server_is_handed_over_whole(
    proxy: FaultProxy, mlflow_server: MlflowServer, experiment: str
) -> None:
    proxy.fault("refuse")
    with start_run("survivor", experiment=experiment, tracking_uri=proxy.uri) as run:
        run.log_samples(SAMPLES)
        for step in STEPS:
            log_step(run, step)
    assert run.run_id is None
    recover(proxy)
    assert_synced(proxy.uri)

    frame = load_predictions("survivor", experiment=experiment, tracking_uri=mlflow_server.uri)
    [run_id] = set(frame["run_id"])
    assert_all_is_there(mlflow_server, experiment, run_id)
