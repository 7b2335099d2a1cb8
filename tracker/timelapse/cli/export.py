"""`timelapse export`: predictions as a file for other programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from timelapse.cli.terminal import place_options

if TYPE_CHECKING:
    from timelapse.reading.gathering import Rounds


@click.command(
    epilog="Example: timelapse export last -o answers.csv --rounds best --columns prompt,prediction"
)
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@click.option("-o", "--output", "target", metavar="FILE", required=True, help="The file; `-` is stdout.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["csv", "parquet", "jsonl"]),
    help="The format. [default: as the file's ending says; csv on stdout]",
)
@click.option(
    "--rounds", default="all", show_default=True, metavar="all|last|best|STEP,STEP", help="Which rounds."
)
@click.option("--columns", metavar="NAME,NAME", help="Only these columns, in this order. [default: all]")
@click.option("--force", is_flag=True, help="Replace a file that exists.")
@place_options
def export(
    runs: tuple[str, ...],
    target: str,
    kind: str | None,
    rounds: str,
    columns: str | None,
    force: bool,
    experiment: str | None,
    tracking_uri: str | None,
) -> None:
    """Write the predictions of the RUNs to FILE: CSV, Parquet or JSON lines; of all runs if none is named.

    RUN is a run's id, the beginning of an id, its name, or `last`. In CSV, texts that a spreadsheet would
    run as a formula get an apostrophe in front.
    """
    from timelapse.reading.export import check_target, export_file, format_of, write_table
    from timelapse.reading.gathering import gather

    path = Path(target)
    if target != "-":
        kind = kind or format_of(path)
        check_target(path, force=force)
    gathered = gather(
        list(runs) or None,
        experiment=experiment,
        rounds=_rounds(rounds),
        columns=_names(columns),
        tracking_uri=tracking_uri,
    )
    for problem in gathered.problems:
        click.echo(f"Warning: {problem}", err=True)
    if target == "-":
        write_table(gathered.table, sys.stdout.buffer, kind or "csv")
        return
    export_file(gathered.table, path, kind or "csv", force=force)
    click.echo(f"{path}: {len(gathered.table)} rows", err=True)


def _rounds(text: str) -> Rounds:
    parts = [part.strip() for part in text.split(",")]
    if all(part.isdecimal() for part in parts):
        return [int(part) for part in parts]
    if text not in ("all", "last", "best"):
        raise click.BadParameter(
            f"{text!r} is neither all, last nor best, nor steps such as 0,100.", param_hint="--rounds"
        )
    return text  # type: ignore[return-value]  # one of the three


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]
