"""How sure a model was of each token that it wrote, and how tokens are drawn."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Self, cast

import numpy as np
import torch
from transformers import LogitsProcessor
from transformers.generation.logits_process import TopPLogitsWarper


class LikeliestTokens(LogitsProcessor):
    """Keeps the log-probability of the likeliest token of each step, which greedy decoding writes.

    Natural logarithms, of the model's own distribution. A number a row and step is kept, not the logits.
    """

    def __init__(self) -> None:
        self._kept: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Take note of a step's logits, (batch, vocabulary) in float32; they are not changed."""
        self._kept.append(_log_of_sum(scores, scores.amax(-1, keepdim=True)).neg_())
        return scores

    def __deepcopy__(self, memo: object) -> Self:
        """Stay the same object: peft copies what it is given to generate with soft prompts, and runs that."""
        return self

    def logprobs(self, steps: int) -> list[list[float]]:
        """Return the log-probabilities as (batch, steps); `generate` may have looked a few steps further."""
        kept = torch.stack(self._kept[:steps], dim=1).tolist()
        assert isinstance(kept, list)
        return kept


class DrawnTokens(LikeliestTokens):
    """Draws each row's tokens with the row's own random numbers, and keeps their log-probabilities.

    `generate` itself draws for a whole batch from one generator: an answer would depend on which others
    stand beside it. Here row `i` takes at step `t` the token in whose share of the cumulative distribution
    `uniforms[i, t]` falls (inverse transform sampling), and only this one is left to choose.

    Args:
        uniforms: Numbers in [0, 1), float64, (batch, steps).
        temperature: Divides the logits.
        top_p: Only the likeliest tokens that together reach this probability can be drawn.
    """

    def __init__(self, uniforms: torch.Tensor, temperature: float, top_p: float) -> None:
        super().__init__()
        self._uniforms, self._temperature = uniforms, temperature
        self._top_p = TopPLogitsWarper(top_p) if top_p < 1.0 else None

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Return logits, (batch, vocabulary), that leave the drawn token only."""
        token = self._draw(input_ids, scores)
        most = scores.amax(-1, keepdim=True)
        chosen = (scores.gather(-1, token) - most).squeeze(-1)
        self._kept.append(chosen - _log_of_sum(scores, most))
        only = torch.full_like(scores, -torch.inf).scatter_(-1, token, 0.0)
        return cast("torch.FloatTensor", only)

    def _draw(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.Tensor:
        warped = scores / self._temperature
        if self._top_p is not None:
            warped = self._top_p(input_ids, warped)
        shares = warped.softmax(-1)
        # In float32 the shares of 100,000 tokens do not add up well; MPS knows no float64.
        exact = torch.float32 if shares.device.type == "mps" else torch.float64
        sums = shares.cumsum(-1, dtype=exact)
        self._uniforms = self._uniforms.to(dtype=exact).to(sums.device)
        step = min(len(self._kept), self._uniforms.shape[1] - 1)
        at = self._uniforms[:, step : step + 1] * sums[:, -1:]
        token = torch.searchsorted(sums, at, right=True).clamp_(max=sums.shape[-1] - 1)
        # Rounding at the upper end must not choose what cannot be drawn.
        return torch.where(shares.gather(-1, token) > 0, token, shares.argmax(-1, keepdim=True))


def uniforms(seed: int, sample_id: str, generation: int, count: int) -> np.ndarray:
    """Return the random numbers in [0, 1) of one generation of one sample, float64, (count,).

    They depend on the arguments alone, not on the round, the batch, or any global generator.
    """
    digest = hashlib.sha256(f"{seed}/{sample_id}/{generation}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big"))).random(count)


def least_confident(logprobs: Sequence[float]) -> int | None:
    """Return the position of the smallest log-probability, the first of equals; None without any."""
    return min(range(len(logprobs)), key=logprobs.__getitem__, default=None)


def _log_of_sum(scores: torch.Tensor, most: torch.Tensor) -> torch.Tensor:
    """Return log(sum(exp(scores - most))), (batch,): exact where one token has nearly all probability."""
    return (scores - most).exp_().sum(-1).log_()
