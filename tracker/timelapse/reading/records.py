"""Stored rows as the records that they were written from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from timelapse.names import DEFAULT_SET
from timelapse.reading.choice import rounds_by_step
from timelapse.rounds import Round, round_from_table

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class StoredSample:
    """A sample as a reader meets it: its place, what was asked, and what should be answered."""

    index: int
    """Its place in the set, from 0."""
    sample_id: str
    """The hash of its input."""
    prompt: str | None
    """The question for human eyes."""
    reference: str | None
    """The expected answer, if there is one."""


def set_names(rounds: pa.Table, samples: pa.Table) -> list[str]:
    """Return the names of the sample sets that occur, `main` first."""
    columns = [table.column("set").unique().to_pylist() for table in (rounds, samples)]
    found = {name or DEFAULT_SET for column in columns for name in column}
    return sorted(found, key=lambda name: (name != DEFAULT_SET, name))


def latest_rounds(rounds: pa.Table, set_name: str = DEFAULT_SET) -> list[Round]:
    """Return a set's rounds by step, of several at a step the one with the highest attempt.

    A round's `seconds` are the sum over its rows: the time spent generating.
    """
    return [round_from_table(table) for table in rounds_by_step(rounds, set_name).values()]


def stored_samples(samples: pa.Table, rounds: list[Round], set_name: str = DEFAULT_SET) -> list[StoredSample]:
    """Return a set's samples in order; those that only the rounds know come last, without their text."""
    known = [
        StoredSample(row["index"], row["sample_id"], row["prompt"], row["reference"])
        for row in samples.to_pylist()
        if (row["set"] or DEFAULT_SET) == set_name
    ]
    ids = {sample.sample_id for sample in known}
    free = max((sample.index for sample in known), default=-1) + 1
    answered = dict.fromkeys(row.sample_id for round_ in rounds for row in round_.predictions)
    unknown = [sample_id for sample_id in answered if sample_id not in ids]
    return known + [StoredSample(free + place, key, None, None) for place, key in enumerate(unknown)]
