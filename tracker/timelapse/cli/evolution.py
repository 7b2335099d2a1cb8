"""How `timelapse show` draws rounds and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.padding import Padding
from rich.text import Text

from timelapse.cli.terminal import console, diff_text, number, state_style, text_table, visible
from timelapse.writing.metrics import round_metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console
    from rich.table import Table

    from timelapse.cli.show import Shown
    from timelapse.reading.records import StoredSample
    from timelapse.rounds import Prediction, Round

_COLUMNS = 5
_LEAST_PROMPT = 16
_SCORES = 4


def print_header(shown: Shown) -> None:
    """Print what run this is and how it stands."""
    state = visible(shown.predictions_status or "unknown", one_line=True)
    screen = console()
    screen.print(
        Text.assemble(
            (visible(shown.name, one_line=True), "bold"),
            f"  {shown.run_id[:8]}",
            (f"  experiment {visible(shown.experiment, one_line=True)}", "dim"),
        )
    )
    screen.print(
        Text.assemble(
            "predictions ",
            (state, state_style(state)),
            (f"  MLflow run {shown.mlflow_status.lower()}", "dim"),
        )
    )
    if shown.other_sets:
        others = ", ".join(visible(name, one_line=True) for name in shown.other_sets)
        screen.print(
            f"sample set {visible(shown.set_name, one_line=True)}; others, with --set: {others}", style="dim"
        )
    if not shown.rounds:
        is_live = (shown.predictions_status or "").partition(":")[0] == "live"
        waiting = is_live and shown.mlflow_status == "RUNNING"
        more = " yet: the first one appears here when it is done." if waiting else "."
        screen.print(f"\nThis run holds no rounds{more}")


def print_rounds(shown: Shown) -> None:
    """Print a table of the rounds and their numbers."""
    metrics = [round_metrics(round_, shown.previous(round_)) for round_ in shown.rounds]
    stored = _score_names(shown.rounds)
    scores = stored[:_SCORES]
    scores += ["valid_rate"] if any("valid_rate" in row for row in metrics) else []
    table = text_table()
    for heading in ("step", "epoch"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("trigger", no_wrap=True)
    for heading in ("samples", *scores, "errors", "truncated", "churn", "seconds"):
        table.add_column(
            visible(heading, one_line=True).removesuffix("_rate").replace("_", " "),
            justify="right",
            vertical="bottom",
        )
    for round_, row in zip(shown.rounds, metrics, strict=True):
        errors, cut = len(round_.failed), _truncated(round_)
        table.add_row(
            str(round_.step),
            number(round_.epoch),
            round_.trigger,
            str(len({answer.sample_id for answer in round_.predictions})),
            *(number(row.get(name)) for name in scores),
            Text(str(errors), style="bold red" if errors else ""),
            Text(str(cut), style="yellow" if cut else ""),
            "–" if "churn" not in row else f"{row['churn']:.0%}",
            number(row.get("seconds"), 1),
        )
    screen = console()
    screen.print()
    screen.print(table)
    if len(stored) > _SCORES:
        others = ", ".join(visible(name, one_line=True) for name in stored[_SCORES:])
        screen.print(f"Other scores, in --format json and MLflow's charts: {others}.", style="dim")


def _score_names(rounds: list[Round]) -> list[str]:
    return list(dict.fromkeys(name for each in rounds for row in each.predictions for name in row.scores))


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
            row = _answer(round_, sample, generation)
            since = _answered_before(shown, round_, sample, generation)
            screen.print(_caption(shown, round_, row, since))
            screen.print(_indented(_body(row, since, colour=_has_colour())))
            if row is not None and row.scores:
                screen.print(_indented(_scores(row)))
            if row is not None and row.validations:
                screen.print(_indented(_verdicts(row)))
    _print_legend()


def print_round(shown: Shown, round_: Round, samples: list[StoredSample]) -> None:
    """Print all answers of a round, each compared with the one before."""
    screen = console()
    screen.print()
    screen.print(_moment(round_), style="bold")
    for sample in samples:
        rows: list[Prediction | None] = [
            row for row in round_.predictions if row.sample_id == sample.sample_id
        ]
        for row in rows or [None]:
            since = _answered_before(shown, round_, sample, row.generation if row else 0)
            screen.print()
            screen.print(Text.assemble(_mark(shown, row), " ", _question(sample), *_facts(row, since)))
            screen.print(_indented(_body(row, since, colour=_has_colour())))
    if len(samples) < len(shown.samples):
        screen.print(f"\n{len(samples)} of {len(shown.samples)} samples; --limit shows more.", style="dim")
    _print_legend()


def _side_by_side(width: int, shown: Shown, rounds: list[Round], samples: list[StoredSample]) -> Table | None:
    """Return the answers as a table, a column a round; None if they are too long to stand side by side.

    The last round decides: the base model's ramblings may be cut, the answers learned should be seen whole.
    """
    questions = [visible(sample.prompt or "–", one_line=True) for sample in samples]
    references = [visible(sample.reference or "–", one_line=True) for sample in samples]
    answers = [[_first(round_, sample) for sample in samples] for round_ in rounds]
    cell = 2 + max(
        (cell_len(_short(row).plain) for row in answers[-1] if row and row.status == "ok"), default=4
    )
    cell = max(cell, len(f"step {rounds[-1].step}"))
    reference = max(9, min(max(map(cell_len, references), default=0), 20))
    question = max(map(cell_len, questions), default=0)
    left = width - len(str(samples[-1].index if samples else 0)) - reference - len(rounds) * (cell + 2) - 4
    if left < min(question, _LEAST_PROMPT):
        return None
    longest = 2 + max((cell_len(_short(row).plain) for column in answers for row in column), default=0)
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
        cells = [Text.assemble(_mark(shown, column[place]), " ", _short(column[place])) for column in answers]
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
        row = _first(round_, sample)
        lines.append(
            Text.assemble((f"{f'step {round_.step}':>10} ", "dim"), _mark(shown, row), " ", _short(row))
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


def _short(row: Prediction | None) -> Text:
    if row is None or row.status == "skipped":
        return Text("no answer", style="dim")
    if row.status == "error":
        return Text(visible(row.error or "error", one_line=True), style="red")
    text = visible(row.prediction or "", one_line=True)
    return Text(text) if text.strip() else Text("(empty)", style="dim")


def _mark(shown: Shown, row: Prediction | None) -> Text:
    """Return the sign of an answer: right, wrong, failed, or not known."""
    if row is not None and row.status == "error":
        return Text("!", style="bold red")
    right = shown.is_right(row) if row is not None else None
    if right is None:
        return Text("·", style="dim")
    return Text("✓", style="green") if right else Text("✗", style="red")


def _question(sample: StoredSample) -> Text:
    prompt = visible(sample.prompt or "–", one_line=True)
    prompt = prompt if len(prompt) <= 200 else prompt[:199] + "…"
    text = Text.assemble((f"#{sample.index}", "bold cyan"), f" {prompt}")
    if sample.reference is not None:
        reference = visible(sample.reference, one_line=True)
        text.append(
            f"  reference: {reference if len(reference) <= 200 else reference[:199] + '…'}", style="dim"
        )
    return text


def _caption(shown: Shown, round_: Round, row: Prediction | None, since: tuple[int, str] | None) -> Text:
    text = Text.assemble(_mark(shown, row), " ", (_moment(round_), "bold"))
    for fact in _facts(row, since):
        text.append_text(fact)
    return text


def _scores(row: Prediction) -> Text:
    named = (f"{visible(name).replace('_', ' ')} {number(value)}" for name, value in row.scores.items())
    return Text(" · ".join(named), style="dim")


def _verdicts(row: Prediction) -> Text:
    """Return what each validator said: passed, or what it found."""
    lines = []
    for each in row.validations:
        name = visible(each.name)
        lines += [Text(f"{name}: passed", style="dim")] if each.passed else []
        lines += [
            Text(f"{name}: {visible(found.path)}: {visible(found.message)}", style="yellow")
            for found in each.errors
        ]
    return Text("\n").join(lines)


def _moment(round_: Round) -> str:
    parts = [f"step {round_.step}"]
    if round_.epoch is not None:
        parts.append(f"epoch {number(round_.epoch)}")
    if round_.trigger != "epoch":
        parts.append(round_.trigger)
    if round_.attempt:
        parts.append(f"attempt {round_.attempt}")
    return " · ".join(parts)


def _facts(row: Prediction | None, since: tuple[int, str] | None) -> Iterator[Text]:
    if row is None:
        return
    if row.prediction_tokens is not None:
        yield Text(
            f" · {row.prediction_tokens} token{'s' if row.prediction_tokens != 1 else ''}", style="dim"
        )
    if row.finish_reason == "length":
        yield Text(" · cut at the token limit", style="yellow")
    elif row.finish_reason:
        yield Text(f" · {row.finish_reason}", style="dim")
    if since and row.prediction == since[1]:
        yield Text(f" · unchanged since step {since[0]}", style="dim")


def _body(row: Prediction | None, since: tuple[int, str] | None, *, colour: bool) -> Text:
    """Return an answer as text, with what changed since the last one marked."""
    if row is None or row.prediction is None or row.status != "ok":
        return _short(row)
    if since is None or since[1] == row.prediction:
        return Text(visible(row.prediction)) if row.prediction.strip() else _short(row)
    return diff_text(since[1], row.prediction, colour=colour)


def _answered_before(
    shown: Shown, round_: Round, sample: StoredSample, generation: int
) -> tuple[int, str] | None:
    """Return step and text of the sample's last answer before a round; rounds that failed are passed over."""
    for earlier in reversed(shown.rounds[: shown.rounds.index(round_)]):
        row = _answer(earlier, sample, generation)
        if row is not None and row.status == "ok" and row.prediction is not None:
            return earlier.step, row.prediction
    return None


def _first(round_: Round, sample: StoredSample) -> Prediction | None:
    rows = [row for row in round_.predictions if row.sample_id == sample.sample_id]
    return min(rows, key=lambda row: row.generation) if rows else None


def _answer(round_: Round, sample: StoredSample, generation: int) -> Prediction | None:
    for row in round_.predictions:
        if row.sample_id == sample.sample_id and row.generation == generation:
            return row
    return None


def _truncated(round_: Round) -> int:
    return sum(row.status == "ok" and row.finish_reason == "length" for row in round_.predictions)


def _spread(rounds: list[Round]) -> list[Round]:
    """Return all rounds if they are few, else the first, the last, and some evenly spread between."""
    if len(rounds) <= _COLUMNS:
        return rounds
    return [rounds[round(place * (len(rounds) - 1) / (_COLUMNS - 1))] for place in range(_COLUMNS)]


def _indented(text: Text) -> Padding:
    return Padding(text, (0, 0, 0, 4), expand=False)


def _has_colour() -> bool:
    screen = console()
    return screen.color_system is not None and not screen.no_color


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
    gone, new = ("red and struck", "green and underlined") if _has_colour() else ("[-so-]", "{+so+}")
    console().print(f"\nSince the previous answer: gone {gone}, new {new}.", style="dim")
