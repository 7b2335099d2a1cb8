"""What a training leaves behind, and whether two trainings left the same, bit for bit."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from transformers import Trainer


def left_by(trainer: Trainer) -> dict[str, Any]:
    """Losses, weights, optimiser state, and the next number of every random generator."""
    assert trainer.optimizer is not None
    assert trainer.model is not None
    return {
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "weights": {name: value.clone() for name, value in trainer.model.state_dict().items()},
        "optimizer": trainer.optimizer.state_dict()["state"],
        **next_numbers(),
    }


def next_numbers() -> dict[str, Any]:
    return {"random": random.random(), "numpy": np.random.rand(), "torch": torch.rand(3)}


def assert_same(a: Any, b: Any) -> None:
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    else:
        assert a == b
