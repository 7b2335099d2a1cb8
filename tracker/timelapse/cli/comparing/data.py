"""A comparison for other programs: CSV and JSON."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from timelapse.analysis.comparison_views import COLUMNS, flat_rows
from timelapse.cli.terminal import visible
from timelapse.reading.export import harmless_text, json_text

if TYPE_CHECKING:
    from timelapse.analysis.alignment import Pair
    from timelapse.analysis.comparison import Comparison


def as_csv(comparison: Comparison, pairs: tuple[Pair, ...]) -> str:
    """Return pairs as CSV with the columns of `COLUMNS`.

    A text that a spreadsheet would take for a formula gets an apostrophe in front, and control characters
    appear as escapes, because CSV is looked at in terminals, too. JSON has the texts as they are.
    """
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(COLUMNS))
    writer.writeheader()
    for row in flat_rows(comparison, pairs):
        writer.writerow({name: _cell(value) for name, value in row.items()})
    return file.getvalue()


def as_json(comparison: Comparison, pairs: tuple[Pair, ...]) -> str:
    """Return everything that a comparison holds as JSON, of its pairs these; NaN becomes null."""
    return json_text(asdict(replace(comparison, pairs=pairs)), indent=2, ascii=True) + "\n"


def _cell(value: Any) -> Any:
    return harmless_text(visible(value)) if isinstance(value, str) else value
