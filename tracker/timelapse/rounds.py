"""Rounds: one pass of answers over a sample set, and its form on disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from timelapse.names import DEFAULT_SET

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

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
    """Mean natural-log probability of the answer's tokens."""
    reference_nll: float | None = None
    """Teacher-forced negative log-likelihood of the reference, in nats per token."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Scores by name; a sample without reference has none that need one."""
    seconds: float | None = None
    """Wall time of the answer's batch, shared evenly over its rows."""
    generation: int = 0
    """0..k-1 where k answers are drawn per sample."""


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
    def failed(self) -> tuple[Prediction, ...]:
        """The rows whose status is `error`."""
        return tuple(row for row in self.predictions if row.status == "error")


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
            ("reference_nll", pa.float64()),
            ("scores", pa.map_(pa.string(), pa.float64())),
            ("validations", pa.list_(validation)),
            ("seconds", pa.float64()),
        ]
    )


def round_table(round_: Round) -> pa.Table:
    """Return a round as an Arrow table: one row a prediction, columns as in `round_schema`."""
    import pyarrow as pa

    return pa.Table.from_pylist([_row(round_, row) for row in round_.predictions], schema=round_schema())


def storable(text: str | None) -> str | None:
    """Return text that UTF-8 can hold: lone surrogates, which no file can hold, become U+FFFD."""
    return None if text is None else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _row(round_: Round, row: Prediction) -> dict[str, Any]:
    return {
        "set": round_.set_name,
        "sample_id": row.sample_id,
        "generation": row.generation,
        "attempt": round_.attempt,
        "step": round_.step,
        "epoch": round_.epoch,
        "trigger": round_.trigger,
        "prediction": storable(row.prediction),
        "status": row.status,
        "error": storable(row.error),
        "finish_reason": row.finish_reason,
        "prompt_tokens": row.prompt_tokens,
        "prediction_tokens": row.prediction_tokens,
        "mean_logprob": row.mean_logprob,
        "reference_nll": row.reference_nll,
        "scores": list(row.scores.items()),
        "validations": [],
        "seconds": row.seconds,
    }
