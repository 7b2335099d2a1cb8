"""What has been tried: trainer × precision × ranks, and how it ended.

The tests run these cells (`tests/training/test_trainers.py`), and `python docs/trainers_table.py` writes the
table of docs/trainers.md from them, so that the page says neither more nor less than the tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["works", "refused", "needs a GPU"]

FP32 = "fp32"
BF16 = "bf16"
FP16 = "fp16 autocast"
HALF = "half-precision base, fp32 norms"
FOUR_BIT = "4-bit base"
EIGHT_BIT = "8-bit base"
PRECISIONS = (FP32, BF16, FP16, HALF, FOUR_BIT, EIGHT_BIT)

MATRIX = "tests/training/test_trainers.py"
LOOP_TEST = "tests/training/test_loop.py"
LOOP = "no trainer: `PredictionRounds`"
REFUSED = "any, with a classifier or reward model"
ON_GPU = "tests/gpu/test_precision.py"


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination, and what became of it."""

    trainer: str
    """The trainer and what it trains: a key of `kinds.BUILDERS`, where the matrix itself runs the cell."""
    precision: str
    """One of `PRECISIONS`."""
    ranks: str
    """`1`, or the number of ranks and what connects them: `2, DDP`."""
    outcome: Outcome
    """`works`: trained bit for bit as without the callback, its rounds complete. `refused`: with `message`.
    `needs a GPU`: its test skips without one."""
    test: str
    """The file with its test, relative to the repository."""
    message: str | None = None
    """What the user is told where it is refused."""


_KINDS = (
    "Trainer, full",
    "Trainer, LoRA",
    "Trainer, prompt tuning",
    "Seq2SeqTrainer",
    "SFTTrainer, packing",
    "SFTTrainer, completion-only loss",
    "DPOTrainer",
    "ORPOTrainer",
    "GRPOTrainer",
)

ONE_RANK = (
    *(Cell(kind, precision, "1", "works", MATRIX) for kind in _KINDS for precision in (FP32, BF16)),
    Cell("Trainer, LoRA", HALF, "1", "works", MATRIX),
    Cell("SFTTrainer, completion-only loss", HALF, "1", "works", MATRIX),
    Cell(REFUSED, FP32, "1", "refused", MATRIX, "cannot generate text, so there is nothing to predict"),
    *(Cell(LOOP, precision, "1", "works", LOOP_TEST) for precision in (FP32, BF16, FP16)),
)
