"""What a model can take: its tokens, positions and precision. Past them lie silent errors, or a dead GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# How transformers calls its tables of learned positions.
_POSITION_TABLES = ("wpe", "embed_positions", "position_embeddings", "position_embedding", "pos_embed")


def eos_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Return the tokens that end an answer, of the model's generation settings and the tokenizer."""
    own = model.generation_config.eos_token_id if model.generation_config is not None else None
    ids = set(own if isinstance(own, list) else [own])
    return {token for token in ids | {tokenizer.eos_token_id} if isinstance(token, int)}


def vocabulary(model: PreTrainedModel) -> int:
    """Return how many tokens have an embedding; the configuration's number may differ after resizing."""
    weight = model.get_input_embeddings().weight
    assert isinstance(weight, torch.Tensor)
    return int(weight.shape[0])


def max_positions(model: PreTrainedModel) -> int | None:
    """Return how many positions a model with learned positions has; rotary ones have no end.

    Past it lies an index out of range. Virtual tokens of prompt tuning take positions, too.
    """
    limits = [
        module.num_embeddings - _offset(module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) and name.rsplit(".", 1)[-1] in _POSITION_TABLES
    ]
    if not limits:
        return None
    virtual = getattr(getattr(model, "active_peft_config", None), "num_virtual_tokens", None)
    return min(limits) - (virtual or 0)


def _offset(table: nn.Embedding) -> int:
    """Return how many rows of a table stand before position 0 (two in BART, the padding in RoBERTa)."""
    offset = getattr(table, "offset", None)
    if isinstance(offset, int):
        return offset
    return 0 if table.padding_idx is None else table.padding_idx + 1


def needs_equal_lengths(model: PreTrainedModel) -> bool:
    """Return whether a batch must not be padded: peft puts virtual tokens before padding on the left."""
    return bool(getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False))


def mixed_precision(model: PreTrainedModel) -> torch.dtype | None:
    """Return the half precision of a model that also holds float32 weights, else None."""
    dtypes = {parameter.dtype for parameter in model.parameters()}
    halves = dtypes & {torch.bfloat16, torch.float16}
    return halves.pop() if len(halves) == 1 and torch.float32 in dtypes else None
