"""Watch a language model's answers change while it trains, in MLflow.

The names below are the whole public face; each is loaded when it is first used.
"""

from importlib import import_module as _import_module
from typing import Any as _Any

_HOME = {
    "Config": "config.model",
    "LoadReport": "samples",
    "Prediction": "rounds",
    "PredictionsConfig": "config.model",
    "Round": "rounds",
    "Sample": "samples",
    "SampleSet": "samples",
    "TimelapseError": "errors",
    "TimelapseWarning": "errors",
    "TrainingRun": "run",
    "load_predictions": "reading.frames",
    "load_samples": "formats.loading",
    "start_run": "attach",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> _Any:
    if name not in _HOME:
        raise AttributeError(f"module 'timelapse' has no attribute '{name}'")
    return getattr(_import_module(f"timelapse.{_HOME[name]}"), name)
