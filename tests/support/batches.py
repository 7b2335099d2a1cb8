"""What a worker of a data loader runs: in a module of its own, so that a spawned one need not import more."""

from __future__ import annotations

import torch


def stacked(rows: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Return rows of equal length as one batch."""
    return {key: torch.stack([row[key] for row in rows]) for key in rows[0]}
