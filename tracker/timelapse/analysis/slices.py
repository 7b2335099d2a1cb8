"""Where a run is better or worse: its scores on the samples of a tag, or of a column's value."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from timelapse.analysis.alignment import change
from timelapse.analysis.statistics import mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from timelapse.analysis.alignment import Pair
    from timelapse.analysis.history import History

MOST_VALUES = 20
"""A column with more different values makes no slices: it names samples, it does not sort them."""
FEWEST_OF_A_VALUE = 2
"""Fewest samples with a column's value that are a slice."""
FEWEST_TO_RANK = 3
"""Fewest samples of a slice that can be the worst one."""
FEW = 20
"""A slice of fewer samples is a hint, no verdict."""


@dataclass(frozen=True, slots=True)
class Slice:
    """How a run stands against `against` on some of the samples."""

    run: str
    """Label of the round."""
    name: str
    """What the samples have in common: `tag:hard`, or column and value as `category=irregular`."""
    count: int
    """Samples scored on both sides: those behind the means."""
    failed: int
    """Samples of which an answer of the run failed where `against` has the score; no part of the means."""
    before: float | None
    """Mean score of `against` over the `count` samples; None if there are none."""
    after: float | None
    """Mean score of the run over them; None if there are none."""
    difference: float | None
    """After minus before, None if there are none."""

    @property
    def mostly_failed(self) -> bool:
        """Whether more samples failed than have a score: worse than any fall."""
        return self.failed > self.count


@dataclass(frozen=True, slots=True)
class WorstSlice:
    """A slice that stands out."""

    slice: Slice
    """The slice."""
    fell_most: bool
    """No slice of the run fell more, or it mostly failed."""
    lowest: bool
    """No slice of the run has a lower score."""

    @property
    def why(self) -> str:
        """Why it stands out, in words."""
        fall = "mostly failed" if self.slice.mostly_failed else "fell most"
        return ", ".join([fall] * self.fell_most + ["lowest"] * self.lowest)


def slices(
    label: str, before: History, after: History, pairs: Sequence[Pair], score: str | None
) -> tuple[Slice, ...]:
    """Return the slices of a run by how much their score fell, the worst first; none without a score.

    Every tag makes a slice, unless all samples have it: then it is the set itself. A column of the source,
    or one logged with the answers (its newest value counts), makes slices if its values are texts or yes
    and no, and 2 to `MOST_VALUES` different ones; those of `FEWEST_OF_A_VALUE` samples or more are slices.
    Only samples that both rounds hold count. Where the two runs' columns disagree, the run's own count; a
    tag counts if either of them has it.
    """
    if score is None:
        return ()
    shared = dict.fromkeys(pair.sample_id for pair in pairs if pair.shared)
    facts = [_facts(key, before.samples.get(key, {}), after.samples.get(key, {})) for key in shared]
    outcomes = _outcomes(pairs, score)
    found = [
        _slice(label, name, [outcomes[key] for key in keys if key in outcomes])
        for name, keys in (*_by_tag(facts), *_by_column(facts))
    ]
    return tuple(sorted((each for each in found if each.count or each.failed), key=_by_fall))


def worst(found: Iterable[Slice]) -> tuple[WorstSlice, ...]:
    """Return the slices of one run that stand out: the one that fell most, and the one with the lowest score.

    Only those of at least `FEWEST_TO_RANK` samples count. Nothing fell most where nothing fell, and nothing
    is lowest where all are the same.
    """
    ranked = sorted((each for each in found if each.count + each.failed >= FEWEST_TO_RANK), key=_by_fall)
    fallen = ranked[0] if ranked and (ranked[0].mostly_failed or (ranked[0].difference or 0) < 0) else None
    scored = [each for each in ranked if each.count >= FEWEST_TO_RANK]
    lowest = min(scored, key=_score, default=None)
    if lowest is None or _score(lowest) == max(map(_score, scored)):
        lowest = None
    return tuple(
        WorstSlice(each, fell_most=each is fallen, lowest=each is lowest)
        for each in ranked
        if each is fallen or each is lowest
    )


@dataclass(frozen=True, slots=True)
class _Facts:
    """What slices are made of: a sample's tags and columns."""

    sample_id: str
    tags: frozenset[str]
    columns: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """A sample's scores on both sides, means over its answers; None where no answer has both."""

    before: float | None
    after: float | None
    failed: bool


def tags_of(sample: Mapping[str, Any]) -> list[str]:
    """Return a sample's tags: its own, and those of a column of lists that came with its answers."""
    came = sample.get("logged", {}).get("tags")
    found = [*(sample.get("tags") or ()), *(came if isinstance(came, list) else ())]
    return list(dict.fromkeys(tag for tag in found if isinstance(tag, str) and tag))


def _facts(sample_id: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> _Facts:
    logged = {**before.get("logged", {}), **after.get("logged", {})}
    if isinstance(logged.get("tags"), list):
        del logged["tags"]
    tags = {tag for side in (before, after) for tag in tags_of(side)}
    columns = {**logged, **_columns(before.get("metadata")), **_columns(after.get("metadata"))}
    return _Facts(sample_id, frozenset(tags), columns)


def _columns(metadata: str | None) -> dict[str, Any]:
    try:
        columns = json.loads(metadata or "{}")
    except ValueError:  # written by somebody else: no reason to refuse the comparison
        return {}
    return columns if isinstance(columns, dict) else {}


def _by_tag(facts: Sequence[_Facts]) -> list[tuple[str, list[str]]]:
    found: dict[str, list[str]] = {}
    for each in facts:
        for tag in each.tags:
            found.setdefault(tag, []).append(each.sample_id)
    return [(f"tag:{tag}", keys) for tag, keys in sorted(found.items()) if len(keys) < len(facts)]


def _by_column(facts: Sequence[_Facts]) -> list[tuple[str, list[str]]]:
    found: dict[str, dict[str, list[str]]] = {}
    others: set[str] = set()
    for each in facts:
        for column, value in each.columns.items():
            if isinstance(value, str | bool):
                word = value if isinstance(value, str) else str(value).lower()
                found.setdefault(column, {}).setdefault(word, []).append(each.sample_id)
            elif value is not None:
                others.add(column)
    return [
        (f"{column}={word}", keys)
        for column, words in sorted(found.items())
        if column not in others and 2 <= len(words) <= MOST_VALUES
        for word, keys in sorted(words.items())
        if len(keys) >= FEWEST_OF_A_VALUE
    ]


def _outcomes(pairs: Iterable[Pair], score: str) -> dict[str, _Outcome]:
    """Return how each sample fared; without scores where nothing of it can be compared."""
    by_sample: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_sample.setdefault(pair.sample_id, []).append(pair)
    return {key: _outcome(answers, score) for key, answers in by_sample.items()}


def _outcome(answers: Sequence[Pair], score: str) -> _Outcome:
    scores = [(pair.before.score(score), pair.after.score(score)) for pair in answers]
    both = [(old, new) for old, new in scores if old is not None and new is not None]
    changes = [change(pair.before, pair.after, score) for pair in answers]
    return _Outcome(
        before=mean([old for old, _ in both]),
        after=mean([new for _, new in both]),
        failed=sum(each.recovered for each in changes if each is not None) < 0,
    )


def _slice(label: str, name: str, outcomes: Sequence[_Outcome]) -> Slice:
    old = [each.before for each in outcomes if each.before is not None]
    new = [each.after for each in outcomes if each.after is not None]
    return Slice(
        run=label,
        name=name,
        count=len(new),
        failed=sum(each.failed for each in outcomes),
        before=mean(old),
        after=mean(new),
        difference=mean([after - before for before, after in zip(old, new, strict=True)]),
    )


def _by_fall(each: Slice) -> tuple[float, float, int, str]:
    """Order slices: those that mostly failed, then by how much the score fell, larger ones before smaller."""
    share = each.failed / (each.count + each.failed) if each.mostly_failed else 0.0
    return (-share, each.difference or 0.0, -each.count, each.name)


def _score(each: Slice) -> float:
    return each.after or 0.0
