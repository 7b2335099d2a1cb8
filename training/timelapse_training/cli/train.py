"""`timelapse train`: fine-tune from a configuration file."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(epilog="Example: timelapse train config.yaml --set training.learning_rate=1e-4")
@click.argument("config", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--set", "overrides", multiple=True, metavar="A.B=C", help="Override a field of the configuration."
)
def train(config: Path, overrides: tuple[str, ...]) -> None:
    """Fine-tune a model as CONFIG says, and log its answers round by round."""
    from timelapse.config.file import load_config
    from timelapse.config.limits import check_limits

    loaded = load_config(config, overrides)
    for note in loaded.notes:
        click.echo(f"Note: {note}", err=True)
    check_limits(loaded.config.predictions)

    _quieten()
    import timelapse_training

    timelapse_training.train(loaded.config)


def _quieten() -> None:
    """Keep what the libraries say among themselves out of the terminal."""
    import logging
    import warnings

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*gradient_checkpointing.* is deprecated", FutureWarning)
