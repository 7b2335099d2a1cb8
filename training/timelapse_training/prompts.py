"""Prompts: a sample as the text and tokens that the model sees."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from timelapse.samples import message_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from timelapse.samples import Sample

Template = Literal["auto", "chat", "plain"]
"""`chat`: through the tokenizer's chat template; `plain`: as bare text; `auto`: chat for conversational
samples if the tokenizer has a template, plain for the rest."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A sample's input, ready for the model."""

    sample_id: str
    """Which sample it is."""
    text: str
    """The rendered prompt, special tokens written out."""
    token_ids: tuple[int, ...]
    """Its tokens, without padding."""


def text_tokenizer(processor: Any) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a processing class: a processor's own, or the thing itself."""
    tokenizer: PreTrainedTokenizerBase = getattr(processor, "tokenizer", processor)
    return tokenizer


def uses_chat_template(tokenizer: PreTrainedTokenizerBase, sample: Sample, template: Template) -> bool:
    """Return whether a sample goes through the chat template."""
    if template == "auto":
        return sample.conversational and bool(tokenizer.chat_template)
    return template == "chat"


def render(tokenizer: PreTrainedTokenizerBase, sample: Sample, template: Template = "auto") -> str:
    """Return a sample's input as the model is to see it, ready for its answer.

    Plain rendering: a text prompt stays as it is, character for character; a lone question gets a line
    break behind it; several turns become a transcript that ends with `Assistant:`.
    """
    if uses_chat_template(tokenizer, sample, template):
        text = tokenizer.apply_chat_template(
            [dict(message) for message in sample.messages],
            tools=[dict(tool) for tool in sample.tools] or None,
            add_generation_prompt=True,
            tokenize=False,
        )
        assert isinstance(text, str)
        return text
    if not sample.conversational:
        return message_text(sample.messages[0])
    if len(sample.messages) == 1:
        return message_text(sample.messages[0]) + "\n"
    turns = [f"{str(turn['role']).capitalize()}: {message_text(turn)}" for turn in sample.messages]
    return "\n".join([*turns, "Assistant:"])


def encode(
    tokenizer: PreTrainedTokenizerBase,
    sample: Sample,
    template: Template = "auto",
    *,
    is_encoder_decoder: bool = False,
) -> Prompt:
    """Return a sample's rendered prompt with its tokens."""
    text = render(tokenizer, sample, template)
    # A chat template writes its own special tokens.
    special = not uses_chat_template(tokenizer, sample, template)
    ids = list(tokenizer(text, add_special_tokens=special)["input_ids"])
    # Some tokenizers end every text; a decoder would take that for the end of the answer.
    if special and not is_encoder_decoder and len(ids) > 1 and ids[-1] == tokenizer.eos_token_id:
        ids.pop()
    return Prompt(sample.sample_id, text, tuple(ids))


def answer_ids(
    tokenizer: PreTrainedTokenizerBase,
    sample: Sample,
    template: Template = "auto",
    *,
    is_encoder_decoder: bool = False,
) -> list[int]:
    """Return the tokens of a sample's reference as the model should write it, with the token that ends it.

    Behind the prompt's own tokens they are what a training with the loss on the answer learns. The tokenizer
    of an encoder-decoder model writes them as targets, with the special tokens of its own.
    """
    assert sample.reference is not None
    is_chat = uses_chat_template(tokenizer, sample, template)
    text = _templated_answer(tokenizer, sample, template) if is_chat else sample.reference
    if is_encoder_decoder and not is_chat:
        ids = list(tokenizer(text_target=text)["input_ids"])
    else:
        ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    if tokenizer.eos_token_id is not None and (not ids or ids[-1] != tokenizer.eos_token_id):
        ids.append(tokenizer.eos_token_id)
    return ids


def _templated_answer(tokenizer: PreTrainedTokenizerBase, sample: Sample, template: Template) -> str:
    """Return what the chat template writes behind the prompt for the expected turn."""
    turn = dict(sample.reference_message or {"role": "assistant", "content": sample.reference})
    whole = tokenizer.apply_chat_template(
        [*(dict(message) for message in sample.messages), turn],
        tools=[dict(tool) for tool in sample.tools] or None,
        tokenize=False,
    )
    assert isinstance(whole, str)
    prompt = render(tokenizer, sample, template)
    if not whole.startswith(prompt):  # a template that rewrites earlier turns
        return str(sample.reference)
    answer = whole[len(prompt) :]
    # What follows the end of the turn (a line break, mostly) is never asked of the model.
    end = tokenizer.eos_token
    return answer.rstrip() if isinstance(end, str) and answer.rstrip().endswith(end) else answer


def template_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return 16 hexadecimal digits over the chat template, or None without one."""
    if not tokenizer.chat_template:
        return None
    return hashlib.sha256(str(tokenizer.chat_template).encode()).hexdigest()[:16]
