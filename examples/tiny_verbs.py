"""What stands in for your model, tokenizer and data in these examples: made in memory, in no time.

A real script has `AutoModelForCausalLM.from_pretrained(...)` here, its tokenizer, and a samples file. These
models read and write single characters, know nothing at first, and learn the verbs below by heart in seconds.
"""

from __future__ import annotations

from typing import Any

import torch
from datasets import Dataset
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    DataCollatorForSeq2Seq,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

PAST = {
    "go": "went", "sing": "sang", "bring": "brought", "see": "saw", "take": "took", "write": "wrote",
    "keep": "kept", "run": "ran", "buy": "bought", "fly": "flew", "hold": "held", "eat": "ate",
}  # fmt: skip
ROWS = [{"prompt": f"{verb}: ", "completion": past} for verb, past in PAST.items()]
"""A row a verb, in a format that TRL and Timelapse both read."""


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer with a token for each character."""
    tokens = ["<pad>", "<end>", *map(chr, range(32, 127))]
    core = Tokenizer(models.WordLevel({token: place for place, token in enumerate(tokens)}, "<pad>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<end>")


def make_model() -> LlamaForCausalLM:
    """Return a Llama of 90,000 weights."""
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**_SIZE, intermediate_size=128, num_hidden_layers=2))


def make_seq2seq_model() -> T5ForConditionalGeneration:
    """Return a T5 of like size."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 97, "d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4}
    return T5ForConditionalGeneration(
        T5Config(**sizes, decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, dropout_rate=0.0)
    )


def tokenised(tokenizer: PreTrainedTokenizerFast, rows: list[dict[str, str]] = ROWS) -> Dataset:
    """Return rows as tokens, with the loss on the answers only (-100 leaves a token out)."""

    def encode(row: dict[str, str]) -> dict[str, Any]:
        prompt = tokenizer(row["prompt"])["input_ids"]
        answer = [*tokenizer(row["completion"])["input_ids"], tokenizer.eos_token_id]
        return {"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}

    return Dataset.from_list([encode(row) for row in rows])


def teach(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, rows: list[dict[str, str]], steps: int
) -> None:
    """Train a model on rows, all of them at each step: what comes before an example begins."""
    batch = DataCollatorForSeq2Seq(tokenizer)(list(tokenised(tokenizer, rows)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _step in range(steps):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


_SIZE = {
    "vocab_size": 97,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
