"""Groups of runs for people and programs: how good each setting is, and what seeds alone explain."""

from __future__ import annotations

import io
from dataclasses import asdict
from typing import TYPE_CHECKING

from timelapse.analysis.comparison_views import signed
from timelapse.cli.comparing.output import put_out, save, say
from timelapse.cli.terminal import number, print_table, text_table, visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from timelapse.analysis.seeds import Groups, GroupScore, WelchTest
    from timelapse.analysis.statistics import Interval
    from timelapse.cli.comparing.options import Report

_GROUPS = ("score", "runs", "mean", "sd", "95 %")
_RUNS = ("run", "id", "step")
_LEGEND = (
    "A run counts once, by its mean. sd: sample standard deviation over the runs. 95 %: t-interval of their "
    "mean. p: Welch's t-test, two-sided."
)


def show(groups: Groups, round_: str, report: Report) -> None:
    """Show groups in the format, and at the place, that the report asks for."""
    if report.file is not None:
        save(report.file, rendered(groups, round_, report.format))
    elif report.format == "table":
        from timelapse.cli.terminal import console

        draw(console(), groups, round_)
    else:
        put_out(rendered(groups, round_, report.format))
    if report.format in ("csv", "json") or report.file is not None:
        say(groups.notes)


def rendered(groups: Groups, round_: str, form: str) -> str:
    """Return groups as a text: a table, Markdown, CSV with a row a run and score, or everything as JSON."""
    if form == "markdown":
        return as_markdown(groups, round_)
    if form == "csv":
        return as_csv(groups)
    if form == "json":
        return as_json(groups)
    from timelapse.cli.comparing.table import plain_console

    file = io.StringIO()
    draw(plain_console(file), groups, round_)
    return file.getvalue()


def as_csv(groups: Groups) -> str:
    """Return a row for each run and score, as CSV that no spreadsheet computes."""
    from timelapse.cli.comparing.data import table_as_csv

    rows = (
        {
            "group": run.group,
            "run": run.run_name,
            "run_id": run.run_id,
            "step": run.step,
            "score": name,
            "mean": mean,
        }
        for run in groups.runs
        for name, mean in run.means.items()
    )
    return table_as_csv(["group", "run", "run_id", "step", "score", "mean"], rows)


def as_json(groups: Groups) -> str:
    """Return everything as JSON; the tests have their verdicts in words, too."""
    from timelapse.reading.export import json_text

    tests = [{**asdict(test), "verdict": test.verdict} for test in groups.tests]
    return json_text({**asdict(groups), "tests": tests}, indent=2, ascii=True) + "\n"


def as_markdown(groups: Groups, round_: str) -> str:
    """Return groups as GitHub-flavoured Markdown; no name in it is read as markup."""
    from timelapse.cli.comparing.markdown import code, table

    lines = [f"### Groups by {code(groups.key)}, round {code(round_)}", ""]
    rows = ([code(line.group), code(line.score), *_numbers(line)] for line in groups.scoreboard)
    lines += table(("group", *_GROUPS), rows)
    for test in groups.tests:
        group = code(f"{groups.key} = {test.group}")
        lines.append(
            f"- {code(test.score)}: {group} is {_result(test, code(test.against)).replace('<0', '&lt;0')}"
        )
    lines += [f"- ⚠️ {code(note)}" for note in groups.notes]
    lines += ["", f"<details><summary>Runs: {len(groups.runs)}</summary>", ""]
    scores = _scores(groups)
    runs = (
        [
            code(run.group),
            code(run.run_name),
            code(run.run_id[:8]),
            str(run.step),
            *(number(run.means.get(name)) for name in scores),
        ]
        for run in groups.runs
    )
    lines += table(("group", *_RUNS, *map(code, scores)), runs)
    return "\n".join([*lines, "</details>", "", f"<sub>{_LEGEND}</sub>"]) + "\n"


def draw(screen: Console, groups: Groups, round_: str) -> None:
    """Print what each group scores, whether two differ by more than their seeds, and the runs behind it."""
    from rich.text import Text

    title = f"{visible(groups.key, one_line=True)}  round {round_}"
    screen.print(title, style="bold")
    screen.print()
    _draw_scoreboard(screen, groups)
    for test in groups.tests:
        colour = "green" if test.is_larger else "dim"
        screen.print(Text(visible(sentence(groups.key, test), one_line=True), style=colour))
    for note in groups.notes:
        screen.print(Text(f"! {visible(note, one_line=True)}", style="yellow"))
    screen.print()
    screen.print(f"Runs: {len(groups.runs)}", style="bold")
    _draw_runs(screen, groups)
    screen.print()
    screen.print(_LEGEND, style="dim")


def sentence(key: str, test: WelchTest) -> str:
    """Return what a test says: `exact_match: lr = 0.2 is +0.12 against 0.1, p = 0.03: larger than …`."""
    return f"{test.score}: {key} = {test.group} is {_result(test, test.against)}"


def _result(test: WelchTest, against: str) -> str:
    p_value = "" if test.p_value is None else f", p = {_p(test.p_value)}"
    return f"{signed(test.difference)} against {against}{p_value}: {test.verdict}"


def _draw_scoreboard(screen: Console, groups: Groups) -> None:
    from rich.text import Text

    table = text_table()
    table.add_column("group", overflow="fold")
    for heading in _GROUPS:
        is_name = heading == "score"
        table.add_column(
            heading,
            justify="left" if is_name else "right",
            no_wrap=not is_name,
            overflow="fold" if is_name else "ellipsis",
        )
    for line in groups.scoreboard:
        name = Text(visible(line.group, one_line=True), style="bold cyan")
        table.add_row(name, visible(line.score, one_line=True).replace("_", " "), *_numbers(line))
    print_table(screen, table)


def _draw_runs(screen: Console, groups: Groups) -> None:
    table = text_table()
    table.add_column("group", overflow="fold")
    for heading in _RUNS:
        table.add_column(heading, overflow="fold", justify="right" if heading == "step" else "left")
    scores = _scores(groups)
    for name in scores:
        table.add_column(visible(name, one_line=True).replace("_", " "), overflow="fold", justify="right")
    for run in groups.runs:
        names = (visible(text, one_line=True) for text in (run.group, run.run_name, run.run_id[:8]))
        table.add_row(*names, str(run.step), *(number(run.means.get(name)) for name in scores))
    print_table(screen, table)


def _numbers(line: GroupScore) -> Iterator[str]:
    yield str(line.runs)
    yield number(line.mean)
    yield number(line.deviation, 3)
    yield _range(line.interval)


def _range(interval: Interval | None) -> str:
    return f"{interval.low:.2f}…{interval.high:.2f}" if interval else "–"


def _scores(groups: Groups) -> list[str]:
    return list(dict.fromkeys(line.score for line in groups.scoreboard))


def _p(value: float) -> str:
    if value < 0.001:
        return "<0.001"
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"
