"""How much of a run may be decoded, for readers that must not trust what they read."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa


class ExcessError(ValueError):
    """A file holds more than may be decoded; the message says how much, and what is allowed."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most that is decoded."""

    file_bytes: int = 64 << 20
    """Bytes of one file, as it is stored."""
    rows: int = 1_000_000
    """Rows of all files together."""
    decoded_bytes: int = 256 << 20
    """Bytes of all tables together, in memory."""
    cells: int = 64_000_000
    """Rows of all files together times the columns that any of them has: what a file lacks are nulls."""
    characters: int = 200_000
    """Characters of one text; a longer one is cut, and a sentence says so."""


class Budget:
    """What is left of some bounds while a run is read; its files draw on it one after the other."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        """The whole of it."""
        self.turn = threading.RLock()
        """Held while a file is decoded, so that two never need their memory at once."""
        self.renew()

    def renew(self) -> None:
        """Begin anew: what was decoded so far is not used."""
        self.rows, self.decoded_bytes = self.bounds.rows, self.bounds.decoded_bytes
        self._columns: frozenset[str] = frozenset()

    def check(self, rows: int, decoded_bytes: int) -> None:
        """Raise an `ExcessError` if a table would be more than is left."""
        if rows > self.rows:
            raise ExcessError(
                f"it has {rows:,} rows; {self.rows:,} more are read here, of {self.bounds.rows:,}"
            )
        if decoded_bytes > self.decoded_bytes:
            raise ExcessError(
                f"it decodes to at least {decoded_bytes:,} bytes; {self.decoded_bytes:,} more are read here, "
                f"of {self.bounds.decoded_bytes:,}"
            )

    def spend(self, table: pa.Table) -> None:
        """Take a table that was decoded off what is left."""
        with self.turn:
            self.check(len(table), table.nbytes)
            columns = self._columns.union(table.column_names)
            self._check_cells(self.bounds.rows - self.rows + len(table), len(columns))
            self._columns = columns
            self.rows -= len(table)
            self.decoded_bytes -= table.nbytes

    def _check_cells(self, rows: int, columns: int) -> None:
        """Raise an `ExcessError` if the tables, stacked with all their columns, would be too large."""
        if rows * columns > self.bounds.cells:
            raise ExcessError(
                f"with it there are {columns:,} columns of {rows:,} rows; {self.bounds.cells:,} values are "
                "read here"
            )


class Budgets(NamedTuple):
    """What may be decoded of a run."""

    rounds: Budget
    """Of its rounds, and scores that came later."""
    samples: Budget
    """Of its samples."""


def shortened(rounds: pa.Table, most: int) -> tuple[pa.Table, list[str]]:
    """Return rows whose texts have at most so many characters, and a sentence for each column with longer."""
    import pyarrow as pa
    import pyarrow.compute as pc

    problems = []
    for place, field in enumerate(rounds.schema):
        column = rounds.column(place)
        if not (pa.types.is_string(field.type) or pa.types.is_large_string(field.type)):
            continue
        if (pc.max(pc.binary_length(column)).as_py() or 0) <= most:  # bytes are no fewer than characters
            continue
        long = pc.fill_null(pc.greater(pc.utf8_length(column), most), False)
        if count := pc.sum(long).as_py():
            cut = pc.binary_join_element_wise(pc.utf8_slice_codeunits(column, 0, most - 1), "…", "")
            rounds = rounds.set_column(place, field, pc.if_else(long, cut, column).cast(field.type))
            texts = "text has" if count == 1 else "texts have"
            problems.append(
                f"column '{field.name}': {count:,} {texts} more than {most:,} characters: cut here"
            )
    return rounds, problems
