"""`timelapse report`: a run as one HTML file."""

from __future__ import annotations

from pathlib import Path

import click

from timelapse.cli.terminal import Finite, place_options


@click.command(epilog="Example: timelapse report last -o verbs.html")
@click.argument("run")
@click.option(
    "-o",
    "--output",
    "target",
    metavar="FILE",
    default="report.html",
    show_default=True,
    help="The file; `-` is stdout.",
)
@click.option(
    "--set", "set_names", metavar="NAME", multiple=True, help="Only this sample set; may be repeated."
)
@click.option(
    "--max-mb",
    type=Finite(min=0.5),
    default=20.0,
    show_default=True,
    help="How large the file may become; the page says which samples were left out.",
)
@click.option("--force", is_flag=True, help="Replace a file that exists.")
@place_options
def report(
    run: str,
    target: str,
    set_names: tuple[str, ...],
    max_mb: float,
    force: bool,
    experiment: str | None,
    tracking_uri: str | None,
) -> None:
    """Write the RUN's page to one HTML file that needs no server and loads nothing.

    RUN is a run's id, the beginning of its id, its name, or `last`: the newest run with predictions.
    """
    from timelapse.reading.export import check_target, write_file
    from timelapse.report.reading import report_of_run

    path = Path(target)
    if target != "-":
        check_target(path, force=force)
    made = report_of_run(
        run,
        set_names=set_names,
        max_bytes=round(max_mb * 1e6),
        experiment=experiment,
        tracking_uri=tracking_uri,
    )
    for sentence in made.left_out:
        click.echo(f"Warning: {sentence[0].upper()}{sentence[1:]}; --max-mb makes room for more.", err=True)
    data = made.html.encode()
    if target == "-":
        click.echo(data, nl=False)
        return
    write_file(path, lambda file: file.write(data), force=force)
    click.echo(f"{path}: {len(data) / 1e6:.1f} MB", err=True)
