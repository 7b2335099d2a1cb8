"""Saved checkpoints: found in a trainer's folder, and loaded as a model with its tokenizer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from timelapse.errors import ConfigError
from timelapse.fence import warn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A saved checkpoint of a trainer's."""

    step: int
    """The `global_step` after which it was saved."""
    folder: Path
    """Where it lies: a whole model, or a PEFT adapter."""
    epoch: float | None
    """Passes over the training data by then; None if the trainer's state does not lie there."""


def find_checkpoints(folder: Path) -> list[Checkpoint]:
    """Return the checkpoints in a folder, `checkpoint-<step>` each, by step.

    Raises:
        ConfigError: There are none.
    """
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        named = re.fullmatch(r"checkpoint-(\d+)", path.name)
        if named and path.is_dir():
            found.append(Checkpoint(int(named[1]), path, _epoch(path)))
    if not found:
        raise ConfigError(
            f"--checkpoints {folder}: there is no folder checkpoint-<step> in it. Give the output_dir of "
            "the training."
        )
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def load_checkpoint(checkpoint: Checkpoint, base: str | None) -> tuple[Any, PreTrainedTokenizerBase]:
    """Return the model of a checkpoint and its tokenizer.

    An adapter's base is the one that it names, or `base`; where the checkpoint has no tokenizer, it is that
    of the base.

    Raises:
        ConfigError: It is neither a model nor an adapter, or its base or tokenizer is not to be found.
    """
    from transformers import AutoTokenizer

    has_own = (checkpoint.folder / "tokenizer_config.json").is_file()
    place = str(checkpoint.folder) if has_own else base or named_base(checkpoint) or str(checkpoint.folder)
    return load_model(checkpoint, base), _loaded(AutoTokenizer.from_pretrained, place)


def load_model(checkpoint: Checkpoint, base: str | None) -> Any:
    """Return the model of a checkpoint, an adapter on its base, on the accelerator if there is one."""
    if not is_adapter(checkpoint):
        return on_device(_model(str(checkpoint.folder)))
    place = base or named_base(checkpoint)
    if place is None:
        raise ConfigError(
            f"{checkpoint.folder}: the adapter does not say what its base model is. Give it: --base NAME"
        )
    return on_device(with_adapter(_model(place), checkpoint))


def with_adapter(base: Any, checkpoint: Checkpoint) -> Any:
    """Return a base model with the adapter of a checkpoint."""
    from peft import PeftModel

    return _loaded(lambda folder: PeftModel.from_pretrained(base, folder), str(checkpoint.folder))


def is_adapter(checkpoint: Checkpoint) -> bool:
    """Return whether a checkpoint holds a PEFT adapter instead of a whole model."""
    return (checkpoint.folder / "adapter_config.json").is_file()


def named_base(checkpoint: Checkpoint) -> str | None:
    """Return the base model that an adapter names; None for a whole model."""
    if not is_adapter(checkpoint):
        return None
    found = json.loads((checkpoint.folder / "adapter_config.json").read_text())
    return found.get("base_model_name_or_path") or None


def on_device(model: Any) -> Any:
    """Return a model on the accelerator, if there is one."""
    return model.to(torch.accelerator.current_accelerator()) if torch.accelerator.is_available() else model


def _epoch(folder: Path) -> float | None:
    try:
        state = json.loads((folder / "trainer_state.json").read_text())
        return float(state["epoch"])
    except (OSError, ValueError, KeyError, TypeError):
        warn(f"{folder} has no readable trainer_state.json: its round has no epoch.")
        return None


def _model(place: str) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    config = _loaded(AutoConfig.from_pretrained, place)
    kind: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    return _loaded(lambda folder: kind.from_pretrained(folder, dtype="auto"), place)


def _loaded(load: Callable[[str], Any], place: str) -> Any:
    from safetensors import SafetensorError

    try:
        return load(place)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        cause = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(". ")
        raise ConfigError(
            f"{place} cannot be loaded: {cause}. Expected a saved model, or an adapter with its base "
            "(--base NAME) and a tokenizer."
        ) from error
