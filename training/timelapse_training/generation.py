"""Generation: a model's answers to a set of samples, as one round."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from tqdm.auto import tqdm
from transformers import GenerationConfig

from timelapse.errors import TimelapseError
from timelapse.fence import attempt, describe
from timelapse.names import DEFAULT_SET
from timelapse.rounds import Prediction, Round, Trigger
from timelapse.samples import Sample, SampleSet
from timelapse_training.capacity import (
    eos_ids,
    max_positions,
    mixed_precision,
    needs_equal_lengths,
    vocabulary,
)
from timelapse_training.prompts import Prompt, Template, encode, text_tokenizer
from timelapse_training.state import inference_state, model_device

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class PromptTooLongError(TimelapseError):
    """A prompt leaves no room for an answer, or holds tokens that the model does not have."""


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """How answers are drawn. The default is greedy: the same weights give the same answers."""

    max_new_tokens: int = 128
    """Tokens after which an answer is cut (`finish_reason` is then `length`)."""
    batch_size: int = 16
    """Samples answered together; prompts of like length share a batch."""
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

    def decoding(self) -> dict[str, Any]:
        """Return what makes two rounds comparable, for the run's manifest."""
        names = ("max_new_tokens", "do_sample", "temperature", "top_p", "seed", "template")
        return {name: getattr(self, name) for name in names}


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    samples: SampleSet | Sequence[Sample],
    settings: GenerationSettings | None = None,
    *,
    step: int = 0,
    epoch: float | None = None,
    trigger: Trigger = "manual",
) -> Round:
    """Let a model answer samples, and return the round: a row for each sample, in their order.

    Model, tokenizer and random generators are afterwards as they were, in the middle of a training too.
    A sample that cannot be answered has status `error` and says why; the others are not affected.

    Args:
        model: A causal or encoder-decoder model with `generate`, PEFT models included; not wrapped for
            distributed training.
        tokenizer: Its tokenizer or processor; padding side and pad token do not matter.
        samples: What to answer.
        settings: How to decode; greedy by default.
        step: The trainer's global step, stored in the round.
        epoch: Passes over the training data so far, stored in the round.
        trigger: What caused the round, stored in it.
    """
    settings = settings or GenerationSettings()
    started = time.perf_counter()
    answering = _Answering(model, text_tokenizer(tokenizer), settings)
    with inference_state(model, settings.autocast or mixed_precision(model)):
        torch.manual_seed(settings.seed)
        rows = answering.rows(samples, description=f"predictions at step {step}")
    return Round(
        step,
        tuple(rows[sample.sample_id] for sample in samples),
        epoch=epoch,
        trigger=trigger,
        set_name=samples.name if isinstance(samples, SampleSet) else DEFAULT_SET,
        seconds=time.perf_counter() - started,
    )


def failed_round(
    samples: SampleSet, error: BaseException, *, step: int, epoch: float | None, trigger: Trigger
) -> Round:
    """Return the round of a pass that failed as a whole: a row for each sample, with the error."""
    rows = tuple(_error_row(sample.sample_id, error) for sample in samples)
    return Round(step, rows, epoch=epoch, trigger=trigger, set_name=samples.name)


class _Answering:
    """One pass over the samples: what stays the same from batch to batch."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: GenerationSettings
    ) -> None:
        self.model, self.tokenizer, self.settings = model, tokenizer, settings
        self.is_encoder_decoder = bool(getattr(model.config, "is_encoder_decoder", False))
        self.vocabulary = vocabulary(model)
        self.max_positions = max_positions(model)
        self.equal_lengths = needs_equal_lengths(model)
        self.eos_ids = eos_ids(model, tokenizer)
        self.pad_id = self._pad_id()

    def rows(self, samples: Sequence[Sample], description: str) -> dict[str, Prediction]:
        """Return each sample's row by id."""
        rows: dict[str, Prediction] = {}
        prompts = []
        for sample in samples:
            prompt, error = attempt(partial(self._prompt, sample))
            if prompt is None:
                assert error is not None
                rows[sample.sample_id] = _error_row(sample.sample_id, error)
            else:
                prompts.append(prompt)
        with tqdm(
            total=len(prompts), desc=description, leave=False, disable=not self.settings.progress
        ) as bar:
            for batch in self._batches(prompts):
                rows.update({row.sample_id: row for row in self._answer(batch)})
                bar.update(len(batch))
        return rows

    def _prompt(self, sample: Sample) -> Prompt:
        """Return a sample's prompt, checked: on a GPU an index out of range kills the whole process."""
        prompt = encode(
            self.tokenizer, sample, self.settings.template, is_encoder_decoder=self.is_encoder_decoder
        )
        if not prompt.token_ids:
            raise PromptTooLongError("the rendered prompt has no tokens")
        if max(prompt.token_ids) >= self.vocabulary:
            raise PromptTooLongError(
                f"the prompt holds token {max(prompt.token_ids)}, the model knows {self.vocabulary}; "
                "tokenizer and model do not belong together"
            )
        too_long = self.max_positions is not None and len(prompt.token_ids) > self.max_positions
        if too_long or self._room(prompt) < 1:
            raise PromptTooLongError(
                f"the prompt has {len(prompt.token_ids)} tokens and the model takes {self.max_positions} "
                "with the answer"
            )
        return prompt

    def _room(self, prompt: Prompt) -> int:
        """Return how many tokens an answer to this prompt may have."""
        if self.max_positions is None:
            return self.settings.max_new_tokens
        taken = 1 if self.is_encoder_decoder else len(prompt.token_ids)
        return min(self.settings.max_new_tokens, self.max_positions - taken)

    def _batches(self, prompts: list[Prompt]) -> Iterator[list[Prompt]]:
        """Yield batches of prompts of like length: the less padding, the less wasted work."""
        batch: list[Prompt] = []
        for prompt in sorted(prompts, key=lambda prompt: len(prompt.token_ids)):
            full = len(batch) == self.settings.batch_size
            if batch and (full or not self._fits(prompt, batch[0])):
                yield batch
                batch = []
            batch.append(prompt)
        if batch:
            yield batch

    def _fits(self, prompt: Prompt, other: Prompt) -> bool:
        if self.equal_lengths and len(prompt.token_ids) != len(other.token_ids):
            return False
        return self._room(prompt) == self._room(other)

    def _answer(self, batch: list[Prompt]) -> list[Prediction]:
        """Answer a batch; if it fails, answer its samples one by one, so that only the bad ones fail."""
        rows, error = attempt(lambda: self._generate(batch))
        if rows is not None:
            return rows
        assert error is not None
        if len(batch) == 1:
            return [replace(_error_row(batch[0].sample_id, error), prompt_tokens=len(batch[0].token_ids))]
        return [row for prompt in batch for row in self._answer([prompt])]

    def _generate(self, batch: list[Prompt]) -> list[Prediction]:
        started = time.perf_counter()
        input_ids, attention_mask = self._padded(batch)
        output = self.model.generate(  # type: ignore[operator]
            input_ids=input_ids, attention_mask=attention_mask, generation_config=self._config(batch[0])
        )
        # A decoder repeats the prompt before its answer; an encoder-decoder begins with its start token.
        answers = output[:, 1 if self.is_encoder_decoder else input_ids.shape[1] :].tolist()
        seconds = (time.perf_counter() - started) / len(batch)
        return [self._row(prompt, ids, seconds) for prompt, ids in zip(batch, answers, strict=True)]

    def _padded(self, batch: list[Prompt]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids and mask, each (batch, longest prompt).

        Decoders are padded on the left, so that each answer follows its prompt directly; encoders on the
        right, where absolute positions are not shifted. The tokenizer's own padding is not used.
        """
        width = max(len(prompt.token_ids) for prompt in batch)
        ids = torch.full((len(batch), width), self.pad_id, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(batch):
            length = len(prompt.token_ids)
            place = slice(0, length) if self.is_encoder_decoder else slice(width - length, width)
            ids[row, place] = torch.tensor(prompt.token_ids)
            mask[row, place] = 1
        device = model_device(self.model)
        return ids.to(device), mask.to(device)

    def _config(self, prompt: Prompt) -> GenerationConfig:
        """Return the decoding; what a model brings of its own is set aside by `inference_state`."""
        settings = self.settings
        return GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=self._room(prompt),
            do_sample=settings.do_sample,
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=0
            if settings.do_sample
            else 50,  # 50 is the library's default, which it accepts in greedy mode
            num_beams=1,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            eos_token_id=sorted(self.eos_ids) or None,
            pad_token_id=self.pad_id,
            use_cache=True,
        )

    def _row(self, prompt: Prompt, ids: list[int], seconds: float) -> Prediction:
        end = next((place for place, token in enumerate(ids) if token in self.eos_ids), None)
        answer = ids if end is None else ids[:end]
        return Prediction(
            prompt.sample_id,
            str(self.tokenizer.decode(answer, skip_special_tokens=True, clean_up_tokenization_spaces=False)),
            finish_reason="length" if end is None else "stop",
            prompt_tokens=len(prompt.token_ids),
            prediction_tokens=len(answer),
            seconds=seconds,
        )

    def _pad_id(self) -> int:
        """Return an id to pad with: any will do, since padding is masked, but it must have an embedding."""
        candidates = [self.tokenizer.pad_token_id, *sorted(self.eos_ids), 0]
        usable = (token for token in candidates if isinstance(token, int) and 0 <= token < self.vocabulary)
        return next(usable)


def _error_row(sample_id: str, error: BaseException) -> Prediction:
    return Prediction(sample_id, status="error", error=describe(error), finish_reason="error")
