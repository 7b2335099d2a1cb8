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
            cursor = cls(str(told), int(offset), tuple(key))
        except (ValueError, TypeError, binascii.Error, RecursionError, OverflowError):
            raise Problem(422, "cursor: this is no cursor.", hint) from None
        if cursor.query != query or cursor.offset < 1:
            raise Problem(422, "cursor: it belongs to another query.", hint)
        return cursor

    def start(self, rows: AnswerRows, order: np.ndarray) -> int:
        """Return where the next page begins: behind the last row, wherever that has moved to."""
        at = min(self.offset, len(order))
        if at and _key(rows, int(order[at - 1])) == self.key:
            return at
        for place, row in enumerate(order.tolist()):
            if _key(rows, row) == self.key:
                return place + 1
        return at

    def __str__(self) -> str:
        told = json.dumps([self.query, self.offset, self.key], separators=(",", ":"))
        return base64.urlsafe_b64encode(told.encode()).decode()


def _key(rows: AnswerRows, row: int) -> tuple[Any, ...]:
    return tuple(rows.table.column(name)[row].as_py() for name in _KEY)
