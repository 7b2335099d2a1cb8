"""How `timelapse show` draws one answer: whether it is right, what it says, and what changed in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from timelapse.cli.terminal import diff_text, number, visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from timelapse.cli.show import Shown
    from timelapse.reading.records import StoredSample
    from timelapse.rounds import Prediction, Round


def short_answer(row: Prediction | None) -> Text:
    """Return an answer in one line, or why there is none."""
    if row is None or row.status == "skipped":
        return Text("no answer", style="dim")
    if row.status == "error":
        return Text(visible(row.error or "error", one_line=True), style="red")
    text = visible(row.prediction or "", one_line=True)
    return Text(text) if text.strip() else Text("(empty)", style="dim")


def mark(shown: Shown, row: Prediction | None) -> Text:
    """Return the sign of an answer: right, wrong, failed, or not known."""
    if row is not None and row.status == "error":
        return Text("!", style="bold red")
    right = shown.is_right(row) if row is not None else None
    if right is None:
        return Text("·", style="dim")
    return Text("✓", style="green") if right else Text("✗", style="red")


def question_line(sample: StoredSample) -> Text:
    """Return number, prompt and reference of a sample in one line."""
    prompt = visible(sample.prompt or "–", one_line=True)
    prompt = prompt if len(prompt) <= 200 else prompt[:199] + "…"
    text = Text.assemble((f"#{sample.index}", "bold cyan"), f" {prompt}")
    if sample.reference is not None:
        reference = visible(sample.reference, one_line=True)
        text.append(
            f"  reference: {reference if len(reference) <= 200 else reference[:199] + '…'}", style="dim"
        )
    return text


def caption(shown: Shown, round_: Round, row: Prediction | None, since: tuple[int, str] | None) -> Text:
    """Return the line above an answer: its sign, its round, and facts on it."""
    text = Text.assemble(mark(shown, row), " ", (moment(round_), "bold"))
    for fact in facts(row, since):
        text.append_text(fact)
    return text


def score_line(row: Prediction) -> Text:
    """Return an answer's scores in one line."""
    named = (f"{visible(name).replace('_', ' ')} {number(value)}" for name, value in row.scores.items())
    return Text(" · ".join(named), style="dim")


def verdict_lines(row: Prediction) -> Text:
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


def moment(round_: Round) -> str:
    """Return which round this is: step, epoch, what caused it, attempt."""
    parts = [f"step {round_.step}"]
    if round_.epoch is not None:
        parts.append(f"epoch {number(round_.epoch)}")
    if round_.trigger != "epoch":
        parts.append(round_.trigger)
    if round_.attempt:
        parts.append(f"attempt {round_.attempt}")
    return " · ".join(parts)


def facts(row: Prediction | None, since: tuple[int, str] | None) -> Iterator[Text]:
    """Yield what is to be known of an answer beside its text."""
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


def body(row: Prediction | None, since: tuple[int, str] | None, *, colour: bool) -> Text:
    """Return an answer as text, with what changed since the last one marked."""
    if row is None or row.prediction is None or row.status != "ok":
        return short_answer(row)
    if since is None or since[1] == row.prediction:
        return Text(visible(row.prediction)) if row.prediction.strip() else short_answer(row)
    return diff_text(since[1], row.prediction, colour=colour)


def answered_before(
    shown: Shown, round_: Round, sample: StoredSample, generation: int
) -> tuple[int, str] | None:
    """Return step and text of the sample's last answer before a round; rounds that failed are passed over."""
    for earlier in reversed(shown.rounds[: shown.rounds.index(round_)]):
        row = answer_of(earlier, sample, generation)
        if row is not None and row.status == "ok" and row.prediction is not None:
            return earlier.step, row.prediction
    return None


def first_answer(round_: Round, sample: StoredSample) -> Prediction | None:
    """Return the answer of the first generation to a sample; None if the round has none."""
    rows = [row for row in round_.predictions if row.sample_id == sample.sample_id]
    return min(rows, key=lambda row: row.generation) if rows else None


def answer_of(round_: Round, sample: StoredSample, generation: int) -> Prediction | None:
    """Return the answer of one generation to a sample; None if the round has none."""
    for row in round_.predictions:
        if row.sample_id == sample.sample_id and row.generation == generation:
            return row
    return None
