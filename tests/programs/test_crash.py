"""A training that crashes in a live notebook: its run ends with the cell, not with the kernel."""

from __future__ import annotations

import os
import sys

import mlflow
import nbformat
import pytest
from nbclient import NotebookClient

SETUP = """
import signal
import mlflow
from tiny import make_llama, make_samples, make_tokenizer, training_set
from transformers import Trainer, TrainerCallback, TrainingArguments
from timelapse import start_run
from timelapse_training import PredictionsCallback

class Accident(TrainerCallback):
    def __init__(self, happens):
        self.happens = happens
    def on_step_end(self, args, state, control, **kwargs):
        self.happens()

def train(happens):
    tokenizer = make_tokenizer()
    Trainer(
        make_llama(),
        args=TrainingArguments("out", max_steps=2, report_to="none", use_cpu=True, disable_tqdm=True),
        train_dataset=training_set(tokenizer),
        processing_class=tokenizer,
        callbacks=[PredictionsCallback(make_samples("go"), max_new_tokens=2), Accident(happens)],
    ).train()

def look():
    [run] = mlflow.search_runs(search_all_experiments=True, output_format="list", max_results=1)
    active = "a run is active" if mlflow.active_run() else "no run is active"
    print(run.info.status, run.data.tags.get("timelapse.status"), active, sep=" | ")
"""


def run_notebook(*cells: str) -> list[str]:
    """Execute a notebook whose cells may fail; return the last line of each, or the type of its error."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=240, allow_errors=True, kernel_name="python3").execute()

    def told(cell: nbformat.NotebookNode) -> str:
        errors = [output["ename"] for output in cell.outputs if output["output_type"] == "error"]
        printed = [output["text"] for output in cell.outputs if output.get("name") == "stdout"]
        return (errors or "".join(printed).splitlines() or [""])[-1]

    return [told(cell) for cell in notebook.cells]


def test_in_a_notebook_a_run_ends_with_the_cell_that_failed(
    tracking: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.get_tracking_uri())
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    told = run_notebook(
        SETUP,
        "train(lambda: 1 / 0)",
        "look()",
        "train(lambda: signal.raise_signal(signal.SIGINT))",
        "look()",
        "with start_run():\n    open('nowhere')",
        "look()",
        "run = start_run()\nassert run.run_id",
        "1 / 0",
        "look()",
    )
    assert [told[index] for index in (1, 3, 5, 8)] == [
        "ZeroDivisionError",
        "KeyboardInterrupt",
        "FileNotFoundError",
        "ZeroDivisionError",
    ]
    assert told[2] == "FAILED | failed: ZeroDivisionError: division by zero | no run is active"
    assert told[4] == "KILLED | failed: SIGINT | no run is active"
    assert told[6].startswith("FAILED | failed: FileNotFoundError: ")
    assert told[9] == "RUNNING | None | a run is active", (
        "a run that a person opened outlives a mistyped cell"
    )
    kernel_gone = tracking.search_runs(["0"])
    assert [run.info.status for run in kernel_gone] == ["FINISHED", "FAILED", "KILLED", "FAILED"]
