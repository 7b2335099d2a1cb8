"""Checkpoints: which run a checkpoint belongs to, so that a resumed training goes on in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import TrainerState, TrainingArguments

MARK = "timelapse.json"
"""The file in a checkpoint. Transformers' own callback states would do, but a checkpoint without ours, or
`restore_callback_states_from_checkpoint`, would then end the training with an error."""


def checkpoint_folder(args: TrainingArguments, state: TrainerState) -> Path:
    """Return where the trainer keeps the checkpoint of the present step."""
    return Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"


def mark_run(checkpoint: Path, run_id: str | None) -> None:
    """Note in a checkpoint which run it belongs to, if there is such a checkpoint and such a run."""
    if run_id is not None and checkpoint.is_dir():
        (checkpoint / MARK).write_text(json.dumps({"run_id": run_id}))


def marked_run(checkpoint: Path) -> str | None:
    """Return the run that a checkpoint belongs to, if it says so."""
    try:
        marked = json.loads((checkpoint / MARK).read_text())
    except (OSError, ValueError):
        return None
    run_id = marked.get("run_id") if isinstance(marked, dict) else None
    return run_id if isinstance(run_id, str) else None
