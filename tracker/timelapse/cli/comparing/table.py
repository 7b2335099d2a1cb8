"""A comparison in a terminal."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from timelapse.analysis.comparison_views import few, interval, p_value, shared, signed, size
from timelapse.analysis.likeness import shortened
from timelapse.cli.comparing.output import NO_SLICES, TITLES, shown_lists, shown_slices
from timelapse.cli.terminal import diff_text, number, print_table, text_table, visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.table import Table

    from timelapse.analysis.alignment import Pair
    from timelapse.analysis.comparison import ComparedRound, Comparison, ScoreLine
    from timelapse.analysis.history import Answer
    from timelapse.cli.comparing.options import Report

_FILE_WIDTH = 120
_STYLES = {"regressions": "red", "improvements": "green", "disagree": "cyan"}


def as_text(comparison: Comparison, report: Report) -> str:
    """Return what `draw` prints, without colour and 120 columns wide."""
    file = io.StringIO()
    draw(plain_console(file), comparison, report)
    return file.getvalue()


def plain_console(file: io.StringIO) -> Console:
    """Return a screen that is a text: without colour and 120 columns wide."""
    return Console(
        file=file, width=_FILE_WIDTH, markup=False, emoji=False, highlight=False, color_system=None
    )


def draw(screen: Console, comparison: Comparison, report: Report) -> None:
    """Print the scoreboard, whether it is a fair comparison, and the answers that changed."""
    title = comparison.score or "texts only"
    screen.print(
        Text.assemble(
            (visible(title, one_line=True), "bold"),
            f"  against {visible(comparison.against, one_line=True)}",
            (f"  sample set {visible(comparison.set_name, one_line=True)}", "dim"),
        )
    )
    screen.print()
    print_table(screen, _scoreboard(comparison))
    for sentence in _findings(comparison):
        screen.print(sentence)
    _draw_slices(screen, comparison, report)
    for name, pairs in shown_lists(comparison, report).items():
        _draw_list(screen, comparison, name, pairs, report.limit)
    _draw_legend(screen, comparison)


def _scoreboard(comparison: Comparison) -> Table:
    table = text_table()
    rounds = {each.label: each for each in comparison.rounds}
    table.add_column("run", overflow="fold")
    table.add_column("step", justify="right", no_wrap=True)
    table.add_column("score", overflow="fold")
    for heading in ("n", "mean", "difference", "95 %", "won", "lost", "tied", "p"):
        table.add_column(heading, justify="right", no_wrap=True)
    for line in comparison.scoreboard:
        each = rounds[line.run]
        is_base = line.run == comparison.against
        table.add_row(
            Text(visible(line.run, one_line=True), style="" if is_base else "bold cyan"),
            str(each.step),
            visible(line.score, one_line=True).replace("_", " "),
            *_numbers(line),
        )
    for each in comparison.rounds if not comparison.scoreboard else ():
        table.add_row(visible(each.label, one_line=True), str(each.step), "–", *["–"] * 8)
    return table


def _numbers(line: ScoreLine) -> Iterator[str | Text]:
    yield str(line.n)
    yield number(line.mean)
    result = line.result
    if result is None:
        yield from [""] * 6
        return
    yield signed(result.difference)
    yield interval(result).strip("[]").replace(", ", "…")
    yield Text(str(result.wins), style="green" if result.wins else "")
    yield Text(str(result.losses), style="red" if result.losses else "")
    yield str(result.ties)
    yield p_value(result)


def _findings(comparison: Comparison) -> Iterator[Text]:
    """Yield whether this is a fair comparison, what failed, and what else a reader must know."""
    for each in comparison.likeness:
        run = visible(each.run, one_line=True)
        if each.alike:
            yield Text(f"✓ {run}: like for like, {each.shared} samples shared", style="green")
        else:
            yield Text(f"! {run}: not like for like, {each.shared} samples shared", style="yellow")
        for sentence in each.sentences():
            yield Text(f"    {visible(sentence, one_line=True)}", style="dim")
    for round_ in comparison.rounds:
        yield from _unscored(comparison, round_)
    for note in comparison.notes:
        yield Text(f"! {visible(note, one_line=True)}", style="yellow")


def _unscored(comparison: Comparison, each: ComparedRound) -> Iterator[Text]:
    """Yield how many answers of a round do not count, and why."""
    lines = (line for line in comparison.scoreboard if line.run == each.label)
    unscored = next((line.unscored for line in lines if line.score == comparison.score), each.failed)
    if unscored:
        run, score = visible(each.label, one_line=True), visible(comparison.score or "", one_line=True)
        words = f"{unscored} of {each.answers} answers without {score or 'text'}"
        is_trouble = each.failed or each.skipped
        yield Text(
            f"{'!' if is_trouble else '·'} {run}: {words} ({each.failed} failed, {each.skipped} skipped)",
            style="yellow" if is_trouble else "dim",
        )


def _draw_slices(screen: Console, comparison: Comparison, report: Report) -> None:
    shown = shown_slices(comparison, report)
    if not shown and not report.slices:
        return
    screen.print()
    if not shown:
        screen.print(NO_SLICES, style="dim")
        return
    screen.print(f"Slices: {len(shown)}" if report.slices else "Worst slices", style="bold")
    table = text_table()
    several = len(comparison.rounds) > 2
    for heading in ("slice", *(["run"] if several else [])):
        table.add_column(heading, overflow="fold")
    for heading in ("n", "before", "after", "difference"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    for each, why in shown.items():
        names = [shortened(visible(each.name, one_line=True), 200)]
        names += [visible(each.run, one_line=True)] if several else []
        means = [number(each.before), number(each.after), signed(each.difference)]
        table.add_row(*names, size(each), *means, Text(why, style="red" if each.mostly_failed else "yellow"))
    print_table(screen, table)
    if hint := few(shown):
        screen.print(hint, style="dim")


def _draw_list(screen: Console, comparison: Comparison, name: str, pairs: Sequence[Pair], limit: int) -> None:
    total = f" of {shared(comparison)}" if name == "disagree" else ""
    screen.print()
    screen.print(f"{TITLES[name]}: {len(pairs)}{total}", style=f"bold {_STYLES[name]}")
    has_colour = screen.color_system is not None and not screen.no_color
    several = len(comparison.rounds) > 2
    for pair in pairs[:limit]:
        screen.print(_caption(pair, comparison.score, several=several))
        for body in _bodies(pair, colour=has_colour):
            screen.print(Padding(body, (0, 0, 0, 4), expand=False))
    if len(pairs) > limit:
        screen.print(f"and {len(pairs) - limit} more: --limit shows them", style="dim")


def _caption(pair: Pair, score: str | None, *, several: bool) -> Text:
    index = "#–" if pair.index is None else f"#{pair.index}"
    prompt = shortened(visible(pair.prompt or pair.sample_id, one_line=True), 200)
    text = Text.assemble((index, "bold cyan"), f" {prompt}")
    if pair.reference is not None:
        text.append(f"  reference: {shortened(visible(pair.reference, one_line=True), 200)}", style="dim")
    if score is not None:
        before, after = _score(pair.before, score), _score(pair.after, score)
        text.append(f"  {before} → {after}", style="bold")
    if several:
        text.append(f"  {visible(pair.run, one_line=True)}", style="cyan")
    if pair.generation:
        text.append(f"  answer {pair.generation + 1}", style="dim")
    return text


def _bodies(pair: Pair, *, colour: bool) -> list[Text]:
    """Return the two answers: as a word diff, or one below the other if one of them is none."""
    before, after = pair.before, pair.after
    if before.status == after.status == "ok" and (before.prediction or after.prediction):
        return [diff_text(before.prediction or "", after.prediction or "", colour=colour)]
    return [
        Text.assemble(("before: ", "dim"), _said(before)),
        Text.assemble(("after:  ", "dim"), _said(after)),
    ]


def _said(answer: Answer) -> Text:
    if answer.status != "ok":
        return Text(visible(answer.error or answer.status, one_line=True), style="red")
    text = visible(answer.prediction or "")
    return Text(text) if text.strip() else Text("(empty)", style="dim")


def _score(answer: Answer, score: str) -> str:
    value = answer.score(score)
    return number(value) if value is not None or answer.status == "ok" else answer.status


def _draw_legend(screen: Console, comparison: Comparison) -> None:
    has_colour = screen.color_system is not None and not screen.no_color
    gone, new = ("red and struck", "green and underlined") if has_colour else ("[-so-]", "{+so+}")
    lines = [
        f"Answers of {visible(comparison.against, one_line=True)} with what is gone {gone} and new {new}."
    ]
    if comparison.score is not None:
        lines.append(
            "Won, lost and tied count samples; a failed answer loses. 95 %: bootstrap interval of the mean "
            "difference. p: exact two-sided sign test."
        )
    screen.print()
    for line in lines:
        screen.print(line, style="dim")
