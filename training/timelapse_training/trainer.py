"""The trainer behind `timelapse train`: supervised fine-tuning from a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from timelapse import names
from timelapse.attach import start_run
from timelapse.config.file import resolved, to_yaml
from timelapse.provenance import flat
from timelapse.run import TrainingRun
from timelapse_training.arguments import sft_arguments, uses_bf16, weights_dtype
from timelapse_training.data import TrainingData, choose_sets, read_data
from timelapse_training.loading import ModelSource, load_tokenizer

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
    from trl.trainer.sft_trainer import SFTTrainer

    from timelapse.config.model import Config, LoraConfig
    from timelapse.samples import SampleSet


def train(config: Config) -> TrainingRun | None:
    """Fine-tune a model as a configuration says, as one MLflow run, and return that run, ended.

    The loss is on the answers only. The adapter or model is saved in `training.output_dir`. Of several ranks
    (torchrun) rank 0 has the run, and the others return None.

    Raises:
        ConfigError: The configuration cannot be carried out; said before anything is trained.
        SampleError: The data cannot be read.
    """
    source = ModelSource(config.model)  # a GGUF file is converted while the rest goes on
    data = read_data(config)
    samples = choose_sets(config, data)
    arguments = sft_arguments(config, evaluates=bool(data.eval))
    tokenizer = load_tokenizer(source, config)

    def fit(run: TrainingRun | None) -> None:
        _fit(config, data, samples, arguments, tokenizer, source.load(weights_dtype(config)), run)

    if arguments.process_index:
        fit(None)
        return None
    tracking = config.tracking
    with start_run(
        tracking.run_name,
        run_id=tracking.run_id,
        experiment=tracking.experiment,
        tracking_uri=tracking.uri,
        tags=tracking.tags,
        scorers=config.predictions.scorers,
        validators=config.predictions.validators,
    ) as run:
        _record(config, run)
        fit(run)
    return run


def _record(config: Config, run: TrainingRun) -> None:
    """Store the configuration in the run, secrets redacted: whole as a file, its main parts as parameters."""
    run.log_text(to_yaml(config), names.CONFIG_FILE)
    stored = resolved(config)
    run.log_params(flat({key: stored.get(key) for key in ("model", "data", "training", "lora", "seed")}))
    run.log_params({"precision": "bf16" if uses_bf16(config) else "fp16" if config.training.fp16 else "fp32"})


def _fit(
    config: Config,
    data: TrainingData,
    samples: dict[str, SampleSet] | None,
    arguments: Any,
    tokenizer: PreTrainedTokenizerBase,
    model: PreTrainedModel,
    run: TrainingRun | None,
) -> None:
    from timelapse_training.curves import CurvesCallback

    callbacks: list[TrainerCallback] = [CurvesCallback(run)] if run else []
    if samples is None and run:
        run.disable("predictions.enabled is false")
    if samples is not None:
        from timelapse_training.callback import PredictionsCallback

        callbacks.append(PredictionsCallback(samples, config=config.predictions, run=run))
    trainer = sft_trainer(
        config,
        model,
        tokenizer,
        arguments,
        train=data.tokenised(tokenizer, config, "train"),
        evaluation=data.tokenised(tokenizer, config, "eval"),
        callbacks=callbacks,
    )
    trainer.train()
    trainer.save_model(str(Path(config.training.output_dir) / "final"))


def sft_trainer(
    config: Config,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    arguments: Any,
    *,
    train: Dataset | None,
    evaluation: Dataset | None = None,
    callbacks: list[TrainerCallback] | None = None,
) -> SFTTrainer:
    """Return TRL's trainer for a configuration, ready to train on tokenised rows."""
    from trl.trainer.sft_trainer import SFTTrainer

    return SFTTrainer(
        model,
        args=arguments,
        train_dataset=train,
        eval_dataset=evaluation,
        processing_class=tokenizer,
        peft_config=_peft_config(config.lora) if config.lora else None,
        callbacks=callbacks,
    )


def _peft_config(lora: LoraConfig) -> Any:
    from peft import LoraConfig as PeftLoraConfig

    return PeftLoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,  # type: ignore[arg-type] # peft takes floats, too
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
        task_type="CAUSAL_LM",
    )
