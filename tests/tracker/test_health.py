from __future__ import annotations

import math
import random
import sys
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timelapse.scoring.health import (
    FLAGS,
    flag_rates,
    is_echo,
    is_length_drift,
    is_loop,
    is_script_switch,
    onset_sentence,
    onsets,
    row_flags,
    script,
)

SANE = "The Nile rises in the highlands of Burundi and reaches the sea north of Cairo, after 6,650 km. "
NUMBERED = "".join(f"{i}. Use the tool number {i} for job {i * i}.\n" for i in range(1, 30))
REFRAIN = "Oh, bring me back to the river,\nthe river that flows to the sea.\n"
POEM = (
    f"I left when the morning was grey,\n{REFRAIN}"
    f"I walked for the half of a day,\n{REFRAIN}"
    f"I sat down and what could I say?\n{REFRAIN}"
)
TABLE = "| verb | past |\n|------|------|\n| go   | went |\n| sing | sang |\n| put  | put  |\n|------|------|"
CODE = """def walk(node):
    if node is None:
        return
    for child in node.children:
        if child.left:
            walk(child.left)
        if child.right:
            walk(child.right)
        if child.middle:
            walk(child.middle)
"""
ROWS = ", ".join(f'{{"id": {i}, "name": "row", "tags": []}}' for i in range(20))

LOOPS = {
    "word": "the " * 10,
    "letters": "abc" * 12,
    "letter": "a" * 40,
    "exclamation marks": "!" * 64,
    "sentence, four times": "I do not know. " * 4,
    "sentence, four times, no space at the end": "\n".join(["I do not know."] * 4),
    "cut in mid-unit": ("The answer is forty-two. " * 6)[:-9],
    "after sane text": SANE + "So we see that the end is near, " * 5,
    "after much sane text": NUMBERED + SANE + "and so on and so forth, " * 8,
    "ended by a full stop": "again and " * 8 + "again.",
    "paragraph": (SANE + "\n\n") * 4,
    "Chinese": "这是一个测试" * 5,
    "Chinese, short unit": "哈" * 20,
    "Chinese, the shortest": "甲乙丙丁戊甲乙丙丁戊甲乙丙丁戊甲乙丙",
    "Japanese after sane text": "エジプトの首都はカイロです。" + "ありがとうございます。" * 4,
    "lines": "- to be done\n" * 12,
    "numbers, for ever": "1, " * 80,
    "dots, for ever": "The end" + "." * 300,
    "line breaks, for ever": "Paris" + "\n" * 200,
    "row that never ends": '[{"id": 0}, ' + '{"id": 1}, ' * 20 + '{"id"',
}
SOUND = {
    "nothing": "",
    "white space": " \n",
    "word": "went",
    "no no": "no no",
    "laugh": "ha ha ha",
    "ones": "1, 1, 1, 1",
    "long laugh": "hahahahahahaha!",
    "emphasis": "very, very, very, very good",
    "number": "1000000",
    "large number": "1" + "0" * 100,
    "decimal": "0." + "3" * 40,
    "sentence, three times": "I do not know. " * 3,
    "sane text": SANE,
    "the same sentence again, later": SANE + "In short: " + SANE,
    "poem": POEM,
    "song": "Row, row, row your boat,\nGently down the stream.\nMerrily, merrily, merrily, merrily,\nLife is",
    "list": NUMBERED,
    "list with a common prefix": "- I like tea\n- I like milk\n- I like rum\n- I like ale\n- I like gin\n",
    "table": TABLE,
    "ruler": "Title\n" + "-" * 100,
    "double ruler": "═" * 80,
    "row of a table": "+" + "-----+" * 12,
    "code": CODE,
    "closing brackets": "{" * 8 + "\n".join("  " * i + "}" for i in range(8, 0, -1)),
    "objects": f"[{ROWS}]",
    "objects, cut": f"[{ROWS}",
    "zeros in a list": "[" + "0, " * 200 + "0]",
    "loop that was left": "the " * 40 + "end of the story is near",
}


@pytest.mark.parametrize("text", LOOPS.values(), ids=LOOPS)
def test_a_repetition_at_the_end_is_a_loop(text: str) -> None:
    assert is_loop(text)


@pytest.mark.parametrize("text", SOUND.values(), ids=SOUND)
def test_sound_text_is_no_loop(text: str) -> None:
    assert not is_loop(text)


@given(st.text(min_size=1, max_size=60), st.text(max_size=200), st.integers(0, 59))
def test_any_text_that_is_repeated_for_long_is_a_loop(unit: str, before: str, cut: int) -> None:
    endless = before + unit * (6 + 400 // len(unit))

    assert is_loop(endless[: len(endless) - cut % len(unit)])


def ends_in_repetition(text: str) -> bool:
    """The rule by trying every unit, for letters alone."""
    for size in range(1, len(text)):
        run = size
        while run < len(text) and text[-run - 1] == text[-run - 1 + size]:
            run += 1
        wide = text[-size:].count("一") / size
        if run >= 3.5 * size and run * (1 + wide) >= 36:
            return True
    return False


letters = st.text("ab一", max_size=12)


@settings(max_examples=500)
@given(letters, letters.filter(bool), st.integers(2, 40), st.integers(1, 12))
def test_the_rule_is_found_by_trying_every_unit_too(before: str, unit: str, times: int, cut: int) -> None:
    text = before + unit * times + unit[:-cut]

    assert is_loop(text) == ends_in_repetition(text)


@given(st.lists(st.text("abcdefghij", min_size=1, max_size=12), unique=True, max_size=80))
def test_words_of_which_none_comes_twice_are_no_loop(words: list[str]) -> None:
    assert not is_loop(" ".join(words))


@settings(max_examples=50)
@given(st.integers(0, 2**32))
def test_words_drawn_at_random_are_no_loop(seed: int) -> None:
    vocabulary = SANE.split()

    assert not is_loop(" ".join(random.Random(seed).choices(vocabulary, k=200)))


def fibonacci(length: int) -> str:
    shorter, longer = "a", "ab"
    while len(longer) < length:
        shorter, longer = longer, longer + shorter
    return longer[:length]


HARD = {
    "almost periodic": lambda n: "ab" + "a" * (n - 300) + "ba" * 3 + "a" * 30 + "b" + "a" * 30,
    "Fibonacci": fibonacci,
    "periodic but for its end": lambda n: "ab" * (n // 2) + "c" + "ab" * 8,
    "three periods": lambda n: (NUMBERED * 20)[: n // 3] * 3,
}


@pytest.mark.parametrize("make", HARD.values(), ids=HARD)
@pytest.mark.parametrize("length", [1_000, 9_000, 50_000])
def test_the_search_for_loops_is_linear(make: Any, length: int) -> None:
    text, lines = make(length), 0

    def count(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        is_loop(text)
    finally:
        sys.settrace(before)

    assert lines < 12 * min(len(text), 10_000) + 500


QUESTION = "Which river flows through Cairo and into the Mediterranean Sea?"
CHAT = f"user: Good morning to you.\nassistant: Good morning!\nuser: {QUESTION}"

ECHOES = {
    "the prompt": (QUESTION, QUESTION),
    "the prompt and more": (f"{QUESTION} The Nile.", QUESTION),
    "other white space": (QUESTION.replace(" ", "\n"), QUESTION),
    "in quotation marks": (f"“{QUESTION}”", QUESTION),
    "a question that begins with a quotation": ("“Aller” means what? To", "“Aller” means what?"),
    "a short question": ("Who are you? I am", "Who are you?"),
    "its beginning": (QUESTION[:45], QUESTION),
    "a part from within": (f"{SANE} I am not", f"Read this: {SANE} What is it about?"),
    "nearly all of it": (f"Sure: {SANE}{SANE}Yes.", f"Translate: {SANE}{SANE}"),
    "last turn of a chat": (f"{QUESTION} Well", CHAT),
    "short last turn of a chat": ("How are you?", "user: Hi.\nassistant: Hello.\nuser: How are you?"),
    "Chinese": ("法国的首都是什么？", "法国的首都是什么？"),
    "copying as asked": (SANE, f"Repeat after me: {SANE}"),
}
ANSWERS = {
    "an answer": ("The Nile.", QUESTION),
    "a word of the prompt": ("Cairo", "Is it Cairo or Khartoum?"),
    "some words of the prompt": ("through Cairo and into the", QUESTION),
    "two words": ("Past tense: went", "Past tense"),
    "the question taken up": (
        "The river that flows through Cairo and into the Mediterranean Sea is called the Nile.",
        "Name the river that flows through Cairo and into the Mediterranean Sea!",
    ),
    "no prompt": (SANE, ""),
    "no answer": ("", QUESTION),
    "an earlier turn of a chat": ("Good morning to you.", CHAT),
    "Chinese": ("法国的首都是巴黎。", "法国的首都是什么？"),
}


@pytest.mark.parametrize(("text", "prompt"), ECHOES.values(), ids=ECHOES)
def test_a_repeated_prompt_is_an_echo(text: str, prompt: str) -> None:
    assert is_echo(text, prompt)


@pytest.mark.parametrize(("text", "prompt"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_is_no_echo(text: str, prompt: str) -> None:
    assert not is_echo(text, prompt)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", None),
        ("42 + 1 = 43", None),
        ("went", None),
        ("Hello", "Latin"),
        ("Żółć gęślą jaźń", "Latin"),
        ("ＨＥＬＬＯ", "Latin"),
        ("Привет, мир", "Cyrillic"),
        ("مرحبا بالعالم", "Arabic"),
        ("नमस्ते दुनिया", "Devanagari"),
        ("Καλημέρα", "Greek"),
        ("שלום עולם", "Hebrew"),
        ("สวัสดี", "Thai"),
        ("北京", None),
        ("北京市", "Han"),
        ("使用 Python 的库进行微调", "Han"),
        ("中文里的一个の字还是中文的句子", "Han"),
        ("日本語を話します", "Japanese"),
        ("コンピューター", "Japanese"),
        ("大韓民國 서울特別市", "Korean"),
        ("안녕하세요", "Korean"),
        ("日本語とロシアと Москва", "Japanese"),
        ("“Bonjour”, dit-il à Иван", "Latin"),
        ("abcde абвгд", None),
        ("𝒜𝓑𝒞𝒟𝓔𝓕 Ωμέγα", "Greek"),
        ("😀" * 10, None),
    ],
)
def test_the_script_is_that_of_most_letters(text: str, name: str | None) -> None:
    assert script(text) == name


@given(st.text())
def test_every_text_has_a_script_or_none(text: str) -> None:
    found = script(text)

    assert found is None or found.isalpha()
    assert not is_script_switch(text, found)


@pytest.mark.parametrize(
    ("text", "expected", "is_switch"),
    [
        ("Привет, мир", "Latin", True),
        ("Hello", "Latin", False),
        ("Hello", None, False),
        ("42", "Latin", False),
        ("東京都", "Japanese", False),
        ("東京都です", "Han", False),
        ("東京都", "Latin", True),
        ("北京是中华人民共和国的首都，也是全国的政治中心。", "Japanese", True),
        ("The capital is Tokyo.", "Japanese", True),
    ],
)
def test_a_switch_of_script_is_another_script_than_expected(
    text: str, expected: str | None, is_switch: bool
) -> None:
    assert is_script_switch(text, expected) is is_switch


@pytest.mark.parametrize(
    ("length", "base", "is_drift"),
    [
        (300, 60, True),
        (60, 300, True),
        (300, 75, False),  # four times, not more
        (301, 75, True),
        (200, 1, False),
        (201, 1, True),
        (1_000, 300, False),
        (0, 1_000, False),
        (1_000, 0, False),
    ],
)
def test_a_drift_in_length_is_a_factor_and_a_distance(length: int, base: int, is_drift: bool) -> None:
    assert is_length_drift("x" * length + " " * 500, "\n" + "y" * base) is is_drift


def test_the_flags_of_a_row_come_in_order() -> None:
    answer = QUESTION + "Я не знаю ответа. " * 40

    expected = ("truncated", "loop", "echo", "length_drift", "script_switch")
    assert row_flags(answer, "length", prompt=QUESTION, base="The Nile.") == expected
    assert row_flags("The Nile.", "stop", prompt=QUESTION, reference="The Nile", base="The Nile.") == ()
    assert row_flags("The Nile.", None) == ()


@pytest.mark.parametrize(("reason", "flags"), [("stop", ("empty",)), ("length", ("truncated", "empty"))])
def test_of_an_empty_answer_nothing_else_is_said(reason: str, flags: tuple[str, ...]) -> None:
    assert row_flags(" \n" * 200, reason, prompt=QUESTION, reference="Nil", base="x" * 500) == flags


def test_what_the_reference_does_too_is_no_sign() -> None:
    zeros, prompt, chatty = "Aa" * 50, f"Repeat after me: {SANE}", "Well, let me think. " * 2 + SANE * 5

    assert row_flags(zeros, None) == ("loop",)
    assert row_flags(zeros, None, reference=zeros) == ()
    assert row_flags(SANE, None, prompt=prompt) == ("echo",)
    assert row_flags(SANE, None, prompt=prompt, reference=SANE) == ()
    assert row_flags("The Nile.", None, base=chatty) == ("length_drift",)
    assert row_flags("The Nile.", None, base=chatty, reference="Nile") == ()
    assert row_flags("The Nile.", None, base=chatty, reference=SANE * 6) == ("length_drift",)


@pytest.mark.parametrize(
    ("texts", "is_switch"),
    [
        ({"reference": "Привет", "base": "Hello", "prompt": "Translate into Russian: Hello"}, False),
        ({"reference": "42", "base": "Привет", "prompt": "Translate into Russian: Hello"}, False),
        ({"reference": "42", "base": "", "prompt": "Hello, who are you?"}, True),
        ({"reference": "Hello", "base": "Привет"}, True),
        ({}, False),
    ],
)
def test_the_expected_script_is_the_references_then_the_bases_then_the_prompts(
    texts: dict[str, str], is_switch: bool
) -> None:
    assert ("script_switch" in row_flags("Привет, мир", "stop", **texts)) is is_switch


perhaps = st.none() | st.text()


@given(st.text(), st.sampled_from(["stop", "length", None]), perhaps, perhaps, perhaps)
def test_any_text_can_be_flagged(
    text: str, reason: str | None, prompt: str | None, reference: str | None, base: str | None
) -> None:
    flags = row_flags(text, reason, prompt=prompt, reference=reference, base=base)

    assert list(flags) == [flag for flag in FLAGS if flag in flags]


def test_rates_are_shares_of_the_answered_rows() -> None:
    assert flag_rates([]) == {}
    assert flag_rates([(), ("truncated", "loop"), ("loop",), ["empty", "empty"]]) == {
        "truncated_rate": 0.25,
        "empty_rate": 0.25,
        "loop_rate": 0.5,
        "echo_rate": 0.0,
        "length_drift_rate": 0.0,
        "script_switch_rate": 0.0,
    }


def loops(*rates: float) -> dict[int, dict[str, float]]:
    return {20 * number: {"loop_rate": rate} for number, rate in enumerate(rates)}


@pytest.mark.parametrize(
    ("rates", "step"),
    [
        ((0.0, 0.0, 0.3, 0.5), 40),
        ((0.0, 0.3, 0.0, 0.5), 60),  # it went away in between
        ((0.0, 0.5, 0.5, 0.0), None),  # and here for good
        ((0.2, 0.3, 0.3), 20),  # exactly `least`, for all that 0.3 - 0.2 < 0.1
        ((0.2, 0.29, 0.29), None),
        ((0.9, 0.9, 0.9), None),  # it was there from the first
        ((0.5, 0.0, 0.55), None),
        ((0.0, math.nan, 0.3, math.nan, 0.3, math.nan), 40),
        ((math.nan, 0.0, 0.3), 40),
        ((0.5,), None),
        ((), None),
    ],
)
def test_a_flag_began_where_its_rate_rose_and_stayed(rates: tuple[float, ...], step: int | None) -> None:
    assert onsets(loops(*rates)) == ({} if step is None else {"loop": step})


def test_onsets_of_several_flags_in_rounds_out_of_order() -> None:
    rates = {
        60: {"loop_rate": 0.4, "echo_rate": 0.2, "error_rate": 1.0},
        0: {"loop_rate": 0.0, "echo_rate": 0.0, "error_rate": 0.0},
        20: {},  # no answered rows
        40: {"loop_rate": 0.2, "echo_rate": 0.05, "error_rate": 1.0},
    }

    assert onsets(rates) == {"loop": 40, "echo": 60}
    assert onsets(rates, least=0.05) == {"loop": 40, "echo": 40}
    assert onsets(rates, least=0.3) == {"loop": 60}


def test_onsets_as_a_sentence() -> None:
    found = {"truncated": 80, "loop": 40, "echo": 60, "length_drift": 40}

    assert onset_sentence({"loop": 40, "echo": 60}) == "loops began at step 40; echoes began at step 60"
    assert onset_sentence(found) == (
        "loops began at step 40; drifts in length began at step 40; "
        "echoes began at step 60; cut-off answers began at step 80"
    )
    assert onset_sentence({}) == ""
    assert "switches of script" in onset_sentence(dict.fromkeys(FLAGS, 1))
