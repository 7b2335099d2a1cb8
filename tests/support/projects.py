"""A folder with a tiny model, data, and a configuration of a training that is over in a second."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from tiny import make_llama, make_tokenizer

VERBS = {"go": "went", "be": "was", "do": "did", "see": "saw", "eat": "ate", "run": "ran"}


def questions(verbs: Mapping[str, str], **columns: str) -> list[dict[str, str]]:
    return [{"question": verb, "answer": past, **columns} for verb, past in verbs.items()]


def write_rows(path: Path, rows: Iterable[object]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path.name


def write_config(folder: Path, config: Any) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def make_project(
    folder: Path,
    train: Iterable[object],
    held_out: Iterable[object],
    *,
    predictions: Mapping[str, Any],
    **training: Any,
) -> Path:
    """Write model, data and configuration into a folder, and return the configuration's path."""
    make_llama(initializer_range=0.1).save_pretrained(folder / "model")
    make_tokenizer().save_pretrained(folder / "model")
    short = {
        "output_dir": str(folder / "out"),
        "num_train_epochs": 2,
        "per_device_train_batch_size": 2,
        "save_strategy": "no",
        "arguments": {"disable_tqdm": True},
    }
    config = {
        "model": {"name": "model"},
        "data": {
            "train": write_rows(folder / "train.jsonl", train),
            "eval": write_rows(folder / "eval.jsonl", held_out),
        },
        "training": short | training,
        "predictions": dict(predictions),
        "tracking": {"experiment": "verbs", "run_name": "tiny"},
        "seed": 3,
    }
    return write_config(folder, config)
