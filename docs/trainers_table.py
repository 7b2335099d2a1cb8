"""Write the table of docs/trainers.md from the cells that the tests run: `python docs/trainers_table.py`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from cells import CELLS, PRECISIONS, Cell  # noqa: E402 - found by the line above

PAGE = ROOT / "docs" / "trainers.md"
_BETWEEN = re.compile(r"(?<=<!-- the table begins -->\n).*?(?=<!-- the table ends -->)", re.S)


def table() -> str:
    """Return the table: a row for each trainer and number of ranks, a column for each precision."""
    rows = list(dict.fromkeys((cell.trainer, cell.ranks) for cell in CELLS))
    notes: dict[str, int] = {}
    lines = [f"| trainer | ranks | {' | '.join(PRECISIONS)} |", "|---" * (len(PRECISIONS) + 2) + "|"]
    for trainer, ranks in rows:
        found = {cell.precision: cell for cell in CELLS if (cell.trainer, cell.ranks) == (trainer, ranks)}
        outcomes = [_outcome(found.get(precision), notes) for precision in PRECISIONS]
        lines.append(f"| {trainer} | {ranks} | {' | '.join(outcomes)} |")
    said = [f"{number}. Refused with: “… {message} …”" for message, number in notes.items()]
    return "\n".join([*lines, "", *said, ""])


def renewed(page: str) -> str:
    """Return a page with the table of today."""
    return _BETWEEN.sub(lambda _found: table(), page)


def _outcome(cell: Cell | None, notes: dict[str, int]) -> str:
    if cell is None:
        return ""
    text = f"[{cell.outcome}](../{cell.test})"
    if cell.message is None:
        return text
    return f"{text} ({notes.setdefault(cell.message, len(notes) + 1)})"


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
