"""The rows of a comparison: a question, and what each run says to it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from timelapse.analysis.alignment import Pair
from timelapse.analysis.history import MISSING, Answer, History, Key
from timelapse.analysis.slices import tags_of
from timelapse.analysis.trajectories import reaches
from timelapse.report.compare_documents import ComparedAnswer, ComparedRow

if TYPE_CHECKING:
    from timelapse.analysis.comparison import ComparedRound, Comparison
    from timelapse.report.documents import Right

MOST_ROWS = 5_000
"""Rows that a page is given. The rest counts in the scoreboard, and is in the exports."""
MOST_CHARACTERS = 8_000_000
"""Characters of all texts that a page is given; where there are more, each is cut shorter."""
LONGEST_TEXT = 10_000
"""Characters of a text that a page is given at most."""
FEWEST_CHARACTERS = 200
"""Characters of a text that a page is given however many there are."""


@dataclass(frozen=True, slots=True)
class _Shown:
    """What holds for all rows."""

    labels: Sequence[str]
    against: str
    scores: Sequence[str]
    right: Right | None
    longest: int


def compared_rows(
    comparison: Comparison,
    rounds: Sequence[ComparedRound],
    histories: Mapping[str, History],
    scores: Sequence[str],
    right: Right | None,
) -> list[ComparedRow]:
    """Return a row a question and draw, in the order of the sample set compared against.

    Args:
        comparison: The runs held against one of them.
        rounds: Its rounds in the order in which the rows shall hold them.
        histories: The runs by id; of several that know a sample the one compared against tells its prompt.
        scores: The scores that an answer shall have.
        right: What makes an answer right.
    """
    pairs: dict[Key, dict[str, Pair]] = {}
    for pair in comparison.pairs:
        pairs.setdefault(Key(pair.sample_id, pair.generation), {})[pair.run] = pair
    texts = max(1, min(len(pairs), MOST_ROWS) * (len(rounds) + 2))
    longest = max(FEWEST_CHARACTERS, min(LONGEST_TEXT, MOST_CHARACTERS // texts))
    labels = [each.label for each in rounds]
    shown = _Shown(labels, comparison.against, scores, right, longest)
    samples = _samples([histories[each.run_id] for each in comparison.rounds])
    return [_row(key, found, samples.get(key.sample_id, {}), shown) for key, found in pairs.items()]


def _samples(histories: Sequence[History]) -> dict[str, dict[str, Any]]:
    """Return what is known of each sample, by the first run that knows it, or its reference."""
    known: dict[str, dict[str, Any]] = {}
    for history in histories:
        for sample_id, sample in history.samples.items():
            found = known.setdefault(sample_id, dict(sample))
            if found["reference"] is None:
                found["reference"] = sample["reference"]
    return known


def _row(key: Key, found: Mapping[str, Pair], sample: Mapping[str, Any], shown: _Shown) -> ComparedRow:
    answers = {label: pair.after for label, pair in found.items()}
    answers[shown.against] = next(iter(found.values())).before
    pairs = [found.get(label) for label in shown.labels]
    return ComparedRow(
        sample_id=key.sample_id,
        generation=key.generation,
        index=sample.get("index"),
        prompt=_cut(sample.get("prompt"), shown.longest),
        reference=_cut(sample.get("reference"), shown.longest),
        tags=tags_of(sample),
        answers=[_answer(answers.get(label, MISSING), shown) for label in shown.labels],
        outcomes=[None if pair is None else pair.outcome for pair in pairs],
        differences=[None if pair is None else _finite(pair.difference) for pair in pairs],
    )


def _answer(answer: Answer, shown: _Shown) -> ComparedAnswer | None:
    if answer.status == "missing":
        return None
    text = answer.prediction
    return ComparedAnswer(
        status=answer.status,
        text=_cut(text, shown.longest),
        cut=text is not None and len(text) > shown.longest,
        error=_cut(answer.error, shown.longest),
        scores=[answer.score(name) for name in shown.scores],
        right=_is_right(answer, shown.right),
    )


def _is_right(answer: Answer, right: Right | None) -> bool | None:
    value = None if right is None else answer.score(right.score)
    return None if right is None or value is None else bool(reaches(value, right.least))


def _cut(text: str | None, longest: int) -> str | None:
    return text if text is None or len(text) <= longest else text[: longest - 1] + "…"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
