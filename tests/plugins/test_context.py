"""The plug-in by which bare `mlflow.start_run` calls tell of the job: loaded by MLflow itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import mlflow
import pytest

from timelapse import names
from timelapse_plugins.context import JobContext

ROOT = Path(__file__).resolve().parents[2]
GROUP = "mlflow.run_context_provider"
LISTS_MODULES = "import sys, {module}; print('\\n'.join(sorted(sys.modules)))"
RUNS = """
import json, mlflow
with mlflow.start_run() as run:
    pass
print(json.dumps(mlflow.get_run(run.info.run_id).data.tags))
"""


def run_python(code: str, **environment: str) -> str:
    path = os.pathsep.join([*environment.pop("first_on_path", "").split(), *sys.path])
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment, "PYTHONPATH": path},
    ).stdout


@pytest.fixture
def distribution(tmp_path: Path) -> Path:
    """A folder in which our entry point is installed as pyproject.toml declares it."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][GROUP]
    info = tmp_path / "declared" / "declared_timelapse-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: declared-timelapse\nVersion: 1\n")
    lines = [f"[{GROUP}]", *(f"{name} = {target}" for name, target in declared.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return info.parent


def test_a_bare_mlflow_run_is_tagged_with_its_job(tracking: mlflow.MlflowClient, distribution: Path) -> None:
    output = run_python(RUNS, first_on_path=str(distribution), JOB_ID="42", JOB_USER_ID="", JOB_TOKEN="t0ken")
    tags = json.loads(output.strip().splitlines()[-1])
    assert tags[names.TAG_JOB] == "42"
    assert names.TAG_JOB_USER not in tags
    assert "t0ken" not in output
    assert tags["mlflow.source.type"] == "LOCAL", "MLflow's own context is there, too"


def test_the_provider_has_what_mlflow_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.tracking.context.abstract_context import RunContextProvider

    asked = {name for name in vars(RunContextProvider) if not name.startswith("_")}
    assert asked == {"in_context", "tags"} <= set(dir(JobContext))
    monkeypatch.delenv("JOB_ID", raising=False)
    monkeypatch.delenv("JOB_USER_ID", raising=False)
    assert not JobContext().in_context()
    monkeypatch.setenv("JOB_USER_ID", "ada")
    assert JobContext().in_context()
    assert JobContext().tags() == {names.TAG_JOB_USER: "ada"}


def test_it_loads_the_standard_library_and_the_names_only() -> None:
    loaded = set(run_python(LISTS_MODULES.format(module="timelapse_plugins.context")).split())
    loaded -= set(run_python(LISTS_MODULES.format(module="os")).split())
    foreign = {name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names}
    assert foreign == {
        "timelapse",
        "timelapse.jobs",
        "timelapse.names",
        "timelapse_plugins",
        "timelapse_plugins.context",
    }
