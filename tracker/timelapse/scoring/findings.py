"""What is wrong with an answer: a place and a sentence each, few and short enough to be stored."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import nsmallest
from itertools import islice

from timelapse.rounds import storable

MOST_FINDINGS = 20
"""Findings that are kept of an answer."""
LONGEST = 300
"""Characters of a finding's path, and of its message; of a longer one the middle is left out."""

Place = tuple[str | int, ...]
"""The keys and indices that lead to a value inside a JSON value."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with an answer."""

    path: str
    """Where, as a JSON path such as `$.items[2].name`; `$` is the whole answer."""
    message: str
    """What is wrong."""


def findings_at(problems: Iterable[tuple[Place, str]]) -> tuple[Finding, ...]:
    """Return the first `MOST_FINDINGS` problems by path (items by number, before keys), then message."""
    first = nsmallest(MOST_FINDINGS, problems, key=_order)
    return tuple(Finding(path_of(place), message) for place, message in first)


def path_of(place: Place) -> str:
    """Return a place as a JSON path: `$.items[2].name`, `$["two words"]`."""
    return "$" + "".join(map(_step, place))


def bounded(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the first `MOST_FINDINGS` findings, their texts shortened, as UTF-8 can hold them."""
    return tuple(
        Finding(_shortened(each.path), _shortened(each.message)) for each in islice(found, MOST_FINDINGS)
    )


def _step(key: str | int) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    return f".{key}" if key.isidentifier() else f"[{json.dumps(key, ensure_ascii=False)}]"


def _order(problem: tuple[Place, str]) -> tuple[list[tuple[bool, int, str]], str]:
    place, message = problem
    return [(True, 0, key) if isinstance(key, str) else (False, key, "") for key in place], message


def _shortened(text: str) -> str:
    # The end is kept as well: jsonschema puts the value first, and then what is wrong with it.
    text = storable(text) or ""
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]} … {text[3 - half :]}"
