"""Stored rows as the records that they were written from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from timelapse.names import DEFAULT_SET
from timelapse.rounds import Prediction, Round

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

_PREDICTION_FIELDS = (
    *("sample_id", "generation", "prediction", "status", "error", "finish_reason", "prompt_tokens"),
    *("prediction_tokens", "mean_logprob", "reference_nll", "seconds"),
)


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
    found = {name for table in (rounds, samples) for name in table.column("set").to_pylist() if name}
    return sorted(found, key=lambda name: (name != DEFAULT_SET, name))


def latest_rounds(rounds: pa.Table, set_name: str = DEFAULT_SET) -> list[Round]:
    """Return a set's rounds by step, of several at a step the one with the highest attempt.

    A round's `seconds` are the sum over its rows: the time spent generating.
    """
    grouped: dict[int, dict[int, list[dict[str, Any]]]] = {}
    for row in rounds.to_pylist():
        if (row["set"] or DEFAULT_SET) == set_name:
            grouped.setdefault(row["step"], {}).setdefault(row["attempt"] or 0, []).append(row)
    return [_round(set_name, attempts) for _, attempts in sorted(grouped.items())]


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


def _round(set_name: str, attempts: Mapping[int, list[dict[str, Any]]]) -> Round:
    newest = max(attempts)
    rows = attempts[newest]
    return Round(
        step=rows[0]["step"],
        predictions=tuple(_prediction(row) for row in rows),
        epoch=rows[0]["epoch"],
        trigger=rows[0]["trigger"],
        attempt=newest,
        set_name=set_name,
        seconds=sum(row["seconds"] or 0.0 for row in rows),
    )


def _prediction(row: Mapping[str, Any]) -> Prediction:
    values = {name: row[name] for name in _PREDICTION_FIELDS}
    values["generation"] = values["generation"] or 0
    return Prediction(**values, scores=dict(row["scores"] or ()))
