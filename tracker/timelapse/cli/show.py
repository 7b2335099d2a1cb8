"""`timelapse show`: one run's rounds, and how its answers evolved."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

from timelapse.cli.terminal import format_option, listed, place_options, print_json
from timelapse.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from timelapse.analysis.learning import Learning
    from timelapse.reading.records import StoredSample
    from timelapse.rounds import Prediction, Round

OVERVIEW_SAMPLES = 10
"""Samples in the overview, unless `--limit` says otherwise."""


@dataclass(frozen=True)
class Shown:
    """What there is to show of a run, in one sample set."""

    run_id: str
    """The run's id."""
    name: str
    """The run's name."""
    experiment: str
    """Name of the run's experiment."""
    mlflow_status: str
    """MLflow's status of the run."""
    predictions_status: str | None
    """The tag `timelapse.status`."""
    set_name: str
    """The sample set shown."""
    other_sets: list[str]
    """The run's other sample sets."""
    rounds: list[Round]
    """The rounds of the set by step, the newest attempt at each."""
    samples: list[StoredSample]
    """The samples of the set in order."""
    manifest: Mapping[str, Any]
    """The run's manifest; empty where there is none."""
    problems: tuple[str, ...]
    """What could not be read."""

    @cached_property
    def learned(self) -> Learning:
        """What the rounds say about the learning, by the score that decides what is right."""
        from timelapse.cli.learning import of_run

        return of_run(self)

    def is_right(self, row: Prediction) -> bool | None:
        """Return whether an answer is right; None where that is not known."""
        right = self.learned.right
        value = row.scores.get(right.score) if right else None
        return None if right is None or value is None or math.isnan(value) else value >= right.least

    def previous(self, round_: Round) -> Round | None:
        """Return the round before a round."""
        place = self.rounds.index(round_)
        return self.rounds[place - 1] if place else None

    def sample(self, wanted: str) -> StoredSample:
        """Return the sample with an index, or whose id begins so.

        Raises:
            RunError: There is none, or several; says which there are.
        """
        from timelapse.reading.runs import MIN_PREFIX

        found = [sample for sample in self.samples if str(sample.index) == wanted]
        if not found and (len(wanted) >= MIN_PREFIX or not wanted.isdecimal()):  # 9 is a number, no id
            found = [sample for sample in self.samples if wanted and sample.sample_id.startswith(wanted)]
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(sample.sample_id for sample in found[:10])
            raise RunError(f"Several samples have ids that begin with '{wanted}': {ids}.")
        indexes = listed([sample.index for sample in self.samples]) or "none yet"
        raise RunError(
            f"Set '{self.set_name}' of run {self.run_id[:8]} has no sample '{wanted}'. "
            f"There are: {indexes} (or name one by the beginning of its id)."
        )

    def round(self, step: int) -> Round:
        """Return the round at a step.

        Raises:
            RunError: There is none; says at which steps there are.
        """
        for round_ in self.rounds:
            if round_.step == step:
                return round_
        steps = listed([round_.step for round_ in self.rounds]) or "none yet"
        raise RunError(
            f"Run {self.run_id[:8]} has no round at step {step}. There are rounds at steps: {steps}."
        )


@click.command()
@click.argument("run")
@click.option(
    "--sample", metavar="I", help="Show one sample's answers: its number, or the beginning of its id."
)
@click.option("--step", type=int, metavar="N", help="Show the answers of the round at this step.")
@click.option("--set", "set_name", metavar="NAME", help="The sample set. [default: main, or the only one]")
@place_options
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help=f"Show at most this many samples. [default: {OVERVIEW_SAMPLES} in the overview, else all]",
)
@format_option
def show(
    run: str,
    sample: str | None,
    step: int | None,
    set_name: str | None,
    experiment: str | None,
    tracking_uri: str | None,
    limit: int | None,
    output: str,
) -> None:
    """Show a run's rounds and scores, and how its answers evolved.

    RUN is a run's id, the beginning of its id, its name, or `last`: the newest run with predictions.

    \b
    Example:
      timelapse show last --experiment verbs
      timelapse show last --sample 3
    """  # noqa: D301 - click reads the character \b: keep these lines
    from timelapse.cli import evolution, learning, rounds_view

    shown = _load(run, experiment, tracking_uri, set_name)
    samples = [shown.sample(sample)] if sample is not None else shown.samples
    rounds = [shown.round(step)] if step is not None else shown.rounds
    for problem in shown.problems:
        click.echo(f"Warning: {problem}", err=True)
    if output == "json":
        print_json(_as_json(shown, rounds, samples[:limit]))
        return
    rounds_view.print_header(shown)
    if not shown.rounds:
        return
    if sample is not None:
        evolution.print_sample(shown, samples[0], rounds)
    elif step is not None:
        evolution.print_round(shown, rounds[0], samples[:limit])
    else:
        rounds_view.print_rounds(shown)
        learning.print_learning(shown, limit)
        evolution.print_answers(shown, samples[: limit or OVERVIEW_SAMPLES])


def _load(selector: str, experiment: str | None, tracking_uri: str | None, set_name: str | None) -> Shown:
    from timelapse import names
    from timelapse.reading.loader import load_rounds
    from timelapse.reading.records import latest_rounds, stored_samples
    from timelapse.reading.runs import connect, experiment_names, find_run

    run = find_run(selector, experiment=experiment, tracking_uri=tracking_uri)
    if names.TAG_SCHEMA not in run.data.tags:
        raise RunError(
            f"Run {run.info.run_id[:8]} ({run.info.run_name}) holds no predictions: run `timelapse runs` to "
            "see those that do."
        )
    client = connect(tracking_uri)
    loaded = load_rounds(client, run.info.run_id)
    chosen, others = _choose_set(loaded.rounds, loaded.samples, set_name)
    rounds = latest_rounds(loaded.rounds, chosen)
    return Shown(
        run_id=run.info.run_id,
        name=run.info.run_name or "",
        experiment=experiment_names(client).get(run.info.experiment_id, run.info.experiment_id),
        mlflow_status=run.info.status,
        predictions_status=run.data.tags.get(names.TAG_STATUS),
        set_name=chosen,
        other_sets=others,
        rounds=rounds,
        samples=stored_samples(loaded.samples, rounds, chosen),
        manifest=loaded.manifest,
        problems=loaded.problems,
    )


def _choose_set(rounds: pa.Table, samples: pa.Table, wanted: str | None) -> tuple[str, list[str]]:
    from timelapse.names import DEFAULT_SET
    from timelapse.reading.records import set_names

    known = set_names(rounds, samples) or [DEFAULT_SET]
    chosen = wanted or known[0]
    if chosen not in known:
        raise RunError(f"The run has no sample set '{chosen}'. There are: {', '.join(known)}.")
    return chosen, [name for name in known if name != chosen]


def _as_json(shown: Shown, rounds: list[Round], samples: list[StoredSample]) -> dict[str, Any]:
    from timelapse.cli import learning
    from timelapse.writing.metrics import round_metrics

    return {
        "run_id": shown.run_id,
        "name": shown.name,
        "experiment": shown.experiment,
        "mlflow_status": shown.mlflow_status,
        "predictions_status": shown.predictions_status,
        "set": shown.set_name,
        "rounds": [
            {
                "step": round_.step,
                "epoch": round_.epoch,
                "trigger": round_.trigger,
                "attempt": round_.attempt,
                "samples": len(round_.predictions),
                "errors": len(round_.failed),
                "metrics": round_metrics(round_, shown.previous(round_), shown.learned.right),
            }
            for round_ in rounds
        ],
        "samples": [
            {
                "index": sample.index,
                "sample_id": sample.sample_id,
                "prompt": sample.prompt,
                "reference": sample.reference,
                "answers": [
                    {"step": round_.step, **_answer(row)}
                    for round_ in rounds
                    for row in round_.predictions
                    if row.sample_id == sample.sample_id
                ],
            }
            for sample in samples
        ],
        "learning": learning.as_json(shown.learned, shown.samples),
        "problems": list(shown.problems),
    }


def _answer(row: Prediction) -> dict[str, Any]:
    fields = (
        "generation",
        "prediction",
        "status",
        "error",
        "finish_reason",
        "prompt_tokens",
        "prediction_tokens",
    )
    return {name: getattr(row, name) for name in (*fields, "seconds")} | {
        "scores": dict(row.scores),
        "flags": list(row.flags),
        "validations": [asdict(each) for each in row.validations],
    }
