"""How answers are drawn, and what is stored of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from timelapse.errors import ConfigError
from timelapse_training.prompts import Template

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """How answers are drawn. The default is greedy: the same weights give the same answers."""

    max_new_tokens: int = 128
    """Tokens after which an answer is cut (`finish_reason` is then `length`)."""
    batch_size: int = 16
    """Samples answered together; prompts of like length share a batch. Halved where memory runs out."""
    do_sample: bool = False
    """Draw tokens at random instead of taking the most probable one."""
    temperature: float = 1.0
    """Divides the logits before sampling."""
    top_p: float = 1.0
    """Sample from the smallest set of tokens whose probabilities sum to this."""
    seed: int = 0
    """Seed of sampling; the training's own random state is never used."""
    template: Template = "auto"
    """Chat template or plain text, see `timelapse_training.prompts.Template`."""
    autocast: torch.dtype | None = None
    """Precision of the forward passes, as in the training. None: the weights decide; half-precision
    weights beside float32 ones (norms) are then run under autocast, since they do not mix otherwise."""
    progress: bool = False
    """Show a progress bar."""
    generations: int = 1
    """Answers drawn for each sample; more than one needs `do_sample`."""
    reference_nll: bool = True
    """Compute the loss on the references, too: one forward pass over prompt and reference."""
    keep_tokens: bool = False
    """Store the token ids of prompts and answers."""

    def __post_init__(self) -> None:
        if self.generations < 1:
            raise ConfigError(f"generations: expected at least 1, got {self.generations}.")
        if self.generations > 1 and not self.do_sample:
            raise ConfigError(
                f"generations: {self.generations} answers to a sample would all be the same while do_sample "
                "is False. Set do_sample=True, or generations=1."
            )

    def decoding(self) -> dict[str, Any]:
        """Return what makes two rounds comparable, for the run's manifest."""
        names = ("max_new_tokens", "do_sample", "temperature", "top_p", "seed", "template")
        return {name: getattr(self, name) for name in names}
