"""A run's answers as rows: filtered, sorted, page by page."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from timelapse.reading.export import json_text
from timelapse.report.answer_rows import AnswerRows, Filter
from timelapse_plugins.api.access import MOST_ID, Attempt, OfRun, RunAccess, SetName
from timelapse_plugins.api.answers import answer
from timelapse_plugins.api.cursors import Cursor

if TYPE_CHECKING:
    import numpy as np

    from timelapse_plugins.api.run_data import HeldView

router = APIRouter()

MOST_ROWS = 500
"""Rows of a page."""
MOST_BYTES = 8 << 20
"""Bytes of a page's rows in memory: one with long texts ends earlier than asked for."""

Steps = Annotated[list[Annotated[int, Query(ge=-(2**62), le=2**62)]], Query(alias="step", max_length=500)]
Epochs = Annotated[list[float], Query(alias="epoch", max_length=500)]
Ids = Annotated[
    list[Annotated[str, Query(max_length=MOST_ID)]],
    Query(alias="sample", max_length=500, description="Ids of samples."),
]
Names = Annotated[list[Annotated[str, Query(max_length=300)]], Query(max_length=500)]
Order = Annotated[
    Literal["asc", "desc"], Query(description="The direction; missing values are last in both.")
]
Limit = Annotated[int, Query(ge=1, le=MOST_ROWS, description="Rows of a page, at most.")]


@dataclass(frozen=True, slots=True)
class Predictions:
    """A page of a run's answers."""

    set: str
    """The sample set."""
    columns: list[str]
    """The names of the columns: those of `timelapse.load_predictions`, then `sample_class`."""
    rows: list[dict[str, Any]]
    """The rows, by column; numbers that are not finite are null. Besides `columns` each has `marks`, the
    names of what there is to say of the answer, and `tags`, those of its sample."""
    total: int
    """How many rows meet the filter."""
    counts: dict[str, dict[str, int]]
    """How many of them have each `status`, `sample_class` and `mark`."""
    next_cursor: str | None
    """What to give as `cursor` for the page after this one; None: this was the last."""
    problems: list[str]
    """What could not be read."""


@router.get("/runs/{run_id}/predictions", response_model=Predictions)
async def predictions(
    access: OfRun,
    set_name: SetName = None,
    attempt: Attempt = None,
    steps: Steps = [],  # noqa: B006 - FastAPI copies it
    epochs: Epochs = [],  # noqa: B006
    samples: Ids = [],  # noqa: B006
    text: Annotated[str, Query(max_length=1000, description="In prompt, reference or answer.")] = "",
    classes: Annotated[Names, Query(alias="class", description="Classes of samples.")] = [],  # noqa: B006
    statuses: Annotated[Names, Query(alias="status", description="ok, error, skipped.")] = [],  # noqa: B006
    tags: Annotated[Names, Query(alias="tag", description="Tags of samples.")] = [],  # noqa: B006
    marks: Annotated[Names, Query(alias="mark", description="learned, truncated, …")] = [],  # noqa: B006
    sort: Annotated[
        str | None, Query(max_length=300, description="A column; else as they are stored.")
    ] = None,
    order: Order = "asc",
    cursor: Annotated[str | None, Query(max_length=2000, description="Where the page before ended.")] = None,
    limit: Limit = 50,
) -> Response:
    """Return a page of the answers that meet a filter: every condition, and of its values one."""
    held = await access.view(set_name, attempt)
    wanted = Filter(
        *(tuple(steps), tuple(epochs), tuple(samples), text),
        *(tuple(classes), tuple(statuses), tuple(tags), tuple(marks)),
    )
    page = _Page(wanted, sort, order == "desc", cursor, limit)
    rows = await answer_rows(access, held)
    body = await access.service.data.made(held, ("page", page), lambda: page.made(rows, held), len)
    return answer(access.request, body)


async def answer_rows(access: RunAccess, held: HeldView) -> AnswerRows:
    """Return the rows of a view, made once."""
    return await access.service.data.made(
        held, ("rows",), lambda: AnswerRows(held.view, access.run.entity()), lambda rows: rows.nbytes
    )


@dataclass(frozen=True, slots=True)
class _Page:
    """What a request asks for."""

    wanted: Filter
    sort: str | None
    descending: bool
    cursor: str | None
    limit: int

    @property
    def query(self) -> str:
        """A hash of filter and order: what a cursor is bound to."""
        told = repr((self.wanted, self.sort, self.descending))
        return hashlib.sha256(told.encode("utf-8", "replace")).hexdigest()[:16]

    def made(self, rows: AnswerRows, held: HeldView) -> bytes:
        """Return the page as JSON.

        Raises:
            RunError: There is no such column or mark.
            Problem: The cursor is none of this query.
        """
        found = rows.where(self.wanted)
        order = rows.ordered(found, self.sort, descending=self.descending)
        start = Cursor.parse(self.cursor, self.query).start(rows, order) if self.cursor else 0
        places = _fitting(rows, order[start : start + self.limit])
        end = start + len(places)
        page = {
            "set": held.view.set_name,
            "columns": rows.columns,
            "rows": [
                row | {"marks": _mark_names(rows, place), "tags": rows.tags(place)}
                for row, place in zip(rows.rows(places), places, strict=True)
            ],
            "total": len(found),
            "counts": rows.counts(found),
            "next_cursor": str(Cursor.after(self.query, rows, order, end)) if end < len(order) else None,
            "problems": held.view.problems,
        }
        return json_text(page).encode("utf-8", "replace")


def _fitting(rows: AnswerRows, places: np.ndarray) -> list[int]:
    """Return as many of the places as a page may hold by their bytes, one at least."""
    fitting: list[int] = places.tolist()
    while len(fitting) > 1 and rows.bytes_of(fitting) > MOST_BYTES:
        fitting = fitting[: len(fitting) // 2]
    return fitting


def _mark_names(rows: AnswerRows, place: int) -> list[str]:
    from timelapse.report.marks import Mark

    bits = int(rows.marks[place])
    return [name.lower() for name, bit in Mark.__members__.items() if bits & bit]
