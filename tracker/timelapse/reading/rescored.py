"""Scores that were computed after a training, in files beside the rounds that they belong to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from timelapse import names
from timelapse.fence import describe
from timelapse.reading.parquet import read_table
from timelapse.rounds import round_schema

if TYPE_CHECKING:
    import pyarrow as pa

    from timelapse.reading.bounds import Budget
    from timelapse.reading.files import RunFiles
    from timelapse.reading.threads import Threads

KEY = ("set", "sample_id", "generation", "attempt", "step")
"""The columns that say to which row a score belongs."""


@cache
def rescored_schema() -> pa.Schema:
    """Return the Arrow schema of a file of scores: `KEY` and `scores`, as in `round_schema`."""
    import pyarrow as pa

    return pa.schema([round_schema().field(name) for name in (*KEY, "scores")])


def with_rescored(rounds: pa.Table, artifacts: RunFiles, downloads: Threads) -> tuple[pa.Table, list[str]]:
    """Return a run's rows with the scores that came later, and a sentence for each file that is missing.

    Which files count say the run's tags `timelapse.scores.…`, by their content.
    """
    listed = digests(artifacts.tags)
    if not listed or "scores" not in rounds.column_names or not len(rounds):
        return rounds, []
    files = {names.scores_file(digest): digest for digest in listed}
    decode = partial(_read, budget=artifacts.budgets.rounds if artifacts.budgets else None)
    found, errors = downloads.all(
        {file: partial(artifacts.verified, file, digest, decode) for file, digest in files.items()}
    )
    problems = [f"{file} cannot be read: {describe(error)}" for file, error in errors.items()]
    return _joined(rounds, list(found.values())), problems


def digests(tags: Mapping[str, str]) -> list[str]:
    """Return the SHA-256 of each file of later scores, of which each has a tag of its own."""
    listed = sorted((tag, value) for tag, value in tags.items() if tag.startswith(names.TAG_SCORES))
    return [value for _tag, value in listed if re.fullmatch(r"[0-9a-f]{64}", value)]


def _read(content: bytes, budget: Budget | None) -> list[dict[str, Any]]:
    table = read_table(content, (), budget)
    rows: list[dict[str, Any]] = table.select(rescored_schema().names).cast(rescored_schema()).to_pylist()
    return rows


def _joined(rounds: pa.Table, later: Sequence[list[dict[str, Any]]]) -> pa.Table:
    import pyarrow as pa

    scores: dict[tuple[Any, ...], dict[str, float]] = {}
    for rows in later:
        for row in rows:
            scores.setdefault(_key(row), {}).update(row["scores"])
    stored = rounds.select([*KEY, "scores"]).to_pylist()
    merged = [_merged(dict(row["scores"] or ()), scores.get(_key(row), {})) for row in stored]
    kind = round_schema().field("scores")
    values = pa.array([list(each.items()) for each in merged], kind.type)
    return rounds.set_column(rounds.column_names.index("scores"), kind, values)


def _merged(stored: dict[str, float], later: Mapping[str, float]) -> dict[str, float]:
    """Return the scores of a row: those of its round first, and as they are."""
    return stored | {name: value for name, value in later.items() if name not in stored}


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return (
        row["set"] or names.DEFAULT_SET,
        row["sample_id"],
        row["generation"] or 0,
        row["attempt"] or 0,
        row["step"],
    )
