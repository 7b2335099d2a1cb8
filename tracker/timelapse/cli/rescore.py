"""`timelapse rescore`: new scores for rounds that are stored already."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

import click

from timelapse.cli.terminal import format_option, number, place_options, print_json, visible
from timelapse.errors import ConfigError, TimelapseError


@click.command(epilog="Example: timelapse rescore last --scorers rouge_l,numeric_match --experiment verbs")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option(
    "--scorers",
    "texts",
    metavar="NAME,NAME",
    multiple=True,
    required=True,
    help="The new scores: built-in ones, import paths (my_pkg.my_module:my_scorer), NEW=SCORER to give it "
    "another name, or YAML with options: '{numeric_match: {relative: 0.01}}'. May be given several times.",
)
@place_options
@format_option
def rescore(
    runs: tuple[str, ...],
    texts: tuple[str, ...],
    experiment: str | None,
    tracking_uri: str | None,
    output: str,
) -> None:
    """Score the stored answers of the RUNs again, with other scorers.

    The new scores are written beside the rounds and as metrics; stored ones are never changed. RUN is a run's
    id, the beginning of an id, its name, or `last`. Exit code 1 if a scorer gave a run no score.
    """
    from timelapse.reading.runs import connect, find_runs
    from timelapse.rescoring import rescore as rescored
    from timelapse.scoring.scorer import make_scorers

    named = [pair for text in texts for pair in _specs(text)]
    scorers = make_scorers([spec if name is None else _named(spec, name) for name, spec in named])
    for scorer in scorers.values():
        if scorer.note:
            click.echo(f"Note: {scorer.note}", err=True)
    found = find_runs(list(runs), experiment=experiment, tracking_uri=tracking_uri)
    client = connect(tracking_uri)
    done: list[dict[str, Any]] = []
    for run in found:
        try:
            result = rescored(client, run, scorers)
        except TimelapseError:  # what is done stays done: say so before the error
            if output == "json":
                print_json(done)
            raise
        done.append(asdict(result))
        for problem in result.problems:
            click.echo(f"Warning: run {result.run_id[:8]}: {visible(problem, one_line=True)}", err=True)
        if output != "json":
            means = ", ".join(
                f"{visible(name, one_line=True)} {number(mean)}" for name, mean in result.means.items()
            )
            name = visible(run.info.run_name or "", one_line=True)
            click.echo(
                f"{result.run_id[:8]}  {name}: {result.rows} answers scored; last round: {means or 'none'}"
            )
    if output == "json":
        print_json(done)
    for each in done:
        for name in each["without"]:
            click.echo(f"Run {each['run_id'][:8]}: '{name}' gave no answer a score.", err=True)
    if any(each["without"] for each in done):
        sys.exit(1)


def _specs(text: str) -> list[tuple[str | None, Any]]:
    """Return the names and specs in an option's text."""
    if text.lstrip().startswith("{"):
        import yaml

        try:
            return [(None, yaml.safe_load(text))]
        except yaml.YAMLError as error:
            raise ConfigError(f"--scorers {text!r} is no YAML: {error}") from error
    found: list[tuple[str | None, Any]] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, spec = part.rpartition("=")
        found.append((name if equals else None, spec))
    return found


def _named(spec: str, name: str) -> dict[str, Any]:
    return {spec: {"name": name}}
