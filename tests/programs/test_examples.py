"""Each example, run as a user runs it: in a fresh folder, with an MLflow of its own; and what it stores.

Only the imports, which take longer than the examples, are made once for all scripts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import mlflow
import nbformat
import pytest

from timelapse import load_predictions, names

FOLDER = Path(__file__).resolve().parents[2] / "examples"
TEMPLATE = Path(__file__).resolve().parents[1] / "support" / "scripts.py"
PYTHON = str(Path(sys.executable))
NOTEBOOK = (
    "import nbformat, sys; from nbclient import NotebookClient; "
    "notebook = nbformat.read(sys.argv[1], 4); NotebookClient(notebook, kernel_name='python3').execute(); "
    "nbformat.write(notebook, 'done.ipynb')"
)
pytestmark = pytest.mark.timeout(900)  # a machine that does other things, too


@dataclass(frozen=True, slots=True)
class Example:
    """What an example must leave behind."""

    steps: tuple[int, ...]
    """The steps of its rounds, in each of its runs."""
    first: float
    """The highest share of right answers in the first round."""
    last: float
    """The lowest share in the last one."""
    printed: str
    """What a user sees."""
    runs: int = 1
    """How many runs it makes."""
    status: str = "finished"
    """What its runs say of themselves."""


ONE_FAILED = "degraded: 1 of 4 rows failed at step 0"
EXAMPLES = {
    "two_ranks.sh": Example((0, 20, 40, 60), 0.0, 0.9, "brought  brought"),
    "trainer.py": Example((0, 20, 40, 60), 0.0, 0.9, "brought  brought"),
    "dpo_trl.py": Example((0, 10, 20), 0.5, 0.9, "goed"),
    "seq2seq.py": Example((0, 15, 30, 45), 0.0, 0.7, "brought"),
    "sft_trl.py": Example((0, 20, 40, 60), 0.0, 0.9, "predictions/exact_match {0: 0.0, 20: "),
    "custom_loop.py": Example((0, 20, 40, 60, 80), 0.0, 0.9, "step 80: loss 0."),
    "own_inference.py": Example(
        (0, 100, 200), 0.4, 1.0, "TimeoutError: no answer in 30 s", status=ONE_FAILED
    ),
    "notebook.ipynb": Example((0, 50, 100, 150), 0.2, 0.6, "", runs=2),
}
"""The examples; those that take longest begin first."""


def command(name: str) -> list[str]:
    file = str(FOLDER / name)
    return [PYTHON, "-c", NOTEBOOK, file] if name.endswith(".ipynb") else [file]


class Scripts:
    """The template of scripts; it is started when the first one is to run."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.turn = threading.Lock()

    def run(
        self, script: Path, folder: Path, environment: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run a script; one at a time."""
        with self.turn:
            self.process = self.process or subprocess.Popen(
                [PYTHON, str(TEMPLATE)],
                env=os.environ | {"PYTHONPATH": environment["PYTHONPATH"], "HF_HUB_OFFLINE": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert self.process.stdin is not None
            assert self.process.stdout is not None
            request = {"script": str(script), "folder": str(folder), "environment": environment}
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            code = int(self.process.stdout.readline())
        told = [(folder / kind).read_text() for kind in ("out", "err")]
        return subprocess.CompletedProcess([str(script)], code, *told)

    def close(self) -> None:
        if self.process is not None:
            self.process.communicate()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("examples")


@pytest.fixture(scope="module")
def output(
    request: pytest.FixtureRequest, place: Path, new_store: Callable[[Path], str]
) -> Iterator[Callable[[str], str]]:
    """Returns what an example prints; those that will be asked for run ahead, two at a time."""
    scripts = Scripts()

    def run(name: str) -> str:
        folder = place / name
        folder.mkdir()
        environment = {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "MLFLOW_TRACKING_URI": new_store(folder),
            "TIMELAPSE_SPOOL": str(folder / "spool"),
            "TIMELAPSE_CACHE": str(folder / "cache"),
            "HF_HUB_OFFLINE": "1",
        }
        if name.endswith(".py"):
            done = scripts.run(FOLDER / name, folder, environment)
        else:
            settings = os.environ | environment
            done = subprocess.run(command(name), cwd=folder, env=settings, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    asked = [name for name in EXAMPLES if any(f"[{name}]" in item.name for item in request.session.items)]
    with ThreadPoolExecutor(2) as pool:
        futures: dict[str, Future[str]] = {name: pool.submit(run, name) for name in asked}

        def result(name: str) -> str:
            if name not in futures:
                futures[name] = pool.submit(run, name)
            return futures[name].result()

        yield result
    scripts.close()


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_shows_and_stores_what_it_says(
    place: Path, output: Callable[[str], str], name: str
) -> None:
    expected = EXAMPLES[name]
    assert expected.printed in output(name)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{place / name / 'mlflow.db'}")
    try:
        experiments = [found.experiment_id for found in mlflow.MlflowClient().search_experiments()]
        runs = mlflow.MlflowClient().search_runs(experiments)
        assert len(runs) == expected.runs
        for run in runs:
            assert run.info.status == "FINISHED"
            assert run.data.tags[names.TAG_STATUS] == expected.status
            frame = load_predictions(run.info.run_id)
            right = frame.groupby("step")["exact_match"].mean()
            assert tuple(right.index) == expected.steps
            assert right.iloc[0] <= expected.first
            assert right.iloc[-1] >= expected.last
            assert frame.groupby("step").size().nunique() == 1
            assert frame["status"].eq("error").sum() == (name == "own_inference.py")
            if name == "sft_trl.py":
                assert run.data.metrics["loss"] < 1
            if name == "dpo_trl.py":
                assert frame["reference"].tolist()[:2] == ["went", "sang"]
    finally:
        mlflow.set_tracking_uri(before)


def test_the_notebook_says_the_same_when_it_is_run_again(place: Path, output: Callable[[str], str]) -> None:
    output("notebook.ipynb")
    stored = nbformat.read(FOLDER / "notebook.ipynb", 4)
    again = nbformat.read(place / "notebook.ipynb" / "done.ipynb", 4)

    def told(notebook: nbformat.NotebookNode) -> list[str]:
        return [
            output.get("text") or output["data"]["text/plain"]
            for cell in notebook.cells
            if cell.cell_type == "code"
            for output in cell.outputs
            if output.get("name") != "stderr"
        ]

    assert told(stored) == told(again)
    assert "forgotten" in "".join(told(stored))


def test_every_example_is_run_here_and_says_what_one_sees() -> None:
    scripts = {file.name for file in FOLDER.iterdir() if file.is_file() and file.name != "tiny_verbs.py"}
    assert scripts == set(EXAMPLES)
    for file in FOLDER.glob("*.py"):
        assert file.read_text(encoding="utf-8").startswith('"""')
