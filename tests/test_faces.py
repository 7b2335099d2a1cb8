"""The public faces are lists, and the lists are tested."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

FACES = {
    "timelapse": [
        "Comparison",
        "Config",
        "LoadReport",
        "Prediction",
        "PredictionsConfig",
        "Round",
        "Sample",
        "SampleSet",
        "TimelapseError",
        "TimelapseWarning",
        "TrainingRun",
        "as_arrow",
        "as_duckdb",
        "compare",
        "evolution",
        "load_predictions",
        "load_samples",
        "sample",
        "start_run",
        "trajectories",
    ],
    "timelapse_training": [
        "GenerationSettings",
        "PredictionRounds",
        "PredictionsCallback",
        "generate",
        "train",
    ],
    "timelapse_plugins": [],
}


@pytest.mark.parametrize("package", FACES)
def test_the_face_is_this_list(package: str) -> None:
    module = importlib.import_module(package)
    assert sorted(module.__all__) == FACES[package]
    for name in FACES[package]:
        assert getattr(module, name).__name__ == name


@pytest.mark.parametrize("package", ["timelapse", "timelapse_training"])
def test_an_unknown_name_is_an_attribute_error(package: str) -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = importlib.import_module(package).nothing


@pytest.mark.parametrize("package", FACES)
def test_importing_a_package_loads_nothing_heavy(package: str) -> None:
    code = f"import sys, {package}; print({{'torch', 'mlflow', 'pandas', 'transformers'}} & set(sys.modules))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "set()"
