from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from click.testing import CliRunner
from mlflow.entities import ViewType
from servers import free_port

from timelapse.cli.main import main
from timelapse.diagnosis import installation
from timelapse.diagnosis.finding import within
from timelapse.diagnosis.installation import check_installation

Findings = dict[str, dict[str, str]]
Doctor = Callable[..., Findings]

ORDER = ["python", "packages", "extra server", "extra training", "tracking URI", "server", "authentication"]
ORDER += ["run", "artifacts", "clean-up", "spool", "disk", "waiting runs", "read cache"]


@pytest.fixture
def doctor(tracking: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """Runs the command as JSON, and returns its findings by the name of the check."""
    monkeypatch.setenv("TIMELAPSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.tracking_uri)

    def run(*arguments: str, exit_code: int = 0) -> Findings:
        result = CliRunner().invoke(main, ["doctor", "--format", "json", *arguments])
        assert result.exit_code == exit_code, result.output
        return {finding["check"]: finding for finding in json.loads(result.stdout)}

    return run


def states(findings: Findings) -> dict[str, str]:
    return {name: finding["state"] for name, finding in findings.items()}


def test_all_is_well_with_a_database_and_files(doctor: Doctor, tracking: mlflow.MlflowClient) -> None:
    findings = doctor()

    assert list(findings) == ORDER
    assert set(states(findings).values()) == {"ok"}
    assert findings["tracking URI"]["found"] == f"{tracking.tracking_uri} (from MLFLOW_TRACKING_URI)"
    assert f"mlflow {mlflow.__version__}" in findings["packages"]["found"]
    assert "directly" in findings["artifacts"]["found"]
    [probe] = tracking.search_runs(["0"], run_view_type=ViewType.ALL)
    assert (probe.info.lifecycle_stage, probe.info.run_name) == ("deleted", "timelapse-doctor")
    assert probe.data.metrics == {"timelapse-doctor": 0.5}
    assert probe.info.run_id[:8] in findings["clean-up"]["found"]


@pytest.mark.usefixtures("tracking")
def test_the_table_has_the_same_rows_and_a_summary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TIMELAPSE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "spool" / "20260101-000000-abcdef01").mkdir(parents=True)
    (tmp_path / "spool" / "20260101-000000-abcdef01" / "run.json").write_text("{}")
    (tmp_path / "spool").chmod(0o700)
    result = CliRunner().invoke(main, ["doctor", "--tracking-uri", mlflow.get_tracking_uri()])

    assert result.exit_code == 0
    rows = result.stdout.splitlines()
    places = [next(i for i, row in enumerate(rows) if row.startswith(f"{name} ")) for name in ORDER]
    assert places == sorted(places)
    waiting = rows[places[ORDER.index("waiting runs")] :]
    assert waiting[0].split()[2:5] == ["warning", "1", "run,"]
    assert "timelapse sync" in waiting[1]
    assert rows[-1] == "Everything that was checked works; worth a look: waiting runs."


def test_a_place_without_a_database_is_left_as_it_is(doctor: Doctor, tmp_path: Path) -> None:
    findings = doctor("--tracking-uri", f"sqlite:///{tmp_path}/none.db")

    chain = ("server", "authentication", "run", "artifacts")
    assert [states(findings)[name] for name in chain] == ["skipped"] * 4
    assert "the first training makes it" in findings["server"]["found"]
    assert not (tmp_path / "none.db").exists()


def test_a_closed_port_is_named_without_the_password(doctor: Doctor) -> None:
    port = free_port()
    findings = doctor("--tracking-uri", f"http://ann:hunter2@127.0.0.1:{port}", exit_code=1)

    assert findings["server"]["state"] == "failed"
    assert f"curl http://127.0.0.1:{port}/health" in findings["server"]["advice"]
    assert findings["tracking URI"]["found"] == f"http://127.0.0.1:{port} (from --tracking-uri)"
    assert "hunter2" not in json.dumps(findings)
    assert states(findings)["artifacts"] == "skipped"
    assert states(findings)["spool"] == "ok"


def test_a_server_that_never_answers_is_given_up(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        findings = doctor("--tracking-uri", f"http://127.0.0.1:{silent.getsockname()[1]}", exit_code=1)
    assert findings["server"]["state"] == "failed"
    assert "timed out" in findings["server"]["found"]


def test_a_driver_that_waits_for_ever_is_left_behind() -> None:
    over = threading.Event()
    answer, error = within(0.05, over.wait)
    over.set()

    assert answer is None
    assert str(error) == "no answer within 0.05 seconds"
    assert within(5, lambda: 7) == (7, None)


def test_an_unknown_experiment_is_a_failure(doctor: Doctor) -> None:
    findings = doctor("--experiment", "nowhere", exit_code=1)

    assert findings["run"]["found"] == "there is no experiment 'nowhere'"
    assert states(findings)["clean-up"] == "ok"


def test_artifacts_that_cannot_be_stored_are_a_failure(
    doctor: Doctor, tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file where the artifacts should be")
    tracking.create_experiment("stuck", artifact_location=f"file://{tmp_path}/taken/artifacts")
    findings = doctor("--experiment", "stuck", exit_code=1)

    assert findings["artifacts"]["state"] == "failed"
    assert "This machine must be able to write" in findings["artifacts"]["advice"]
    assert states(findings)["clean-up"] == "ok"
    assert tracking.search_runs([tracking.get_experiment_by_name("stuck").experiment_id]) == []


def test_a_spool_that_cannot_be_written_is_a_failure(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TIMELAPSE_SPOOL", str(tmp_path / "file"))
    findings = doctor(exit_code=1)

    assert findings["spool"]["state"] == "failed"
    assert str(tmp_path / "file") in findings["spool"]["found"]
    assert "TIMELAPSE_SPOOL" in findings["spool"]["advice"]
    assert states(findings)["disk"] == states(findings)["waiting runs"] == "skipped"


@pytest.mark.parametrize(("mode", "state"), [(0o700, "ok"), (0o755, "warning"), (0o777, "failed")])
def test_a_spool_that_others_may_enter_is_noticed(
    doctor: Doctor, tmp_path: Path, mode: int, state: str
) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool").chmod(mode)
    finding = doctor(exit_code=int(state == "failed"))["spool"]

    assert finding["state"] == state
    if state != "ok":
        assert f"chmod 700 {tmp_path / 'spool'}" in finding["found"] + finding["advice"]


def test_reading_goes_on_without_a_cache(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TIMELAPSE_CACHE", str(tmp_path / "file"))
    finding = doctor()["read cache"]

    assert finding["state"] == "warning"
    assert "TIMELAPSE_CACHE" in finding["advice"]


@pytest.mark.parametrize(
    ("variable", "check"), [("TIMELAPSE_SPOOL_MB", "disk"), ("TIMELAPSE_CACHE_MB", "read cache")]
)
def test_a_limit_that_is_no_number_is_a_failure(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, variable: str, check: str
) -> None:
    monkeypatch.setenv(variable, "plenty")
    finding = doctor(exit_code=1)[check]

    assert finding["state"] == "failed"
    assert f"{variable}='plenty'" in finding["found"]


def test_packages_that_are_missing_or_too_old_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "stub-1.0.dist-info"
    folder.mkdir()
    lines = ["Metadata-Version: 2.4", "Name: stub", "Version: 1.0", "Requires-Python: >=3.11"]
    lines += ["Requires-Dist: mlflow>=99", "Requires-Dist: flux-capacitor", "Provides-Extra: half"]
    lines += ["Requires-Dist: click; extra == 'half'", "Requires-Dist: hoverboard; extra == 'half'"]
    lines += ["Provides-Extra: none", "Requires-Dist: hoverboard; extra == 'none'"]
    (folder / "METADATA").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(installation, "DISTRIBUTION", "stub")
    python, packages, half, none = check_installation()

    assert python.state == "ok"
    assert packages.state == "failed"
    wrong = f"mlflow {mlflow.__version__} is installed, mlflow>=99 is needed; flux-capacitor is not installed"
    assert packages.found == wrong
    assert (half.state, half.found) == ("warning", "hoverboard is not installed")
    assert half.advice == "Install what is missing with: pip install 'stub[half]'"
    assert (none.state, none.found) == ("ok", "not installed")


def test_help_has_an_example_and_a_wrong_option_is_a_usage_error() -> None:
    text = CliRunner().invoke(main, ["doctor", "--help"])
    assert text.exit_code == 0
    assert "Example: timelapse doctor --tracking-uri https://mlflow.example.com" in text.stdout

    wrong: Any = CliRunner().invoke(main, ["doctor", "--format", "xml"])
    assert wrong.exit_code == 2
