"""What has been tried: trainer × precision × ranks, and how it ended.

The tests run these cells, and `python docs/trainers_table.py` writes the table of docs/trainers.md from them,
so that the page says neither more nor less than the tests do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["works", "refused", "needs a GPU"]

FP32, BF16, FP16 = "fp32", "bf16", "fp16 autocast"
HALF = "half-precision base, fp32 norms"
FOUR_BIT, EIGHT_BIT = "4-bit base", "8-bit base"
PRECISIONS = (FP32, BF16, FP16, HALF, FOUR_BIT, EIGHT_BIT)

MATRIX = "tests/training/test_trainers.py"
LOOP_TEST = "tests/training/test_loop.py"
RANKS_TEST = "tests/training/test_ranks.py"
ON_GPU = "tests/gpu/test_precisions.py"

LOOP = "none: `PredictionRounds`"
REFUSED = "any, with a classifier or reward model"
PLAIN, LORA, COMPLETIONS = "`Trainer`, full", "`Trainer`, LoRA", "`SFTTrainer`, completion-only loss"
KINDS = (
    PLAIN,
    LORA,
    "`Trainer`, prompt tuning",
    "`Seq2SeqTrainer`",
    "`SFTTrainer`, packing",
    COMPLETIONS,
    "`DPOTrainer`, LoRA",
    "`ORPOTrainer` (`trl.experimental`)",
    "`GRPOTrainer`",
)
"""The keys of `kinds.BUILDERS`."""

_ZERO_3 = (
    "DeepSpeed ZeRO-3 keeps the weights in pieces that cannot be put together for a round; use ZeRO-2 or "
    "FSDP, or answer from the saved checkpoints afterwards"
)
_TENSOR_PARALLEL = "tensor parallelism splits each layer over the ranks"


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination, and what became of it."""

    trainer: str
    """The trainer and what it trains, as the table calls it."""
    precision: str
    """One of `PRECISIONS`."""
    ranks: str
    """`1`, or how many ranks there are and what connects them: `2, DDP`."""
    outcome: Outcome
    """`works`: trained bit for bit as without the callback, all rounds complete. `refused`: with `message`.
    `needs a GPU`: its test skips without one."""
    test: str
    """The file with its test, relative to the repository."""
    message: str | None = None
    """What is said where it is refused, or a part of it."""


ONE_RANK = (
    *(Cell(kind, precision, "1", "works", MATRIX) for kind in KINDS for precision in (FP32, BF16)),
    *(Cell(kind, HALF, "1", "works", MATRIX) for kind in (LORA, COMPLETIONS)),
    *(Cell(LOOP, precision, "1", "works", LOOP_TEST) for precision in (FP32, BF16, FP16)),
    Cell(PLAIN, FP16, "1", "needs a GPU", ON_GPU),
    *(Cell(LORA, precision, "1", "needs a GPU", ON_GPU) for precision in (FP16, FOUR_BIT, EIGHT_BIT)),
    Cell(REFUSED, FP32, "1", "refused", MATRIX, "cannot generate text, so there is nothing to predict"),
)
"""One process."""

SEVERAL_RANKS = (
    *(Cell(PLAIN, FP32, f"2, {how}", "works", RANKS_TEST) for how in ("DDP", "FSDP1", "FSDP2")),
    *(Cell(LORA, FP32, f"2, {how}", "works", RANKS_TEST) for how in ("DDP", "FSDP2")),
    Cell("any", FP32, "ZeRO-3", "refused", RANKS_TEST, _ZERO_3),
    Cell("any", FP32, "tensor parallel", "refused", RANKS_TEST, _TENSOR_PARALLEL),
)
"""Several processes; each cell names the test that starts them."""

CELLS = (*ONE_RANK, *SEVERAL_RANKS)
