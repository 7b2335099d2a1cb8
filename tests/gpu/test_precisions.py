"""The precisions that only a GPU has: every sample is answered, and the training is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from cells import EIGHT_BIT, FOUR_BIT, FP16, LORA, ON_GPU, ONE_RANK, Cell
from identity import assert_same, left_by
from kinds import settings
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from tiny import make_llama, make_samples, make_tokenizer, training_set
from trainers import only_run
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, Trainer, TrainingArguments, set_seed

from timelapse import load_predictions
from timelapse_training import PredictionsCallback

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]


def model_in(cell: Cell, folder: Path) -> Any:
    """The tiny model; as a quantised base its norms are float32, as k-bit preparation leaves them."""
    if cell.precision == FP16 and cell.trainer != LORA:
        return make_llama()
    adapter = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    if cell.precision == FP16:
        return get_peft_model(make_llama(), adapter)
    pytest.importorskip("bitsandbytes")
    make_llama().save_pretrained(folder)
    quantised = BitsAndBytesConfig(
        load_in_4bit=cell.precision == FOUR_BIT,
        load_in_8bit=cell.precision == EIGHT_BIT,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    base = AutoModelForCausalLM.from_pretrained(folder, quantization_config=quantised, device_map={"": 0})
    return get_peft_model(prepare_model_for_kbit_training(base), adapter)


@pytest.mark.parametrize(
    "cell",
    [cell for cell in ONE_RANK if cell.test == ON_GPU],
    ids=lambda cell: f"{cell.trainer}-{cell.precision}".replace("`", ""),
)
def test_every_sample_is_answered_and_the_training_is_the_same(
    tracking: mlflow.MlflowClient, tmp_path: Path, cell: Cell
) -> None:
    def train(folder: str, *callbacks: Any) -> dict[str, Any]:
        set_seed(3)
        precision = {"fp16": True} if cell.precision == FP16 else {"bf16": True}
        trainer = Trainer(
            model_in(cell, tmp_path / "base"),
            args=TrainingArguments(**settings(tmp_path / folder, {"use_cpu": False, **precision})),
            train_dataset=training_set(make_tokenizer()),
            processing_class=make_tokenizer(),
            callbacks=list(callbacks),
        )
        trainer.train()
        return left_by(trainer)

    bare = train("bare")
    callback = PredictionsCallback(
        make_samples(), sample_frequency="steps", step_interval=2, max_new_tokens=3
    )
    assert_same(bare, train("watched", callback))
    frame = load_predictions(only_run(tracking).info.run_id)
    assert frame["status"].eq("ok").all(), frame["error"].dropna().unique()
    assert frame.groupby("step").size().to_dict() == {0: 5, 2: 5, 4: 5}
