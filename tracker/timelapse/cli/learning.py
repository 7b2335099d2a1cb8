"""How `timelapse show` draws what a run learned: classes, and the matrix of samples and rounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from timelapse.analysis.deciding import deciding
from timelapse.analysis.learning import Learning, learning
from timelapse.cli.terminal import console, visible
from timelapse.hints import listed
from timelapse.scoring.health import onset_sentence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from timelapse.cli.show import Shown
    from timelapse.reading.records import StoredSample

MATRIX_SAMPLES = 40
"""Samples in the matrix, unless `--limit` says otherwise."""

_STYLES = {
    "always_right": "green",
    "learned": "bold green",
    "forgotten": "bold red",
    "oscillating": "yellow",
    "never": "red",
}
_MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: ("·", "dim")}
_LONGEST_LIST = 20


def of_run(shown: Shown) -> Learning:
    """Return what the rounds of a run say about its learning, by the score that decides what is right."""
    stored = (name for each in shown.rounds for row in each.predictions for name in row.scores)
    return learning(shown.rounds, deciding(shown.manifest, stored))


def print_learning(shown: Shown, limit: int | None) -> None:
    """Print the classes of the samples, what settled or broke, and the matrix of samples and rounds."""
    found = shown.learned
    screen = console()
    if found.classes and len(found.steps) > 1:
        screen.print()
        assert found.right is not None
        several = any(row.generation for each in shown.rounds for row in each.predictions)
        means = ", of several answers by their mean" if several else ""
        screen.print(f"What was learned, by {found.right.score}{means}:", style="bold")
        for name, count in found.counts().items():
            if count:
                screen.print(_class_line(name, count, found, shown.samples))
        wanted = [sample for sample in shown.samples if sample.sample_id in found.classes]
        _print_matrix(found, wanted[: limit or MATRIX_SAMPLES], len(wanted))
    for line in _notes(found):
        screen.print(line)


def as_json(found: Learning, samples: Sequence[StoredSample]) -> dict[str, Any]:
    """Return the same for other programs."""
    return {
        "score": found.right.score if found.right else None,
        "right_from": found.right.least if found.right else None,
        "steps": list(found.steps),
        "classes": found.counts() if found.classes else {},
        "settled_since": found.settled_since,
        "best_step": found.best,
        "onsets": dict(found.onsets),
        "samples": [
            {"index": each.index, "sample_id": each.sample_id, "class": found.classes.get(each.sample_id)}
            | {"right": list(found.marks.get(each.sample_id, ()))}
            for each in samples
        ],
    }


def _class_line(name: str, count: int, found: Learning, samples: list[StoredSample]) -> Text:
    mine = set(found.of_class(name))
    shown = [f"#{sample.index}" for sample in samples if sample.sample_id in mine]
    more = f" and {len(shown) - _LONGEST_LIST} more" if len(shown) > _LONGEST_LIST else ""
    return Text.assemble(
        "  ",
        (f"{name.replace('_', ' '):13}", _STYLES[name]),
        f"{count:4}  ",
        (" ".join(shown[:_LONGEST_LIST]) + more, "dim"),
    )


def _print_matrix(found: Learning, samples: list[StoredSample], total: int) -> None:
    """Print a row for each sample, a mark for each round; of many rounds the last ones."""
    screen = console()
    width = max(len(str(sample.index)) for sample in samples) + 1
    room = max(5, (screen.width - width - 50) // 2)
    steps = found.steps[-room:]
    screen.print()
    names = f"steps {listed(steps)}" + (
        f", the last {room} of {len(found.steps)}" if room < len(found.steps) else ""
    )
    screen.print(Text(f"{'':{width}} {names}", style="dim"))
    for sample in samples:
        line = Text.assemble((f"#{sample.index}".ljust(width), "bold cyan"), " ")
        for mark in found.marks[sample.sample_id][-room:]:
            line.append(*_MARKS[mark]).append(" ")
        kind = found.classes[sample.sample_id]
        line.append(f" {kind.replace('_', ' '):13}", _STYLES[kind])
        line.append(visible(sample.prompt or "–", one_line=True), "dim")
        line.truncate(screen.width, overflow="ellipsis")
        screen.print(line)
    if len(samples) < total:
        screen.print(f"{len(samples)} of {total} samples; --limit shows more.", style="dim")


def _notes(found: Learning) -> list[Text]:
    notes = []
    if found.best is not None and found.right is not None and len(found.steps) > 1:
        notes.append(Text(f"Best round by {found.right.score}: step {found.best}."))
    if found.settled_since is not None:
        notes.append(Text(f"The texts have not changed since step {found.settled_since}."))
    if sentence := onset_sentence(found.onsets):
        notes.append(Text(f"Health: {sentence}.", style="yellow"))
    return notes
