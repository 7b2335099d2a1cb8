"""Showing a comparison, and judging it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from timelapse.cli.comparing.gates import not_compared
from timelapse.cli.terminal import visible

if TYPE_CHECKING:
    from pathlib import Path

    from timelapse.analysis.alignment import Pair
    from timelapse.analysis.comparison import Comparison
    from timelapse.analysis.slices import Slice
    from timelapse.cli.comparing.options import Report

TITLES = {"regressions": "Worse", "improvements": "Better", "disagree": "Different answers"}
"""The heading of each list."""
NO_SLICES = "Slices: none. A tag, or a column with few different texts or yes and no, makes them."
"""What `--slices` says where there are none."""


def finish(comparison: Comparison, report: Report) -> None:
    """Show a comparison, and end the program with 1 if a gate fails.

    Raises:
        RunError: A gate cannot be judged.
    """
    if report.file is not None:
        save(report.file, rendered(comparison, report))
    elif report.format == "table":
        from timelapse.cli.comparing.table import draw
        from timelapse.cli.terminal import console

        draw(console(), comparison, report)
    else:
        put_out(rendered(comparison, report))
    if report.format in ("csv", "json") or report.file is not None:
        say(comparison.notes)
    failures = report.gates.failures(comparison)
    say(not_compared(comparison))
    for failure in failures:
        click.echo(f"Gate failed: {visible(failure, one_line=True)}", err=True)
    if failures:
        click.get_current_context().exit(1)


def rendered(comparison: Comparison, report: Report) -> str:
    """Return a comparison as a text in the format asked for."""
    if report.format == "table":
        from timelapse.cli.comparing.table import as_text

        return as_text(comparison, report)
    if report.format == "markdown":
        from timelapse.cli.comparing.markdown import as_markdown

        return as_markdown(comparison, report)
    from timelapse.cli.comparing.data import as_csv, as_json, slices_as_csv

    if report.slices and report.format == "csv":
        return slices_as_csv(comparison)
    pairs = listed_pairs(comparison, report.only) if report.only else comparison.pairs
    return as_csv(comparison, pairs) if report.format == "csv" else as_json(comparison, pairs)


def shown_lists(comparison: Comparison, report: Report) -> dict[str, tuple[Pair, ...]]:
    """Return the lists to show by name: those asked for; without a score that decides, differing texts."""
    names = (report.only,) if report.only else report.lists
    if comparison.score is None and not report.only:
        names = ("disagree",)
    return {name: listed_pairs(comparison, name) for name in names}


def shown_slices(comparison: Comparison, report: Report) -> dict[Slice, str]:
    """Return the slices to show, each with why it stands out: the worst, or with `--slices` all."""
    worst = {each.slice: each.why for each in comparison.worst_slices}
    return {each: worst.get(each, "") for each in comparison.slices} if report.slices else worst


def listed_pairs(comparison: Comparison, name: str) -> tuple[Pair, ...]:
    """Return one of the lists that `--only` names."""
    if name == "disagree":
        return comparison.disagreements
    return comparison.regressions if name == "regressions" else comparison.improvements


def put_out(text: str) -> None:
    """Write to standard output: what goes to a file or program is UTF-8, whatever the terminal would show."""
    click.echo(text if sys.stdout.isatty() else text.encode(), nl=False)


def save(file: Path, text: str) -> None:
    """Write a file aside and rename it, so that it is never there by half."""
    aside = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        aside.write_bytes(text.encode())
        aside.replace(file)
    except OSError as error:
        raise click.BadParameter(f"{file} cannot be written: {error.strerror}", param_hint="'-o'") from error
    finally:
        aside.unlink(missing_ok=True)


def say(sentences: list[str] | tuple[str, ...]) -> None:
    """Say sentences on stderr, for whom the output itself does not reach."""
    for sentence in sentences:
        click.echo(f"Note: {visible(sentence, one_line=True)}", err=True)
