"""Watch a language model's answers change while it trains, in MLflow.

The names below are the whole public face; each is loaded when it is first used.
"""

from importlib import import_module as _import_module
from typing import Any as _Any

_FACE = {
    "analysis.comparison": ("Comparison", "compare"),
    "analysis.trajectories": ("trajectories",),
    "attach": ("start_run",),
    "config.model": ("Config", "PredictionsConfig"),
    "errors": ("TimelapseError", "TimelapseWarning"),
    "formats.loading": ("load_samples",),
    "reading.frames": ("as_arrow", "as_duckdb", "evolution", "load_predictions", "sample"),
    "rounds": ("Prediction", "Round"),
    "run": ("TrainingRun",),
    "samples": ("LoadReport", "Sample", "SampleSet"),
}
_HOME = {name: module for module, names in _FACE.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> _Any:
    if name not in _HOME:
        raise AttributeError(f"module 'timelapse' has no attribute '{name}'")
    return getattr(_import_module(f"timelapse.{_HOME[name]}"), name)
