"""TRL's `SFTTrainer`: the rows to train on and the samples to watch have the same format.

Run `python sft_trl.py`. With `report_to=["mlflow"]` the loss curve lies in the same run as the rounds. You
see the share of right answers grow while the loss falls.
"""

from __future__ import annotations

import mlflow
from datasets import Dataset
from tiny_verbs import ROWS, make_model, make_tokenizer
from trl import SFTConfig, SFTTrainer

from timelapse_training import PredictionsCallback

trainer = SFTTrainer(
    make_model(),
    args=SFTConfig(
        "outputs",
        max_steps=60,
        per_device_train_batch_size=6,
        learning_rate=1e-2,
        logging_steps=20,
        save_strategy="no",
        report_to=["mlflow"],
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
    ),
    train_dataset=Dataset.from_list(ROWS),
    processing_class=make_tokenizer(),
    callbacks=[PredictionsCallback(ROWS, sample_frequency="steps", step_interval=20, max_new_tokens=8)],
)
trainer.train()

run = mlflow.last_active_run()
for name in ("loss", "predictions/exact_match"):
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, name)
    print(name, {point.step: round(point.value, 2) for point in history})
