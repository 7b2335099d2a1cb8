"""`timelapse compare`: runs against each other, for people and for gates."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from timelapse.cli.comparing.options import Report, comparison_options, report_of

_FOR_TWO_RUNS = ("against", "only", "slices", "limit", "fail_on_regressions", "fail_if_worse")
"""Options that say nothing of groups."""


@click.command()
@click.argument("runs", nargs=-1, metavar="RUN RUN...")
@click.option(
    "--round",
    "round_",
    default="best",
    show_default=True,
    metavar="best|last|first|STEP",
    help="The round of runs that name none; best: highest mean of the score, the earliest of equals.",
)
@click.option("--against", metavar="RUN", help="Which run the others are compared with. [default: the first]")
@click.option(
    "--group-by",
    metavar="params.X|tags.X",
    help="Group runs by a parameter or tag, as seeds of one setting. Without RUN: all runs.",
)
@comparison_options
def compare(
    runs: tuple[str, ...],
    round_: str,
    against: str | None,
    group_by: str | None,
    score: str | None,
    set_name: str | None,
    experiment: str | None,
    tracking_uri: str | None,
    **settings: Any,
) -> None:
    """Compare the answers of runs, paired by what was asked: who is better, on what, and is it chance?

    RUN is a run's id, the beginning of its id, its name, or `last`; RUN@120, RUN@first, RUN@best and RUN@last
    name one of its rounds. The first run is the one that the others are compared with.

    \b
    Examples:
      timelapse compare baseline last
      timelapse compare baseline candidate --round last --fail-on-regressions 3
      timelapse compare baseline candidate --format markdown -o comment.md
      timelapse compare --group-by params.learning_rate --experiment sweep --round last

    Exit code 0: compared, and every gate passed. 1: a gate failed. 2: wrong use, a run that cannot be read,
    or a gate that cannot be judged because no sample can be compared.
    """  # noqa: D301 - click reads the character \b: keep these lines
    if group_by is not None:
        _compare_groups(
            group_by,
            runs,
            round_,
            report_of(settings),
            score=score,
            set_name=set_name,
            experiment=experiment,
            tracking_uri=tracking_uri,
        )
        return
    context = click.get_current_context()
    if not runs:
        argument = next(each for each in context.command.params if each.name == "runs")
        raise click.MissingParameter(ctx=context, param=argument)
    from timelapse.analysis.comparison import compare as compare_runs
    from timelapse.cli.comparing.output import finish

    comparison = compare_runs(
        runs,
        round_,
        against,
        score,
        set_name=set_name,
        experiment=experiment,
        tracking_uri=tracking_uri,
    )
    finish(comparison, report_of(settings, "regressions", "improvements"))


def _compare_groups(key: str, runs: tuple[str, ...], round_: str, report: Report, **place: Any) -> None:
    from timelapse.analysis.seed_runs import compare_groups
    from timelapse.cli.comparing.seeds import show

    context = click.get_current_context()
    for name in _FOR_TWO_RUNS:
        if context.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            option = next(each.opts[0] for each in context.command.params if each.name == name)
            raise click.UsageError(f"{option} is about single runs: it does not go with --group-by.")
    show(compare_groups(key, runs, round_, **place), round_, report)
