"""An encoder-decoder model with `Seq2SeqTrainer`: the same line, and the same tables.

Run `python seq2seq.py`. You see the answers of a T5 after every 15 epochs.
"""

from __future__ import annotations

from datasets import Dataset
from tiny_verbs import ROWS, make_seq2seq_model, make_tokenizer
from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments

import timelapse
from timelapse_training import PredictionsCallback

tokenizer, model = make_tokenizer(), make_seq2seq_model()


def tokens(text: str) -> list[int]:
    """Return a text's tokens, ended as T5 expects it."""
    return [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]


data = [{"input_ids": tokens(row["prompt"]), "labels": tokens(row["completion"])} for row in ROWS]
trainer = Seq2SeqTrainer(
    model,
    args=Seq2SeqTrainingArguments(
        "outputs",
        max_steps=45,
        per_device_train_batch_size=12,
        learning_rate=1e-2,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    ),
    train_dataset=Dataset.from_list(data),
    data_collator=DataCollatorForSeq2Seq(tokenizer, model),
    processing_class=tokenizer,
    callbacks=[PredictionsCallback(ROWS, sample_frequency="steps", step_interval=15, max_new_tokens=8)],
)
trainer.train()

frame = timelapse.load_predictions("last")
print(frame.pivot(index="prompt", columns="step", values="prediction"))
