"""Answers inside texts: tables of cases, oracles for numbers and JSON, and texts made to be slow."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from timelapse.errors import ScorerError
from timelapse.fence import attempt
from timelapse.scoring.jsonvalues import MOST, frozen, json_differences, parse_json
from timelapse.scoring.matches import (
    choice_in,
    choice_match,
    contains,
    json_equal,
    numeric_match,
    regex_match,
    tool_call_match,
)
from timelapse.scoring.numbers import boxed, number_in
from timelapse.scoring.scorers import normalise


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ("It is Paris.", "Paris", 1.0),
        ("It is Paris.", "paris", 0.0),
        ("a  b\n c", "b c", 1.0),
        ("the party", "art", 0.0),
        ("I know", "no", 0.0),
        ("went, gone.", "went, gone", 1.0),
        ("went gone", "went, gone", 0.0),
        ("42", "4", 0.0),
        ("it is 3.42", "42", 0.0),
        ("it is 42.", "42", 1.0),
        ("it is 42km", "42", 1.0),
        ("vitamin B12", "12", 0.0),
        ("I write C++ code", "C++", 1.0),
        ("the cafe\u0301", "caf\u00e9", 1.0),
        ("首都是北京市", "北京", 1.0),
        ("首都是北京市", "南京", 0.0),
        ("コーヒーを飲む", "コーヒー", 1.0),
        ("수도는 서울은", "서울", 1.0),
        ("กรุงเทพมหานคร", "กรุงเทพ", 1.0),
        ("東京tower", "tower", 1.0),
        ("東京towers", "tower", 0.0),
        ("कमी", "कम", 0.0),
        ("👍🏽", "👍", 0.0),
        ("x\0y", "y", 1.0),
        ("", "", 1.0),
        (" ", "", 1.0),
        ("x", "", 0.0),
        ("", "x", 0.0),
    ],
)
def test_contains_looks_for_whole_words(prediction: str, reference: str, expected: float) -> None:
    assert contains(prediction, reference) == expected


def test_contains_can_ignore_case() -> None:
    assert contains("In der STRASSE", "Straße") == 0.0
    assert contains("In der STRASSE", "Straße", ignore_case=True) == 1.0
    assert contains("the party", "ART", ignore_case=True) == 0.0


@settings(deadline=None)
@given(st.text(), st.text(), st.text())
@example("0", "\U00011a8a", "")  # a combining mark
@example("\u0600", "a", "")  # a mark that joins what follows
@example("", "\u0600", "a")
def test_what_stands_between_spaces_is_contained(before: str, part: str, after: str) -> None:
    assert contains(f"{before} {part} {after}", part) == float(
        bool(normalise(part)) or not (before + after).split()
    )


def test_regex_match_takes_the_pattern_from_the_option_or_the_reference() -> None:
    assert regex_match("It is Paris", "P[a-z]+s$") == 1.0
    assert regex_match("It is Paris!", "P[a-z]+s$") == 0.0
    assert regex_match("2024-05-06", "ignored (", pattern=r"^\d{4}-\d\d-\d\d$") == 1.0
    assert regex_match("one\ntwo", "(?m)^two") == 1.0
    assert regex_match("漢", r"\p{Han}") == 1.0
    assert regex_match("x", "y", pattern="") == 1.0


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("(a", r"The pattern '\(a' is no regular expression: error: missing \)"),
        ("(" * 1_500, r"The pattern '\(+…' is no regular expression"),
        ("a{99999999999999999999}", "is no regular expression"),
        ("a" * 2_001, "has 2,001 characters, more than 2,000"),
        ("(a|aa)+$", "took longer than 0.05 s on 20,001 letters"),
    ],
)
def test_a_pattern_that_cannot_be_used_says_why(pattern: str, sentence: str) -> None:
    for _ in range(2):  # whether compiled before or not
        with pytest.raises(ScorerError, match=sentence):
            regex_match("a" * 20_000 + "b", pattern)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", "42"),
        ("42 km", "42"),
        ("The answer is 42.", "42"),
        ("1,234.5", "1234.5"),
        ("1 234,5", "1234.5"),
        ("1\u202f234,5", "1234.5"),
        ("1.234,5", "1234.5"),
        ("1'234.5", "1234.5"),
        ("1_000", "1000"),
        ("1,234", "1234"),
        ("1.234", "1.234"),
        ("12,34", "12.34"),
        ("0,123", "0.123"),
        ("1.234.567", "1234567"),
        ("12,34,567", "1234567"),
        ("in 2024 100 people", "100"),
        ("-3", "-3"),
        ("−3", "-3"),
        ("+3", "3"),
        ("x=-3", "-3"),
        ("(-3)", "-3"),
        ("5-3", "3"),
        ("$1,200", "1200"),
        ("-$5", "-5"),
        ("$-5", "-5"),
        (r"\$1{,}200", "1200"),
        (".5", "0.5"),
        ("1e-3", "0.001"),
        ("1.5E+3", "1500"),
        ("2 × 10^5", "200000"),
        (r"2\times 10^{-5}", "0.00002"),
        ("3×10⁻⁵", "0.00003"),
        ("1/2", "1/2"),
        ("-1/2", "-1/2"),
        ("½", "1/2"),
        ("2½", "5/2"),
        ("-2 1/2", "-5/2"),
        ("⅓", "1/3"),
        (r"\frac{1}{3}", "1/3"),
        (r"-2\frac12", "-5/2"),
        (r"\dfrac{-3}{4}", "-3/4"),
        ("共42个", "42"),
        ("４２", "42"),
        ("٣٫٥", "3.5"),
        ("3 of 4, so 75", "75"),
        ("6 * 7 = 42", "42"),
        ("**42**", "42"),
        ("2 apples, 3 m²", "3"),
        (r"\boxed{42} and 7", "42"),
        (r"\boxed{1}, no: \boxed{x = \frac{1}{2}}", "1/2"),
        (r"3, cut off: \boxed{42", "42"),
        ("3 + 4\n#### 7\n(page 12)", "7"),
        ("#### -1,200", "-1200"),
        ("#### 3. Result\nIt is 9", "9"),
        (r"#### 7, so \boxed{8}", "8"),
        ("The answer is 42 because 1 + 1 = 2", "42"),
        ("The answer is 3 * 4 = 12 km, not 5", "12"),
        ("The answer to 3 x 4 is 12, not 5", "12"),
        ("Answer: x = 5 (in 2 steps)", "5"),
        ("The answer is 42. Here n = 3", "42"),
        ("The answer is 1. Wait, the answer is 2, as 3 is odd", "2"),
        ("It is 5, the answer is clear", "5"),
    ],
)
def test_the_number_of_a_text(text: str, value: str) -> None:
    number = number_in(text)
    assert number is not None
    assert Fraction(number.top) / Fraction(number.bottom) == Fraction(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "none",
        "1.2.3",
        "12:30",
        "1/2/2024",
        "2^5",
        "CO2",
        "1/0",
        r"3 \boxed{\pi}",
        "1e99999999999999",
        "²",
    ],
)
def test_texts_without_a_number(text: str) -> None:
    assert number_in(text) is None
    assert numeric_match(text, text) == 0.0


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ("The answer is 42.", "6 * 7 = 42\n#### 42", 1.0),
        ("42.0", "42", 1.0),
        ("42.00000000000000000000001", "42", 0.0),
        ("0.3333", "1/3", 0.0),
        ("2/6", "1/3", 1.0),
        ("-0", "0", 1.0),
        ("50%", "50", 1.0),
        ("50%", "0.5", 1.0),
        ("50", "50 percent", 1.0),
        ("0.5", r"50\%", 1.0),
        ("0.5%", "50%", 0.0),
        ("0.5", "50", 0.0),
        ("1e999999999", "1e999999999", 1.0),
        ("1e999999999", "1", 0.0),
        ("1e-999999999999", "0", 0.0),
        ("9" * 20_000, "9" * 20_000, 1.0),
        ("9" * 20_000, "9" * 19_999 + "8", 0.0),
    ],
)
def test_numbers_are_compared_exactly(prediction: str, reference: str, expected: float) -> None:
    assert numeric_match(prediction, reference) == expected


@pytest.mark.parametrize(
    ("prediction", "reference", "relative", "absolute", "expected"),
    [
        ("11", "10", 0.1, 0.0, 1.0),
        ("11.0000001", "10", 0.1, 0.0, 0.0),
        ("-9", "-10", 0.1, 0.0, 1.0),
        ("10", "11", 0.0, 1.0, 1.0),
        ("0.3", "0.1", 0.0, 0.2, 1.0),
        ("0.3334", "1/3", 0.001, 0.0, 1.0),
        ("49.9%", "0.5", 0.01, 0.0, 1.0),
        ("1e999999999", "1", 0.5, 0.5, 0.0),
        ("1.01e999999999999", "1e999999999999", 0.1, 0.0, 1.0),
    ],
)
def test_tolerances(
    prediction: str, reference: str, relative: float, absolute: float, expected: float
) -> None:
    assert numeric_match(prediction, reference, relative=relative, absolute=absolute) == expected


@pytest.mark.parametrize("tolerance", [-0.1, float("nan"), float("inf")])
def test_a_tolerance_that_is_none_is_refused(tolerance: float) -> None:
    with pytest.raises(ScorerError, match=r"finite and not negative: got relative=0\.0 and absolute="):
        numeric_match("1", "1", absolute=tolerance)


decimals = st.decimals(min_value=-(10**9), max_value=10**9, places=3)


@settings(deadline=None)
@given(
    decimals,
    decimals | st.integers(-2, 2).map(lambda step: Decimal(step) / 10),
    st.sampled_from([0.0, 0.01, 0.1, 2.0]),
    st.sampled_from([0.0, 0.1, 0.5]),
    st.sampled_from(
        ["{}", "{:,}", "{:e}", "The answer is {}.", "${:,} in 3 steps #### {}", r"1 \boxed{{{}}} 2"]
    ),
    st.booleans(),
)
def test_numeric_match_agrees_with_fractions(
    left: Decimal, other: Decimal, relative: float, absolute: float, form: str, near: bool
) -> None:
    right = left + other if near else other
    difference = abs(Fraction(left) - Fraction(right))
    tolerance = max(Fraction(str(absolute)), Fraction(str(relative)) * abs(Fraction(right)))
    score = numeric_match(form.format(left, left), str(right), relative=relative, absolute=absolute)
    assert score == float(difference <= tolerance)


def test_boxes_may_hold_braces() -> None:
    assert boxed(r"\boxed{a{b}{c{d}}} e}") == "a{b}{c{d}}"
    assert boxed(r"\boxed{a{b}") == "a{b}"
    assert boxed("boxed{a}") is None


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("A", "A"),
        ("a", "A"),
        ("(b)", "B"),
        ("b.", "B"),
        ("B.", "B"),
        ("**C**", "C"),
        ("_C_", "C"),
        ("'A'", "A"),
        ("（Ｄ）", "D"),
        ("<answer>B</answer>", "B"),
        ("#### B", "B"),
        ("The answer is D", "D"),
        ("the answer is d.", "D"),
        ("The best answer is B) Paris", "B"),
        ("The correct option is: **B**. A is wrong", "B"),
        ("Answer: (A) because B is wrong", "A"),
        ("Answer: A because B is wrong", "A"),
        ("Answer:\nC", "C"),
        ("Final Answer: $B$", "B"),
        ("I choose C over A", "C"),
        ("B is correct, A is not", "B"),
        ("答案是B，不是A", "B"),
        ("选Ｃ。", "C"),
        (r"\boxed{C}", "C"),
        (r"not A: $\boxed{\text{C}}$", "C"),
        (r"The answer is B: \boxed{Paris}", "B"),
        ("B) Paris", "B"),
        ("b. Paris", "B"),
        ("(B) Paris, as A is wrong", "B"),
        ("Option C", "C"),
        ("A fits? No, C fits.\n\nB", "B"),
        ("B\n\nA is wrong", "B"),
        ("I think it is B", "B"),
        ("A dog says B", "B"),
        ("It's not A but C", "C"),
        ("The answer is not A: it is B", "B"),
        ("The answer is A. Wait, the answer is B", "B"),
        ("", None),
        ("E", None),
        ("ABCD", None),
        ("Bob and Dan", None),
        ("A dog runs", None),
        ("A French dog", None),
        ("a dog", None),
        ("The answer is a dog", None),
        ("The answer is A dog", None),
        ("The answer is D'Artagnan", None),
        ("It is not A", None),
        ("A or B", None),
        ("A is wrong, C is wrong", None),
        ("The answer is A or B", None),
        ("The answer is A, B, or C", None),
        ("The answer is (A) and (B)", None),
        ("A) x\nB) y\nC) z", None),
        ("A) x B) y", None),
        ("A\nB", None),
        ("C++ is fine", None),
        ("A-level, A/B, D.C.", None),
        ("D.C. is it", None),
    ],
)
def test_the_choice_of_a_text(text: str, choice: str | None) -> None:
    assert choice_in(text) == choice
    assert [letter for letter in "ABCD" if choice_match(text, letter)] == ([choice] if choice else [])


def test_the_reference_of_a_choice_may_be_longer_and_choices_may_be_others() -> None:
    assert choice_match("(b)", "B) Paris") == 1.0
    assert choice_match("(a)", "B) Paris") == 0.0
    assert choice_match("B", "Paris") == 0.0
    assert choice_match("The answer is E", "E") == 0.0
    assert choice_match("The answer is E", "e", choices="abcde") == 1.0
    assert choice_match("The answer is 2.", "2", choices="1234") == 1.0


@pytest.mark.parametrize("choices", ["", "AA", "Aa", "A B", "ÄÖ", "]["])
def test_choices_that_are_none_are_refused(choices: str) -> None:
    with pytest.raises(ScorerError, match="choices are different ASCII letters or digits"):
        choice_match("A", "A", choices=choices)


@pytest.mark.parametrize(
    ("prediction", "reference", "differences"),
    [
        ('{"a": [0, 1, {"b": 4}]}', '{"a": [0, 1, {"b": 3}]}', ["$.a[2].b: expected 3, got 4"]),
        ('{"d e": 1, "b": 2}', '{"c": 1, "b": 2}', ["$.c: missing", '$["d e"]: unexpected']),
        ('{"b": 1, "a": 2}', '{"a": 2, "b": 1}', []),
        ("[1, 2]", "[2, 1]", ["$[0]: expected 2, got 1", "$[1]: expected 1, got 2"]),
        ("[1]", "[1, 2]", ["$[1]: missing"]),
        ("1", "1.0", []),
        ("1e2", "100", []),
        ("10000000000000000000000001", "1e25", ["$: expected 1E+25, got 10000000000000000000000001"]),
        ("true", "1", ["$: expected 1, got true"]),
        ("false", "0", ["$: expected 0, got false"]),
        ('"1"', "1", ['$: expected 1, got "1"']),
        ("null", "null", []),
        ("{}", '{"a": null}', ["$.a: missing"]),
        ("{}", "[]", ["$: expected a list of 0 items, got an object of 0 keys"]),
        ('"\\ud800"', '"é"', ['$: expected "é", got "\\ud800"']),
        ("\ufeff 1 ", "1", []),
        ("So:\n```json\n[1]\n```\nDone.", "[1]", []),
        ("```python\nx\n```\n```\n[1]\n```", "[1]", []),
        ("```JSON\r\n[1]\r\n```\r\n", "[1]", []),
        ("```json [1]```", "[1]", []),
        ("```json\n[1]", "[1]", []),
        ('```json\n{"a": "```x```"}\n```', '{"a": "```x```"}', []),
        ("So [1]", "[1]", ["$: the prediction is no JSON: Expecting value: line 1 column 1 (char 0)"]),
        ("1", "[1", ["$: the reference is no JSON: Expecting ',' delimiter: line 1 column 3 (char 2)"]),
        ("[NaN]", "[1]", ["$: the prediction is no JSON: NaN is no JSON value"]),
        ("-Infinity", "1", ["$: the prediction is no JSON: -Infinity is no JSON value"]),
        ('{"a": 1, "a": 1}', '{"a": 1}', ['$: the prediction is no JSON: the key "a" occurs more than once']),
        ("1e" + "9" * 20, "1", [f"$: the prediction is no JSON: the number 1e{'9' * 20} is out of range"]),
        ("[" * 10_000, "1", ["$: the prediction is no JSON: it is nested too deeply"]),
        ("1", "[" * 10_000 + "]" * 10_000, ["$: the reference is no JSON: it is nested too deeply"]),
    ],
)
def test_json_differences(prediction: str, reference: str, differences: list[str]) -> None:
    assert json_differences(prediction, reference) == differences
    assert json_equal(prediction, reference) == float(not differences)


def test_differences_are_few_and_short() -> None:
    found = json_differences(json.dumps(["x" * 1_000] * 100), json.dumps([0] * 100))
    assert len(found) == MOST == 20
    assert found[0] == f'$[0]: expected 0, got "{"x" * 79}…'
    assert len(json_differences(json.dumps({"k" * 1_000: 1}), "{}")[0]) < 100


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=10,
)
small_values = st.recursive(
    st.sampled_from([0, 1, True, False, 1.0, "1", None]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=3,
)


def canonical(value: Any) -> Any:
    """Return a value of which Python's == knows that true is not 1, and that numbers are decimals."""
    if isinstance(value, dict):
        return {key: canonical(each) for key, each in value.items()}
    if isinstance(value, list):
        return [canonical(each) for each in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Fraction(repr(value))
    return repr(value)


@settings(deadline=None)
@given(json_values, json_values)
def test_json_equality_is_pythons_on_large_values(left: Any, right: Any) -> None:
    texts = json.dumps(left), json.dumps(right, indent=1, ensure_ascii=False)
    assert json_equal(*texts) == float(canonical(left) == canonical(right))
    assert json_equal(json.dumps(left, indent=2), json.dumps(left, sort_keys=True)) == 1.0


@settings(deadline=None)
@given(small_values, small_values)
def test_json_equality_is_pythons_on_values_that_are_often_equal(left: Any, right: Any) -> None:
    same = canonical(left) == canonical(right)
    texts = json.dumps(left), json.dumps(right)
    assert json_equal(*texts) == float(same)
    assert (json_differences(*texts) == []) == same
    assert (frozen(parse_json(texts[0])) == frozen(parse_json(texts[1]))) == same
    calls = [json.dumps({"name": "f", "arguments": value}) for value in ([left], [right])]
    assert tool_call_match(*calls) == float(same)


CALL = '{"name": "f", "arguments": {"a": 1, "b": [true, null]}}'
OTHER = '{"name": "g", "arguments": {}}'


@pytest.mark.parametrize(
    "text",
    [
        '{"arguments": {"b": [true, null], "a": 1.0}, "name": "f", "id": "call_1"}',
        '{"name": "f", "arguments": "{\\"a\\": 1, \\"b\\": [true, null]}"}',
        f'{{"type": "function", "id": "x", "function": {CALL}}}',
        f'{{"role": "assistant", "content": null, "tool_calls": [{{"function": {CALL}}}]}}',
        f"[{CALL}]",
        f"<tool_call>\n{CALL}\n</tool_call>",
        f"I look it up.\n<tool_call>{CALL}</tool_call><|im_end|>",
        f"<think>Not {OTHER}.</think><tool_call>{CALL}</tool_call>",
        f"[TOOL_CALLS][{CALL}]",
        f"[TOOL_CALLS] [{CALL}]</s>",
        f"<|python_tag|>{CALL.replace('arguments', 'parameters')}<|eom_id|>",
        f"With {{x}} and [y] I call\n```json\n{CALL}\n```\nnow.",
        f"So {CALL}",
    ],
)
def test_the_spellings_of_a_tool_call(text: str) -> None:
    assert tool_call_match(text, CALL) == 1.0
    assert tool_call_match(CALL, text) == 1.0
    assert tool_call_match(text, OTHER) == 0.0


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        (f"[{CALL}, {OTHER}]", f"<tool_call>{OTHER}</tool_call>\n<tool_call>{CALL}</tool_call>", 1.0),
        (f"[{CALL}, {CALL}]", CALL, 0.0),
        (f"[{CALL}, {CALL}]", f"[{CALL}, {CALL}]", 1.0),
        (CALL.replace('"f"', '"F"'), CALL, 0.0),
        (CALL.replace("1", "true"), CALL, 0.0),
        (CALL.replace('"a": 1, ', ""), CALL, 0.0),
        (OTHER.replace("{}", "null"), OTHER, 1.0),
        (OTHER.replace("{}", '""'), OTHER, 1.0),
        (OTHER.replace("{}", '"Rome"'), OTHER.replace("{}", '"Rome"'), 1.0),
        (CALL.replace("1", "NaN"), CALL.replace("1", "NaN"), 0.0),
        ('{"name": "Bob"}', '{"name": "Bob"}', 0.0),
        ("no call", "no call", 0.0),
        (CALL, "no call", 0.0),
        (CALL[:-2], CALL, 0.0),
        ('{"name": "f", "arguments": ["<tool_call>"]}', '{"name": "f", "arguments": ["<tool_call>"]}', 1.0),
    ],
)
def test_tool_calls_are_compared(prediction: str, reference: str, expected: float) -> None:
    assert tool_call_match(prediction, reference) == expected


SCORES: list[Callable[[str, str], float]] = [
    contains,
    lambda prediction, reference: contains(prediction, reference, ignore_case=True),
    lambda prediction, reference: regex_match(prediction, reference, pattern="(?i)the answer"),
    numeric_match,
    lambda prediction, reference: numeric_match(prediction, reference, relative=0.1, absolute=0.1),
    choice_match,
    json_equal,
    lambda prediction, reference: float(not json_differences(prediction, reference)),
    tool_call_match,
]

PIECES = [
    "answer is ",
    "####",
    r"\boxed{",
    "}",
    "[",
    "{",
    '"',
    ":",
    ",",
    "1",
    "-",
    ".",
    "/",
    " ",
    "\n",
    "e9",
    "%",
]
PIECES += [
    "½",
    r"\frac",
    "A",
    "(b)",
    " or ",
    "```json\n",
    "<tool_call>",
    '"name"',
    '"arguments"',
    "NaN",
    "\0",
    "٣",
]
texts = st.text(st.characters()) | st.lists(st.sampled_from(PIECES), max_size=30).map("".join)


@settings(deadline=None)
@given(texts, texts)
def test_no_text_makes_a_score_raise(prediction: str, reference: str) -> None:
    for score in SCORES:
        assert score(prediction, reference) in (0.0, 1.0)


@settings(deadline=None)
@given(texts)
def test_a_regular_expression_gives_a_score_or_a_sentence(pattern: str) -> None:
    score, error = attempt(lambda: regex_match("The answer is 42.", pattern))
    assert score in (0.0, 1.0) if error is None else str(error).startswith("The pattern ")
    assert error is None or isinstance(error, ScorerError)


HOSTILE = [
    "9",
    "[",
    "{",
    '"',
    "`",
    "'",
    "(",
    "-",
    "#",
    " ",
    "\n",
    "漢",
    "½",
    "9 ",
    "1/",
    "1,",
    "1=",
    "1e",
    "1**",
]
HOSTILE += ["A ", "A) ", "A\n", "A, ", "A is ", "not A ", "answer ", "answer is ", "answer:", "is correct "]
HOSTILE += ["####1 ", r"\boxed{", r"\text{", r"\frac", "[1,", '{"a":', "[NaN,", '[{"a":1,"a":2},', "```\n"]
HOSTILE += ["<tool_call>", "[TOOL_CALLS]", f"{OTHER},"]


@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_texts_are_scored(piece: str) -> None:
    text = (piece * 20_000)[:20_000]
    for score in SCORES:
        assert 0.0 <= score(text, text[:-1]) <= 1.0
