"""What the commands share for showing things in a terminal."""

from __future__ import annotations

import math
import unicodedata
from typing import TYPE_CHECKING, Any

import click

from timelapse.analysis.diff import word_diff

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

WIDE = 100
"""Screens of this many columns or more have room for everything."""

_FOLDED = 6  # columns that a text which may be folded must have
_ENDLESS = 10_000
_HEADING = 3  # columns in which one still knows a heading that is cut
_BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029"


def place_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where to look: `--experiment` and `--tracking-uri`."""
    uri = click.option(
        "--tracking-uri", metavar="URI", help="Where MLflow is. [default: MLflow's own setting]"
    )
    experiment = click.option("--experiment", metavar="NAME", help="Look only in this experiment.")
    return experiment(uri(command))


format_option = click.option(
    "--format",
    "output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="A table to read, or JSON to process.",
)
"""The option `--format`, handed over as `output`."""


class Finite(click.FloatRange):
    """A number of an option, in a range. NaN lies in none: it would switch off what it is compared with."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number that a text is."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{number} is no finite number.", param, ctx)
        return number


def console() -> Console:
    """Return the terminal: nothing that is printed there is read as markup."""
    from rich.console import Console

    return Console(markup=False, emoji=False, highlight=False)


def text_table() -> Table:
    """Return an empty table with a rule under its headings and no other lines; narrow on a narrow screen."""
    from rich import box
    from rich.table import Table

    gap = 1 if console().width >= WIDE else 0
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, gap, 0, 0), show_edge=False)


def print_table(screen: Console, table: Table) -> None:
    """Print a table; on a screen that would cut its values each row as pairs of heading and value."""
    from rich.text import Text

    needed = [_needed(column) for column in table.columns]
    spare = screen.width - sum(needed) - (len(needed) - 1) * (1 + table.padding[1])
    if spare >= 0:
        if table.__rich_measure__(screen, screen.options.update(max_width=_ENDLESS)).maximum > screen.width:
            _share_out(table, needed, spare)
        screen.print(table)
        return
    for row in zip(*(column.cells for column in table.columns), strict=True):
        line = Text()
        for column, cell in zip(table.columns, row, strict=True):
            if not str(cell):
                continue
            value = cell if isinstance(cell, Text) else str(cell)
            pair = Text.assemble((str(column.header), "dim"), " ", value)
            if line and line.cell_len + 2 + pair.cell_len > screen.width:
                screen.print(line)
                line = Text()
            line = Text.assemble(line, "  " if line or column is not table.columns[0] else "", pair)
        screen.print(line)


def _share_out(table: Table, needed: Sequence[int], spare: int) -> None:
    """Give columns what their values need, then headings what is to spare, then texts that would fold."""
    from rich.cells import cell_len

    columns = list(zip(table.columns, needed, strict=True))
    for column, least in sorted(columns, key=lambda pair: _folds(pair[0])):
        words = [str(column.header)] if column.no_wrap else str(column.header).split()
        words += map(str, column.cells) if _folds(column) else []
        more = max(0, min(spare, max(map(cell_len, words), default=0) - least))
        column.width, spare = least + more, spare - more
        column.overflow = "fold" if _folds(column) else "ellipsis"


def _needed(column: Column) -> int:
    """Return how wide a column must be so that no value is cut; a heading may be."""
    from rich.cells import cell_len

    cells = [str(cell) for cell in column.cells]
    pieces = cells if column.no_wrap else [word for cell in cells for word in cell.split()]
    longest = max(map(cell_len, pieces), default=0)
    return min(longest, _FOLDED) if _folds(column) else max(longest, _HEADING)


def _folds(column: Column) -> bool:
    return column.overflow == "fold" and not column.no_wrap


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout; numbers that JSON does not have (NaN) become null."""
    from timelapse.reading.export import json_text

    click.echo(json_text(value, indent=2, ascii=True))


def visible(text: str, *, one_line: bool = False) -> str:
    r"""Return a model's text such that a terminal shows it and obeys none of it.

    Control characters and those that turn the writing direction appear as escapes (`\x1b`, `\u202e`).
    Tabs and line breaks stay, or with `one_line` become a space and `⏎`.
    """
    if one_line:
        text = text.replace("\r\n", "\n").replace("\n", "⏎").replace("\t", " ")
    return "".join(character if _harmless(character) else _escaped(character) for character in text)


def diff_text(before: str, after: str, *, colour: bool) -> Text:
    """Return how a text changed: green underlined what came, red struck through what went.

    Without colour the marks are those of wdiff: `[-gone-]` and `{+come+}`.
    """
    from rich.text import Text

    result = Text()
    for operation, piece in word_diff(before, after):
        shown = visible(piece)
        if operation == "equal":
            result.append(shown)
        elif colour:
            result.append(shown, style="green underline" if operation == "insert" else "red strike")
        else:
            result.append(f"{{+{shown}+}}" if operation == "insert" else f"[-{shown}-]")
    return result


def number(value: float | None, digits: int = 2) -> str:
    """Return a number for a table cell; a dash where there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def listed(numbers: Sequence[int]) -> str:
    """Return numbers for a message: `0 to 31` if they are without gaps, else one by one."""
    if len(numbers) > 2 and list(numbers) == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    if len(numbers) > 30:
        return ", ".join(map(str, numbers[:15])) + ", …, " + ", ".join(map(str, numbers[-5:]))
    return ", ".join(map(str, numbers))


def state_style(state: str) -> str:
    """Return the colour of a predictions status."""
    colours = {"finished": "green", "live": "cyan", "failed": "red", "degraded": "yellow", "disabled": "dim"}
    return colours.get(state.partition(":")[0], "")


def _harmless(character: str) -> bool:
    return character in "\n\t" or (
        unicodedata.category(character) not in ("Cc", "Cs") and character not in _BIDI
    )


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def has_colour() -> bool:
    """Return whether the terminal shows colours."""
    screen = console()
    return screen.color_system is not None and not screen.no_color
