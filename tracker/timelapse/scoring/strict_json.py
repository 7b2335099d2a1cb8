"""JSON to the letter: what Python's reader lets pass is found, and said with its place."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from timelapse.errors import ConfigError
from timelapse.scoring.findings import Finding, Place, findings_at, path_of

DEEPEST = 100
"""Levels of arrays and objects inside each other that are read."""

_TOO_DEEP = f"arrays and objects are nested deeper than {DEEPEST} levels"
_FENCE = re.compile(r"\s*(`{3,})([^`]*)")


def parse(text: str, *, fenced: bool = False) -> tuple[Any, tuple[Finding, ...]]:
    """Return the value of a JSON text and what is wrong with it; with findings the value means nothing.

    Findings are: no text, no JSON, text behind the value, a repeated key, NaN and Infinity, numbers beyond
    those of a double (about 1.8e308), more than `DEEPEST` levels. Lines and columns count from 1.

    Args:
        text: The text.
        fenced: Whether to read the first block between lines of three or more backticks, marked `json` or
            not at all, if there is one. A block without an end goes on to the end of the text.

    Source: RFC 8259, section 9 of which allows limits; blocks as in CommonMark 0.31, section 4.5.
    """
    start, end = _block(text) if fenced else (0, len(text))
    body = text[start:end]
    if not body.strip():
        return None, (Finding("$", "the block of code is empty" if start else "the answer is empty"),)
    try:
        value = _DECODER.decode(body)
    except json.JSONDecodeError as error:
        what = "text after the JSON value" if error.msg == "Extra data" else f"no JSON: {error.msg}"
        return None, (Finding("$", f"{what}: {_where(text, start + error.pos)}"),)
    except RecursionError:
        return None, (Finding("$", _TOO_DEEP),)
    return value, findings_at(_problems(value))


def plain(value: Any, what: str, place: Place = ()) -> Any:
    """Return a copy of a value from YAML or Python as JSON knows it: mappings as dicts, sequences as lists.

    Anything else that JSON cannot hold is a `ConfigError`; `what` begins its sentence.
    """
    where = f"{what}: {path_of(place)}"
    if len(place) > DEEPEST:
        raise ConfigError(f"{what}: {_TOO_DEEP}.")
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ConfigError(f"{where} has the key {key!r}, which is no text. Put quotes around it.")
        return {key: plain(each, what, (*place, key)) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each, what, (*place, index)) for index, each in enumerate(value)]
    if value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ConfigError(
        f"{where} is {value!r} ({type(value).__name__}), which JSON cannot hold. If it is meant as text, put "
        "quotes around it."
    )


@dataclass(frozen=True, slots=True)
class _Refused:
    """Stands for a number that is not one of JSON's."""

    why: str


@dataclass(frozen=True, slots=True)
class _Repeated:
    """Stands for an object in which keys occur more than once."""

    value: dict[str, Any]
    times: Mapping[str, int]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Repeated:
    value = dict(pairs)
    return value if len(value) == len(pairs) else _Repeated(value, Counter(key for key, _ in pairs))


def _float(digits: str) -> float | _Refused:
    value = float(digits)
    return value if math.isfinite(value) else _Refused(f"the number {digits} is too large for a double")


def _int(digits: str) -> int | _Refused:
    # Python reads no more than 4,300 digits, and takes time that grows with their square.
    return (
        int(digits)
        if math.isfinite(float(digits))
        else _Refused(f"the number {digits} is too large for a double")
    )


def _constant(word: str) -> _Refused:
    return _Refused(f"{word} is no JSON value")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_float, parse_int=_int, parse_constant=_constant
)


def _problems(value: Any) -> Iterator[tuple[Place, str]]:
    """Yield what the decoder marked, with its place, and nesting that is too deep; without recursion."""
    waiting: list[tuple[Place, Any]] = [((), value)]
    while waiting:
        place, each = waiting.pop()
        if isinstance(each, _Repeated):
            yield from (
                ((*place, key), f"the key occurs {times} times")
                for key, times in each.times.items()
                if times > 1
            )
            each = each.value
        if isinstance(each, _Refused):
            yield place, each.why
        elif isinstance(each, dict | list) and len(place) >= DEEPEST:
            yield (), _TOO_DEEP
            return
        elif isinstance(each, dict | list):
            children = each.items() if isinstance(each, dict) else enumerate(each)
            waiting += [((*place, key), child) for key, child in children if isinstance(child, _INNER)]


_INNER = (dict, list, _Refused, _Repeated)


def _block(text: str) -> tuple[int, int]:
    """Return where the content of the first JSON block begins and ends; all of the text without one."""
    start, position, opened, ours = 0, 0, "", False
    for line in text.split("\n"):
        after = position + len(line) + 1
        mark = _FENCE.fullmatch(line)
        if mark and not opened:
            start, opened = min(after, len(text)), mark[1]
            ours = mark[2].strip().lower().split()[:1] in ([], ["json"])
        elif mark and not mark[2].strip() and len(mark[1]) >= len(opened):
            if ours:
                return start, position
            opened = ""
        position = after
    return (start, len(text)) if opened and ours else (0, len(text))


def _where(text: str, position: int) -> str:
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return f"line {line} column {column}"
