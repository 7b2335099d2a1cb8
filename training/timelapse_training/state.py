"""Answering in the middle of a training without leaving a trace in it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import nn
from transformers import GenerationConfig

_OF_THE_MODEL = ("decoder_start_token_id", "forced_bos_token_id", "bos_token_id", "eos_token_id")


@contextmanager
def inference_state(model: nn.Module, autocast: torch.dtype | None = None) -> Iterator[None]:
    """Put a model that is being trained into a state to generate in, and restore everything after.

    Inside: evaluation mode, no gradients, no gradient checkpointing, autocast where asked, and none of the
    model's own generation settings. Afterwards, also after an error, each module has its former mode,
    switches and buffers, and the random generators of Python, numpy and torch (CPU and every accelerator)
    continue as if nothing had been drawn.

    Args:
        model: The unwrapped model.
        autocast: Precision of the forward passes; None leaves it to the weights.
    """
    with ExitStack() as stack:
        stack.enter_context(_random_state())
        stack.enter_context(_modes(model))
        stack.enter_context(_caches(model))
        stack.enter_context(_plain_decoding(model))
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


@contextmanager
def _caches(model: nn.Module) -> Iterator[None]:
    """Put back what forward passes remember: rotary embeddings adapt to the longest input."""
    kept = []
    for module in model.modules():
        if module._buffers:
            numbers = {k: v for k, v in vars(module).items() if isinstance(v, int | float | torch.Tensor)}
            kept.append((module, dict(module._buffers), numbers))
    try:
        yield
    finally:
        for module, buffers, numbers in kept:
            module._buffers.update(buffers)
            vars(module).update(numbers)


@contextmanager
def _plain_decoding(model: nn.Module) -> Iterator[None]:
    """Set a model's own generation settings aside: `generate` would fill every gap of ours from them.

    What belongs to the model itself stays: the tokens that begin and end an answer. Those that end it are
    often more than the tokenizer's one (`<end_of_turn>` beside `<eos>`).
    """
    own = [module for module in model.modules() if "generation_config" in vars(module)]
    before = [module.generation_config for module in own]
    try:
        for module, config in zip(own, before, strict=True):
            kept = {name: getattr(config, name, None) for name in _OF_THE_MODEL}
            vars(module)["generation_config"] = GenerationConfig(**kept)  # type: ignore[no-untyped-call]
        yield
    finally:
        for module, config in zip(own, before, strict=True):
            vars(module)["generation_config"] = config


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
