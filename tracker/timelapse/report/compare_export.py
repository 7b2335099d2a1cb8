"""A comparison as a file, as `timelapse compare --format` writes it: whole texts, and every row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from timelapse.report.compare_view import Compared

ExportFormat = Literal["csv", "json"]

MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "json": "application/json"}
"""What goes into Content-Type."""


def comparison_file(compared: Compared, kind: ExportFormat) -> bytes:
    """Return a comparison as CSV (a line an answer and run) or JSON (everything), in UTF-8.

    In CSV a text that a spreadsheet would run as a formula has an apostrophe in front.
    """
    from timelapse.cli.comparing.data import as_csv, as_json

    make = as_csv if kind == "csv" else as_json
    return make(compared.comparison, compared.comparison.pairs).encode()
