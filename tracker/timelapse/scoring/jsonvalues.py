"""JSON in answers: reading it strictly, finding it within other text, and saying how two values differ."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from functools import partial
from itertools import islice
from typing import Any

from timelapse.fence import attempt

MOST = 20
"""Differences that are listed."""

_LONGEST = 80  # characters of a value or key in a sentence
_EFFORT = 50_000  # characters read in vain before a search gives up: time stays bounded on hostile texts
_ATTEMPT = 100  # what any attempt costs, in characters

_MISSING = object()
_Place = tuple[
    Any, ...
]  # of a value: that of what holds it, and its key or index there; () for the outermost

_BLOCK = re.compile(
    r"""
    ^[ \t]*+ `{3,}+ (?P<label>[\w+-]*+) [ \t\r]*+ (?: \n | (?=[^\s\w`]) )
    (?P<body>.*?)
    (?: (?<!`) `{3,}+ [ \t\r]*+ $ | \Z )
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
_OPENING = re.compile(r"[\[{]")
_CALL_MARKS = ("<tool_call>", "[TOOL_CALLS]", "<|python_tag|>")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def parse_json(text: str) -> Any:
    """Return the value of a JSON text, numbers as exact `Decimal`; else a `ValueError` says why.

    If the text holds a block between lines of ``` that is marked json, or not marked, the first one is
    read instead and the rest passed over; a block that is cut off goes on to the end.

    Stricter than Python's reader, as RFC 8259 has it: NaN, Infinity and repeated keys are refused. So are
    numbers with exponents beyond about ±10^18, and nesting deeper than Python's stack (some hundred levels).
    """
    blocks = (block["body"] for block in _BLOCK.finditer(text) if block["label"].lower() in ("", "json"))
    body = next(blocks, text).removeprefix("\ufeff").strip()
    try:
        return _DECODER.decode(body)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def json_differences(prediction: str, reference: str) -> list[str]:
    """Return how the JSON of a prediction differs from the reference's, one sentence a place; [] if equal.

    For instance `$.a[2].b: expected 3, got 4`, `$.c: missing`, `$["d e"]: unexpected`. The order of keys
    does not matter, that of lists does; 1 is 1.0, but neither true nor "1"; texts are compared to the
    letter. At most `MOST` sentences, in the reference's order, with long values cut. If a text is no JSON
    (see `parse_json`) the only sentence says so.
    """
    value, error = attempt(lambda: parse_json(prediction))
    if error is not None:
        return [_printable(f"$: the prediction is no JSON: {error}")]
    expected, error = attempt(lambda: parse_json(reference))
    if error is not None:
        return [_printable(f"$: the reference is no JSON: {error}")]
    return [_printable(sentence) for sentence in islice(differences(value, expected), MOST)]


def differences(value: Any, expected: Any) -> Iterator[str]:
    """Yield a sentence for each place where two values of `parse_json` differ; without recursion."""
    waiting: list[tuple[_Place, Any, Any]] = [((), value, expected)]
    while waiting:
        place, left, right = waiting.pop()
        if left is _MISSING or right is _MISSING:
            yield f"{_path(place)}: {'missing' if left is _MISSING else 'unexpected'}"
        elif isinstance(left, dict) and isinstance(right, dict):
            keys = {**right, **left}  # the reference's order, then what it does not have
            waiting += [
                ((place, key), left.get(key, _MISSING), right.get(key, _MISSING)) for key in reversed(keys)
            ]
        elif isinstance(left, list) and isinstance(right, list):
            waiting += [
                ((place, index), _item(left, index), _item(right, index))
                for index in reversed(range(max(len(left), len(right))))
            ]
        elif type(left) is not type(right) or left != right:
            yield f"{_path(place)}: expected {_shown(right)}, got {_shown(left)}"


def json_values(text: str) -> Iterator[Any]:
    """Yield the JSON objects and lists in a text, the outermost ones, with whatever stands between them.

    On texts with many brackets that begin no JSON the search ends early, so that its time stays bounded.
    """
    effort = _EFFORT + 2 * len(text)
    start = _bracket(text, 0)
    while start >= 0 and effort > 0:
        found, error = attempt(partial(_DECODER.raw_decode, text, start))
        if found is not None:
            value, end = found
            yield value
        else:
            end = start + 1
            stopped = error.pos if isinstance(error, json.JSONDecodeError) else len(text)
            effort -= _ATTEMPT + stopped - start
        start = _bracket(text, end)


def tool_calls(text: str) -> Iterator[tuple[str, Hashable]]:
    """Yield the tool calls in a text, each its name and `frozen` arguments.

    `timelapse.scoring.matches.tool_call_match` says what is a call. `RecursionError` if arguments are nested
    too deeply.
    """
    value, error = attempt(lambda: parse_json(text))
    if error is None:
        yield from _calls_of(value)
        return
    start = min((at for mark in _CALL_MARKS if (at := text.find(mark)) >= 0), default=0)
    for value in json_values(text[start:]):
        yield from _calls_of(value)


def frozen(value: Any) -> Hashable:
    """Return a value of `parse_json` as one that can be hashed, equal where JSON is equal."""
    if isinstance(value, dict):
        return frozenset((key, frozen(each)) for key, each in value.items())
    if isinstance(value, list):
        return tuple(frozen(each) for each in value)
    return (type(value).__name__, value)


def _bracket(text: str, start: int) -> int:
    found = _OPENING.search(text, start)
    return found.start() if found else -1


def _object(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    raise ValueError(f"the key {_cut(_text(repeated))} occurs more than once")


def _constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON value")


def _number(digits: str) -> Decimal:
    try:
        return Decimal(digits)
    except InvalidOperation:
        raise ValueError(f"the number {_cut(digits)} is out of range") from None


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_number, parse_int=_number, parse_constant=_constant
)


def _item(values: list[Any], index: int) -> Any:
    return values[index] if index < len(values) else _MISSING


def _path(place: _Place) -> str:
    steps = []
    while place:
        place, step = place
        steps.append(_step(step))
    return "$" + "".join(reversed(steps))


def _step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if len(step) <= _LONGEST and _NAME.fullmatch(step) else f"[{_cut(_text(step))}]"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object of {len(value)} key{'s' * (len(value) != 1)}"
    if isinstance(value, list):
        return f"a list of {len(value)} item{'s' * (len(value) != 1)}"
    return _cut(str(value) if isinstance(value, Decimal) else _text(value))


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _printable(sentence: str) -> str:
    """Return a sentence without lone surrogates, which JSON's escapes can hold and files cannot."""
    return sentence.encode("utf-8", "backslashreplace").decode()


def _calls_of(value: Any) -> Iterator[tuple[str, Hashable]]:
    if isinstance(value, list):
        for each in value:
            yield from _calls_of(each)
    elif isinstance(value, dict) and isinstance(value.get("tool_calls"), list):
        yield from _calls_of(value["tool_calls"])
    elif isinstance(value, dict) and isinstance(value.get("function"), dict):
        yield from _calls_of(value["function"])
    elif isinstance(value, dict) and isinstance(value.get("name"), str):
        for key in ("arguments", "parameters"):
            if key in value:
                yield value["name"], frozen(_arguments(value[key]))
                return


def _arguments(value: Any) -> Any:
    if value is None or value == "":
        return {}
    if not isinstance(value, str):
        return value
    decoded, error = attempt(lambda: parse_json(value))
    return value if error is not None else decoded
