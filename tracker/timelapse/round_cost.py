"""What a round costs: tokens from counts, and seconds from a measured speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from timelapse.names import DEFAULT_SET

if TYPE_CHECKING:
    from timelapse.config.model import PredictionsConfig


@dataclass(frozen=True, slots=True)
class SetCounts:
    """The tokens of a sample set."""

    prompt_tokens: tuple[int, ...]
    """Tokens of each prompt, as the model sees it."""
    reference_tokens: tuple[int | None, ...]
    """Tokens of each reference, its end included; None for a sample without one."""
    name: str = DEFAULT_SET
    """The name of the set."""


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a machine is with a model; measured, in seconds."""

    step: float
    """An optimizer step, all its batches included."""
    prompt_token: float
    """Reading one token of a prompt, padding counted too."""
    new_token: float
    """One token more for each answer of a batch."""


@dataclass(frozen=True, slots=True)
class RoundCost:
    """What one round costs."""

    prompt_tokens: int
    """Tokens of the prompts, each as often as it is answered."""
    new_tokens: int
    """Tokens of the answers, if they are as long as their references."""
    most_new_tokens: int
    """Tokens of the answers, if each is as long as it may become."""
    seconds: float | None
    """Time for `new_tokens`; None where the speed is not known."""
    most_seconds: float | None
    """Time for `most_new_tokens`."""


def cost_of_round(
    counts: SetCounts,
    predictions: PredictionsConfig,
    ranks: int,
    speed: Speed | None,
    *,
    knows_the_end: bool,
) -> RoundCost:
    """Return what a round costs.

    Args:
        counts: The tokens of the sample set.
        predictions: How its answers are drawn.
        ranks: Processes that share the samples.
        speed: How fast the machine is.
        knows_the_end: Whether the model has learned where an answer ends; if not, it may go on to the limit.
    """
    most = predictions.max_new_tokens
    answers = [
        most if tokens is None or not knows_the_end else min(tokens, most)
        for tokens in counts.reference_tokens
    ]
    longest = [most] * len(answers)
    times = predictions.generations
    prompts = _repeated(counts.prompt_tokens, times)
    seconds = most_seconds = None
    if speed is not None:
        losses = _loss_seconds(counts, ranks, speed) if predictions.reference_nll else 0.0
        seconds, most_seconds = (
            _seconds(prompts, _repeated(new, times), predictions.batch_size, ranks, speed) + losses
            for new in (answers, longest)
        )
    return RoundCost(sum(prompts), sum(answers) * times, sum(longest) * times, seconds, most_seconds)


def _loss_seconds(counts: SetCounts, ranks: int, speed: Speed) -> float:
    """Return the time of the losses on the references: a pass over prompt and reference, as over a prompt."""
    pairs = zip(counts.prompt_tokens, counts.reference_tokens, strict=True)
    tokens = [prompt + answer for prompt, answer in pairs if answer is not None]
    return max((sum(tokens[rank::ranks]) for rank in range(ranks)), default=0) * speed.prompt_token


def _seconds(prompts: Sequence[int], answers: Sequence[int], size: int, ranks: int, speed: Speed) -> float:
    """Return the time of one pass: prompts of like length share a batch, the longest answer ends it."""
    pairs = list(zip(prompts, answers, strict=True))
    of_a_rank = []
    for rank in range(min(ranks, len(pairs))):
        mine = sorted(pairs[rank::ranks])
        batches = [mine[start : start + size] for start in range(0, len(mine), size)]
        padded = sum(len(batch) * max(prompt for prompt, _answer in batch) for batch in batches)
        new = sum(max(answer for _prompt, answer in batch) for batch in batches)
        of_a_rank.append(padded * speed.prompt_token + new * speed.new_token)
    return max(of_a_rank, default=0.0)


def _repeated(tokens: Sequence[int], times: int) -> list[int]:
    return [each for each in tokens for _ in range(times)]
