"""Weights that are split over ranks: put together for a round, and as they were afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import extract_model_from_parallel
from torch import nn
from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel
from torch.distributed.tensor import DTensor
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

if TYPE_CHECKING:
    from transformers import TrainingArguments

_FSDP = "torch.distributed.fsdp"
_MARK = "_is_fsdp_managed_module"
_SPARE = (
    1.1  # what a round needs beside the weights is found by generation itself, which can halve its batches
)


def refusal(args: TrainingArguments, model: nn.Module) -> str | None:
    """Return why this training's model cannot answer, and what to do; None if it can."""
    if is_deepspeed_zero3_enabled():  # type: ignore[no-untyped-call]
        return (
            "DeepSpeed ZeRO-3 keeps the weights in pieces that cannot be put together for a round; "
            "use ZeRO-2 or FSDP, or answer from the saved checkpoints afterwards"
        )
    if (args.fsdp_config or {}).get("xla"):  # type: ignore[union-attr] # a path has been read by now
        return "FSDP on XLA devices cannot put its weights together for a round; use FSDP on GPUs"
    if (getattr(model, "tp_size", None) or 1) > 1:
        return (
            "tensor parallelism splits each layer over the ranks, so that all would have to answer the same "
            "sample; use FSDP, or answer from the saved checkpoints afterwards"
        )
    return None


def is_sharded(model: nn.Module) -> bool:
    """Return whether the weights are split over ranks, so that one rank alone cannot compute with them."""
    kinds = (FSDPModule, FullyShardedDataParallel)
    return any(isinstance(module, kinds) for module in model.modules()) or any(
        isinstance(parameter, DTensor) for parameter in model.parameters()
    )


def whole_bytes(model: nn.Module, world: int) -> int:
    """Return the memory that the weights of a sharded model take when they are put together."""
    flat = any(isinstance(module, FullyShardedDataParallel) for module in model.modules())
    here = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    return here * world if flat else here  # a DTensor counts all of its elements, FSDP1 its own shard


def free_bytes() -> float:
    """Return the memory that this rank's GPU can still give; infinite on a CPU, which can swap."""
    if not torch.cuda.is_available() or not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return float("inf")
    unused = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return float(torch.cuda.mem_get_info()[0] + unused)


def shortage(needed: int, free: list[float]) -> str | None:
    """Return a sentence if the weights do not fit on one of the ranks, else None.

    Args:
        needed: Bytes of the whole weights.
        free: Bytes that each rank has.
    """
    least = min(free)
    if needed * _SPARE <= least:
        return None
    return (
        f"the whole weights take {needed / 2**30:.1f} GiB and rank {free.index(least)} has "
        f"{least / 2**30:.1f} GiB free; answer from the saved checkpoints afterwards"
    )


@contextmanager
def whole_model(model: nn.Module) -> Iterator[Any]:
    """Yield the bare model with whole weights: a forward pass in here is this rank's own affair.

    DDP: the model without its wrapper. FSDP: the weights are gathered once, which every rank must do at the
    same moment; the wrappers (FSDP1) or hooks (FSDP2) that would gather them at each forward pass are set
    aside. So ranks may make different numbers of forward passes, and one may fail without the others waiting
    for it. Nothing is written back: the shards are what they were.
    """
    if not torch.distributed.is_initialized():
        yield extract_model_from_parallel(model, keep_torch_compile=False)
        return
    with ExitStack() as stack:
        if isinstance(model, FullyShardedDataParallel):
            stack.enter_context(
                FullyShardedDataParallel.summon_full_params(model, recurse=True, writeback=False)
            )
            stack.enter_context(_unwrapped(model))
        bare = extract_model_from_parallel(model, keep_torch_compile=False)
        for module in bare.modules():
            if isinstance(module, FSDPModule):
                stack.callback(module.reshard)
                module.unshard()
        stack.enter_context(_unhooked(bare))
        if any(isinstance(parameter, DTensor) for parameter in bare.parameters()):
            raise RuntimeError("weights are split over ranks in a way that FSDP does not put together")
        yield bare


@contextmanager
def _unwrapped(root: nn.Module) -> Iterator[None]:
    """Take the wrappers of FSDP1 out of the tree: each would free its weights after a forward pass."""
    wrapped = [
        (parent, name, child)
        for parent in root.modules()
        for name, child in parent._modules.items()
        if isinstance(child, FullyShardedDataParallel)
    ]
    try:
        for parent, name, child in wrapped:
            parent._modules[name] = child.module
        yield
    finally:
        for parent, name, child in wrapped:
            parent._modules[name] = child


@contextmanager
def _unhooked(model: nn.Module) -> Iterator[None]:
    """Set aside what FSDP does around each forward pass.

    The hooks of FSDP2 record the pass for a backward pass that never comes, and are left in disorder by an
    error. The trainer hangs the same around `generate`. By FSDP's mark on a module transformers knows that it
    must wait for the other ranks at each token.
    """
    tables = [
        table for module in model.modules() for table in (module._forward_pre_hooks, module._forward_hooks)
    ]
    hooks = [(table, dict(table)) for table in tables if any(map(_is_fsdps, table.values()))]
    marked = [vars(module) for module in model.modules() if _MARK in vars(module)]
    marks = [own[_MARK] for own in marked]
    generate = vars(model).get("generate")
    try:
        for table, _all in hooks:
            for key in [key for key, hook in table.items() if _is_fsdps(hook)]:
                del table[key]
        for own in marked:
            own[_MARK] = False
        while _is_fsdps_method(method := vars(model).get("generate")):
            vars(model)["generate"] = method.__wrapped__  # type: ignore[union-attr]
        yield
    finally:
        for table, before in hooks:
            table.clear()
            table.update(before)
        for own, mark in zip(marked, marks, strict=True):
            own[_MARK] = mark
        if generate is not None:
            vars(model)["generate"] = generate


def _is_fsdps(hook: Any) -> bool:
    return str(getattr(hook, "__module__", "")).startswith(_FSDP)


def _is_fsdps_method(method: Any) -> bool:
    """Return whether a method is FSDP's: it takes the name of what it wraps, but not its globals."""
    function = getattr(method, "__func__", None)
    return str(getattr(function, "__globals__", {}).get("__name__", "")).startswith(_FSDP)
