"""How `timelapse config plan` draws a plan."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from timelapse.cli.terminal import console, number, text_table, visible

if TYPE_CHECKING:
    from rich.table import Table

    from timelapse.plan import Plan, PlannedRound

_SHOWN_AT_ENDS = 8
"""Rounds at the beginning and at the end that are shown of a long plan."""
_RIGHT = ("step", "epoch", "new tokens", "at most", "seconds")


def plan_data(plan: Plan) -> dict[str, Any]:
    """Return a whole plan as JSON data; seconds and shares are null where no speed was measured."""
    course = plan.course
    return {
        "training": {
            "steps": course.max_steps,
            "epochs": course.epochs,
            "steps_per_epoch": course.steps_per_epoch,
            "batches_per_epoch": course.batches_per_epoch,
            "tokens": plan.train_tokens,
            "seconds": plan.train_seconds,
        },
        "predictions": {
            "rounds": len(plan.rounds),
            "prompt_tokens": sum(each.prompt_tokens for each in plan.rounds),
            "new_tokens": sum(each.new_tokens for each in plan.rounds),
            "most_new_tokens": sum(each.most_new_tokens for each in plan.rounds),
            "seconds": plan.seconds,
            "most_seconds": plan.most_seconds,
            "share_of_training_time": plan.share,
            "most_share_of_training_time": plan.most_share,
        },
        "rounds": [asdict(each) for each in plan.rounds],
        "warnings": list(plan.warnings),
    }


def print_plan(plan: Plan) -> None:
    """Print a plan: the training, its rounds, what they cost, and what should be changed."""
    course, screen = plan.course, console()
    screen.print(
        f"training: {course.max_steps:,} steps in {course.epochs:.4g} epochs of {course.steps_per_epoch:,}, "
        f"{plan.train_tokens:,} tokens" + _time(plan.train_seconds)
    )
    if not plan.rounds:
        screen.print("No rounds: predictions.enabled is false.")
        return
    for each in {each.set: each for each in plan.rounds}.values():
        name, plural = visible(each.set, one_line=True), "" if each.samples == 1 else "s"
        screen.print(
            f"set {name}: {each.samples} sample{plural}, {each.prompt_tokens:,} prompt tokens a round"
        )
    screen.print()
    screen.print(_table(plan))
    screen.print()
    screen.print(_cost(plan))
    for warning in plan.warnings:
        screen.print(f"Warning: {warning}", style="yellow")


def _table(plan: Plan) -> Table:
    several, timed = len({each.set for each in plan.rounds}) > 1, plan.train_seconds is not None
    headings = ["step", "epoch", "trigger", *["set"] * several]
    headings += ["new tokens", "at most", *["seconds"] * timed, "why"]
    table = text_table()
    for heading in headings:
        right = heading in _RIGHT
        table.add_column(heading, justify="right" if right else "left", no_wrap=right, vertical="bottom")
    left_out = len(plan.rounds) - 2 * _SHOWN_AT_ENDS
    for place, each in enumerate(plan.rounds):
        if left_out <= 1 or not _SHOWN_AT_ENDS <= place < _SHOWN_AT_ENDS + left_out:
            table.add_row(*_row(each, several, timed))
        elif place == _SHOWN_AT_ENDS:
            table.add_row("…", *[""] * (len(headings) - 2), f"{left_out:,} rounds left out here")
    return table


def _row(each: PlannedRound, several: bool, timed: bool) -> list[str]:
    return [
        str(each.step),
        number(each.epoch),
        each.trigger,
        *[visible(each.set, one_line=True)] * several,
        f"{each.new_tokens:,}",
        f"{each.most_new_tokens:,}",
        *[number(each.seconds, 1)] * timed,
        each.why,
    ]


def _cost(plan: Plan) -> str:
    data = plan_data(plan)["predictions"]
    count = f"{len(plan.rounds):,} rounds" if len(plan.rounds) > 1 else "1 round"
    tokens = f"{data['prompt_tokens']:,} prompt tokens, {data['new_tokens']:,} new ones"
    text = f"predictions: {count}, {tokens} (at most {data['most_new_tokens']:,})"
    if plan.share is None or plan.most_share is None:
        return f"{text}; --probe measures the time."
    return (
        f"{text}{_time(plan.seconds)}: {plan.share:.0%} of the training time (at most {plan.most_share:.0%})."
    )


def _time(seconds: float | None) -> str:
    """Return a time for a sentence, in the unit that a person would take."""
    if seconds is None:
        return ""
    if seconds < 100:
        return f", {seconds:.1f} s" if seconds < 10 else f", {seconds:.0f} s"
    return f", {seconds / 60:.0f} min" if seconds < 6000 else f", {seconds / 3600:.1f} h"
