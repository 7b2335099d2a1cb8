"""Rounds: one pass of answers over a sample set, and its form on disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal

from timelapse.names import DEFAULT_SET

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from timelapse.scoring.validators import Validation

Trigger = Literal["baseline", "epoch", "eval", "steps", "end", "manual", "backfill"]
Status = Literal["ok", "error", "skipped"]
FinishReason = Literal["stop", "length", "error"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One row of a round: a sample's answer, or the error that stood in its way."""

    sample_id: str
    """Which sample was answered."""
    prediction: str | None = None
    """The answer; None where there is none (see `status`)."""
    status: Status = "ok"
    """`ok`, `error` (see `error`) or `skipped`."""
    error: str | None = None
    """What went wrong, as `ErrorType: message`."""
    finish_reason: FinishReason | None = None
    """`stop`: the model ended its answer; `length`: it was cut at the token limit; `error`."""
    prompt_tokens: int | None = None
    """Tokens of the rendered prompt."""
    prediction_tokens: int | None = None
    """Tokens of the answer, the end-of-text token not counted."""
    mean_logprob: float | None = None
    """Mean natural-log probability of the answer's tokens, the one that ended it among them."""
    least_confident_token: str | None = None
    """Text of the answer's least probable token; the one that ended it does not count."""
    least_confident_position: int | None = None
    """Which of the answer's tokens that is, from 0; the first one of equals."""
    least_confident_logprob: float | None = None
    """Its natural-log probability."""
    reference_nll: float | None = None
    """Teacher-forced negative log-likelihood of the reference, in nats per token, its end included."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Scores by name; a sample without reference has none that need one."""
    validations: tuple[Validation, ...] = ()
    """What each validator found."""
    flags: tuple[str, ...] = ()
    """Signs of broken generation, such as `loop` (see `timelapse.scoring.health`), and `scored_prefix`."""
    seconds: float | None = None
    """Wall time of the answer's batch, shared evenly over its rows."""
    generation: int = 0
    """0..k-1 where k answers are drawn per sample."""
    prompt_token_ids: tuple[int, ...] | None = None
    """The prompt's tokens, `prompt_tokens` of them; kept only on request."""
    prediction_token_ids: tuple[int, ...] | None = None
    """The answer's tokens, `prediction_tokens` of them; kept only on request."""


@dataclass(frozen=True, slots=True)
class Round:
    """All answers to a sample set at one moment of the training."""

    step: int
    """The trainer's `global_step`."""
    predictions: tuple[Prediction, ...]
    """A row for every sample, in the set's order, whatever happened."""
    epoch: float | None = None
    """Passes over the training data so far; None outside an epoch-wise training."""
    trigger: Trigger = "manual"
    """What caused the round."""
    attempt: int = 0
    """Grows by one each time training is resumed behind an existing round."""
    set_name: str = DEFAULT_SET
    """Name of the sample set."""
    seconds: float = 0.0
    """Wall time of the whole pass."""

    @property
    def answered(self) -> tuple[Prediction, ...]:
        """The rows whose status is `ok`."""
        return tuple(row for row in self.predictions if row.status == "ok")

    @property
    def failed(self) -> tuple[Prediction, ...]:
        """The rows whose status is `error`."""
        return tuple(row for row in self.predictions if row.status == "error")


_PREDICTION_FIELDS = (
    *("sample_id", "generation", "prediction", "status", "error", "finish_reason", "prompt_tokens"),
    *("prediction_tokens", "mean_logprob", "least_confident_token", "least_confident_position"),
    *("least_confident_logprob", "reference_nll", "seconds"),
)
_TEXTS = ("prediction", "error", "least_confident_token")
TOKEN_IDS = ("prompt_token_ids", "prediction_token_ids")
"""Columns that a round has only where they were asked for: lists of 32-bit numbers."""


@cache
def round_schema() -> pa.Schema:
    """Return the Arrow schema of a round file, in the order of its columns."""
    import pyarrow as pa

    error = pa.struct([("path", pa.string()), ("message", pa.string())])
    validation = pa.struct(
        [("name", pa.string()), ("kind", pa.string()), ("passed", pa.bool_()), ("errors", pa.list_(error))]
    )
    return pa.schema(
        [
            ("set", pa.string()),
            ("sample_id", pa.string()),
            ("generation", pa.int32()),
            ("attempt", pa.int32()),
            ("step", pa.int64()),
            ("epoch", pa.float64()),
            ("trigger", pa.string()),
            ("prediction", pa.string()),
            ("status", pa.string()),
            ("error", pa.string()),
            ("finish_reason", pa.string()),
            ("prompt_tokens", pa.int32()),
            ("prediction_tokens", pa.int32()),
            ("mean_logprob", pa.float64()),
            ("least_confident_token", pa.string()),
            ("least_confident_position", pa.int32()),
            ("least_confident_logprob", pa.float64()),
            ("reference_nll", pa.float64()),
            ("scores", pa.map_(pa.string(), pa.float64())),
            ("validations", pa.list_(validation)),
            ("flags", pa.list_(pa.string())),
            ("seconds", pa.float64()),
        ]
    )


def round_table(round_: Round) -> pa.Table:
    """Return a round as an Arrow table: one row a prediction, columns as in `round_schema`.

    Those of `TOKEN_IDS` follow if any row has them.
    """
    import pyarrow as pa

    rows = round_.predictions
    given = zip(*map(attrgetter(*_PREDICTION_FIELDS), rows), strict=True)
    columns: dict[str, Any] = dict(zip(_PREDICTION_FIELDS, given, strict=True)) if rows else {}
    for name in _TEXTS:
        columns[name] = [storable(text) for text in columns.get(name, ())]
    columns |= {
        "set": pa.repeat(round_.set_name, len(rows)),
        "attempt": pa.repeat(pa.scalar(round_.attempt, pa.int32()), len(rows)),
        "step": pa.repeat(pa.scalar(round_.step, pa.int64()), len(rows)),
        "epoch": pa.repeat(pa.scalar(round_.epoch, pa.float64()), len(rows)),
        "trigger": pa.repeat(round_.trigger, len(rows)),
        "scores": [list(row.scores.items()) for row in rows],
        "validations": [_plain_validations(row.validations) if row.validations else () for row in rows],
        "flags": [row.flags for row in rows],
    }
    schema = round_schema()
    for name in TOKEN_IDS:
        ids = [getattr(row, name) for row in rows]
        if any(each is not None for each in ids):
            schema = schema.append(_token_ids_field(name))
            columns[name] = ids
    return pa.table({name: columns.get(name, []) for name in schema.names}, schema=schema)


def round_from_table(table: pa.Table, seconds: float | None = None) -> Round:
    """Return the round that a table with at least one row holds; columns of the user's are left out.

    `seconds` is the wall time of the pass; by default the sum over the rows.
    """
    columns = {  # most columns of most rounds are empty
        name: table.column(name).to_pylist()
        for name in round_schema().names
        if name in table.column_names and table.column(name).null_count < len(table)
    }
    token_ids: dict[str, list[Any]] = {
        name: [None if ids is None else tuple(ids) for ids in table.column(name).to_pylist()]
        for name in TOKEN_IDS
        if name in table.column_names and table.schema.field(name).equals(_token_ids_field(name))
    }
    nothing: list[None] = [None] * len(table)
    given = {name: values for name, values in columns.items() if name in _PREDICTION_FIELDS}
    rows = tuple(
        Prediction(
            **{name: values[place] for name, values in given.items() if values[place] is not None},
            **{name: values[place] for name, values in token_ids.items()},
            scores=dict(scores or ()),
            validations=_validations(validations or ()),
            flags=tuple(flags or ()),
        )
        for place, (scores, validations, flags) in enumerate(
            zip(
                columns.get("scores", nothing),
                columns.get("validations", nothing),
                columns.get("flags", nothing),
                strict=True,
            )
        )
    )
    first = {name: values[0] for name, values in columns.items() if values}
    return Round(
        step=first["step"],
        predictions=rows,
        epoch=first.get("epoch"),
        trigger=first.get("trigger", "manual"),
        attempt=first.get("attempt") or 0,
        set_name=first.get("set") or DEFAULT_SET,
        seconds=seconds if seconds is not None else sum(row.seconds or 0.0 for row in rows),
    )


def with_judgements(table: pa.Table, round_: Round) -> pa.Table:
    """Return a round's table with the scores, validations and flags of `round_`, which has the same rows."""
    import pyarrow as pa

    columns: dict[str, list[Any]] = {
        "scores": [list(row.scores.items()) for row in round_.predictions],
        "validations": [_plain_validations(row.validations) for row in round_.predictions],
        "flags": [list(row.flags) for row in round_.predictions],
    }
    for name, values in columns.items():
        kind = round_schema().field(name)
        column = pa.array(values, kind.type)
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), kind, column)
        else:  # an entry of an earlier version
            table = table.append_column(kind, column)
    return table


def _token_ids_field(name: str) -> pa.Field:
    import pyarrow as pa

    return pa.field(name, pa.list_(pa.int32()))


def _plain_validations(validations: Sequence[Validation]) -> list[dict[str, Any]]:
    return [
        {
            "name": each.name,
            "kind": each.kind,
            "passed": each.passed,
            "errors": [
                {"path": storable(found.path), "message": storable(found.message)} for found in each.errors
            ],
        }
        for each in validations
    ]


def _validations(stored: Sequence[Mapping[str, Any]]) -> tuple[Validation, ...]:
    from timelapse.scoring.findings import Finding
    from timelapse.scoring.validators import Validation

    return tuple(
        Validation(
            each["name"],
            each["kind"],
            each["passed"],
            tuple(Finding(**found) for found in each["errors"] or ()),
        )
        for each in stored
    )


def with_attempt(table: pa.Table, attempt: int) -> pa.Table:
    """Return a round's table as that of another attempt."""
    import pyarrow as pa

    kind = round_schema().field("attempt")
    values = pa.repeat(pa.scalar(attempt, kind.type), len(table))
    return table.set_column(table.column_names.index("attempt"), kind, values)


def storable(text: str | None) -> str | None:
    """Return text that UTF-8 can hold: lone surrogates, which no file can hold, become U+FFFD."""
    if text is None or text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
