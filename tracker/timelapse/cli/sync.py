"""`timelapse sync`: send what waits on disk, and end runs whose process is gone."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from timelapse.cli.terminal import Finite, format_option, print_json
from timelapse.errors import SpoolError

if TYPE_CHECKING:
    from timelapse.writing.sync import Outcome


@click.command()
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path))
@click.option("--tracking-uri", metavar="URI", help="Where MLflow is. [default: MLflow's own setting]")
@click.option("--to", metavar="URI", help="Send there, even runs that belong to another tracking URI.")
@click.option(
    "--patience",
    type=Finite(min=0),
    default=15.0,
    show_default=True,
    metavar="SECONDS",
    help="Give a run up for now after this long without progress.",
)
@format_option
@click.pass_context
def sync(
    ctx: click.Context,
    folders: tuple[Path, ...],
    tracking_uri: str | None,
    to: str | None,
    patience: float,
    output: str,
) -> None:
    """Send the rounds that wait on disk to MLflow, and end runs whose process is gone.

    They wait because MLflow was away, or because the training was killed. Runs that began without MLflow
    are created now, with their original start. FOLDERS: only these folders of the spool. It is safe to
    repeat this, and to do it twice at once. Exit code 1 if something still waits or is damaged.

    \b
    Example:
      timelapse sync
      timelapse sync --to https://mlflow.example.com
    """  # noqa: D301 - click reads the character \b: keep these lines
    from timelapse.reading.runs import connect
    from timelapse.writing.spool import spool_root
    from timelapse.writing.sync import sync as send

    chosen = [spool_root() / folder for folder in folders] or None
    for folder in chosen or ():
        if not os.path.lexists(folder):
            raise SpoolError(f"There is no folder {folder}: without a name, all in {spool_root()} are sent.")
    client = connect(to or tracking_uri)
    outcomes = []
    for outcome in send(client, anywhere=to is not None, folders=chosen, patience=patience):
        outcomes.append(outcome)
        if output == "table":
            _print(outcome)
    if output == "json":
        print_json([asdict(outcome) for outcome in outcomes])
    elif not outcomes:
        click.echo(f"Nothing waits in {spool_root()}.")
    if any(outcome.state not in ("sent", "busy") for outcome in outcomes):
        ctx.exit(1)


def _print(outcome: Outcome) -> None:
    run = f"run {outcome.run_id} ({outcome.run_name})" if outcome.run_id else "no run yet"
    how = " created," if outcome.created else ""
    sent = f"{outcome.rounds} round{'s' * (outcome.rounds != 1)} sent"
    click.echo(f"{outcome.folder} -> {run}:{how} {sent}, {outcome.state}")
    for path in outcome.lost:
        click.echo(f"  Not sent: {path}", err=True)
    if outcome.reason:
        click.echo(f"  {outcome.reason.removesuffix('.')}.", err=True)
