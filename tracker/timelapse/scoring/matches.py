"""Scores that recognise an answer inside a text: a phrase, a number, a choice, JSON, a tool call.

Each is 1.0 or 0.0, and takes any text.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from timelapse.errors import ConfigError, ScorerError
from timelapse.fence import attempt
from timelapse.scoring import patterns
from timelapse.scoring.jsonvalues import differences, parse_json, tool_calls
from timelapse.scoring.numbers import boxed, close, number_in
from timelapse.scoring.scorers import normalise

_UNSPACED = r"[\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
# A space stands for itself: with a mark before or behind it, Unicode takes both for one character.
_WORDS = rf"(?V1)\p{{Nd}}++(?:[.,]\p{{Nd}}++)*+|[[\p{{L}}\p{{M}}\p{{N}}_]--{_UNSPACED}]++|\s|\X(?<!\s)|."

_ASCII_WORDS = re.compile(r"[0-9]++(?:[.,][0-9]++)*+|[A-Za-z0-9_]++|.", re.DOTALL)  # the same, much faster

_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_WRAPPED = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\{([^{}]*+)\}")
_MARKUP = r"""*_`~"'“”‘’$"""
_LINKS = (  # what follows an A that is a choice, and no article
    "and|are|as|because|but|by|due|for|given|has|if|is|must|or|seems|since|that|was|which|while|with|would"
)


class _ChoicePatterns(NamedTuple):
    """How a choice is named; the one group that took part in a match is its letter."""

    stated: tuple[re.Pattern[str], ...]
    """As the answer."""
    line: re.Pattern[str]
    """Alone in a line."""
    first: re.Pattern[str]
    """As a label at the beginning."""
    label: re.Pattern[str]
    """As a label anywhere."""
    named: re.Pattern[str]
    """At all."""


def contains(prediction: str, reference: str, *, ignore_case: bool = False) -> float:
    """Return 1.0 if the reference occurs in the prediction as whole words, else 0.0; both after `normalise`.

    Whole words: art is not in party, nor 4 in 42 or 3.4, but 42 is in 42km. In Chinese, Japanese, Korean,
    Thai, Lao, Khmer and Burmese, where spaces do not part words or particles, each letter counts as a word.
    Punctuation within the reference must occur, too. An empty reference is only in an empty prediction.

    Args:
        prediction: The model's text.
        reference: What to look for.
        ignore_case: Whether upper and lower case are the same (Unicode's case folding).
    """
    text, part = normalise(prediction), normalise(reference)
    if ignore_case:
        text, part = normalise(text.casefold()), normalise(part.casefold())
    if not part or part not in text:  # the second for speed only
        return float(text == part)
    return float(_words(part) in _words(text))


def regex_match(prediction: str, reference: str, *, pattern: str | None = None) -> float:
    r"""Return 1.0 if a regular expression is found in the prediction, else 0.0.

    The texts are taken as they are, and the search is not anchored: `^` and `$` do that. The syntax is that
    of Python's `re` with the additions of the package `regex`, such as `\p{Han}`.

    Args:
        prediction: The model's text.
        reference: The pattern, unless `pattern` is given.
        pattern: The pattern for all samples.

    Raises:
        ScorerError: The pattern is wrong, longer than 2,000 characters, or took longer than 0.05 s.
    """
    expression = reference if pattern is None else pattern
    try:
        return float(patterns.matches(expression, prediction))
    except ConfigError as error:
        raise ScorerError(str(error)) from None
    except TimeoutError as error:
        raise ScorerError(
            f"The{str(error)[3:]} on {len(prediction):,} letters. Repetitions inside repetitions, as in "
            "(a+)+, are the usual cause."
        ) from None


def numeric_match(prediction: str, reference: str, *, relative: float = 0.0, absolute: float = 0.0) -> float:
    """Return 1.0 if the prediction's number is the reference's, else 0.0, also if either has none.

    `timelapse.scoring.numbers.number_in` says which number of a text counts and how it is read. They are
    the same within max(absolute, relative * |reference|); without tolerances exactly, as decimals. With a
    percent sign on one side only it may mean a unit or a hundredth: 50% is 50 and 0.5, 0.5% also 0.5.

    Args:
        prediction: The model's text.
        reference: A number, or a text that gives one.
        relative: Tolerance as a share of the reference, from 0.
        absolute: Tolerance in the reference's unit, from 0.

    Raises:
        ScorerError: A tolerance is negative or not finite.
    """
    if not all(math.isfinite(tolerance) and tolerance >= 0 for tolerance in (relative, absolute)):
        raise ScorerError(f"Tolerances are finite and not negative: got {relative=} and {absolute=}.")
    number, expected = number_in(prediction), number_in(reference)
    if number is None or expected is None:
        return 0.0
    # By their shortest digits: to a user 0.1 is a tenth.
    tolerances = {"relative": Decimal(str(relative)), "absolute": Decimal(str(absolute))}
    return float(close(number, expected, **tolerances))


def choice_match(prediction: str, reference: str, *, choices: str = "ABCD") -> float:
    """Return 1.0 if the prediction names the same choice as the reference ("B", "B) Paris"), else 0.0.

    `choice_in` says which choice of a text counts.

    Args:
        prediction: The model's text.
        reference: A letter, or a text that names one.
        choices: The letters, or digits, to choose from.

    Raises:
        ScorerError: `choices` are not different ASCII letters or digits.
    """
    expected = choice_in(reference, choices)
    return float(expected is not None and choice_in(prediction, choices) == expected)


def choice_in(text: str, choices: str = "ABCD") -> str | None:
    r"""Return the choice that a text names, as an upper-case letter; None if it names none or several.

    The first that applies:

    1. what is in the last `\boxed{...}`;
    2. the last one stated: "the answer is B", "Answer: (B)", "I choose B", "B is correct", "答案是B";
    3. a letter that has a line for itself, if no other has;
    4. a label at the beginning, as in "B) Paris" or "b. Paris", if there is no other label;
    5. letters that stand alone in upper case or in brackets, if they are all the same.

    "A" and "I" before a word are English ("A dog", "I think"), unless a word like "because" or "is" follows.
    "Not B" names nothing, nor do C++, A-level or D.C.; Vitamin C does, where nothing else is named.
    """
    found = _choice_patterns(choices)
    text = _WRAPPED.sub(r"\1", text.translate(_FULL_WIDTH))
    if (box := boxed(text)) is not None and (choice := choice_in(box, choices)):
        return choice
    if stated := [match for pattern in found.stated for match in pattern.finditer(text)]:
        return _letter(max(stated, key=lambda match: match.end()))
    lines, labels, named = (
        {_letter(match) for match in pattern.finditer(text)}
        for pattern in (found.line, found.label, found.named)
    )
    first = found.first.match(text)
    if len(lines) != 1 and first and labels <= {_letter(first)}:
        return _letter(first)
    only = lines if len(lines) == 1 else named | labels | lines
    return only.pop() if len(only) == 1 else None


def json_equal(prediction: str, reference: str) -> float:
    """Return 1.0 if both texts hold the same JSON value, else 0.0, also if either holds none.

    `timelapse.scoring.jsonvalues.json_differences` says what is the same, and where two values differ.
    """
    value, error = attempt(lambda: parse_json(prediction))
    expected, other = attempt(lambda: parse_json(reference))
    return float(error is None and other is None and next(differences(value, expected), None) is None)


def tool_call_match(prediction: str, reference: str) -> float:
    """Return 1.0 if both texts call the same tools with the same arguments, else 0.0, also without calls.

    Calls are found in any text around them: as `{"name", "arguments"}` or `{"name", "parameters"}`
    (Llama), alone, inside `{"function": ...}` or `{"tool_calls": [...]}` (OpenAI), and in lists. If the text
    is more than JSON and has a mark for calls (`<tool_call>` of Hermes and Qwen, `[TOOL_CALLS]` of Mistral,
    Llama's `<|python_tag|>`), only what follows the first one counts: what a model thinks aloud is no call.

    Names are compared to the letter, arguments as JSON (see `json_equal`); a string of JSON is decoded, and
    null or "" are no arguments. Ids and types of calls are passed over. The order of several calls does not
    matter, as they are made in parallel; how often each is made does.
    """
    found, error = attempt(lambda: (Counter(tool_calls(prediction)), Counter(tool_calls(reference))))
    if found is None:
        assert error is not None  # nested too deeply to be compared
        return 0.0
    calls, expected = found
    return float(bool(expected) and calls == expected)


def _words(text: str) -> str:
    text = text.replace("\0", " ")
    # NUL between words and around them makes a search for words one for characters, in linear time.
    found = _ASCII_WORDS.findall(text) if text.isascii() else patterns.compiled(_WORDS).findall(text)
    return "\0".join(["", *found, ""])


@lru_cache(maxsize=64)
def _choice_patterns(choices: str) -> _ChoicePatterns:
    upper = choices.upper()
    if not (choices.isascii() and choices.isalnum() and len(set(upper)) == len(upper)):
        raise ScorerError(f"choices are different ASCII letters or digits, such as 'ABCD': got {choices!r}.")
    letter = f"([{upper}{upper.lower()}])"
    # Not within a word, a name such as C++ or an abbreviation, and no article.
    before = r"(?<![A-Za-zÀ-ɏ0-9+&/])(?<![A-Za-z0-9][.'’-])"
    after = (
        r"(?![A-Za-zÀ-ɏ0-9+#&/]|['’-][A-Za-z]|\.[A-Za-z]\.)"
        rf"(?!(?<=[AaIi])[ \t]++(?!(?:{_LINKS})\b)[A-Za-zÀ-ɏ])"
    )
    opening, closing = rf"[\s(\[{{<>:=#{_MARKUP}-]*+", rf"[)\]}}{_MARKUP}]*+"
    other = rf"{opening}{letter[1:-1]}{after}"
    listed = rf",(?={other}\W*+(?:$|or\b|and\b))"
    several = rf"(?!{closing}\s*+(?:(?:or|and)\b|[/&或和]|{listed}){other})"
    gap = r"(?:(?!options|choices|\bnot\b|n['’]t)[^\n.]){0,40}?"
    marker = (
        rf"(?:\b(?:answer|(?:correct|right|best|final)\s(?:option|choice))\b{gap}(?:\bis\b|[:=])"
        r"|\b(?:choose|pick|select|go(?:ing)? with)\b|答案[是为為选選]?+|[选選])"
    )
    kind = r"(?:(?:option|choice)\b\s*+)?+"
    refused = "".join(rf"(?<!{word} )(?<!{word} \()(?<!{word} option )" for word in ("not", "n't", "n’t"))
    return _ChoicePatterns(
        stated=(
            re.compile(rf"{marker}{opening}{kind}[(\[{_MARKUP}]*+{letter}{after}{several}", re.I | re.M),
            re.compile(rf"{before}{letter}{closing}\s++is\s++(?:the\s++)?(?:correct|right|best)\b", re.I),
        ),
        line=re.compile(rf"^[ \t(\[{{#>{_MARKUP}-]*+{kind}{letter}[ \t).:\]}}\r{_MARKUP}]*+$", re.I | re.M),
        first=re.compile(
            rf"[\s#>{_MARKUP}]*+{kind}(?:[(\[]{letter}[)\]]|{letter}[{_MARKUP}]*+(?:[):\],]|\.(?![A-Za-z]\.)|\s[-–—]\s))",
            re.I,
        ),
        label=re.compile(rf"[(\[]{letter}[)\]]|{before}{letter}\)|^[ \t]*+{letter}[.:](?=\s)", re.I | re.M),
        named=re.compile(rf"(?i:{refused}){before}([{upper}]){after}"),
    )


def _letter(match: re.Match[str]) -> str:
    letter: str = next(filter(None, match.groups()))
    return letter.upper()
