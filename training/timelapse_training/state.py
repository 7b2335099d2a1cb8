"""Answering in the middle of a training without leaving a trace in it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def inference_state(model: nn.Module, autocast: torch.dtype | None = None) -> Iterator[None]:
    """Put a model that is being trained into a state to generate in, and restore everything after.

    Inside: evaluation mode, no gradients, no gradient checkpointing, autocast where asked. Afterwards, also
    after an error, each module has its own former mode and checkpointing switch, and the random
    generators of Python, numpy and torch (CPU and every accelerator) continue as if nothing had been drawn.

    Args:
        model: The unwrapped model.
        autocast: Precision of the forward passes; None leaves it to the weights.
    """
    with ExitStack() as stack:
        stack.enter_context(_random_state())
        stack.enter_context(_modes(model))
        # Not inference_mode: a module that caches a tensor in its forward pass would keep one
        # that cannot take part in a later backward pass.
        stack.enter_context(torch.no_grad())
        if autocast is not None:
            stack.callback(torch.clear_autocast_cache)  # casts made without gradients must not outlive us
            stack.enter_context(torch.autocast(model_device(model).type, dtype=autocast))
        yield


def model_device(model: nn.Module) -> torch.device:
    """Return the device of a model's first parameter: where its input goes."""
    return next(model.parameters()).device


@contextmanager
def _modes(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradient checkpointing; each module gets its own former mode back."""
    training = [(module, module.training) for module in model.modules()]
    checkpointing = [module for module in model.modules() if getattr(module, "gradient_checkpointing", False)]
    try:
        model.eval()
        _switch(checkpointing, on=False)
        yield
    finally:
        for module, mode in training:
            module.training = mode  # not .train(): it would also set the children, which have their own
        _switch(checkpointing, on=True)


def _switch(modules: list[nn.Module], *, on: bool) -> None:
    for module in modules:
        setattr(module, "gradient_checkpointing", on)  # noqa: B010 - a plain attribute, unknown to nn.Module


@contextmanager
def _random_state() -> Iterator[None]:
    python, numpy, torch_cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(torch_cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
        if mps is not None:
            torch.mps.set_rng_state(mps)
