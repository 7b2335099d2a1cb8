"""No trainer at all: a PyTorch loop, and `PredictionRounds` beside it.

Run `python custom_loop.py`. You see the loss at each round, then how the answer to one verb changed. Were the
loop to crash, the run in MLflow would end as FAILED, with the rounds made so far.
"""

from __future__ import annotations

import torch
from tiny_verbs import ROWS, make_model, make_tokenizer, tokenised
from transformers import DataCollatorForSeq2Seq

import timelapse
from timelapse_training import PredictionRounds

tokenizer, model = make_tokenizer(), make_model()
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
loader = torch.utils.data.DataLoader(
    tokenised(tokenizer), batch_size=6, shuffle=True, collate_fn=DataCollatorForSeq2Seq(tokenizer)
)
step = 0
with PredictionRounds(
    ROWS, model, tokenizer, sample_frequency="steps", step_interval=20, max_new_tokens=8
) as rounds:
    for _epoch in range(40):
        model.train()
        for batch in loader:
            loss = model(**batch).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            if rounds.maybe(step, epoch=step / len(loader)):
                print(f"step {step}: loss {loss.item():.2f}")

frame = timelapse.load_predictions("last")
print(frame.pivot(index="prompt", columns="step", values="prediction").loc["bring: "])
