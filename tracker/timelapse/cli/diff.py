"""`timelapse diff`: two rounds of one run, and how its answers changed between them."""

from __future__ import annotations

from typing import Any

import click

from timelapse.cli.comparing.options import comparison_options, report_of


@click.command()
@click.argument("run")
@click.option(
    "--from",
    "from_",
    default="first",
    show_default=True,
    metavar="ROUND",
    help="The round before: a step, first, best or last.",
)
@click.option(
    "--to",
    default="last",
    show_default=True,
    metavar="ROUND",
    help="The round after: a step, first, best or last.",
)
@comparison_options
def diff(
    run: str,
    from_: str,
    to: str,
    score: str | None,
    set_name: str | None,
    experiment: str | None,
    tracking_uri: str | None,
    **settings: Any,
) -> None:
    """Compare two rounds of a run, and show word by word how its answers changed.

    RUN is a run's id, the beginning of its id, its name, or `last`: the newest run with predictions.

    \b
    Examples:
      timelapse diff last
      timelapse diff last --from 0 --to best --only regressions

    Exit code 0: compared, and every gate passed. 1: a gate failed. 2: wrong use, a run that cannot be read,
    or a gate that cannot be judged because no sample can be compared.
    """  # noqa: D301 - click reads the character \b: keep these lines
    from timelapse.analysis.comparison import compare
    from timelapse.analysis.history import check_round
    from timelapse.cli.comparing.output import finish

    rounds = [f"{run}@{check_round(round_)}" for round_ in (from_, to)]
    comparison = compare(
        rounds, score=score, set_name=set_name, experiment=experiment, tracking_uri=tracking_uri
    )
    finish(comparison, report_of(settings, "disagree"))
