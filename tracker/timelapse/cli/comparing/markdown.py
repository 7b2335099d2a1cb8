"""A comparison as Markdown, fit for a comment on a pull request."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from timelapse.analysis.comparison_views import few, interval, p_value, shared, signed, size
from timelapse.cli.comparing.output import NO_SLICES, TITLES, shown_lists, shown_slices
from timelapse.cli.terminal import number, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from timelapse.analysis.alignment import Pair
    from timelapse.analysis.comparison import Comparison, ScoreLine
    from timelapse.analysis.history import Answer
    from timelapse.analysis.slices import Slice
    from timelapse.cli.comparing.options import Report

LONGEST = 200
"""Characters of a text that are shown; a longer one ends in `…` and how many are left out."""

_SIGNS = re.compile(r"[!#$&()*+./:<>@\[\\\]^_`{|}~]")
_SCORES = ("score", "run", "step", "n", "mean", "difference", "95 % interval", "won", "lost", "tied", "p")
_SLICES = ("slice", "run", "n", "before", "after", "difference", "")
_ANSWERS = ("#", "prompt", "reference", "before", "after", "score")


def as_markdown(comparison: Comparison, report: Report) -> str:
    """Return a comparison as GitHub-flavoured Markdown: tables, and lists of answers that fold away."""
    steps = {each.label: each.step for each in comparison.rounds}
    title = f"### {code(comparison.score) if comparison.score else 'Answers'}"
    lines = [f"{title} against {code(comparison.against)}", ""]
    lines += table(_SCORES, (_score_cells(line, steps[line.run]) for line in comparison.scoreboard))
    lines += [*_findings(comparison), "", *_slices(comparison, report)]
    for name, pairs in shown_lists(comparison, report).items():
        lines += _folded(comparison, name, pairs, report.limit)
    if comparison.score is not None:
        lines.append(
            "<sub>Won, lost and tied count samples; a failed answer loses. Interval: bootstrap of the mean "
            "difference. p: exact two-sided sign test.</sub>"
        )
    return "\n".join(lines) + "\n"


def _findings(comparison: Comparison) -> Iterator[str]:
    for each in comparison.likeness:
        verdict = "like for like" if each.alike else "⚠️ **not like for like**"
        yield f"- {code(each.run)}: {verdict}, {each.shared} samples shared"
        for sentence in each.sentences():
            yield f"  - {code(sentence)}"
    for round_ in comparison.rounds:
        if round_.failed or round_.skipped:
            counts = f"{round_.failed} failed and {round_.skipped} skipped of {round_.answers} answers"
            yield f"- ⚠️ {code(round_.label)}: {counts}"
    for note in comparison.notes:
        yield f"- ⚠️ {code(note)}"


def _slices(comparison: Comparison, report: Report) -> Iterator[str]:
    shown = shown_slices(comparison, report)
    if shown:
        yield f"**{f'Slices: {len(shown)}' if report.slices else 'Worst slices'}**"
        yield ""
        yield from table(_SLICES, (_slice_cells(each, why) for each, why in shown.items()))
        if hint := few(shown):
            yield from (f"<sub>{hint}</sub>", "")
    elif report.slices:
        yield from (NO_SLICES, "")


def _slice_cells(each: Slice, why: str) -> list[str]:
    names, means = [code(each.name), code(each.run)], [number(each.before), number(each.after)]
    return [*names, size(each), *means, signed(each.difference), why]


def _folded(comparison: Comparison, name: str, pairs: Sequence[Pair], limit: int) -> Iterator[str]:
    total = f" of {shared(comparison)}" if name == "disagree" else ""
    yield f"<details><summary>{TITLES[name]}: {len(pairs)}{total}</summary>"
    yield ""
    if pairs:
        yield from table(_ANSWERS, (_answer_cells(pair, comparison) for pair in pairs[:limit]))
    if len(pairs) > limit:
        yield f"and {len(pairs) - limit} more"
        yield ""
    yield "</details>"
    yield ""


def _score_cells(line: ScoreLine, step: int) -> list[str]:
    cells = [code(line.score), code(line.run), str(step), str(line.n), number(line.mean)]
    result = line.result
    if result is None:
        return cells + [""] * (len(_SCORES) - len(cells))
    counts = [str(result.wins), str(result.losses), str(result.ties)]
    return [
        *cells,
        signed(result.difference),
        interval(result),
        *counts,
        p_value(result).replace("<", "&lt;"),
    ]


def _answer_cells(pair: Pair, comparison: Comparison) -> list[str]:
    place = "–" if pair.index is None else str(pair.index)
    place += f" (answer {pair.generation + 1})" if pair.generation else ""
    place += f" {code(pair.run)}" if len(comparison.rounds) > 2 else ""
    scores = " → ".join(_score(answer, comparison.score) for answer in (pair.before, pair.after))
    texts = [code(text) for text in (pair.prompt or pair.sample_id, pair.reference)]
    return [place, *texts, _said(pair.before), _said(pair.after), scores]


def _said(answer: Answer) -> str:
    return code(answer.prediction) if answer.status == "ok" else f"⚠️ {code(answer.error or answer.status)}"


def _score(answer: Answer, score: str | None) -> str:
    value = answer.score(score) if score else None
    return number(value) if value is not None or answer.status == "ok" else answer.status


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Return a table, then an empty line; the cells are Markdown already."""
    headings = list(headings)
    lines = [headings, ["---"] * len(headings), *rows]
    return [*(f"| {' | '.join(cells)} |" for cells in lines), ""]


def code(text: str | None) -> str:
    """Return a text such that Markdown shows it and obeys none of it.

    Within `<code>` neither @mentions nor #references nor addresses become links, and an entity is never
    read as markup: so every sign that means something in Markdown or in an address is one.
    """
    if text is None:
        return "–"
    if not text.strip():
        return "<i>empty</i>"
    left_out = len(text) - LONGEST
    shown = text[:LONGEST] + f"… ({left_out} characters more)" if left_out > 0 else text
    return f"<code>{_SIGNS.sub(lambda sign: f'&#{ord(sign[0])};', visible(shown, one_line=True))}</code>"
