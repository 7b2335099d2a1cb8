"""How `timelapse show` draws a run: what it is, how it stands, and its rounds with their numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from timelapse.cli.terminal import console, number, print_table, state_style, text_table, visible
from timelapse.writing.metrics import round_metrics

if TYPE_CHECKING:
    from timelapse.cli.show import Shown
    from timelapse.rounds import Round

_SCORES = 4


def print_header(shown: Shown) -> None:
    """Print what run this is and how it stands."""
    state = visible(shown.predictions_status or "unknown", one_line=True)
    screen = console()
    screen.print(
        Text.assemble(
            (visible(shown.name, one_line=True), "bold"),
            f"  {shown.run_id[:8]}",
            (f"  experiment {visible(shown.experiment, one_line=True)}", "dim"),
        )
    )
    screen.print(
        Text.assemble(
            "predictions ",
            (state, state_style(state)),
            (f"  MLflow run {shown.mlflow_status.lower()}", "dim"),
        )
    )
    if shown.other_sets:
        others = ", ".join(visible(name, one_line=True) for name in shown.other_sets)
        screen.print(
            f"sample set {visible(shown.set_name, one_line=True)}; others, with --set: {others}", style="dim"
        )
    if not shown.rounds:
        is_live = (shown.predictions_status or "").partition(":")[0] == "live"
        waiting = is_live and shown.mlflow_status == "RUNNING"
        more = " yet: the first one appears here when it is done." if waiting else "."
        screen.print(f"\nThis run holds no rounds{more}")


def print_rounds(shown: Shown) -> None:
    """Print a table of the rounds and their numbers."""
    metrics = [round_metrics(round_, shown.previous(round_)) for round_ in shown.rounds]
    stored = _score_names(shown.rounds)
    scores = stored[:_SCORES]
    scores += ["valid_rate"] if any("valid_rate" in row for row in metrics) else []
    table = text_table()
    for heading in ("step", "epoch"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("trigger", no_wrap=True)
    for heading in ("samples", *scores, "errors", "truncated", "churn", "seconds"):
        table.add_column(
            visible(heading, one_line=True).removesuffix("_rate").replace("_", " "),
            justify="right",
            vertical="bottom",
        )
    for round_, row in zip(shown.rounds, metrics, strict=True):
        errors, cut = len(round_.failed), _truncated(round_)
        table.add_row(
            str(round_.step),
            number(round_.epoch),
            round_.trigger,
            str(len({answer.sample_id for answer in round_.predictions})),
            *(number(row.get(name)) for name in scores),
            Text(str(errors), style="bold red" if errors else ""),
            Text(str(cut), style="yellow" if cut else ""),
            "–" if "churn" not in row else f"{row['churn']:.0%}",
            number(row.get("seconds"), 1),
        )
    screen = console()
    screen.print()
    print_table(screen, table)
    if len(stored) > _SCORES:
        others = ", ".join(visible(name, one_line=True) for name in stored[_SCORES:])
        screen.print(f"Other scores, in --format json and MLflow's charts: {others}.", style="dim")


def _score_names(rounds: list[Round]) -> list[str]:
    return list(dict.fromkeys(name for each in rounds for row in each.predictions for name in row.scores))


def _truncated(round_: Round) -> int:
    return sum(row.status == "ok" and row.finish_reason == "length" for row in round_.predictions)
