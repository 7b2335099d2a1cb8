"""One line in a script with Transformers' `Trainer`: the argument `callbacks`.

Run `python trainer.py`. You see what the model answers to each verb before the first step and every 20 steps:
noise at first, then wrong verbs, then the right ones. The rounds are in MLflow's default place; the callback
prints where, and `timelapse show last` shows them again.
"""

from __future__ import annotations

from tiny_verbs import ROWS, make_model, make_tokenizer, tokenised
from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

import timelapse
from timelapse_training import PredictionsCallback

tokenizer = make_tokenizer()
trainer = Trainer(
    make_model(),
    args=TrainingArguments(
        "outputs",
        max_steps=60,
        per_device_train_batch_size=6,
        learning_rate=1e-2,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    ),
    train_dataset=tokenised(tokenizer),
    data_collator=DataCollatorForSeq2Seq(tokenizer),  # pads; works for any model
    processing_class=tokenizer,
    callbacks=[PredictionsCallback(ROWS, sample_frequency="steps", step_interval=20, max_new_tokens=8)],
)
trainer.train()

if trainer.is_world_process_zero():  # see two_ranks.sh
    frame = timelapse.load_predictions("last")
    print(frame.pivot(index="prompt", columns="step", values="prediction"))
    print(frame.groupby("step")["exact_match"].mean())
