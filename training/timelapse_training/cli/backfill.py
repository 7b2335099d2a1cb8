"""`timelapse backfill`: rounds made afterwards, from saved checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from timelapse.cli.terminal import place_options

if TYPE_CHECKING:
    from mlflow.entities import Run

    from timelapse.config.model import Config, PredictionsConfig
    from timelapse_training.backfill import Asked, Loader
    from timelapse_training.generation import GenerationSettings

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(epilog="Example: timelapse backfill last --checkpoints outputs --samples eval.jsonl")
@click.argument("run")
@click.option(
    "--checkpoints",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    required=True,
    help="The folder with checkpoint-<step> folders: whole models or PEFT adapters.",
)
@click.option("--samples", "file", type=_FILE, metavar="FILE", help="What to ask. [default: the run's own]")
@click.option(
    "--config",
    "config_file",
    type=_FILE,
    metavar="FILE",
    help="A configuration for `timelapse train`: its samples, decoding, scorers, base model and tokenizer.",
)
@click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Override a field of --config.")
@click.option("--set-name", metavar="NAME", help="The sample set. [default: main, or all that there are]")
@click.option("--base", metavar="NAME", help="Hub id or folder of an adapter's base model.")
@click.option("--max-new-tokens", type=click.IntRange(1), metavar="N", help="Longest answer in tokens.")
@place_options
def backfill(
    run: str,
    folder: Path,
    file: Path | None,
    config_file: Path | None,
    overrides: tuple[str, ...],
    set_name: str | None,
    base: str | None,
    max_new_tokens: int | None,
    experiment: str | None,
    tracking_uri: str | None,
) -> None:
    """Make the rounds that RUN lacks, from the checkpoints that its training has saved.

    Steps with a round are left alone. RUN is a run's id, the beginning of an id, its name, or `last`; it need
    not have any predictions yet.
    """
    from timelapse.attach import make_judges
    from timelapse.config.model import PredictionsConfig
    from timelapse.reading.runs import find_run
    from timelapse_training.backfill import backfill as made_afterwards
    from timelapse_training.saved import find_checkpoints

    config = _config(config_file, overrides)
    checkpoints = find_checkpoints(folder)
    found = find_run(run, experiment=experiment, tracking_uri=tracking_uri, with_predictions=False)
    asked = _asked(found, file, config, set_name, tracking_uri)
    if max_new_tokens is not None:
        asked = [
            replace(each, settings=replace(each.settings, max_new_tokens=max_new_tokens)) for each in asked
        ]
    predictions = config.predictions if config else PredictionsConfig()
    judges = make_judges(predictions.scorers, predictions.validators)
    count = made_afterwards(found, checkpoints, asked, _loader(config, base), judges, tracking_uri)
    click.echo(f"{count} rounds made from {len(checkpoints)} checkpoints.")


def _config(path: Path | None, overrides: tuple[str, ...]) -> Config | None:
    from timelapse.config.file import load_config

    if path is None:
        if overrides:
            raise click.UsageError("--set overrides a field of --config, which is not given.")
        return None
    loaded = load_config(path, overrides)
    for note in loaded.notes:
        click.echo(f"Note: {note}", err=True)
    return loaded.config


def _asked(
    run: Run, file: Path | None, config: Config | None, set_name: str | None, tracking_uri: str | None
) -> list[Asked]:
    """Return what to ask: the samples of a file, of a configuration, or those that the run has stored."""
    from timelapse import names
    from timelapse.config.model import PredictionsConfig
    from timelapse.reading.loader import load_rounds
    from timelapse.reading.runs import connect
    from timelapse.selection import select_samples
    from timelapse_training.backfill import Asked, stored_sets, stored_settings

    if file is not None:
        told = config.predictions if config else PredictionsConfig()
        name = set_name or told.sample_set or names.DEFAULT_SET
        samples = replace(select_samples(file, told, tools=config.tools if config else ()), name=name)
        if config is not None:
            return [Asked(samples, _settings(config, told))]
        stored = load_rounds(connect(tracking_uri), run.info.run_id)
        return [Asked(samples, stored_settings(stored, name))]
    if config is not None:
        return _configured(config, set_name)
    return stored_sets(run, set_name, tracking_uri)


def _configured(config: Config, set_name: str | None) -> list[Asked]:
    from timelapse.config.sets import set_configs
    from timelapse.errors import ConfigError
    from timelapse_training.backfill import Asked
    from timelapse_training.data import choose_sets, read_data

    told = set_configs(config.predictions)
    sets = choose_sets(config, read_data(config)) or {}
    if set_name is not None:
        sets = {name: samples for name, samples in sets.items() if name == set_name}
    if not sets:
        raise ConfigError(
            f"--set-name {set_name}: the configuration has no such sample set. It has: {', '.join(told)}."
            if set_name
            else "predictions.enabled: is false, so the configuration has nothing to ask. Set it to true."
        )
    return [Asked(samples, _settings(config, told[name])) for name, samples in sets.items()]


def _settings(config: Config, told: PredictionsConfig) -> GenerationSettings:
    """Return how to decode as a training with this configuration does."""
    import torch

    from timelapse_training.arguments import uses_bf16
    from timelapse_training.preparing import decoding_of

    fp16 = config.training.fp16 and torch.accelerator.is_available()  # a training on a CPU sets it aside
    autocast = torch.bfloat16 if uses_bf16(config) else torch.float16 if fp16 else None
    return decoding_of(told, autocast=autocast, seed=config.seed, progress=False)


def _loader(config: Config | None, base: str | None) -> Loader:
    """Return what loads a checkpoint, with the base and tokenizer of the configuration if there is one."""
    from timelapse_training.arguments import weights_dtype
    from timelapse_training.loading import ModelSource, load_tokenizer
    from timelapse_training.saved import (
        Checkpoint,
        is_adapter,
        load_checkpoint,
        load_model,
        on_device,
        with_adapter,
    )

    if config is None:
        return lambda checkpoint: load_checkpoint(checkpoint, base)
    source = ModelSource(config.model)
    tokenizer = load_tokenizer(source, config)

    def load(checkpoint: Checkpoint) -> Any:
        if base is None and is_adapter(checkpoint):
            return on_device(with_adapter(source.load(weights_dtype(config)), checkpoint)), tokenizer
        return load_model(checkpoint, base), tokenizer

    return load
