"""TRL's `DPOTrainer`: a preference changes the answers, and one sees which.

Run `python dpo_trl.py`. The model has learned the right and the regularised past tense alike ("went" and
"goed"); the pairs then teach it to prefer the right one. A pair is a sample, too: its chosen answer is the
reference.
"""

from __future__ import annotations

from datasets import Dataset
from peft import LoraConfig
from tiny_verbs import PAST, make_model, make_tokenizer, teach
from trl import DPOConfig, DPOTrainer

import timelapse
from timelapse_training import PredictionsCallback

PAIRS = [{"prompt": f"{verb}: ", "chosen": past, "rejected": f"{verb}ed"} for verb, past in PAST.items()]
tokenizer, model = make_tokenizer(), make_model()
both = [
    {"prompt": row["prompt"], "completion": row[side]} for row in PAIRS for side in ("chosen", "rejected")
]
teach(model, tokenizer, both, steps=60)

trainer = DPOTrainer(
    model,
    args=DPOConfig(
        "outputs",
        max_steps=20,
        per_device_train_batch_size=6,
        learning_rate=1e-3,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
    ),
    train_dataset=Dataset.from_list(PAIRS),
    processing_class=tokenizer,
    peft_config=LoraConfig(r=8, target_modules="all-linear"),  # the base is its own reference model
    callbacks=[PredictionsCallback(PAIRS, sample_frequency="steps", step_interval=10, max_new_tokens=8)],
)
trainer.train()

frame = timelapse.load_predictions("last")
print(frame.pivot(index="prompt", columns="step", values="prediction"))
print(frame.groupby("step")["exact_match"].mean())
