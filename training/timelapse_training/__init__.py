"""Predictions during training with PyTorch, Transformers, PEFT and TRL.

The names below are the whole public face; each is loaded when it is first used.
"""

from importlib import import_module as _import_module
from typing import Any as _Any

_HOME = {
    "GenerationSettings": "generation",
    "PredictionRounds": "loop",
    "PredictionsCallback": "callback",
    "generate": "generation",
    "train": "trainer",
}
__all__ = list(_HOME)

# What each of them stands on; named in the error if it is not installed.
_FOUNDATIONS = {"torch", "transformers", "accelerate", "peft", "trl", "datasets"}


def __getattr__(name: str) -> _Any:
    if name not in _HOME:
        raise AttributeError(f"module 'timelapse_training' has no attribute '{name}'")
    from timelapse.errors import MissingExtraError

    try:
        return getattr(_import_module(f"timelapse_training.{_HOME[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name in _FOUNDATIONS:
            raise MissingExtraError("training", error.name) from error
        raise
