"""`timelapse config check`: is everything right in a configuration, and in the files that it names?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from timelapse.cli.terminal import visible

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from timelapse.config.checking import Checked


def config_arguments(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument CONFIG and the option `--set` (handed over as `overrides`) to a command."""
    override = click.option(
        "--set", "overrides", multiple=True, metavar="A.B=C", help="Override a field of the configuration."
    )
    path = click.argument("config", type=click.Path(dir_okay=False, path_type=Path))
    return path(override(command))


@click.command(epilog="Example: timelapse config check config.yaml --set training.max_steps=100")
@config_arguments
def check(config: Path, overrides: tuple[str, ...]) -> None:
    """Check CONFIG and the files that it names; list everything that is wrong.

    Every problem stands at its field, with file and line: values, names, limits, a schedule that never fires,
    training data and samples that cannot be read, scorers and validators. Needs no torch. Ends with 2 if
    something is wrong.
    """
    from timelapse.config.checking import check_config

    checked = check_config(config, overrides)
    print_notes(checked.notes)
    click.echo(f"{visible(str(config), one_line=True)}: nothing is wrong.")
    click.echo(_summary(checked))


def print_notes(notes: tuple[str, ...]) -> None:
    """Print what the user should know, on stderr."""
    for note in notes:
        click.echo(f"Note: {visible(note, one_line=True)}", err=True)


def _summary(checked: Checked) -> str:
    from timelapse.schedule import Schedule

    course, predictions = checked.course, checked.config.predictions
    training = (
        f"{_counted(checked.train_rows, 'row')} to train on, {checked.eval_rows:,} to evaluate on; "
        f"{_counted(course.max_steps, 'step')} in {course.epochs:.4g} epoch{'s' * (course.epochs != 1)}."
    )
    if not predictions.enabled:
        return f"{training} No predictions."
    return f"{training} {_counted(checked.samples, 'sample')}, {Schedule.of(predictions).describe()}."


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"
