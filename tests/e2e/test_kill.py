"""Trainings killed with `kill -9` at random moments: nothing is lost, nothing is there twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner
from killable import SAMPLES, answer
from servers import MlflowServer

from timelapse import load_predictions, names
from timelapse.cli.main import main

KILLS = int(os.environ.get("TIMELAPSE_TEST_KILLS", "8"))
"""How many trainings are killed; `make test-faults` kills 50."""
LONGEST_SECONDS = 4.0

pytestmark = pytest.mark.usefixtures("workplace")


@pytest.mark.timeout(60 + 10 * KILLS)
def test_no_round_is_lost_or_stored_twice_by_kill_9(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    experiment = f"killed {uuid.uuid4().hex[:8]}"
    client = mlflow.MlflowClient(tracking_uri=mlflow_server.uri)
    client.create_experiment(experiment)
    seed = int(os.environ.get("TIMELAPSE_TEST_SEED", "7"))
    chance = random.Random(seed)
    killed = []
    script = Path(__file__).parents[1] / "support" / "killable.py"
    template = subprocess.Popen(
        [sys.executable, str(script), experiment, mlflow_server.uri],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with template:
        assert template.stdin is not None
        assert template.stdout is not None
        assert template.stdout.readline() == "warm\n"
        for number in range(KILLS):
            ledger, spool = tmp_path / f"training{number}", tmp_path / f"spool{number}"
            template.stdin.write(f"{ledger} {spool}\n")
            template.stdin.flush()
            child = int(template.stdout.readline())
            time.sleep(chance.uniform(0.0, LONGEST_SECONDS))
            os.kill(child, signal.SIGKILL)
            killed.append((ledger, spool))
        template.stdin.close()

    for ledger, spool in killed:
        sync(spool, mlflow_server.uri)
        assert_whole(client, experiment, ledger)
    [experiment_id] = [client.get_experiment_by_name(experiment).experiment_id]
    running = client.search_runs([experiment_id], "attributes.status = 'RUNNING'")
    assert running == []


def sync(spool: Path, uri: str) -> None:
    """Run `timelapse sync`, and once more, which finds nothing to do."""
    for _ in range(2):
        done = CliRunner().invoke(
            main,
            ["sync", "--tracking-uri", uri, "--format", "json"],
            env={"TIMELAPSE_SPOOL": str(spool)},
            catch_exceptions=False,
        )
        assert done.exit_code == 0, done.output
        outcomes = json.loads(done.stdout)
        assert {outcome["state"] for outcome in outcomes} <= {"sent"}
    assert outcomes == []


def assert_whole(client: mlflow.MlflowClient, experiment: str, ledger: Path) -> None:
    """Every round whose logging returned is there once, with one point of each number."""
    notes = ledger.read_text().split("\n")[:-1] if ledger.exists() else []
    completed = [int(note) for note in notes if note.isdigit()]
    experiment_id = client.get_experiment_by_name(experiment).experiment_id
    runs = client.search_runs([experiment_id], f"attributes.run_name = '{ledger.stem}'")
    assert len(runs) <= 1, "a run was created twice"
    if not runs:
        assert not notes, "the run is gone"
        return
    [run] = runs
    assert run.info.status == "KILLED"
    assert run.data.tags[names.TAG_STATUS].startswith("failed: the process that trained ended")
    if not completed:
        return
    frame = load_predictions(run.info.run_id, tracking_uri=client.tracking_uri, attempts="all")
    assert frame.attrs["problems"] == []
    steps = sorted(set(frame["step"]))
    assert steps in (completed, [*completed, completed[-1] + 1]), "one may have been logged, not yet noted"
    expected = [(step, answer(step, place)) for step in steps for place in range(len(SAMPLES))]
    assert list(zip(frame["step"], frame["prediction"], strict=True)) == expected
    assert run.data.tags[names.TAG_ROUNDS] == str(len(steps))
    points = client.get_metric_history(run.info.run_id, "predictions/exact_match")
    assert sorted((point.step, point.value) for point in points) == [
        (step, 0.5 if step >= 10 else 0.0) for step in steps
    ]
    losses = sorted(point.step for point in client.get_metric_history(run.info.run_id, "loss"))
    assert losses in (completed, completed[:-1], steps)
