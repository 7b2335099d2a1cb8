"""`timelapse config plan`: every round that a training will make, why, and at what cost."""

from __future__ import annotations

import contextlib
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import click

from timelapse.cli.config_check import config_arguments, print_notes
from timelapse.cli.terminal import format_option
from timelapse.errors import TimelapseWarning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from timelapse.plan import Plan


@click.command(epilog="Example: timelapse config plan config.yaml --probe --set predictions.sample_count=20")
@config_arguments
@click.option(
    "--probe", is_flag=True, help="Measure the time: a few training steps and one batch of answers, here."
)
@click.option(
    "--ranks",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processes that will train together.",
)
@format_option
def plan(config: Path, overrides: tuple[str, ...], probe: bool, ranks: int, output: str) -> None:
    """Show every round that the training of CONFIG will make, why, and at what cost.

    Tokens are counted exactly, with the model's tokenizer. New tokens are estimated: answers as long as their
    references; without a reference, and for the base model, as long as they may become ("at most"). Time is
    estimated with --probe only, which loads the model and trains it for at most a minute; nothing is saved.
    Warns if predictions take more than 20 % of the training time.
    """
    # Whatever the libraries print on the way is not the plan.
    with contextlib.redirect_stdout(sys.stderr):
        made = _plan(config, overrides, probe=probe, ranks=ranks)

    from timelapse.cli.plan_view import plan_data, print_plan
    from timelapse.cli.terminal import print_json

    if output == "json":
        print_json(plan_data(made))
    else:
        print_plan(made)


def _plan(path: Path, overrides: tuple[str, ...], *, probe: bool, ranks: int) -> Plan:
    from timelapse.config.checking import check_config
    from timelapse.plan import plan_training

    checked = check_config(path, overrides)
    print_notes(checked.reading.notes)  # those on the data come again, from counting
    with checked.reading.locating(), _warnings_as_notes():
        from timelapse_training.counting import count_training

        counted = count_training(checked.config, ranks=ranks)
        plan = plan_training(checked.config, counted.counts)
        if not probe:
            return plan
        from timelapse_training.probe import measure

        return plan_training(checked.config, counted.counts, measure(checked.config, counted))


@contextlib.contextmanager
def _warnings_as_notes() -> Iterator[None]:
    """Show our warnings as notes, and none of the libraries'."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TimelapseWarning)
        yield
    ours = (str(each.message) for each in caught if issubclass(each.category, TimelapseWarning))
    print_notes(tuple(dict.fromkeys(ours)))
