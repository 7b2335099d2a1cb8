"""JOB_ID and JOB_USER_ID become tags, in whatever way a run begins."""

from __future__ import annotations

import os
import subprocess
import sys

import mlflow
import pytest
from click.testing import CliRunner

from timelapse import names, start_run
from timelapse.attach import RunTarget, open_run
from timelapse.cli.sync import sync
from timelapse.jobs import job_tags

CLAIMED = {names.TAG_JOB: "42", names.TAG_JOB_USER: "ada"}


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOB_ID", "42")
    monkeypatch.setenv("JOB_USER_ID", "ada")
    monkeypatch.setenv("JOB_TOKEN", "a-token-of-the-job")


def claimed(run_id: str) -> dict[str, str]:
    tags = mlflow.get_run(run_id).data.tags
    assert "a-token-of-the-job" not in str(tags)
    return {key: tags[key] for key in CLAIMED if key in tags}


@pytest.mark.usefixtures("job")
def test_a_new_run_is_tagged(tracking: mlflow.MlflowClient) -> None:
    with start_run() as run:
        pass
    assert claimed(run.run_id) == CLAIMED


@pytest.mark.usefixtures("job")
def test_a_run_that_is_attached_to_is_tagged(tracking: mlflow.MlflowClient) -> None:
    by_id = tracking.create_run("0").info.run_id
    with start_run(run_id=by_id):
        pass
    assert claimed(by_id) == CLAIMED
    active = tracking.create_run("0").info.run_id
    with mlflow.start_run(run_id=active):
        open_run(RunTarget(), activate=False).finish()
    assert claimed(active) == CLAIMED


def test_an_offline_run_is_tagged_by_what_was_claimed_when_it_began(
    tracking: mlflow.MlflowClient, job: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMELAPSE_OFFLINE", "1")
    with start_run("provisional") as run:
        run.log_metrics({"loss": 1.0}, 1)
    known = tracking.create_run("0").info.run_id
    with start_run(run_id=known, tags={"mine": "x"}):
        pass
    monkeypatch.delenv("TIMELAPSE_OFFLINE")
    monkeypatch.setenv("JOB_ID", "of the sync")
    monkeypatch.delenv("JOB_USER_ID")
    result = CliRunner().invoke(sync)
    assert result.exit_code == 0, result.output
    [made] = tracking.search_runs(["0"], "attributes.run_name = 'provisional'")
    assert claimed(made.info.run_id) == CLAIMED
    assert claimed(known) == CLAIMED
    assert tracking.get_run(known).data.tags["mine"] == "x"


def test_outside_a_job_there_are_no_claims(
    tracking: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JOB_ID", raising=False)
    monkeypatch.setenv("JOB_USER_ID", "  ")
    assert job_tags() == {}
    with start_run() as run:
        pass
    assert claimed(run.run_id) == {}


def test_a_users_own_tag_wins(tracking: mlflow.MlflowClient, job: None) -> None:
    with start_run(tags={names.TAG_JOB: "mine"}) as run:
        pass
    assert claimed(run.run_id)[names.TAG_JOB] == "mine"


def test_claims_are_storable_whatever_they_are() -> None:
    tags = job_tags({"JOB_ID": " a\0b\udcff ", "JOB_USER_ID": "x" * 9000, "JOB_TOKEN": "t"})
    assert tags == {names.TAG_JOB: "ab?", names.TAG_JOB_USER: "x" * 8000}


def test_the_module_loads_nothing_but_the_names() -> None:
    code = "import sys, timelapse.jobs; print(sorted(m for m in sys.modules if m.startswith('timelapse')))"
    output = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ).stdout
    assert output.strip() == "['timelapse', 'timelapse.jobs', 'timelapse.names']"
