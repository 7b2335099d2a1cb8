"""What lies in the spool is finished by `timelapse sync`: offline runs, damaged entries, other places."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest
from click.testing import CliRunner, Result
from servers import MlflowServer

from timelapse import (
    Prediction,
    Round,
    Sample,
    SampleSet,
    TimelapseWarning,
    load_predictions,
    names,
    start_run,
)
from timelapse.cli.main import main
from timelapse.writing.spool import Header, Spool
from timelapse.writing.sync import sync as sending

SAMPLES = SampleSet(tuple(Sample(({"role": "user", "content": verb},), verb) for verb in ("go", "sing")))


def round_at(step: int, size: int = 1, **settings: Any) -> Round:
    texts = ("go" if step >= 2 else "goed", "sing" * size)
    rows = tuple(Prediction(sample.sample_id, text) for sample, text in zip(SAMPLES, texts, strict=True))
    return Round(step, rows, seconds=1.0, **settings)


def sync(*arguments: str, exit_code: int = 0) -> Result:
    done = CliRunner().invoke(main, ["sync", *arguments], catch_exceptions=False)
    assert done.exit_code == exit_code, done.output
    return done


def outcomes(*arguments: str, exit_code: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(sync("--format", "json", *arguments, exit_code=exit_code).stdout)
    return found


@pytest.fixture
def offline(tracking: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A training without MLflow: returns a function that runs one."""
    monkeypatch.setenv("TIMELAPSE_OFFLINE", "1")

    def train(**settings: Any) -> Any:
        with pytest.warns(TimelapseWarning, match="TIMELAPSE_OFFLINE is set"), start_run(**settings) as run:
            run.log_samples(SAMPLES, decoding={"max_new_tokens": 8})
            run.log_params({"lr": 0.1})
            for step in (1, 2):
                run.log_round(round_at(step))
                run.log_metrics({"loss": 1 / step}, step)
            run.log_text("seed: 1\n", "config.yaml")
        monkeypatch.delenv("TIMELAPSE_OFFLINE")
        return run

    return train


def test_a_run_that_began_without_mlflow_is_created_as_it_would_have_been(
    tracking: mlflow.MlflowClient, offline: Any
) -> None:
    run = offline(run_name="lonely", experiment="verbs", tags={"team": "words"})
    assert run.run_id is None
    assert tracking.search_experiments(filter_string="name = 'verbs'") == []
    began = json.loads(next(Path("spool").rglob("run.json")).read_text())["start_time"]

    done = sync()

    experiment = tracking.get_experiment_by_name("verbs")
    [stored] = tracking.search_runs([experiment.experiment_id])
    folder = done.stdout.split(" -> ")[0]
    assert done.stdout == f"{folder} -> run {stored.info.run_id} (lonely): created, 2 rounds sent, sent\n"
    assert (stored.info.run_name, stored.info.status) == ("lonely", "FINISHED")
    assert stored.info.start_time == began
    assert began <= stored.info.end_time < began + 120_000
    tags = stored.data.tags
    assert (tags["team"], tags[names.TAG_STATUS], tags[names.TAG_ROUNDS]) == ("words", "finished", "2")
    assert tags["mlflow.user"]
    assert "timelapse sync sent 2 rounds" in tags[names.TAG_SYNC]
    assert stored.data.params["timelapse.lr"] == "0.1"
    losses = tracking.get_metric_history(stored.info.run_id, "loss")
    assert [(point.step, point.value) for point in losses] == [(1, 1.0), (2, 0.5)]
    assert all(began <= point.timestamp <= stored.info.end_time for point in losses)
    files = [file.path for file in tracking.list_artifacts(stored.info.run_id, "timelapse")]
    assert "timelapse/config.yaml" in files
    assert "timelapse/rounds.parquet" in files
    frame = load_predictions("lonely")
    assert frame["prediction"].tolist() == ["goed", "sing", "go", "sing"]
    assert frame["exact_match"].tolist() == [0.0, 1.0, 1.0, 1.0]
    assert sync().stdout == f"Nothing waits in {Path('spool').absolute()}.\n"


def test_a_run_for_a_server_that_never_answered_can_be_sent_elsewhere(
    tracking: mlflow.MlflowClient,
) -> None:
    place = Path("mlflow.db")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (
        pytest.warns(TimelapseWarning) as warned,
        start_run("late", tracking_uri=f"http://127.0.0.1:{port}") as run,
    ):
        run.log_samples(SAMPLES)
        run.log_round(round_at(1))
        assert run.run_id is None
    assert len(warned) == 2
    [outcome] = outcomes("--to", f"sqlite:///{place.absolute()}")
    assert (outcome["state"], outcome["created"], outcome["rounds"]) == ("sent", True, 1)
    mlflow.set_tracking_uri(f"sqlite:///{place.absolute()}")
    assert load_predictions("late")["prediction"].tolist() == ["goed", "sing"]


def test_what_belongs_elsewhere_is_left_alone_and_said(
    tracking: mlflow.MlflowClient, offline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    offline(tracking_uri="http://user:secret@127.0.0.1:1")
    mlflow.set_tracking_uri(f"sqlite:///{Path('mlflow.db').absolute()}")
    assert "secret" not in next(Path("spool").rglob("run.json")).read_text()
    done = sync(exit_code=1)
    assert "elsewhere" in done.stdout
    assert "it belongs to http://" in done.stderr
    assert "127.0.0.1:1, MLflow is sqlite:///" in done.stderr
    assert "--to http://" in done.stderr
    assert tracking.search_runs(["0"]) == []
    [outcome] = outcomes("--to", f"sqlite:///{Path('mlflow.db').absolute()}")
    assert (outcome["state"], outcome["rounds"]) == ("sent", 2)


def test_a_damaged_entry_is_reported_and_everything_else_is_sent(
    tracking: mlflow.MlflowClient, offline: Any
) -> None:
    offline(run_name="torn")
    first, _second = sorted(Path("spool").rglob("*-round-*"))
    first.write_bytes(first.read_bytes()[:200])
    half = first.parent / ".00000099-round-00000000.part"
    half.write_bytes(b"half of a rou")

    [outcome] = outcomes(exit_code=1)

    assert (outcome["state"], outcome["rounds"], outcome["waiting"]) == ("damaged", 1, 0)
    assert outcome["lost"] == [str(first.absolute()), str(half.absolute())]
    assert "damaged" in outcome["reason"]
    assert load_predictions("torn")["step"].unique().tolist() == [2]
    assert first.exists(), "what is damaged is kept, for whoever can make something of it"


def test_the_attempts_of_rounds_logged_without_mlflow_never_hide_what_is_there(
    tracking: mlflow.MlflowClient, offline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TIMELAPSE_OFFLINE")
    with start_run("twice") as before:
        before.log_samples(SAMPLES)
        before.log_round(round_at(1))
        before.log_round(round_at(3))
    monkeypatch.setenv("TIMELAPSE_OFFLINE", "1")
    offline(run_id=before.run_id)
    for _ in range(2):
        sync()
    frame = load_predictions("twice", attempts="all")
    assert sorted({*zip(frame["step"], frame["attempt"], strict=True)}) == [(1, 0), (1, 1), (2, 1), (3, 0)]
    assert tracking.get_run(before.run_id).info.status == "FINISHED"


def test_a_param_that_the_run_has_with_another_value_becomes_a_tag(tracking: mlflow.MlflowClient) -> None:
    with start_run() as run:
        run.log_params({"lr": 0.1, "rank": 8})
    with start_run(run_id=run.run_id) as again:
        again.log_params({"lr": 0.2, "rank": 8, "new": 1})
    data = tracking.get_run(str(run.run_id)).data
    assert {key: data.params[f"timelapse.{key}"] for key in ("lr", "rank", "new")} == {
        "lr": "0.1",
        "rank": "8",
        "new": "1",
    }
    assert data.tags["timelapse.changed.timelapse.lr"] == "0.2"


def _limit_file_size() -> None:
    """A disk on which files of more than 20 kB do not fit: writing fails in the middle, as on a full one."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def test_on_a_full_disk_rounds_go_out_from_memory_and_the_run_says_so(
    tracking: mlflow.MlflowClient, mlflow_server: MlflowServer
) -> None:
    """The spool is on a disk that is full; MLflow is a real server elsewhere, which is not."""
    code = (
        "from test_sync import *\n"
        "with start_run('full') as run:\n"
        "    run.log_samples(SAMPLES)\n"
        "    for step in (1, 2):\n"
        "        run.log_round(round_at(step, size=4_700))\n"
        "    print(len([*Path('spool').rglob('*-round-*')]), run.run_id)\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-B", "-c", code],  # bytecode that the limit cuts off would break the next import
        env={**os.environ, "PYTHONPATH": path, "MLFLOW_TRACKING_URI": mlflow_server.uri},
        preexec_fn=_limit_file_size,
        capture_output=True,
        text=True,
        check=True,
    )
    on_disk, run_id = done.stdout.splitlines()[0].split()
    assert on_disk == "0", "no round fits"
    assert "Keeping a round on disk failed: OSError: [Errno 27]" in done.stderr
    assert "held in memory and sent directly" in done.stderr
    frame = load_predictions(run_id, tracking_uri=mlflow_server.uri)
    assert frame["prediction"].tolist() == ["goed", "sing" * 4_700, "go", "sing" * 4_700]
    stored = mlflow.MlflowClient(mlflow_server.uri).get_run(run_id)
    assert stored.info.status == "FINISHED"
    assert stored.data.tags[names.TAG_STATUS].startswith("degraded: the spool takes nothing: OSError")


def test_a_live_run_is_left_alone(tracking: mlflow.MlflowClient) -> None:
    spool = Spool.create(Header("0" * 32, None, owned=True, start_time=1))
    [outcome] = outcomes()
    assert outcome["state"] == "busy"
    assert "left alone" in outcome["reason"]
    spool.close(remove=True)


def test_sync_without_a_database_says_so(tracking: mlflow.MlflowClient) -> None:
    done = sync("--tracking-uri", "sqlite:////nowhere/mlflow.db", exit_code=2)
    assert "There is no MLflow database /nowhere/mlflow.db" in done.stderr


def test_a_folder_that_another_sync_has_just_finished_is_no_failure(
    tracking: mlflow.MlflowClient, offline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    offline(run_name="a")
    monkeypatch.setenv("TIMELAPSE_OFFLINE", "1")
    offline(run_name="b")
    done = sending(tracking)
    assert next(done).state == "sent"
    assert [outcome.state for outcome in sending(tracking)] == ["sent"], "the other sync"
    assert list(done) == []


def test_a_folder_that_is_not_there_is_a_mistake(tracking: mlflow.MlflowClient) -> None:
    tracking.search_experiments()
    done = sync("20260101-000000-misspelt", exit_code=2)
    assert "There is no folder" in done.stderr
    assert "20260101-000000-misspelt: without a name, all in" in done.stderr


def test_what_mlflow_refuses_is_said_with_what_to_do(tracking: mlflow.MlflowClient, offline: Any) -> None:
    """The experiment was deleted meanwhile: waiting does not help, and the entries are not damaged."""
    tracking.delete_experiment(tracking.create_experiment("gone"))
    offline(experiment="gone")
    with pytest.warns(TimelapseWarning) as warned:
        done = sync(exit_code=1)
    assert "MLflow refuses it: MlflowException: The experiment" in done.stderr
    assert "Restore there what was deleted" in done.stderr
    assert "no whole entry" not in done.stderr
    assert not any("The training goes on" in str(each.message) for each in warned), "there is none"
