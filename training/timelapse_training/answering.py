"""One pass of answers over samples: prompts, batches, decoding, and a row for everything that was asked."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import GenerationConfig, LogitsProcessorList

from timelapse.errors import TimelapseError
from timelapse.fence import attempt, describe
from timelapse.rounds import Prediction
from timelapse.samples import Sample
from timelapse_training.batching import padded
from timelapse_training.capacity import eos_ids, max_positions, needs_equal_lengths, vocabulary
from timelapse_training.confidence import DrawnTokens, LikeliestTokens, least_confident, uniforms
from timelapse_training.memory import BatchLimit, in_batches
from timelapse_training.prompts import Prompt, encode
from timelapse_training.state import model_device

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from timelapse_training.settings import GenerationSettings


class PromptTooLongError(TimelapseError):
    """A prompt leaves no room for an answer, or holds tokens that the model does not have."""


class NotANumberError(TimelapseError):
    """The model's outputs are no numbers, so what stands there is no answer."""


@dataclass(frozen=True, slots=True)
class Draw:
    """One answer that is wanted."""

    prompt: Prompt
    """What is asked."""
    generation: int = 0
    """Which of the answers to it this is, from 0."""


class Answering:
    """One pass over samples: what stays the same from batch to batch.

    Args:
        model: In the state in which it is to answer.
        tokenizer: Its tokenizer.
        settings: How to decode.
    """

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

    def prompts(self, samples: Sequence[Sample]) -> dict[str, Prompt | BaseException]:
        """Return each sample's prompt by id, or what is wrong with it."""
        found = {sample.sample_id: attempt(partial(self._prompt, sample)) for sample in samples}
        return {key: error or prompt for key, (prompt, error) in found.items()}  # type: ignore[misc]

    def rows(
        self,
        samples: Sequence[Sample],
        prompts: dict[str, Prompt | BaseException],
        limit: BatchLimit,
        description: str,
    ) -> list[Prediction]:
        """Return a row for each generation of each sample, in their order."""
        rows: dict[tuple[str, int], Prediction] = {}
        draws = []
        for sample in samples:
            prompt = prompts[sample.sample_id]
            for generation in range(self.settings.generations):
                if isinstance(prompt, Prompt):
                    draws.append(Draw(prompt, generation))
                else:
                    rows[sample.sample_id, generation] = error_row(sample.sample_id, prompt, generation)
        hidden = not self.settings.progress
        with tqdm(total=len(draws), desc=description, leave=False, disable=hidden) as bar:
            for draw, row in in_batches(self._batches(draws), self._generate, self._failed, limit):
                rows[draw.prompt.sample_id, draw.generation] = row
                bar.update()
        order = range(self.settings.generations)
        return [rows[sample.sample_id, generation] for sample in samples for generation in order]

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

    def _batches(self, draws: list[Draw]) -> Iterator[list[Draw]]:
        """Yield batches of prompts of like length: the less padding, the less wasted work."""
        batch: list[Draw] = []
        for draw in sorted(draws, key=lambda draw: len(draw.prompt.token_ids)):
            full = len(batch) == self.settings.batch_size
            if batch and (full or not self._fits(draw.prompt, batch[0].prompt)):
                yield batch
                batch = []
            batch.append(draw)
        if batch:
            yield batch

    def _fits(self, prompt: Prompt, other: Prompt) -> bool:
        if self.equal_lengths and len(prompt.token_ids) != len(other.token_ids):
            return False
        return self._room(prompt) == self._room(other)

    def _generate(self, batch: list[Draw]) -> list[Prediction]:
        started = time.perf_counter()
        # Decoders are padded on the left, so that each answer follows its prompt directly; encoders on the
        # right, where absolute positions are not shifted. The tokenizer's own padding is not used.
        input_ids, attention_mask = padded(
            [draw.prompt.token_ids for draw in batch],
            self.pad_id,
            "right" if self.is_encoder_decoder else "left",
            model_device(self.model),
        )
        tokens = self._tokens(batch)
        output = self.model.generate(  # type: ignore[operator]
            input_ids=input_ids,
            attention_mask=attention_mask,
            generation_config=self._config(batch[0].prompt),
            logits_processor=LogitsProcessorList([tokens]),
        )
        # A decoder repeats the prompt before its answer; an encoder-decoder begins with its start token.
        answers = output[:, 1 if self.is_encoder_decoder else input_ids.shape[1] :].tolist()
        logprobs = tokens.logprobs(len(answers[0]))
        seconds = (time.perf_counter() - started) / len(batch)
        return [self._row(*each, seconds) for each in zip(batch, answers, logprobs, strict=True)]

    def _tokens(self, batch: list[Draw]) -> LikeliestTokens:
        """Return what chooses a batch's tokens, or looks on while the likeliest are taken."""
        settings = self.settings
        if not settings.do_sample:
            return LikeliestTokens()
        room = self._room(batch[0].prompt)
        numbers = [uniforms(settings.seed, draw.prompt.sample_id, draw.generation, room) for draw in batch]
        return DrawnTokens(torch.from_numpy(np.stack(numbers)), settings.temperature, settings.top_p)

    def _config(self, prompt: Prompt) -> GenerationConfig:
        """Return the decoding; what a model brings of its own is set aside by `inference_state`.

        Drawn tokens are the only ones that `DrawnTokens` leaves, so that taking the likeliest takes them.
        """
        return GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=self._room(prompt),
            do_sample=False,
            temperature=1.0,
            top_p=1.0,
            top_k=50,  # the library's default, which it accepts in greedy mode
            num_beams=1,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            eos_token_id=sorted(self.eos_ids) or None,
            pad_token_id=self.pad_id,
            use_cache=True,
        )

    def _row(self, draw: Draw, ids: list[int], logprobs: list[float], seconds: float) -> Prediction:
        prompt = draw.prompt
        end = next((place for place, token in enumerate(ids) if token in self.eos_ids), None)
        answer = ids if end is None else ids[:end]
        written = logprobs if end is None else logprobs[: end + 1]
        if not np.isfinite(written).all():
            return self._failed(draw, NotANumberError("the model's outputs are not finite numbers"))
        least = least_confident(logprobs[: len(answer)])
        keeps = self.settings.keep_tokens
        return Prediction(
            prompt.sample_id,
            self._text(answer, skip_special_tokens=True),
            finish_reason="length" if end is None else "stop",
            prompt_tokens=len(prompt.token_ids),
            prediction_tokens=len(answer),
            mean_logprob=float(np.mean(written)),
            least_confident_token=None if least is None else self._text([answer[least]]),
            least_confident_position=least,
            least_confident_logprob=None if least is None else logprobs[least],
            prompt_token_ids=prompt.token_ids if keeps else None,
            prediction_token_ids=tuple(answer) if keeps else None,
            seconds=seconds,
            generation=draw.generation,
        )

    def _failed(self, draw: Draw, error: BaseException) -> Prediction:
        prompt = draw.prompt
        return replace(
            error_row(prompt.sample_id, error, draw.generation),
            prompt_tokens=len(prompt.token_ids),
            prompt_token_ids=prompt.token_ids if self.settings.keep_tokens else None,
        )

    def _text(self, ids: list[int], *, skip_special_tokens: bool = False) -> str:
        return str(
            self.tokenizer.decode(
                ids, skip_special_tokens=skip_special_tokens, clean_up_tokenization_spaces=False
            )
        )

    def _pad_id(self) -> int:
        """Return an id to pad with: any will do, since padding is masked, but it must have an embedding."""
        candidates = [self.tokenizer.pad_token_id, *sorted(self.eos_ids), 0]
        usable = (token for token in candidates if isinstance(token, int) and 0 <= token < self.vocabulary)
        return next(usable)


def error_row(sample_id: str, error: BaseException, generation: int = 0) -> Prediction:
    """Return the row of an answer that could not be had."""
    return Prediction(
        sample_id, status="error", error=describe(error), finish_reason="error", generation=generation
    )
