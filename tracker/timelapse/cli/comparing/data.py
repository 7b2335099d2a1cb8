"""A comparison for other programs: CSV and JSON."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any

from timelapse.analysis.comparison_views import COLUMNS, flat_rows
from timelapse.analysis.slices import Slice
from timelapse.cli.terminal import visible
from timelapse.reading.export import harmless_text, json_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from timelapse.analysis.alignment import Pair
    from timelapse.analysis.comparison import Comparison


def as_csv(comparison: Comparison, pairs: tuple[Pair, ...]) -> str:
    """Return pairs as CSV with the columns of `COLUMNS`.

    A text that a spreadsheet would take for a formula gets an apostrophe in front, and control characters
    appear as escapes, because CSV is looked at in terminals, too. JSON has the texts as they are.
    """
    return table_as_csv(list(COLUMNS), flat_rows(comparison, pairs))


def slices_as_csv(comparison: Comparison) -> str:
    """Return the slices as CSV, in the manner of `as_csv`; the columns are the fields of `Slice`."""
    return table_as_csv([field.name for field in fields(Slice)], map(asdict, comparison.slices))


def table_as_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as CSV that neither a spreadsheet nor a terminal obeys: see `as_csv`."""
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, columns)
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(value) for name, value in row.items()})
    return file.getvalue()


def as_json(comparison: Comparison, pairs: tuple[Pair, ...]) -> str:
    """Return everything that a comparison holds as JSON, of its pairs these; NaN becomes null."""
    return json_text(asdict(replace(comparison, pairs=pairs)), indent=2, ascii=True) + "\n"


def _cell(value: Any) -> Any:
    return harmless_text(visible(value)) if isinstance(value, str) else value
