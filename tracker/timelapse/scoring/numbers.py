"""Finding the number that a text gives as its answer, and comparing numbers exactly."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from typing import NamedTuple

_FURTHEST = 10**12  # the greatest exponent: products of such numbers are still within what decimal can hold

_MINUS = "-\u2212\u2013\ufe63\uff0d"
_SPACES = " \u00a0\u2009\u202f"
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺" + _MINUS, "0123456789-+" + "-" * len(_MINUS))
_VULGAR = "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞↉"
_PLAIN = str.maketrans(
    dict.fromkeys(_MINUS, "-")
    | {char: " " + unicodedata.normalize("NFKC", char) for char in _VULGAR}
    | {"٫": ".", "٬": ",", "．": ".", "，": ",", "％": "%", "＃": "#", "＝": "=", "：": ":", "’": "'"}
)

# Possessive, so that nothing here goes back over a text: a number is taken whole or not at all.
_NUMBER = re.compile(
    rf"""
    (?=[-+\\$€£¥₹.0-9]) (?<![A-Za-z_^0-9]) (?<![0-9][.,:/])
    (?<!\^\{{) (?<!\^[-+]) (?<!\^\{{[-+]) (?<![0-9]\*\*)
    (?P<sign>(?<![\w)\]}}%])[-+])?+ (?:\\?[$€£¥₹])?+ (?P<inner>(?<=[$€£¥₹])[-+])?+
    (?:
        (?:(?P<whole>[0-9]{{1,3}}+)[ ]{{1,2}}+(?=[0-9]++[ ]?+[/⁄]))?+
        (?P<top>[-+]?+[0-9]++) [ ]?+ [/⁄] [ ]?+ (?P<bottom>[0-9]++) (?![.,][0-9])
      | (?P<digits>
            [0-9]{{1,3}}+ (?P<gap>[{_SPACES}'_]) [0-9]{{3}}+ (?:(?P=gap)[0-9]{{3}})*+
            (?![0-9]) (?:[.,][0-9]++)?+
          | [0-9]++ (?:[.,][0-9]++)*+
          | \.[0-9]++
        )
        (?:
            [eE] (?P<exponent>[-+]?+[0-9]++)
          | \s*+ (?:[×x*·⋅]|\\times|\\cdot) \s*+ 10
            (?: \s?+(?:\^|\*\*)\s?+ \{{?+ (?P<power>[-+]?+[0-9]++) \}}?+ | (?P<raised>[⁻⁺]?+[⁰¹²³⁴⁵⁶⁷⁸⁹]++) )
        )?+
    )
    (?! [:/][0-9] | \s?+\^ | \*\*[0-9(] | [ ]\*\*[ ] )
    (?P<percent> \s?+ (?: \\?% | per[ ]?cent\b ) )?+
    """,
    re.VERBOSE,
)
_ENGLISH = re.compile(r"[1-9][0-9]{0,2}(?:,[0-9]{2,3})*,[0-9]{3}(?:\.[0-9]+)?")
_EUROPEAN = re.compile(r"[1-9][0-9]{0,2}(?:(?:\.[0-9]{3})+,[0-9]+|(?:\.[0-9]{3}){2,})")
_SIMPLE = re.compile(r"[0-9]*[.,]?[0-9]+")

_FRACTION = re.compile(
    r"\\[dtc]?frac\s*+(?:\{\s*+([-+]?+[0-9]++)\s*+\}\s*+\{\s*+([0-9]++)\s*+\}|([0-9])\s*+([0-9]))"
)
_HASHES = re.compile(r"####[ \t]*+(?=[-+$€£¥₹\\.]{0,4}[0-9])(?![0-9]++[.)][ \t])")
_STATED = re.compile(r"\banswers?\b[^.\n]{0,60}?(?:\b(?:is|are|equals)\b|[=:])", re.IGNORECASE)
_STEPS = re.compile(r"(?:(?:(?![.,;]\s)[^=\w\n]|[0-9]|\b[A-Za-z]\b)*=)+")


class Number(NamedTuple):
    """A number as it was written: exact, a fraction where it was given as one."""

    top: Decimal
    """Its numerator, signed."""
    bottom: Decimal = Decimal(1)
    """Its denominator, above zero."""
    percent: bool = False
    """Whether a percent sign follows."""


def number_in(text: str) -> Number | None:
    r"""Return the number that a text gives as its answer; None if it gives none.

    Which number counts, the first rule that applies:

    1. the last one in the last `\boxed{...}` (none, if there is no number in the box);
    2. the one after the last `####` that a number follows (GSM8K);
    3. the first one after the last "answer is", "answer:" or "answer =" (up to 60 characters of the sentence
       may stand between), with steps such as "6 * 7 =" passed over;
    4. the last one in the text.

    How a number is read:

    - 1,234 is 1234 and 1.234 is a decimal: of the two readings the English one. Otherwise both customs are
      read: 1,234.5 and 1.234,5 and 1 234,5 and 1'234.5, also 12,34 and 0,123 (decimals), 1.234.567 and
      1,23,456 (thousands, lakhs). What fits neither, as 1.2.3, is no number, nor are times, dates with
      slashes, powers (2^5), or digits glued to a letter before them (CO2).
    - Signs -, + and the Unicode minus, glued to the number and to nothing before it: 5-3 has no minus.
    - Exponents: 1e-3, 2 × 10^5, 2 \times 10^{5}, 2×10⁵; beyond ±10^12 it is no number.
    - Fractions of whole numbers: 1/2, ½, 2½, 2 1/2, \frac{1}{2}.
    - Digits of any script. A currency before and a unit after are passed over, words such as "million" too.

    Sources: Cobbe et al. (2021), "Training verifiers to solve math word problems" (GSM8K), for `####`;
    Hendrycks et al. (2021), "Measuring mathematical problem solving with the MATH dataset", for `\boxed`.
    """
    text = _plain(text)
    box = boxed(text)
    if box is not None:
        return _last(box)
    for marker in _last_match(_HASHES, text), _last_match(_STATED, text):
        if marker and (number := next(_numbers(_after_steps(text[marker.end() :])), None)):
            return number
    return _last(text)


def boxed(text: str) -> str | None:
    r"""Return what the last `\boxed{...}` of a text holds, to the end of the text if it is not closed."""
    start = text.rfind(r"\boxed{")
    if start < 0:
        return None
    start += len(r"\boxed{")
    depth = 1
    for brace in re.finditer(r"[{}]", text[start:]):
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            return text[start : start + brace.start()]
    return text[start:]


def close(number: Number, expected: Number, *, relative: Decimal, absolute: Decimal) -> bool:
    """Return whether a number is within max(absolute, relative * |expected|) of the expected one.

    Without tolerances the comparison is exact, however long the numbers. A percent sign on both sides or on
    neither changes nothing; on one side only, it may mean a unit or a hundredth: 50% is 50 and 0.5.
    """
    if _close(number, expected, relative, absolute):
        return True
    if number.percent == expected.percent:
        return False
    return _close(_hundredth(number), _hundredth(expected), relative, absolute)


def _hundredth(number: Number) -> Number:
    return number._replace(bottom=_times(number.bottom, Decimal(100))) if number.percent else number


def _close(number: Number, expected: Number, relative: Decimal, absolute: Decimal) -> bool:
    left, right = _times(number.top, expected.bottom), _times(expected.top, number.bottom)
    if left == right:
        return True
    if not relative and not absolute:
        return False
    with localcontext(_context(left, right, relative, absolute)):
        scale = number.bottom * expected.bottom
        return abs(left - right) <= max(absolute * scale, relative * abs(right))


def _times(left: Decimal, right: Decimal) -> Decimal:
    return _context(left, right).multiply(left, right)


def _context(*numbers: Decimal) -> Context:
    digits = 2 * sum(len(number.as_tuple().digits) for number in numbers) + 50
    return Context(prec=digits, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])


def _plain(text: str) -> str:
    r"""Return text with ASCII digits, one kind of minus, and fractions written 1⁄2."""
    if not text.isascii():
        digits = {ord(char): str(unicodedata.digit(char)) for char in set(text) if char.isdecimal()}
        text = text.translate(digits).translate(_PLAIN)
    if "\\" not in text:
        return text
    text = text.replace("{,}", ",").replace(r"\!", "").replace(r"\,", "\u2009")
    text = re.sub(r"(?<=[0-9])\s*+(?=\\[dtc]?frac)", " ", text)
    return _FRACTION.sub(lambda found: f"{found[1] or found[3]}⁄{found[2] or found[4]}", text)


def _last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    last = None
    for last in pattern.finditer(text):  # noqa: B007 - the last one is what is wanted
        pass
    return last


def _after_steps(text: str) -> str:
    steps = _STEPS.match(text)
    return text[steps.end() :] if steps else text


def _last(text: str) -> Number | None:
    return next(filter(None, map(_number, reversed(list(_NUMBER.finditer(text))))), None)


def _numbers(text: str) -> Iterator[Number]:
    return filter(None, map(_number, _NUMBER.finditer(text)))


def _number(found: re.Match[str]) -> Number | None:
    negative = "-" in ((found["sign"] or "") + (found["inner"] or ""))
    number = _fraction(found) if found["top"] else _decimal(found)
    if number is None:
        return None
    top = number.top.copy_negate() if negative else number.top  # unlike a minus, it does not round
    return Number(top, number.bottom, bool(found["percent"]))


def _fraction(found: re.Match[str]) -> Number | None:
    whole, top, bottom = Decimal(found["whole"] or 0), Decimal(found["top"]), Decimal(found["bottom"])
    if not bottom:
        return None
    product = _times(whole, bottom)
    return Number(_context(product, top).add(product, top), bottom)


def _decimal(found: re.Match[str]) -> Number | None:
    digits = _ungrouped(re.sub(rf"[{_SPACES}'_]", "", found["digits"]) if found["gap"] else found["digits"])
    exponent = (found["exponent"] or found["power"] or found["raised"] or "0").translate(_SUPERSCRIPTS)
    if digits is None or abs(Decimal(exponent)) > _FURTHEST:
        return None
    return Number(Decimal(f"{digits}e{exponent}"))


def _ungrouped(digits: str) -> str | None:
    """Return digits with a decimal point and nothing else between them; None if that cannot be read."""
    if _ENGLISH.fullmatch(digits):
        return digits.replace(",", "")
    if _EUROPEAN.fullmatch(digits):
        return digits.replace(".", "").replace(",", ".")
    return digits.replace(",", ".") if _SIMPLE.fullmatch(digits) else None
