"""Tiny real models and tokenizers, built in memory, and an oracle that answers without our code."""

from __future__ import annotations

from typing import Any

import torch
from datasets import Dataset
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from timelapse.samples import Sample, SampleSet

CHAT_TEMPLATE = (
    "{% if tools %}<tools>{{ tools | tojson }}\n{% endif %}"
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
QUESTIONS = ("go", "forget it", "a much longer question, which makes the batch ragged", "sing", "be")


def make_tokenizer(
    *, pad: str | None = "<pad>", side: str = "right", chat: bool = True
) -> PreTrainedTokenizerFast:
    """A tokenizer of one visible character a token, so that different answers are different texts."""
    specials = ["<pad>", "<end>", "<user>", "<assistant>", "<system>", "<tools>", "<unk>"]
    characters = [chr(code) for code in (*range(32, 127), *range(0xC0, 0x180))][: 264 - len(specials)]
    vocabulary = {token: index for index, token in enumerate([*specials, *characters])}
    core = Tokenizer(models.WordLevel(vocab=vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    core.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<end>",
        pad_token=pad,
        additional_special_tokens=["<user>", "<assistant>", "<system>", "<tools>"],
        padding_side=side,
    )
    if chat:
        tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_llama(seed: int = 0, **overrides: Any) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    settings: dict[str, Any] = {
        "vocab_size": 264,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.4,
        "bos_token_id": None,
        "eos_token_id": 1,
        "pad_token_id": 0,
    }
    return LlamaForCausalLM(LlamaConfig(**settings | overrides)).eval()


def make_gpt2(seed: int = 0, dropout: float = 0.0, positions: int = 256) -> GPT2LMHeadModel:
    """A model with learned absolute positions and dropout everywhere."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=264,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=positions,
        initializer_range=0.4,
        bos_token_id=1,
        eos_token_id=1,
        pad_token_id=0,
        embd_pdrop=dropout,
        resid_pdrop=dropout,
        attn_pdrop=dropout,
    )
    return GPT2LMHeadModel(config).eval()


def make_t5(seed: int = 0) -> T5ForConditionalGeneration:
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=264,
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
        initializer_factor=4.0,
    )
    return T5ForConditionalGeneration(config).eval()


def make_samples(*questions: str) -> SampleSet:
    return SampleSet(
        tuple(
            Sample(({"role": "user", "content": question},), reference=question.upper())
            for question in questions or QUESTIONS
        )
    )


def training_set(tokenizer: PreTrainedTokenizerFast, rows: int = 16, length: int = 24) -> Dataset:
    """Token rows to train on: every row its own text."""
    texts = [f"the past of verb number {row} is unknown" for row in range(rows)]
    encoded = [tokenizer(text)["input_ids"][:length] for text in texts]
    ids = [row + [1] * (length - len(row)) for row in encoded]
    return Dataset.from_dict({"input_ids": ids, "labels": ids, "attention_mask": [[1] * length for _ in ids]})


def greedy_oracle(
    model: Any, prompt_ids: list[int], max_new_tokens: int, eos: int = 1
) -> tuple[list[int], str]:
    """Answer one prompt alone, without padding, cache or `generate`: an argmax per forward pass."""
    was_training = model.training
    model.eval()
    ids = list(prompt_ids)
    answer: list[int] = []
    reason = "length"
    with torch.no_grad():
        for _ in range(max_new_tokens):
            logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].float()
            token = int(logits.argmax())
            if token == eos:
                reason = "stop"
                break
            answer.append(token)
            ids.append(token)
    model.train(was_training)
    return answer, reason
