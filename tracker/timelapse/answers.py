"""Answers from anybody's own inference (vLLM, an API, a reinforcement-learning loop), as a round's rows."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from timelapse.errors import SampleError
from timelapse.fence import warn
from timelapse.formats import cells
from timelapse.formats.columns import Columns, read_columns
from timelapse.hints import nearest
from timelapse.questions import KnownSamples, Questions, id_of, question_of
from timelapse.rounds import Trigger, round_schema

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ALIASES", "Answers", "KnownSamples", "read_answers"]

ALIASES: Mapping[str, tuple[str, ...]] = {
    "prediction": ("prediction", "completion", "response", "output"),
    "prompt": ("messages", "prompt", "question", "input"),
    "reference": ("reference", "ground_truth", "expected", "target"),
}
"""By what names a column is known; the first one that is there is taken."""

_OURS = ("set", "attempt", "step", "epoch", "trigger", "validations", "flags")


@dataclass(frozen=True, slots=True)
class Answers:
    """Rows ready to be stored."""

    table: pa.Table
    """The round: columns of `round_schema`, then the others as they came."""
    samples: list[dict[str, Any]]
    """Rows of `samples_schema`: questions that are new, and those of which more is known now."""


def read_answers(
    data: Any,
    known: KnownSamples,
    *,
    step: int,
    set_name: str,
    epoch: float | None = None,
    trigger: str = "manual",
    scores: Sequence[str] = (),
) -> Answers:
    """Return a frame or list of answers as a round.

    Args:
        data: A pandas or polars frame, an Arrow table, a mapping of columns, or an iterable of mappings; see
            `TrainingRun.log_predictions` for its columns.
        known: The samples of the set so far; it is not changed.
        step: The round's step.
        set_name: The round's sample set.
        epoch: The round's epoch.
        trigger: The round's trigger.
        scores: Columns of numbers that are scores.

    Raises:
        SampleError: Something is missing, ambiguous or of another type; names the column and the row.
    """
    if step >= 2**63:
        raise SampleError(f"step={step} is too large: give a whole number that 64 bits hold.")
    if trigger not in get_args(Trigger):
        raise SampleError(f"trigger={trigger!r} is not known; it is one of {', '.join(get_args(Trigger))}.")
    about = {"set": set_name, "step": step, "trigger": trigger, "attempt": 0, "validations": []}
    about["epoch"] = None if epoch is None else cells.argument("epoch", epoch)
    given = read_columns(data)
    scores = [scores] if isinstance(scores, str) else list(scores or ())
    roles = _roles(given, scores)
    ids, samples = _identify(given, roles, known, set_name)
    rows = _rows(given, roles, ids, scores)
    rows |= {name: [value] * len(given) for name, value in about.items()}
    return Answers(_table(rows, given, {*roles.values(), *scores}), samples)


def _roles(given: Columns, scores: Sequence[str]) -> dict[str, str]:
    """Return which of the given columns holds what: ours by their names, else by their aliases."""
    have = given.names
    _check_names(have, scores)
    _warn_of_slips(have, scores)
    cells.each("scores", scores, cells.metric_name)
    found = {role: next((name for name in names if name in have), None) for role, names in ALIASES.items()}
    found |= {name: name for name in (*_CELLS, "system", "tools") if name in have}
    found["sample_id"] = "sample_id" if "sample_id" in have else None
    if found["prompt"] is None:
        found |= {"system": None, "tools": None}
        found["sample_id"] = found["sample_id"] or ("id" if "id" in have else None)
    roles = {role: name for role, name in found.items() if name is not None}
    if "prompt" not in roles and "sample_id" not in roles:
        raise SampleError(
            "There is neither a column 'prompt' (or messages, question, input) nor 'sample_id' (or id) that "
            f"says which question a row answers. The columns are {', '.join(have)}."
            f"{nearest('prompt', have)}"
        )
    if "prediction" not in roles and not ("error" in have and all(given.values("error"))):
        others = ", ".join(ALIASES["prediction"][1:])
        hint = " 'answer' may be the model's or the expected one." if "answer" in have else ""
        raise SampleError(
            f"There is no column 'prediction' (or {others}). The columns are {', '.join(have)}."
            f"{hint or nearest('prediction', have)} Rename the one that holds the model's answers."
        )
    return roles


def _check_names(have: Sequence[str], scores: Sequence[str]) -> None:
    for name in scores:
        if name not in have:
            raise SampleError(
                f"scores={list(scores)!r}: there is no column '{name}'. The columns are {', '.join(have)}."
                f"{nearest(name, have)}"
            )
    for name in _OURS:
        if name in have:
            raise SampleError(
                f"The column '{name}' would stand beside our own of that name: leave it out or rename it. "
                "Step, set, epoch and trigger are arguments of log_predictions."
            )


def _warn_of_slips(have: Sequence[str], scores: Sequence[str]) -> None:
    """Say which column is spelt almost like one that has a meaning: it would be missed in silence."""
    known = {name for names in ALIASES.values() for name in names}
    for name in have:
        if name not in known and name not in _CELLS and name not in scores and len(name) > 4:
            meant = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
            if meant and meant[0] not in have:
                warn(f"The column '{name}' is kept as your own. Did you mean '{meant[0]}'?")


def _identify(
    given: Columns, roles: Mapping[str, str], known: KnownSamples, set_name: str
) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the sample id of every row, and the samples that are new or of which more is known now."""
    names = {role: roles.get(role, role) for role in ("prompt", "system", "tools", "sample_id", "reference")}
    prompts, systems, tools, ids, references = (
        given.values(name) if role in roles else [None] * len(given) for role, name in names.items()
    )
    asked = zip(prompts, [names["prompt"]] * len(given), systems, tools, strict=True)
    asks = cells.each(names["prompt"], asked, lambda cell: question_of(*cell))
    given_ids = cells.each(names["sample_id"], ids, id_of)
    expected = cells.each(names["reference"], references, cells.answer)

    questions = Questions(known, set_name)
    matched = zip(given_ids, asks, strict=True)
    column = names["prompt" if "prompt" in roles else "sample_id"]
    found = cells.each(column, matched, lambda pair: questions.match(*pair))
    cells.each(names["reference"], zip(found, expected, strict=True), lambda pair: questions.expect(*pair))
    return found, list(questions.changed.values())


def _rows(
    given: Columns, roles: Mapping[str, str], ids: list[str], scores: Sequence[str]
) -> dict[str, list[Any]]:
    """Return the columns of the round that the given ones say, and what follows from them."""
    rows: dict[str, list[Any]] = {name: [None] * len(given) for name in _CELLS}
    for role, name in roles.items():
        if role in _CELLS:
            rows[role] = cells.each(name, given.values(name), _CELLS[role])
    named = {name: cells.each(name, given.values(name), cells.number) for name in scores}
    rows["sample_id"] = list(ids)
    rows["generation"] = _generations(ids, rows["generation"])
    rows["status"] = [
        status or ("error" if error else "skipped" if prediction is None else "ok")
        for status, error, prediction in zip(rows["status"], rows["error"], rows["prediction"], strict=True)
    ]
    rows["scores"] = [
        list({**(own or {}), **_present({name: named[name][place] for name in named})}.items())
        for place, own in enumerate(rows["scores"])
    ]
    return rows


def _present(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


def _generations(ids: Sequence[str], given: Sequence[int | None]) -> list[int]:
    """Return which of a question's answers each row is: as given, else counted in the rows' order."""
    seen: Counter[str] = Counter()
    found: dict[tuple[str, int], int] = {}
    for place, (key, generation) in enumerate(zip(ids, given, strict=True)):
        at = (key, seen[key] if generation is None else generation)
        seen[key] += 1
        if at in found:
            raise SampleError(
                f"Rows {found[at]} and {place} are both generation {at[1]} of the sample {key!r}. Number the "
                "answers to one question 0, 1, … in the column 'generation', or leave that column out."
            )
        found[at] = place
    return [generation for _key, generation in found]


_CELLS: Mapping[str, Callable[[Any], Any]] = {
    "prediction": cells.answer,
    "generation": cells.count,
    "status": cells.status,
    "error": cells.text,
    "finish_reason": cells.text,
    "prompt_tokens": cells.count,
    "prediction_tokens": cells.count,
    "mean_logprob": cells.number,
    "least_confident_token": cells.text,
    "least_confident_position": cells.count,
    "least_confident_logprob": cells.number,
    "reference_nll": cells.number,
    "seconds": cells.number,
    "scores": cells.scores,
}
"""How the cells of a round's columns are read."""


def _table(rows: Mapping[str, list[Any]], given: Columns, used: set[str]) -> pa.Table:
    """Return the round's table: our columns in their types, then the others as they came."""
    import pyarrow as pa

    empty = [None] * len(given)
    columns = {field.name: pa.array(rows.get(field.name, empty), field.type) for field in round_schema()}
    columns |= {name: given.typed(name) for name in given.names if name not in used}
    return pa.table(columns)
