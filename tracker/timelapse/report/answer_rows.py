"""A run's answers as rows to filter, sort and page through, with the columns of `load_predictions`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from timelapse.errors import RunError
from timelapse.hints import nearest
from timelapse.reading.tidy import COLUMNS, final_names, tidy
from timelapse.report.marks import Mark

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from mlflow.entities import Run

    from timelapse.report.run_view import RunView

ASKED = ("prompt", "reference")
"""Columns that are the sample's, and stand here once for it and not in every row."""
SAMPLE_CLASS = "sample_class"
"""The column of the sample's class."""

_MARKS = "timelapse_marks"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows are wanted: those that meet every condition; of a condition's values one is enough."""

    steps: Collection[int] = ()
    """Steps of the rounds; empty: all, here and below."""
    epochs: Collection[float] = ()
    """Epochs of the rounds."""
    samples: Collection[str] = ()
    """Ids of samples."""
    text: str = ""
    """What prompt, reference or answer must hold; case does not matter."""
    classes: Collection[str] = ()
    """Classes of samples: `learned`, `forgotten`, …"""
    statuses: Collection[str] = ()
    """`ok`, `error`, `skipped`."""
    tags: Collection[str] = ()
    """Tags of samples."""
    marks: Collection[str] = ()
    """Names of `Mark`s in lower case: `learned`, `truncated`, …"""


class AnswerRows:
    """The rows of a view, in the order of `load_predictions`.

    Args:
        view: The run in one sample set.
        run: The run, for the columns `run_id` and `run_name`.
    """

    def __init__(self, view: RunView, run: Run) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        rows = view.grid.rows.append_column(_MARKS, pa.array(_stored_marks(view)))
        table = tidy(run, rows, view.samples_table, [name for name in COLUMNS if name not in ASKED])
        mine = f"user/{_MARKS}"
        self.marks: np.ndarray = table.column(mine).to_numpy()
        """The marks of each row, see `Mark`."""
        table = table.drop_columns([mine])
        ids = pa.array(view.grid.sample_ids, pa.string())
        self.places: np.ndarray = pc.index_in(table.column("sample_id"), value_set=ids).to_numpy()
        """The place of each row's sample."""
        classes = pa.array(view.classes, pa.string()).dictionary_encode()
        final = final_names([*table.column_names])
        names = [_free(final[name]) for name in table.column_names]
        self.table = table.rename_columns(names).append_column(
            SAMPLE_CLASS, classes.take(pa.array(self.places))
        )
        """The rows, without the columns of `ASKED`."""
        self._samples = [
            view.samples[place] if place < len(view.samples) else {} for place in range(len(ids))
        ]
        self._asked_bytes = [sum(len(each.get(name) or "") for name in ASKED) for each in self._samples]

    @property
    def columns(self) -> list[str]:
        """The names of the columns, in their order."""
        first = list(COLUMNS)
        others = [name for name in self.table.column_names if name not in COLUMNS]
        return [*first, *others]

    @property
    def nbytes(self) -> int:
        """About how many bytes of memory it takes."""
        return int(self.table.nbytes + self.marks.nbytes + self.places.nbytes)

    def where(self, wanted: Filter) -> np.ndarray:
        """Return the places of the rows that meet a filter, in order."""
        import numpy as np

        holds = np.ones(len(self.table), dtype=bool)
        for name, values in (
            *(("step", wanted.steps), ("epoch", wanted.epochs), ("sample_id", wanted.samples)),
            *((SAMPLE_CLASS, wanted.classes), ("status", wanted.statuses)),
        ):
            if values:
                holds &= self._one_of(name, values)
        if wanted.tags:
            tagged = [not set(wanted.tags).isdisjoint(each.get("tags") or ()) for each in self._samples]
            holds &= np.array(tagged, dtype=bool)[self.places]
        if wanted.marks:
            bits = sum(int(_mark(name)) for name in set(wanted.marks))
            holds &= (self.marks & bits) > 0
        if wanted.text:
            holds &= self._with_text(wanted.text.casefold())
        found: np.ndarray = holds.nonzero()[0]
        return found

    def ordered(self, places: np.ndarray, column: str | None, *, descending: bool) -> np.ndarray:
        """Return places of rows ordered by a column: missing values last, equals in the order of the rows.

        Raises:
            RunError: There is no such column, or it has no order.
        """
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        if column is None:
            return places[::-1] if descending else places
        keys = pa.table({"key": self._sortable(column).take(pa.array(places)), "row": places})
        direction = "descending" if descending else "ascending"
        order = pc.sort_indices(keys, sort_keys=[("key", direction), ("row", "ascending")])
        found: np.ndarray = places[np.asarray(order)]
        return found

    def rows(self, places: Sequence[int]) -> list[dict[str, Any]]:
        """Return some rows whole, with the columns of `columns`."""
        found = self._taken(places).to_pylist()
        for row, place in zip(found, places, strict=True):
            sample = self._samples[int(self.places[place])]
            row |= {name: sample.get(name) for name in ASKED}
        return [{name: row[name] for name in self.columns} for row in found]

    def bytes_of(self, places: Sequence[int]) -> int:
        """Return about how many bytes some rows have, whole."""
        asked: int = sum(self._asked_bytes[int(self.places[place])] for place in places)
        return int(self._taken(places).nbytes) + asked

    def counts(self, places: np.ndarray) -> dict[str, dict[str, int]]:
        """Return how many of some rows have each status, class and mark."""
        import pyarrow as pa

        def values(column: str) -> dict[str, int]:
            found = self.table.column(column).take(pa.array(places)).value_counts().to_pylist()
            return {str(each["values"]): each["counts"] for each in found if each["values"] is not None}

        marks = self.marks[places]
        return {
            "status": values("status"),
            SAMPLE_CLASS: values(SAMPLE_CLASS),
            "mark": {name.lower(): int(((marks & bit) > 0).sum()) for name, bit in Mark.__members__.items()},
        }

    def tags(self, place: int) -> list[str]:
        """Return the tags of a row's sample."""
        return list(self._samples[int(self.places[place])].get("tags") or ())

    def _taken(self, places: Sequence[int]) -> pa.Table:
        import pyarrow as pa

        return self.table.take(pa.array(places, pa.int64()))

    def _one_of(self, column: str, values: Collection[Any]) -> np.ndarray:
        import pyarrow as pa
        import pyarrow.compute as pc

        stored = self.table.column(column)
        kind = stored.type.value_type if pa.types.is_dictionary(stored.type) else stored.type
        found: np.ndarray = pc.is_in(stored.cast(kind), value_set=pa.array(list(values), kind)).to_numpy()
        return found

    def _with_text(self, text: str) -> np.ndarray:
        import numpy as np
        import pyarrow as pa

        asked = [
            any(text in (sample.get(name) or "").casefold() for name in ASKED) for sample in self._samples
        ]
        stored = self.table.column("prediction").combine_chunks()
        chunk = stored if isinstance(stored, pa.Array) else pa.concat_arrays(stored.chunks)
        coded = chunk.dictionary_encode()
        has = np.array([text in (each or "").casefold() for each in coded.dictionary.to_pylist()] + [False])
        codes = coded.indices.fill_null(len(has) - 1).to_numpy()
        found: np.ndarray = has[codes] | np.array(asked, dtype=bool)[self.places]
        return found

    def _sortable(self, column: str) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        if column in ASKED:  # by its rank among the samples' texts
            texts = pa.array([each.get(column) for each in self._samples], pa.string())
            ranks = pc.rank(texts).cast(pa.int64())
            return pc.if_else(pc.is_valid(texts), ranks, None).take(pa.array(self.places))
        if column not in self.table.column_names:
            known = self.columns
            raise RunError(
                f"There is no column '{column}'.{nearest(column, known)} There are: {', '.join(known)}."
            )
        found = self.table.column(column)
        if pa.types.is_dictionary(found.type):
            found = found.cast(found.type.value_type)
        if pa.types.is_nested(found.type):
            raise RunError(f"Column '{column}' holds lists or structs, which have no order.")
        return found.combine_chunks()


def _stored_marks(view: RunView) -> np.ndarray:
    """Return the marks of each stored row; 0 for one that another of the same answer has replaced."""
    import numpy as np

    marks = np.zeros(len(view.grid.rows), dtype=np.int64)
    there = view.grid.places >= 0
    marks[view.grid.places[there]] = view.marks[there]
    return marks


def _free(name: str) -> str:
    return f"user_{name}" if name in (SAMPLE_CLASS, "marks", "tags") else name


def _mark(name: str) -> Mark:
    known: Mapping[str, Mark] = Mark.__members__
    if name.upper() not in known or name != name.lower():
        there = [each.lower() for each in known]
        raise RunError(f"There is no mark '{name}'.{nearest(name, there)} There are: {', '.join(there)}.")
    return known[name.upper()]
