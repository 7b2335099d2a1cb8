"""`timelapse runs`: which runs hold predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from timelapse.cli.terminal import (
    console,
    format_option,
    number,
    place_options,
    print_json,
    state_style,
    visible,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from rich.text import Text

SCORES = ("exact_match", "edit_similarity")
"""The scores in the list; `timelapse show` has them all."""


@click.command(epilog="Example: timelapse runs --experiment verbs --limit 5")
@place_options
@click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Show at most this many."
)
@format_option
def runs(experiment: str | None, tracking_uri: str | None, limit: int, output: str) -> None:
    """List the runs that hold predictions, newest first."""
    from timelapse.reading.runs import ask, connect, experiment_names, list_runs

    found = list_runs(experiment, tracking_uri, limit + 1)
    client = connect(tracking_uri)
    experiments = experiment_names(client)
    shown = found[:limit]
    histories = ask(client.tracking_uri, lambda: _all_scores(client, shown))
    rows = [_row(run, experiments, scores) for run, scores in zip(shown, histories, strict=True)]
    if output == "json":
        print_json(rows)
    elif not rows:
        where = f"experiment '{experiment}'" if experiment else visible(client.tracking_uri)
        click.echo(
            f"No run with predictions in {where} yet. Start one with `timelapse train config.yaml`, or add "
            'callbacks=[PredictionsCallback(samples="eval.jsonl")] to your Trainer.'
        )
    else:
        _print(rows, more=len(found) > limit)


def _row(run: Run, experiments: dict[str, str], scores: dict[str, dict[str, float]]) -> dict[str, Any]:
    from timelapse import names
    from timelapse.reading.runs import started

    start = started(run)
    return {
        "run_id": run.info.run_id,
        "name": run.info.run_name,
        "experiment": experiments.get(run.info.experiment_id, run.info.experiment_id),
        "started": start.isoformat(timespec="seconds") if start else None,
        "mlflow_status": run.info.status,
        "predictions_status": run.data.tags.get(names.TAG_STATUS),
        "rounds": int(run.data.tags.get(names.TAG_ROUNDS, "0")),
        "samples": _sample_count(run),
        "scores": scores,
    }


def _sample_count(run: Run) -> int | None:
    """Return how many samples the run's rounds answer, if MLflow says so."""
    import json

    from timelapse import names

    for entry in run.inputs.dataset_inputs if run.inputs else ():
        if any(tag.value == names.DATASET_CONTEXT for tag in entry.tags) and entry.dataset.profile:
            count = json.loads(entry.dataset.profile).get("num_rows")
            return int(count) if count is not None else None
    return None


def _all_scores(client: MlflowClient, found: list[Run]) -> list[dict[str, dict[str, float]]]:
    """Return each run's scores by name, as they were in its first round and are in its last."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda run: _scores(client, run), found))


def _scores(client: MlflowClient, run: Run) -> dict[str, dict[str, float]]:
    from timelapse import names

    scores = {}
    for name in SCORES:
        if names.metric(name) in run.data.metrics:
            history = client.get_metric_history(run.info.run_id, names.metric(name))
            ordered = sorted(history, key=lambda point: (point.step, point.timestamp))
            scores[name] = {"first": ordered[0].value, "last": ordered[-1].value}
    return scores


def _print(rows: list[dict[str, Any]], *, more: bool) -> None:
    from timelapse.cli.terminal import WIDE, print_table, text_table

    screen = console()
    experiments = sorted({row["experiment"] for row in rows})
    wide = screen.width >= WIDE
    hidden = set() if wide else {"samples", "edit similarity", "MLflow"}
    if len(experiments) == 1:
        hidden.add("experiment")
        screen.print(f"Experiment {visible(experiments[0], one_line=True)}\n", style="bold")
    cells = [_cells(row, short=not wide) for row in rows]
    table = text_table()
    for heading in (heading for heading in cells[0] if heading not in hidden):
        is_number = heading in ("rounds", "samples") or heading.replace(" ", "_") in SCORES
        fixed = is_number or heading in ("run", "started", "MLflow")
        table.add_column(
            heading, justify="right" if is_number else "left", no_wrap=fixed, overflow="fold", vertical="top"
        )
    for row in cells:
        table.add_row(*(cell for heading, cell in row.items() if heading not in hidden))
    print_table(screen, table)
    if more:
        screen.print("\nThere are more: --limit shows them.", style="dim")
    example = rows[0]["run_id"][:8]
    screen.print(f"\nSee one: timelapse show {example}   (the newest: timelapse show last)", style="dim")


def _cells(row: dict[str, Any], *, short: bool) -> dict[str, Text | str]:
    """Return a run's cells by heading; `short` leaves out the reason behind a status."""
    from rich.text import Text

    state = visible(row["predictions_status"] or "–", one_line=True)
    cells: dict[str, Text | str] = {
        "run": Text(row["run_id"][:8], style="bold cyan"),
        "name": visible(row["name"] or "", one_line=True),
        "experiment": visible(row["experiment"], one_line=True),
        "started": (row["started"] or "–")[5:16].replace("T", " "),
        "MLflow": row["mlflow_status"].lower(),
        "predictions": Text(state.partition(":")[0] if short else state, style=state_style(state)),
        "rounds": str(row["rounds"]),
        "samples": "–" if row["samples"] is None else str(row["samples"]),
    }
    return cells | {name.replace("_", " "): _change(row["scores"].get(name)) for name in SCORES}


def _change(score: dict[str, float] | None) -> str:
    return f"{number(score['first'])} → {number(score['last'])}" if score else "–"
