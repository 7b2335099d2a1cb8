"""Every kind of trainer that people have, with tiny models: what the matrix of `cells` is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from cells import HALF, KINDS
from datasets import Dataset
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from tiny import make_gpt2, make_llama, make_t5, make_tokenizer, training_set
from transformers import (
    DataCollatorForSeq2Seq,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

STEPS = 4
Builder = Callable[[Path, Sequence[TrainerCallback], str, dict[str, Any]], Trainer]


def settings(folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a short and deterministic training on the CPU."""
    return {
        "output_dir": str(folder),
        "max_steps": STEPS,
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "seed": 3,
        "disable_tqdm": True,
    } | options


def lora() -> LoraConfig:
    return LoraConfig(
        r=4, lora_dropout=0.1, target_modules=["c_attn"], fan_in_fan_out=True, task_type="CAUSAL_LM"
    )


def language_model(precision: str) -> Any:
    """A GPT-2 with dropout; a half-precision base has float32 norms, as k-bit preparation does."""
    model = make_gpt2(dropout=0.1)
    if precision == HALF:
        model = model.to(torch.bfloat16)
        for name, module in model.named_modules():
            if "ln_" in name:
                module.float()
    return model


def _trainer(prepare: Callable[[Any], Any]) -> Builder:
    def build(
        folder: Path, callbacks: Sequence[TrainerCallback], precision: str, options: dict[str, Any]
    ) -> Trainer:
        tokenizer = make_tokenizer()
        return Trainer(
            prepare(language_model(precision)),
            args=TrainingArguments(**settings(folder, options)),
            train_dataset=training_set(tokenizer),
            processing_class=tokenizer,
            callbacks=list(callbacks),
        )

    return build


def _prompt_tuned(model: Any) -> Any:
    return get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))


def _seq2seq(
    folder: Path, callbacks: Sequence[TrainerCallback], precision: str, options: dict[str, Any]
) -> Trainer:
    tokenizer, model = make_tokenizer(), make_t5()
    return Seq2SeqTrainer(
        model,
        args=Seq2SeqTrainingArguments(**settings(folder, options)),
        train_dataset=training_set(tokenizer),
        data_collator=DataCollatorForSeq2Seq(tokenizer, model),
        processing_class=tokenizer,
        callbacks=list(callbacks),
    )


def _sft(**own: Any) -> Builder:
    def build(
        folder: Path, callbacks: Sequence[TrainerCallback], precision: str, options: dict[str, Any]
    ) -> Trainer:
        rows = [{"prompt": f"past of verb {row}: ", "completion": "ed" * (row % 3 + 1)} for row in range(16)]
        return SFTTrainer(
            language_model(precision),
            args=SFTConfig(**settings(folder, {"max_length": 64, **own, **options})),
            train_dataset=Dataset.from_list(rows),
            processing_class=make_tokenizer(),
            peft_config=lora() if precision == HALF else None,
            callbacks=list(callbacks),
        )

    return build


def _pairs() -> Dataset:
    return Dataset.from_list(
        [
            {"prompt": f"past of verb {row}: ", "chosen": "went" * (row % 2 + 1), "rejected": "goed"}
            for row in range(16)
        ]
    )


def _dpo(
    folder: Path, callbacks: Sequence[TrainerCallback], precision: str, options: dict[str, Any]
) -> Trainer:
    return DPOTrainer(
        language_model(precision),
        args=DPOConfig(**settings(folder, {"max_length": 64, **options})),
        train_dataset=_pairs(),
        processing_class=make_tokenizer(),
        peft_config=lora(),
        callbacks=list(callbacks),
    )


def _orpo(
    folder: Path, callbacks: Sequence[TrainerCallback], precision: str, options: dict[str, Any]
) -> Trainer:
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    return ORPOTrainer(
        language_model(precision),
        args=ORPOConfig(**settings(folder, {"max_length": 64, **options})),
        train_dataset=_pairs(),
        processing_class=make_tokenizer(),
        callbacks=list(callbacks),
    )


def length_reward(completions: list[str], **_columns: Any) -> list[float]:
    """A reward that differs between answers, so that there is something to learn."""
    return [float(len(completion)) for completion in completions]


def _grpo(
    folder: Path, callbacks: Sequence[TrainerCallback], precision: str, options: dict[str, Any]
) -> Trainer:
    own = {"num_generations": 2, "max_completion_length": 4}
    return GRPOTrainer(
        make_llama(),
        reward_funcs=length_reward,
        args=GRPOConfig(**settings(folder, {**own, **options})),
        train_dataset=Dataset.from_list([{"prompt": f"verb {row}: "} for row in range(8)]),
        processing_class=make_tokenizer(side="left"),
        callbacks=list(callbacks),
    )


BUILDERS: dict[str, Builder] = dict(
    zip(
        KINDS,
        (
            _trainer(lambda model: model),
            _trainer(lambda model: get_peft_model(model, lora())),
            _trainer(_prompt_tuned),
            _seq2seq,
            _sft(packing=True),
            _sft(completion_only_loss=True),
            _dpo,
            _orpo,
            _grpo,
        ),
        strict=True,
    )
)
"""A builder of each kind, by its name in the table."""
