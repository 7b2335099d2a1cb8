"""A comparison in a notebook: one self-contained piece of HTML, without scripts, for light and dark pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from timelapse.analysis.comparison_views import few, interval, p_value, shared, signed, size
from timelapse.analysis.diff import word_diff

if TYPE_CHECKING:
    from timelapse.analysis.alignment import Pair
    from timelapse.analysis.comparison import Comparison, ScoreLine
    from timelapse.analysis.history import Answer
    from timelapse.analysis.slices import Slice

SHOWN = 20
"""Answers in each list."""

# Colours with transparency lie well on white and on black.
_STYLE = """
.timelapse-comparison table {border-collapse: collapse; margin: .4em 0}
.timelapse-comparison th, .timelapse-comparison td {padding: .2em .6em; text-align: left; vertical-align: top;
 border-bottom: 1px solid rgba(128,128,128,.35); overflow-wrap: anywhere; white-space: pre-wrap}
.timelapse-comparison del {background: rgba(220,50,50,.25)}
.timelapse-comparison ins {background: rgba(40,160,70,.25); text-decoration: none}
.timelapse-comparison summary {cursor: pointer; font-weight: bold}
.timelapse-comparison small {opacity: .7}
"""
_HEADINGS = ("score", "run", "n", "mean", "difference", "95 % interval", "wins", "losses", "ties", "p")
_SLICE = ("slice", "run", "n", "before", "after", "difference", "")
_ENTRY = ("#", "prompt", "reference", "answer, compared with that of against", "scores")


def html(comparison: Comparison) -> str:
    """Return a comparison as HTML. Every text from a model or a file is escaped; nothing is loaded."""
    score = comparison.score or "texts only"
    parts = [
        f"<b>{escape(score)}</b> against <b>{escape(comparison.against)}</b> "
        f"<small>sample set {escape(comparison.set_name)}</small>",
        _table(_HEADINGS, (_score_cells(line) for line in comparison.scoreboard)),
    ]
    findings = [f"{each.run}: {found}" for each in comparison.likeness for found in each.sentences()]
    items = "".join(f"<li>{escape(text)}</li>" for text in (*findings, *comparison.notes))
    parts += [f"<ul>{items}</ul>"] if items else []
    parts += _slices(comparison)
    if comparison.score is not None:
        parts.append(_list("Regressions", comparison.regressions, comparison.score, is_open=True))
        parts.append(_list("Improvements", comparison.improvements, comparison.score))
    title = f"Answers that differ, of {shared(comparison)}"
    parts.append(_list(title, comparison.disagreements, comparison.score, is_open=comparison.score is None))
    return f'<div class="timelapse-comparison"><style>{_STYLE}</style>{"".join(parts)}</div>'


def _slices(comparison: Comparison) -> list[str]:
    """Return the worst slices for all to see, and all of them folded; nothing where there are none."""
    if not comparison.slices:
        return []
    why = {each.slice: each.why for each in comparison.worst_slices}
    worst, everything = (
        _table(_SLICE, (_slice_cells(each, why.get(each, "")) for each in found))
        for found in (why, comparison.slices)
    )
    hint = f"<small>{escape(few(comparison.slices))}</small>"
    folded = f"<details><summary>Slices: {len(comparison.slices)}</summary>{everything}{hint}</details>"
    return [f"<b>Worst slices</b>{worst}", folded] if why else [folded]


def _slice_cells(each: Slice, why: str) -> list[str]:
    means = ["–" if value is None else f"{value:.2f}" for value in (each.before, each.after)]
    return [_isolated(each.name), escape(each.run), size(each), *means, signed(each.difference), why]


def _list(title: str, pairs: Sequence[Pair], score: str | None, *, is_open: bool = False) -> str:
    more = len(pairs) - SHOWN
    hint = f"<small>and {more} more: to_pandas() has them all</small>" if more > 0 else ""
    table = _table(_ENTRY, (_entry_cells(pair, score) for pair in pairs[:SHOWN])) if pairs else ""
    opened = " open" if is_open else ""
    return f"<details{opened}><summary>{escape(title)}: {len(pairs)}</summary>{table}{hint}</details>"


def _table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table; its cells are HTML already."""
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _score_cells(line: ScoreLine) -> list[str]:
    unscored = f" <small>+ {line.unscored} unscored</small>" if line.unscored else ""
    cells = [escape(line.score), escape(line.run), f"{line.n}{unscored}"]
    cells.append("–" if line.mean is None else f"{line.mean:.2f}")
    result = line.result
    if result is None:
        return cells + [""] * (len(_HEADINGS) - len(cells))
    counts = [str(result.wins), str(result.losses), str(result.ties)]
    return [*cells, signed(result.difference), interval(result), *counts, escape(p_value(result))]


def _entry_cells(pair: Pair, score: str | None) -> list[str]:
    number = "–" if pair.index is None else str(pair.index)
    draw = f" <small>answer {pair.generation + 1}</small>" if pair.generation else ""
    before, after = (_score(answer, score) for answer in (pair.before, pair.after))
    texts = [_isolated(pair.prompt), _isolated(pair.reference)]
    return [f"{number}{draw}", *texts, _changed(pair.before, pair.after), f"{before} → {after}"]


def _changed(before: Answer, after: Answer) -> str:
    if before.status != "ok" or after.status != "ok":
        return f"<del>{_said(before)}</del> <ins>{_said(after)}</ins>"
    tags = {"delete": "<del>{}</del>", "insert": "<ins>{}</ins>", "equal": "{}"}
    pieces = word_diff(before.prediction or "", after.prediction or "")
    text = "".join(tags[operation].format(escape(piece)) for operation, piece in pieces)
    return f"<bdi>{text}</bdi>"


def _said(answer: Answer) -> str:
    return _isolated(answer.prediction if answer.status == "ok" else f"({answer.error or answer.status})")


def _score(answer: Answer, score: str | None) -> str:
    value = answer.score(score) if score else None
    return f"{value:.2f}" if value is not None else escape("–" if answer.status == "ok" else answer.status)


def _isolated(text: str | None) -> str:
    # A text that turns the direction of writing must turn no more than itself.
    return f"<bdi>{escape(text or '–')}</bdi>"
