"""The options of `timelapse compare` and `timelapse diff`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from timelapse.cli.comparing.gates import Gates
from timelapse.cli.terminal import Finite, place_options

if TYPE_CHECKING:
    from collections.abc import Callable

LISTS = ("regressions", "improvements", "disagree")
"""What `--only` knows."""
FORMATS = ("table", "markdown", "csv", "json")
"""What `--format` knows."""
LIMIT = 10
"""Answers shown in each list, unless `--limit` says otherwise."""


@dataclass(frozen=True, slots=True)
class Report:
    """How a comparison is to be shown and judged."""

    format: str
    """One of `FORMATS`."""
    only: str | None
    """One of `LISTS`, or None for those that the format shows by default."""
    limit: int
    """Most answers in a list of a table or Markdown; CSV and JSON always hold all."""
    file: Path | None
    """Where it is written; None for standard output."""
    gates: Gates
    """What makes the command fail."""
    lists: tuple[str, ...]
    """Of `LISTS`, those shown by default."""
    slices: bool
    """Whether all slices are listed, not only the worst."""


def comparison_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how to compare, show and judge; `report_of` reads those of the latter two."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return place_options(command)


def report_of(settings: dict[str, Any], *lists: str) -> Report:
    """Return how to show and judge, from the values of the options; `lists` are shown by default."""
    return Report(
        format=settings["output"] or _format_of(settings["file"]),
        only=settings["only"],
        limit=settings["limit"],
        file=None if str(settings["file"]) == "-" else settings["file"],
        gates=Gates(settings["fail_on_regressions"], settings["fail_if_worse"]),
        lists=lists,
        slices=settings["slices"],
    )


_BY_ENDING = {".md": "markdown", ".csv": "csv", ".json": "json"}


def _format_of(file: Path | None) -> str:
    """Return the format that a file's name asks for."""
    return _BY_ENDING.get(file.suffix.lower(), "table") if file is not None else "table"


_OPTIONS = (
    click.option(
        "--score",
        metavar="NAME",
        help="The score that decides; higher is better. [default: exact_match, else the first in common]",
    ),
    click.option(
        "--set", "set_name", metavar="NAME", help="The sample set. [default: main, or the only one]"
    ),
    click.option(
        "--only",
        type=click.Choice(LISTS),
        help="List only answers that got worse, that got better, or whose texts differ.",
    ),
    click.option(
        "--slices",
        is_flag=True,
        help="List the score of all slices: samples with the same tag, or value in a column. CSV: only them.",
    ),
    click.option(
        "--format",
        "output",
        type=click.Choice(FORMATS),
        help="A table to read, Markdown for a pull request, CSV of the answers, or everything as JSON. "
        "[default: what the name of the -o file ends in, else table]",
    ),
    click.option(
        "-o",
        "--output",
        "file",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Write to this file, which appears only when it is complete; `-` is stdout.",
    ),
    click.option(
        "--limit",
        type=click.IntRange(min=1),
        default=LIMIT,
        show_default=True,
        help="Most answers in a list of a table or Markdown; CSV and JSON hold all.",
    ),
    click.option(
        "--fail-on-regressions",
        type=click.IntRange(min=1),
        metavar="K",
        help="Exit with 1 if K samples or more got worse; 1 allows none. An answer that fails counts.",
    ),
    click.option(
        "--fail-if-worse",
        type=Finite(0, 1, min_open=True, max_open=True),
        metavar="P",
        help="Exit with 1 if more samples got worse than better and the two-sided sign test's p is below P "
        "(between 0 and 1, such as 0.05).",
    ),
)
