"""From our configuration to TRL's arguments."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from timelapse.errors import ConfigError
from timelapse.hints import nearest

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
    check_names(config)
    values = {name: getattr(training, name) for name in _SAME_NAME}
    values = {name: value for name, value in values.items() if value is not None}
    values |= {
        "seed": config.seed,
        "activation_checkpointing": training.gradient_checkpointing,  # its name since transformers 5
        "report_to": "none",  # the curves are logged by ourselves, where a failing server does no harm
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "bf16": uses_bf16(config),
        "use_cpu": not torch.accelerator.is_available(),
    }
    values |= _tensorboard(config)
    values |= training.arguments
    try:
        return SFTConfig(**values)
    except (ValueError, TypeError, ImportError) as error:
        raise ConfigError(f"training: {error}") from error


def uses_bf16(config: Config) -> bool:
    """Return whether to train in bfloat16; `auto` means where the hardware computes in it natively.

    A processor that only imitates it is some thirty times slower than in float32.
    """
    import torch

    wanted = config.training.bf16
    if wanted != "auto":
        return wanted
    if config.training.fp16:
        return False
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def weights_dtype(config: Config) -> str:
    """Return the precision to load the weights in.

    `auto` is the one they are stored in, but bfloat16 for the frozen base of an adapter that is itself
    trained in bfloat16: half the memory, and nothing is lost that training would have added.
    """
    if config.model.dtype == "auto" and config.lora is not None and uses_bf16(config):
        return "bfloat16"
    return config.model.dtype


def check_names(config: Config) -> None:
    """Check the names that only Transformers and TRL know.

    Raises:
        ConfigError: The scheduler or one of `training.arguments` is not known.
    """
    from transformers.trainer_utils import SchedulerType
    from trl.trainer.sft_config import SFTConfig

    name = config.training.lr_scheduler_type
    known = [str(kind.value) for kind in SchedulerType]
    if name not in known:
        raise ConfigError(
            f"training.lr_scheduler_type: '{name}' is not known.{nearest(name, known)} "
            f"Known: {', '.join(known)}."
        )
    fields = {field.name for field in dataclasses.fields(SFTConfig)}
    for argument, value in config.training.arguments.items():
        if argument == "packing" and value:
            raise ConfigError(
                "training.arguments.packing: rows are trained one by one here, with the loss on the answer "
                "only. Remove it; TRL's own SFTTrainer packs, with PredictionsCallback beside it."
            )
        if argument not in fields:
            raise ConfigError(
                f"training.arguments.{argument}: TRL's SFTConfig has no such argument."
                f"{nearest(argument, fields)}"
            )


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
