"""`timelapse compare`: runs against each other, for people and for gates."""

from __future__ import annotations

from typing import Any

import click

from timelapse.cli.comparing.options import comparison_options, report_of


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...")
@click.option(
    "--round",
    "round_",
    default="best",
    show_default=True,
    metavar="best|last|first|STEP",
    help="The round of runs that name none; best: highest mean of the score, the earliest of equals.",
)
@click.option("--against", metavar="RUN", help="Which run the others are compared with. [default: the first]")
@comparison_options
def compare(
    runs: tuple[str, ...],
    round_: str,
    against: str | None,
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

    Exit code 0: compared, and every gate passed. 1: a gate failed. 2: wrong use, a run that cannot be read,
    or a gate that cannot be judged because no sample can be compared.
    """  # noqa: D301 - click reads the character \b: keep these lines
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
