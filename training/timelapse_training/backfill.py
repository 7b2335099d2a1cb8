"""Backfill: rounds made afterwards, from the checkpoints that a training has saved."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from timelapse import names
from timelapse.attach import RunTarget, open_run
from timelapse.errors import RunError
from timelapse.reading.choice import of_set, steps
from timelapse.reading.loader import RunRounds, load_rounds
from timelapse.reading.runs import connect
from timelapse.samples import Sample, SampleSet
from timelapse_training.generation import GenerationSettings
from timelapse_training.launching.claims import at_work, is_busy
from timelapse_training.saved import Checkpoint
from timelapse_training.session import Session, say

if TYPE_CHECKING:
    import pyarrow as pa
    from mlflow.entities import Run
    from transformers import PreTrainedTokenizerBase

    from timelapse.scoring.engine import Judges

Loader = Callable[[Checkpoint], tuple[Any, "PreTrainedTokenizerBase"]]
"""Returns the model of a checkpoint, and its tokenizer."""

_LATER_THAN_ALL = 2**62


@dataclass(frozen=True, slots=True)
class Asked:
    """A sample set to be answered, and how."""

    samples: SampleSet
    """What is asked."""
    settings: GenerationSettings
    """How answers are decoded."""


def backfill(
    run: Run,
    checkpoints: Sequence[Checkpoint],
    asked: Sequence[Asked],
    load: Loader,
    judges: Judges,
    tracking_uri: str | None = None,
) -> int:
    """Let checkpoints answer where a run has no round at their step, and return how many rounds were made.

    Rounds that exist stay as they are, which is said. The run's own status (FINISHED, FAILED) stays, too.

    Raises:
        ConfigError: A checkpoint cannot be loaded.
        RunError: The run's rounds of a set answer other samples, its training is still at work, or MLflow
            does not answer.
    """
    _check_over(run)
    stored = load_rounds(connect(tracking_uri), run.info.run_id)
    missing = {
        checkpoint: [each for each in asked if checkpoint.step not in _steps(stored, each.samples.name)]
        for checkpoint in checkpoints
    }
    for checkpoint in checkpoints:
        there = [each.samples.name for each in asked if each not in missing[checkpoint]]
        if there:
            say(f"step {checkpoint.step} is left alone: there is a round of {_listed(there)}")
    if not any(missing.values()):
        return 0
    before = run.data.tags.get(names.TAG_STATUS, "")
    target = RunTarget(run_id=run.info.run_id, tracking_uri=tracking_uri)
    opened = open_run(target, activate=False, judges=judges)
    made = 0
    try:
        if before.partition(":")[0] in ("degraded", "failed", "disabled"):
            opened.limit("before", f"before the backfill {before}")
        attempts = {each.samples.name: opened.next_attempt(each.samples, _LATER_THAN_ALL) for each in asked}
        sessions: dict[str, Session] = {}
        for checkpoint, wanting in missing.items():
            if not wanting:
                continue
            model, tokenizer = load(checkpoint)
            for each in wanting:
                name = each.samples.name
                if name not in sessions:
                    sessions[name] = Session(
                        *(each.samples, opened, tokenizer, each.settings, opened.fence, attempts[name]),
                        clock=None,
                    )
                    sessions[name].open(f"from checkpoints in {checkpoint.folder.parent}")
                session = sessions[name]
                session.make_round(model, "backfill", step=checkpoint.step, epoch=checkpoint.epoch)
                made += session.last_round == checkpoint.step
                session.link(checkpoint.folder, checkpoint.step)
            say(f"step {checkpoint.step}: answered by {checkpoint.folder}")
    finally:
        opened.finish()
    return made


def stored_sets(run: Run, set_name: str | None, tracking_uri: str | None = None) -> list[Asked]:
    """Return the sample sets that a run has stored, to be answered as they were.

    Raises:
        RunError: The run holds no samples, or none of this set.
    """
    stored = load_rounds(connect(tracking_uri), run.info.run_id)
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in stored.samples.to_pylist():
        rows.setdefault(row["set"] or names.DEFAULT_SET, []).append(row)
    for by_the_base in {names.base_set_name(name) for name in rows}:
        rows.pop(by_the_base, None)  # no checkpoint answers it
    wanted = sorted(rows) if set_name is None else [set_name]
    if not rows or not set(wanted) <= rows.keys():
        which = f" of set '{set_name}'" if rows and set_name else ""
        raise RunError(
            f"Run {run.info.run_name} ({run.info.run_id[:8]}) holds no samples{which}. Say what to ask: "
            "--samples FILE or --config FILE."
        )
    return [
        Asked(
            SampleSet(tuple(_sample(row) for row in sorted(rows[name], key=lambda row: row["index"])), name),
            stored_settings(stored, name),
        )
        for name in wanted
    ]


def stored_settings(stored: RunRounds, set_name: str) -> GenerationSettings:
    """Return the decoding that a run's manifest names for a set; the default where it names none.

    How many answers there are to a sample, and whether with token ids and the loss on the reference, is seen
    from the rounds of the set.
    """
    manifest = stored.manifest
    decoding = manifest.get("decoding_of_sets", {}).get(set_name) or manifest.get("decoding") or {}
    known = {field.name for field in fields(GenerationSettings)}
    settings = GenerationSettings(**{name: value for name, value in decoding.items() if name in known})
    rows = of_set(stored.rounds, set_name)
    if not len(rows):
        return settings
    return replace(
        settings,
        generations=1 + max(rows.column("generation").to_pylist()) if settings.do_sample else 1,
        reference_nll=_has(rows, "reference_nll"),
        keep_tokens=_has(rows, "prompt_token_ids"),
    )


def _has(rows: pa.Table, column: str) -> bool:
    return column in rows.column_names and rows.column(column).null_count < len(rows)


def _check_over(run: Run) -> None:
    """Raise a `RunError` if a training still writes into the run: both would write the list of its rounds."""
    is_live = run.data.tags.get(names.TAG_STATUS, "").partition(":")[0] == "live"
    owner = at_work(run) if is_live or is_busy(run) else None
    if owner is not None:
        raise RunError(
            f"Rounds can be added to {run.info.run_name} once it is over, but its training {owner}"
        )


def _sample(row: dict[str, Any]) -> Sample:
    """Return a stored sample; whether it is a chat is told by its id, which depends on it."""
    for conversational in (True, False):
        sample = Sample(
            tuple(json.loads(row["messages"] or "[]")),
            row["reference"],
            tuple(json.loads(row["tools"] or "[]")),
            conversational=conversational,
            tags=tuple(row["tags"] or ()),
            metadata=json.loads(row["metadata"] or "{}"),
            source=row["source"],
        )
        if sample.sample_id == row["sample_id"]:
            return sample
    raise RunError(
        f"The stored sample {row['sample_id']} cannot be asked again: its messages are not stored as they "
        "were given. Give the samples: --samples FILE."
    )


def _steps(stored: RunRounds, set_name: str) -> set[int]:
    return set(steps(of_set(stored.rounds, set_name)))


def _listed(sets: Iterable[str]) -> str:
    return "set " + " and ".join(f"'{name}'" for name in sets)
