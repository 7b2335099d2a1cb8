"""Token sequences of unequal length as one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch


def padded(
    sequences: Sequence[Sequence[int]],
    pad_id: int,
    padding: Literal["left", "right"],
    device: torch.device,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and attention mask, each (sequences, longest); padding is known by the mask alone."""
    width = max(map(len, sequences))
    ids = torch.full((len(sequences), width), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        place = slice(width - len(sequence), width) if padding == "left" else slice(0, len(sequence))
        ids[row, place] = torch.tensor(sequence, dtype=torch.long)
        mask[row, place] = 1
    return ids.to(device), mask.to(device)
