"""How `timelapse show` draws answers over the rounds: many samples at once, or one in full."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.padding import Padding
from rich.text import Text

from timelapse.cli.answer_view import (
    answer_of,
    answered_before,
    body,
    caption,
    facts,
    first_answer,
    mark,
    moment,
    question_line,
    score_line,
    short_answer,
    verdict_lines,
)
from timelapse.cli.terminal import console, has_colour, text_table, visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from timelapse.cli.show import Shown
    from timelapse.reading.records import StoredSample
    from timelapse.rounds import Prediction, Round

_COLUMNS = 5
_LEAST_PROMPT = 16


def print_answers(shown: Shown, samples: list[StoredSample]) -> None:
    """Print how these samples' answers evolved: side by side if they are short, else one below the other."""
    screen = console()
    rounds = _spread(shown.rounds)
    table = _side_by_side(screen.width, shown, rounds, samples)
    screen.print()
    if table is not None:
        screen.print(table)
        screen.print()
    else:
        for sample in samples:
            _print_below(screen, shown, rounds, sample)
    _print_hints(shown, rounds, samples)


def print_sample(shown: Shown, sample: StoredSample, rounds: list[Round]) -> None:
    """Print one sample's answers over the rounds, each compared with the one before."""
    screen = console()
    screen.print()
    screen.print(
        Text.assemble(
            (f"#{sample.index}", "bold cyan"), (f"  sample {visible(sample.sample_id, one_line=True)}", "dim")
        )
    )
    for label, text in (("prompt", sample.prompt), ("reference", sample.reference)):
        screen.print(Text(label, style="bold"))
        screen.print(_indented(Text(visible(text)) if text is not None else Text("none", style="dim")))
    screen.print()
    generations = sorted(
        {
            row.generation
            for round_ in rounds
            for row in round_.predictions
            if row.sample_id == sample.sample_id
        }
    )
    for generation in generations or [0]:
        if len(generations) > 1:
            screen.print(f"answer {generation + 1} of {len(generations)}", style="bold underline")
        for round_ in rounds:
            row = answer_of(round_, sample, generation)
            since = answered_before(shown, round_, sample, generation)
            screen.print(caption(shown, round_, row, since))
            screen.print(_indented(body(row, since, colour=has_colour())))
            if row is not None and row.scores:
                screen.print(_indented(score_line(row)))
            if row is not None and row.validations:
                screen.print(_indented(verdict_lines(row)))
    _print_legend()


def print_round(shown: Shown, round_: Round, samples: list[StoredSample]) -> None:
    """Print all answers of a round, each compared with the one before."""
    screen = console()
    screen.print()
    screen.print(moment(round_), style="bold")
    for sample in samples:
        rows: list[Prediction | None] = [
            row for row in round_.predictions if row.sample_id == sample.sample_id
        ]
        for row in rows or [None]:
            since = answered_before(shown, round_, sample, row.generation if row else 0)
            screen.print()
            screen.print(Text.assemble(mark(shown, row), " ", question_line(sample), *facts(row, since)))
            screen.print(_indented(body(row, since, colour=has_colour())))
    if len(samples) < len(shown.samples):
        screen.print(f"\n{len(samples)} of {len(shown.samples)} samples; --limit shows more.", style="dim")
    _print_legend()


def _side_by_side(width: int, shown: Shown, rounds: list[Round], samples: list[StoredSample]) -> Table | None:
    """Return the answers as a table, a column a round; None if they are too long to stand side by side.

    The last round decides: the base model's ramblings may be cut, the answers learned should be seen whole.
    """
    questions = [visible(sample.prompt or "–", one_line=True) for sample in samples]
    references = [visible(sample.reference or "–", one_line=True) for sample in samples]
    answers = [[first_answer(round_, sample) for sample in samples] for round_ in rounds]
    cell = 2 + max(
        (cell_len(short_answer(row).plain) for row in answers[-1] if row and row.status == "ok"), default=4
    )
    cell = max(cell, len(f"step {rounds[-1].step}"))
    reference = max(9, min(max(map(cell_len, references), default=0), 20))
    question = max(map(cell_len, questions), default=0)
    left = width - len(str(samples[-1].index if samples else 0)) - reference - len(rounds) * (cell + 2) - 4
    if left < min(question, _LEAST_PROMPT):
        return None
    longest = 2 + max((cell_len(short_answer(row).plain) for column in answers for row in column), default=0)
    cell = max(cell, min(longest, cell + max(0, left - question) // len(rounds)))
    table = text_table()
    table.add_column("#", justify="right", style="bold cyan", no_wrap=True)
    table.add_column("prompt", no_wrap=True)
    table.add_column("reference", no_wrap=True, overflow="ellipsis", max_width=reference)
    for round_ in rounds:
        table.add_column(
            f"step {round_.step}", no_wrap=True, overflow="ellipsis", max_width=cell, min_width=cell
        )
    for place, sample in enumerate(samples):
        cells = [
            Text.assemble(mark(shown, column[place]), " ", short_answer(column[place])) for column in answers
        ]
        table.add_row(str(sample.index), _middle_cut(questions[place], left), references[place], *cells)
    return table


def _print_below(screen: Console, shown: Shown, rounds: list[Round], sample: StoredSample) -> None:
    """Print a sample and its answers, a line a round."""
    lines = [
        Text.assemble((f"#{sample.index}", "bold cyan"), f" {visible(sample.prompt or '–', one_line=True)}")
    ]
    if sample.reference is not None:
        lines.append(Text(f" reference   {visible(sample.reference, one_line=True)}", style="dim"))
    for round_ in rounds:
        row = first_answer(round_, sample)
        lines.append(
            Text.assemble((f"{f'step {round_.step}':>10} ", "dim"), mark(shown, row), " ", short_answer(row))
        )
    for line in lines:
        screen.print(line, no_wrap=True, overflow="ellipsis")
    screen.print()


def _middle_cut(text: str, width: int) -> str:
    """Return text that is no longer than `width`, cut in the middle: prompts often differ at the end."""
    if cell_len(text) <= width:
        return text
    end = (width - 1) // 2
    return f"{set_cell_size(text, width - 1 - end).rstrip()}…{text[-end:] if end else ''}"


def _spread(rounds: list[Round]) -> list[Round]:
    """Return all rounds if they are few, else the first, the last, and some evenly spread between."""
    if len(rounds) <= _COLUMNS:
        return rounds
    return [rounds[round(place * (len(rounds) - 1) / (_COLUMNS - 1))] for place in range(_COLUMNS)]


def _indented(text: Text) -> Padding:
    return Padding(text, (0, 0, 0, 4), expand=False)


def _print_hints(shown: Shown, rounds: list[Round], samples: list[StoredSample]) -> None:
    screen = console()
    right = shown.learned.right
    known = f"✓ right, ✗ wrong ({visible(right.score).replace('_', ' ')}), " if right else ""
    lines = [f"{known}! failed, · not known (no reference, or no score says what is right)"]
    if len(rounds) < len(shown.rounds):
        lines.append(f"{len(rounds)} of {len(shown.rounds)} rounds")
    if len(samples) < len(shown.samples):
        lines.append(f"{len(samples)} of {len(shown.samples)} samples; --limit shows more")
    if any(row.generation for row in rounds[-1].predictions):
        lines.append("of several answers to a sample, the first")
    if samples:
        lines.append(f"One sample in full: timelapse show {shown.run_id[:8]} --sample {samples[0].index}")
    for line in lines:
        screen.print(line, style="dim")


def _print_legend() -> None:
    gone, new = ("red and struck", "green and underlined") if has_colour() else ("[-so-]", "{+so+}")
    console().print(f"\nSince the previous answer: gone {gone}, new {new}.", style="dim")
