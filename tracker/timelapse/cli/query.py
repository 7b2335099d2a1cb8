"""`timelapse query`: SQL over the rounds of runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from timelapse.cli.terminal import Finite, console, place_options, print_json, text_table, visible

if TYPE_CHECKING:
    import pyarrow as pa

EXAMPLE = (
    'timelapse query "SELECT run_name, step, avg(exact_match) FROM predictions GROUP BY ALL ORDER BY ALL"'
)

LONGEST = 86_400
"""Most seconds that a query may be given: a timer cannot wait for ever."""
GRACE = 3
"""Seconds that a query which ran out of its time has to stop by itself."""
MEMORY = 1_500_000_000
"""Bytes that a query and its result may take, counted for the whole program."""


@click.command(epilog=f"Example: {EXAMPLE}")
@click.argument("sql")
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@place_options
@click.option(
    "--limit",
    "--max-rows",
    "limit",
    type=click.IntRange(min=1, max=1_000_000_000),
    default=1000,
    show_default=True,
    help="Show at most this many rows.",
)
@click.option(
    "--timeout",
    type=Finite(min=0, min_open=True, max=LONGEST),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="End the query after this time.",
)
@click.option(
    "--format",
    "output",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="A table to read, or CSV or JSON to process.",
)
def query(
    sql: str,
    runs: tuple[str, ...],
    experiment: str | None,
    tracking_uri: str | None,
    limit: int,
    timeout: float,
    output: str,
) -> None:
    """Run one SELECT (DuckDB's SQL) over the view `predictions`.

    It has a row per run, round, sample and generation, of the RUNs named (an id, the beginning of one, a
    name, or `last`) or of all. Nothing else can be read, and nothing be written.
    """
    from timelapse.cli.hard_bounds import ended_after, memory_bounded
    from timelapse.reading.export import write_table
    from timelapse.reading.gathering import gather
    from timelapse.reading.sql import run_query, too_slow

    gathered = gather(list(runs) or None, experiment=experiment, tracking_uri=tracking_uri)
    for problem in gathered.problems:
        click.echo(f"Warning: {problem}", err=True)
    with ended_after(timeout + GRACE, too_slow(timeout)), memory_bounded(MEMORY):
        found, more = run_query(gathered.table, sql, max_rows=limit, timeout=timeout)
    if output == "json":
        print_json(found.to_pylist())
    elif output == "csv":
        write_table(found, sys.stdout.buffer, "csv")
    else:
        _print_table(found)
    if more:
        click.echo(f"There are more than {limit} rows: --limit shows more.", err=True)


def _print_table(found: pa.Table) -> None:
    table = text_table()
    for name, column in zip(found.column_names, found.columns, strict=True):
        numbers = all(isinstance(value, int | float) or value is None for value in column.to_pylist())
        heading = visible(name, one_line=True)
        table.add_column(heading, justify="right" if numbers else "left", overflow="fold", vertical="top")
    for row in found.to_pylist():
        table.add_row(*map(_cell, row.values()))
    console().print(table)
    console().print(f"\n{len(found)} row{'s' * (len(found) != 1)}", style="dim")


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else visible(str(value), one_line=True)
