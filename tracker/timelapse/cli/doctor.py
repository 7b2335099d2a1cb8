"""`timelapse doctor`: does everything work that a training will need?"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from timelapse.cli.terminal import console, format_option, print_json, visible

if TYPE_CHECKING:
    from timelapse.diagnosis.finding import Finding, State

_STYLES: dict[State, str] = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}


@click.command(
    epilog="Example: timelapse doctor --tracking-uri https://mlflow.example.com --experiment verbs"
)
@click.option("--tracking-uri", metavar="URI", help="Where MLflow is. [default: MLflow's own setting]")
@click.option(
    "--experiment", metavar="NAME", default="Default", show_default=True, help="Where to make the probe run."
)
@format_option
@click.pass_context
def doctor(ctx: click.Context, tracking_uri: str | None, experiment: str, output: str) -> None:
    """Check everything that a training needs, and say what to do about what is wrong.

    Looks at the installation, MLflow and its artifact store (in a probe run, which is deleted again), the
    folder where rounds wait for MLflow, and the cache of what was read. Ends with 1 if something failed.
    """
    findings = _examine(tracking_uri, experiment)
    if output == "json":
        print_json([asdict(finding) for finding in findings])
    else:
        _print(findings)
    ctx.exit(int(any(finding.state == "failed" for finding in findings)))


def _examine(tracking_uri: str | None, experiment: str) -> list[Finding]:
    from timelapse.diagnosis.folders import check_cache, check_spool
    from timelapse.diagnosis.installation import check_installation
    from timelapse.diagnosis.mlflow_checks import check_mlflow, check_uri

    uri, uri_finding = check_uri(tracking_uri)
    return [
        *check_installation(),
        uri_finding,
        *check_mlflow(uri, experiment),
        *check_spool(),
        check_cache(),
    ]


def _print(findings: list[Finding]) -> None:
    from rich.text import Text

    from timelapse.cli.terminal import text_table

    table = text_table()
    for heading in ("check", "state"):
        table.add_column(heading, no_wrap=True)
    table.add_column("found", overflow="fold")
    for finding in findings:
        found = Text(visible(finding.found, one_line=True))
        if finding.advice:
            found.append(f"\n→ {visible(finding.advice, one_line=True)}", style="bold")
        table.add_row(finding.check, Text(finding.state, style=_STYLES[finding.state]), found)
    screen = console()
    screen.print(table)
    screen.print(f"\n{_summary(findings)}")


def _summary(findings: list[Finding]) -> str:
    failed = [finding.check for finding in findings if finding.state == "failed"]
    skipped = [finding.check for finding in findings if finding.state == "skipped"]
    warnings = [finding.check for finding in findings if finding.state == "warning"]
    if failed:
        return f"Not everything works: {', '.join(failed)}."
    notes = [f"not checked: {', '.join(skipped)}"] * bool(skipped)
    notes += [f"worth a look: {', '.join(warnings)}"] * bool(warnings)
    return "Everything that was checked works" + "".join(f"; {note}" for note in notes) + "."
