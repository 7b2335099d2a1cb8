"""Real trainers with tiny models, and the run that they leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
from tiny import make_llama, make_tokenizer, training_set
from transformers import Trainer, TrainerCallback, TrainingArguments


def make_trainer(
    folder: Path, *callbacks: TrainerCallback, rows: int = 16, model: Any = None, **options: Any
) -> Trainer:
    tokenizer = make_tokenizer()
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "num_train_epochs": 2,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "save_strategy": "steps",
        "save_steps": 1,
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "logging_steps": 1,
    }
    data = training_set(tokenizer, rows)
    return Trainer(
        make_llama() if model is None else model,
        args=TrainingArguments(**settings | options),
        train_dataset=data,
        eval_dataset=data.select(range(4)),
        processing_class=tokenizer,
        callbacks=list(callbacks),
    )


def only_run(client: mlflow.MlflowClient) -> Any:
    [run] = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    return run
