"""`timelapse launch`: train in a child process, under a run that exists first and always ends."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from timelapse_training.launch import IfExists


@click.command(epilog="Example: timelapse launch config.yaml --job-id 42 --user ada")
@click.argument("config", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--job-id", metavar="ID", help="Identifies the job; a job has one run. [default: JOB_ID]")
@click.option("--user", metavar="ID", help="Whose job it is. [default: JOB_USER_ID]")
@click.option(
    "--if-exists",
    type=click.Choice(["refuse", "attach"]),
    default="refuse",
    show_default=True,
    help="If the job has a run already: refuse, or go on in it.",
)
@click.option(
    "--set", "overrides", multiple=True, metavar="A.B=C", help="Override a field of the configuration."
)
@click.pass_context
def launch(
    ctx: click.Context,
    config: Path,
    job_id: str | None,
    user: str | None,
    if_exists: IfExists,
    overrides: tuple[str, ...],
) -> None:
    """Fine-tune a model as CONFIG says, in a child process that is watched over.

    The MLflow run is made first. What the training says is shown and stored in it as timelapse/launch.log.
    Signals are handed on. However the training ends, the run ends too, and the exit code is the training's
    (128 + n for signal n; 2 if nothing was started).
    """
    from timelapse_training.launch import launch as start

    ctx.exit(start(config, overrides=overrides, job_id=job_id, user=user, if_exists=if_exists))
