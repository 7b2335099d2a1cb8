"""From our configuration to TRL's arguments."""

from __future__ import annotations

import dataclasses
import difflib
from typing import TYPE_CHECKING, Any

from timelapse.errors import ConfigError

if TYPE_CHECKING:
    from timelapse.config.model import Config

# The fields of `training` that have the same name in TRL's arguments.
_SAME_NAME = (
    "output_dir",
    "num_train_epochs",
    "max_steps",
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
    "gradient_accumulation_steps",
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "max_length",
    "bf16",
    "fp16",
    "logging_steps",
    "eval_strategy",
    "eval_steps",
    "save_strategy",
    "save_steps",
    "save_total_limit",
)


def sft_arguments(config: Config, *, evaluates: bool) -> Any:
    """Return TRL's `SFTConfig` for a configuration.

    Raises:
        ConfigError: An evaluation is asked for without data, or an argument is not TRL's.
    """
    import torch
    from trl.trainer.sft_config import SFTConfig

    training = config.training
    if training.eval_strategy != "no" and not evaluates:
        raise ConfigError(
            f"training.eval_strategy: '{training.eval_strategy}' needs evaluation data. Give data.eval or "
            "data.eval_fraction, or set eval_strategy: no."
        )
    values = {name: getattr(training, name) for name in _SAME_NAME}
    values = {name: value for name, value in values.items() if value is not None}
    values |= {
        "seed": config.seed,
        "activation_checkpointing": training.gradient_checkpointing,  # its name since transformers 5
        "report_to": "none",  # the curves are logged by ourselves, where a failing server does no harm
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "use_cpu": not torch.accelerator.is_available(),
    }
    values |= _tensorboard(config)
    values |= _extra(training.arguments, {field.name for field in dataclasses.fields(SFTConfig)})
    try:
        return SFTConfig(**values)
    except (ValueError, TypeError, ImportError) as error:
        raise ConfigError(f"training: {error}") from error


def _extra(arguments: dict[str, Any], known: set[str]) -> dict[str, Any]:
    """Return `training.arguments`, checked against the names that TRL knows."""
    for name in arguments:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, 1)
            hint = f" Did you mean {nearest[0]}?" if nearest else ""
            raise ConfigError(f"training.arguments.{name}: TRL's SFTConfig has no such argument.{hint}")
    return arguments


def _tensorboard(config: Config) -> dict[str, Any]:
    """Return the arguments that add TensorBoard as a report target, if it is switched on."""
    import importlib.util
    import os

    board = config.tensorboard
    if not board.enabled:
        return {}
    if importlib.util.find_spec("tensorboard") is None:
        raise ConfigError(
            "tensorboard: the package is not installed. Install it with: pip install tensorboard"
        )
    if board.log_dir:
        os.environ["TENSORBOARD_LOGGING_DIR"] = (
            board.log_dir
        )  # transformers 5 takes the folder from here only
    return {"report_to": ["tensorboard"]}
