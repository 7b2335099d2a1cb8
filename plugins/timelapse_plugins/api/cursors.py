"""Cursors: where a page of rows ended, as a text for the next request."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from timelapse_plugins.api.problems import Problem

if TYPE_CHECKING:
    import numpy as np

    from timelapse.report.answer_rows import AnswerRows

_KEY = ("step", "sample_id", "generation", "attempt")


@dataclass(frozen=True, slots=True)
class Cursor:
    """The end of a page of answers: its last row, and how many rows came before the next one."""

    query: str
    """A hash of what was asked for: a cursor is of use only with the same filter and order."""
    offset: int
    """Rows before the next page."""
    key: tuple[Any, ...]
    """What tells the last row apart, so that it is found again when a run has grown."""

    @classmethod
    def after(cls, query: str, rows: AnswerRows, order: np.ndarray, offset: int) -> Cursor:
        """Return the cursor of a page that ends before `offset`."""
        return cls(query, offset, _key(rows, int(order[offset - 1])))

    @classmethod
    def parse(cls, text: str, query: str) -> Cursor:
        """Return what a text says.

        Raises:
            Problem: It is no cursor, or one of another query.
        """
        hint = "Take `next_cursor` of the page before, with the same filter and order; or begin without one."
        try:
            told, offset, key = json.loads(base64.urlsafe_b64decode(text.encode()))
            cursor = cls(str(told), int(offset), _checked(*key))
        except (ValueError, TypeError, binascii.Error, RecursionError, OverflowError):
            raise Problem(422, "cursor: this is no cursor.", hint) from None
        if cursor.query != query or cursor.offset < 1:
            raise Problem(422, "cursor: it belongs to another query.", hint)
        return cursor

    def start(self, rows: AnswerRows, order: np.ndarray) -> int:
        """Return where the next page begins: behind the last row, wherever that has moved to."""
        import numpy as np

        at = min(self.offset, len(order))
        if at and _key(rows, int(order[at - 1])) == self.key:
            return at
        found = _places(rows, self.key)
        moved = np.isin(order, found).nonzero()[0]
        return int(moved[0]) + 1 if len(moved) else at

    def __str__(self) -> str:
        told = json.dumps([self.query, self.offset, self.key], separators=(",", ":"))
        return base64.urlsafe_b64encode(told.encode()).decode()


def _key(rows: AnswerRows, row: int) -> tuple[Any, ...]:
    return tuple(rows.table.column(name)[row].as_py() for name in _KEY)


def _checked(step: Any, sample_id: Any, generation: Any, attempt: Any) -> tuple[Any, ...]:
    """Return a key that Arrow can hold; raise a ValueError if it is none."""
    numbers = [each for each in (step, generation, attempt) if each is not None]
    if not all(type(each) is int and abs(each) < 2**63 for each in numbers):
        raise ValueError("these are no numbers of a row")
    if not isinstance(sample_id, str):
        raise ValueError("this is no sample's id")
    sample_id.encode()  # half a character is a ValueError, too
    return step, sample_id, generation, attempt


def _places(rows: AnswerRows, key: tuple[Any, ...]) -> np.ndarray:
    """Return which rows have a key: no loop over rows, since anybody can make a cursor that none has."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    holds = np.ones(len(rows.table), dtype=bool)
    for name, value in zip(_KEY, key, strict=True):
        column, kind = rows.table.column(name), pa.string() if name == "sample_id" else pa.int64()
        same = pc.is_null(column) if value is None else pc.equal(column.cast(kind), pa.scalar(value, kind))
        holds &= pc.fill_null(same, False).to_numpy()
    return holds.nonzero()[0]
