"""The loss on the references: how likely a model finds the expected answers, whatever it says itself."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy

from timelapse.errors import TimelapseError
from timelapse.fence import attempt, describe, warn
from timelapse.samples import Sample
from timelapse_training.batching import padded
from timelapse_training.memory import BatchLimit, in_batches
from timelapse_training.prompts import Prompt, answer_ids
from timelapse_training.state import model_device

if TYPE_CHECKING:
    from timelapse_training.answering import Answering

LOGITS_IN_A_BATCH = 2**26
"""How many logits a batch may ask for: 256 MiB in float32. Long references would take gigabytes."""


class ReferenceLossError(TimelapseError):
    """The loss on a reference is not defined, or the model cannot compute it."""


@dataclass(frozen=True, slots=True)
class Reference:
    """An expected answer behind its prompt, as tokens."""

    sample_id: str
    """Which sample's."""
    prompt_ids: tuple[int, ...]
    """The prompt, as in generation."""
    answer_ids: tuple[int, ...]
    """The answer with the token that ends it."""

    @property
    def length(self) -> int:
        """Tokens of both."""
        return len(self.prompt_ids) + len(self.answer_ids)


class ReferenceLoss:
    """Teacher-forced negative log-likelihood of references, in nats per token.

    Each token of the reference is predicted from the prompt and the reference's tokens before it. The token
    that ends the answer counts as one of them: it is what a training with the loss on the answer learns, and
    the number is that training's loss on this one sample. Logarithms are taken in float32.

    Rows are padded on the right, where causal attention does not see it: no position is shifted, not even
    behind the virtual tokens of prompt tuning. Where the model's forward pass takes `logits_to_keep`, logits
    of the prompt are not computed.
    """

    def __init__(self, answering: Answering, limit: BatchLimit) -> None:
        self._of, self._limit = answering, limit
        self._model: Any = answering.model
        parameters = _forward_parameters(answering.model)
        self._keeps_logits = "logits_to_keep" in parameters
        self._options = {"use_cache": False} if "use_cache" in parameters else {}

    def by_sample(
        self, samples: Sequence[Sample], prompts: dict[str, Prompt | BaseException]
    ) -> dict[str, float]:
        """Return the loss of each sample that has a reference; what fails is left out, and said once."""
        references, errors = [], []
        for sample in samples:
            prompt = prompts[sample.sample_id]
            if sample.reference is None or not isinstance(prompt, Prompt):
                continue
            reference, error = attempt(partial(self._reference, sample, prompt))
            references += [reference] if reference is not None else []
            errors += [error] if error is not None else []
        losses = {}
        for reference, loss in in_batches(
            self._batches(references), self._losses, lambda _reference, error: error, self._limit
        ):
            if isinstance(loss, BaseException):
                errors.append(loss)
            else:
                losses[reference.sample_id] = loss
        if errors:
            reason = describe(errors[0]).rstrip(".")
            warn(f"Computing reference losses failed: {reason}. The answers are stored without them.")
        return losses

    def _reference(self, sample: Sample, prompt: Prompt) -> Reference:
        """Return a sample's reference, checked as its prompt is: see `Answering`."""
        of = self._of
        ids = answer_ids(of.tokenizer, sample, of.settings.template, is_encoder_decoder=of.is_encoder_decoder)
        end = next((place for place, token in enumerate(ids) if token in of.eos_ids), len(ids))
        ids = ids[: end + 1]  # nobody asks the model for what a template writes behind the end of the turn
        if not ids:
            raise ReferenceLossError("the reference is empty, and the tokenizer has no token to end it")
        if max(ids) >= of.vocabulary:
            raise ReferenceLossError(f"the reference holds token {max(ids)}, the model knows {of.vocabulary}")
        reference = Reference(sample.sample_id, prompt.token_ids, tuple(ids))
        # The last token is predicted and never read.
        read = len(ids) if of.is_encoder_decoder else reference.length - 1
        if of.max_positions is not None and read > of.max_positions:
            raise ReferenceLossError(
                f"prompt and reference have {reference.length} tokens, the model takes {of.max_positions}"
            )
        return reference

    def _batches(self, references: list[Reference]) -> Iterator[list[Reference]]:
        """Yield batches of like length whose logits stay within bounds."""
        batch: list[Reference] = []
        for reference in sorted(references, key=lambda each: each.length):
            wider = [*batch, reference]
            many = len(wider) * self._kept(wider) * self._of.vocabulary > LOGITS_IN_A_BATCH
            if batch and (len(batch) == self._of.settings.batch_size or many):
                yield batch
                batch = []
            batch.append(reference)
        if batch:
            yield batch

    def _kept(self, batch: list[Reference]) -> int:
        """Return at how many positions, counted from the right end, a batch's logits are wanted."""
        if self._of.is_encoder_decoder:
            return max(len(each.answer_ids) for each in batch)
        width = max(each.length for each in batch) - 1
        return width - min(len(each.prompt_ids) for each in batch) + 1

    def _losses(self, batch: list[Reference]) -> list[float | BaseException]:
        logits, firsts = (self._decoder if self._of.is_encoder_decoder else self._causal)(batch)
        losses = []
        for row, (reference, first) in enumerate(zip(batch, firsts, strict=True)):
            target = torch.tensor(reference.answer_ids, device=logits.device)
            # A row at a time: the whole batch in float32 would need several times the memory.
            losses.append(cross_entropy(logits[row, first : first + len(target)].float(), target))
        return [
            loss if math.isfinite(loss) else ReferenceLossError("the model's outputs are not finite")
            for loss in torch.stack(losses).tolist()
        ]

    def _causal(self, batch: list[Reference]) -> tuple[torch.Tensor, list[int]]:
        """Return logits, (batch, kept, vocabulary), and at which of the kept positions each answer begins."""
        read = [(*each.prompt_ids, *each.answer_ids[:-1]) for each in batch]
        ids, mask = padded(read, self._of.pad_id, "right", model_device(self._model))
        kept = self._kept(batch)
        options = self._options | ({"logits_to_keep": kept} if self._keeps_logits else {})
        logits = self._model(input_ids=ids, attention_mask=mask, **options).logits[:, -kept:]
        start = ids.shape[1] - kept
        return logits, [len(each.prompt_ids) - 1 - start for each in batch]

    def _decoder(self, batch: list[Reference]) -> tuple[torch.Tensor, list[int]]:
        """Return the same of an encoder-decoder model, which reads the answer behind its start token."""
        device, pad_id = model_device(self._model), self._of.pad_id
        ids, mask = padded([each.prompt_ids for each in batch], pad_id, "right", device)
        begin = _start_token(self._model)
        read, _ = padded([(begin, *each.answer_ids[:-1]) for each in batch], pad_id, "right", device)
        output = self._model(input_ids=ids, attention_mask=mask, decoder_input_ids=read, **self._options)
        return output.logits, [0] * len(batch)


def _forward_parameters(model: Any) -> set[str]:
    """Return what the forward pass takes; peft hands on what it does not know itself."""
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        # A prefix is handed over in the cache, and so the cache must not be switched off.
        return set(inspect.signature(model.get_base_model().forward).parameters) - {"use_cache"}
    bare = model.get_base_model() if hasattr(model, "get_base_model") else model
    return set(inspect.signature(bare.forward).parameters)


def _start_token(model: Any) -> int:
    """Return the token before a decoder's first: the one that `generate` starts with."""
    configs = (getattr(model, "generation_config", None), model.config)
    names = ("decoder_start_token_id", "bos_token_id")
    found = (getattr(config, name, None) for name in names for config in configs)
    token = next((each for each in found if isinstance(each, int)), None)
    if token is None:
        raise ReferenceLossError("the model's configuration names no decoder_start_token_id")
    return token
