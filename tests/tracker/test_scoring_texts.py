"""Overlap scores against sacreBLEU's numbers, a textbook subsequence and counting by hand."""

from __future__ import annotations

import math
import random
import re
import time
from collections import Counter
from collections.abc import Callable

import pytest
import sacrebleu
from hypothesis import example, given, settings
from hypothesis import strategies as st

from timelapse.scoring.texts import (
    bleu,
    chrf,
    length_ratio,
    rouge_l,
    token_f1,
    token_precision,
    token_recall,
    tokens,
)

Score = Callable[[str, str], float]
BOUNDED: tuple[Score, ...] = (token_precision, token_recall, token_f1, rouge_l, chrf, bleu)
SCORES: tuple[Score, ...] = (*BOUNDED, length_ratio)
HARD = [
    "",
    " \n\t\u3000",
    "\u200f\u00ad\ufeff",
    "\ud800",
    "\udfff\ud800 a",
    "\x00",
    "?!",
    "שלום, צה״ל!",
    "مرحبا بالعالم ١٢٫٥",
    "日本語コーヒー。",
    "สวัสดีน้ำ",
    "👍🏽👨‍👩‍👧🇩🇪",
    "x\u0301\u0316" * 9,
]
SHARED = st.text("ab 1.,'-é中かก\u0301\u05d0\ud800👍+", max_size=40)  # few characters, so that texts overlap
TEXTS = SHARED | st.text(max_size=40) | st.sampled_from(HARD)


def common_subsequence(a: list[str], b: list[str]) -> int:
    """Return the textbook dynamic programme's length."""
    row = [0] * (len(b) + 1)
    for left in a:
        diagonal = 0
        for j, right in enumerate(b, 1):
            diagonal, row[j] = row[j], diagonal + 1 if left == right else max(row[j], row[j - 1])
    return row[-1]


# Words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The cat, the CAT; Straße", ["the", "cat", "the", "cat", "strasse"]),
        ("well-known snake_case U.S.", ["well", "known", "snake", "case", "u", "s"]),
        ("Don't don’t 'quoted' rock 'n' l’homme", ["dont", "dont", "quoted", "rock", "n", "lhomme"]),
        ("3.14 1,000 v1.2. 7, 8.", ["3.14", "1,000", "v1.2", "7", "8"]),
        ("-5 (-6) −7 8-9 x-1 3 - 2 50%", ["-5", "-6", "-7", "8", "9", "x", "1", "3", "2", "50"]),
        ("5+3=8 $5", ["5", "+", "3", "=", "8", "$", "5"]),
        ("ＡＢＣ１２ ﬁn ｶﾞ", ["abc12", "fin", "ガ"]),
        ("e\u0301a \u00e9a q\u0301\u0316", ["éa", "éa", "q\u0316\u0301"]),
        ("日本語コーヒー、中国。2019年ABC", [*"日本語コーヒー中国", "2019", "年", "abc"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("วันที่ ๑๒", ["วั", "น", "ที่", "๑๒"]),
        ("ລາວ ខ្មែរ", ["ລ", "າ", "ວ", "ខ្", "មែ", "រ"]),
        ("العربية، كِتَاب ١٢٫٥", ["العربية", "كِتَاب", "١٢٫٥"]),
        ('צה״ל צה"ל ג׳ורג׳ "שלום"', ["צהל", "צהל", "גורג", "שלום"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("می\u200cخواهم\u200f co\u00adoperate", ["میخواهم", "cooperate"]),
        ("👍🏽 👍 ❤\ufe0f🇩🇪🇫🇷!", ["👍🏽", "👍", "❤", "🇩🇪", "🇫🇷"]),
        ("?! …", ["?", "!", ".", ".", "."]),
        ("\ud800a \udc00", ["\ud800a", "\udc00"]),
        (" \t\n\u3000", []),
        ("\u200b\u200f\ufeff", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected


@settings(deadline=None)
@given(TEXTS)
def test_words_of_words_are_the_same_words(text: str) -> None:
    words = tokens(text)
    assert all(words)
    assert tokens(" ".join(words)) == words


def test_a_list_of_words_is_the_callers_own() -> None:
    tokens("one two").clear()
    assert tokens("one two") == ["one", "two"]
    assert token_f1("one two", "one") == pytest.approx(2 / 3)


# Overlap


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_precision_recall_and_f1_are_those_of_counting(prediction: str, reference: str) -> None:
    ours, theirs = Counter(tokens(prediction)), Counter(tokens(reference))
    if not ours or not theirs:
        precision = recall = f1 = float(ours == theirs)
    else:
        shared = sum(min(count, theirs[word]) for word, count in ours.items())
        precision, recall = shared / sum(ours.values()), shared / sum(theirs.values())
        f1 = 2 * precision * recall / (precision + recall) if shared else 0.0
    assert token_precision(prediction, reference) == precision
    assert token_recall(prediction, reference) == recall
    assert token_f1(prediction, reference) == pytest.approx(f1)


def test_overlap_by_hand() -> None:
    assert token_precision("the the the cat", "The cat sat.") == 2 / 4
    assert token_recall("the the the cat", "The cat sat.") == 2 / 3
    assert token_f1("the the the cat", "The cat sat.") == 4 / 7
    assert token_f1("5", "-5") == 0.0
    assert token_f1("👍", "👎") == 0.0
    assert token_f1("東京都", "東京") == pytest.approx(0.8)


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_rouge_l_is_f1_of_the_longest_common_subsequence(prediction: str, reference: str) -> None:
    ours, theirs = tokens(prediction), tokens(reference)
    length = common_subsequence(ours, theirs)
    expected = 2 * length / (len(ours) + len(theirs)) if ours or theirs else 1.0
    assert rouge_l(prediction, reference) == expected


def test_rouge_l_of_its_paper() -> None:
    reference = "police killed the gunman"
    assert rouge_l("police kill the gunman", reference) == 0.75
    assert rouge_l("the gunman kill police", reference) == 0.5


def test_rouge_l_of_many_distinct_words() -> None:
    numbers = [str(n) for n in range(600)]
    assert rouge_l(" ".join(numbers), " ".join(numbers[::2])) == 600 / 900
    assert rouge_l(" ".join(numbers), " ".join(reversed(numbers))) == 1 / 600


# Length


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [("", " \n", 1.0), ("", "abc", 0.0), ("  ab \n cd ", "abcdefghij", 0.5), ("e\u0301e\u0301", "é", 2.0)],
)
def test_length_ratio(prediction: str, reference: str, expected: float) -> None:
    assert length_ratio(prediction, reference) == expected


def test_length_ratio_to_nothing_is_no_number() -> None:
    assert math.isnan(length_ratio("a", " "))


# sacreBLEU's


@settings(deadline=None)
@given(TEXTS, TEXTS)
@example("abcabcabc" * 30, "bcabca" * 40)
@example("a \ud800", "a ?")
def test_chrf_is_exactly_sacrebleus(prediction: str, reference: str) -> None:
    assert chrf(prediction, reference) == sacrebleu.sentence_chrf(prediction, [reference]).score / 100


@settings(deadline=None)
@given(st.lists(st.sampled_from(["the", "cat", "sat", "on", "mats", "中文", "."]), max_size=60), st.data())
def test_chrf_is_exactly_sacrebleus_for_sentences(words: list[str], data: st.DataObject) -> None:
    prediction, reference = " ".join(words), " ".join(data.draw(st.permutations(words)))
    assert chrf(prediction, reference) == sacrebleu.sentence_chrf(prediction, [reference]).score / 100


MIXED = st.text("ab 1.,'-é中かーกั👍+שד\n", max_size=40)
APART = re.compile("([\u3041-\u3096\u30fc\u4e00-\u9fff\u0e01-\u0e30][\u0e31\u0e34-\u0e3a]*)")


@settings(deadline=None)
@given(MIXED, MIXED)
@example("The cat sat on the mat.", "The cat sat on a mat.")
@example("in 2019.\n", "in 2019")
@example("我喜欢喝咖啡 very much。", "我喜欢喝茶 very much。")
def test_bleu_is_sacrebleus_with_letters_set_apart(prediction: str, reference: str) -> None:
    ours, theirs = APART.sub(r" \1 ", prediction), APART.sub(r" \1 ", reference)
    expected = sacrebleu.sentence_bleu(ours, [theirs], tokenize="intl").score / 100
    assert bleu(prediction, reference) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(
    st.text(st.characters(codec="cp1252"), max_size=60), st.text(st.characters(codec="cp1252"), max_size=60)
)
def test_bleu_of_other_texts_is_sacrebleus(prediction: str, reference: str) -> None:
    expected = sacrebleu.sentence_bleu(prediction, [reference], tokenize="intl").score / 100
    assert bleu(prediction, reference) == pytest.approx(expected, abs=1e-12)


def test_bleu_reads_languages_without_spaces() -> None:
    reference = "我昨天在北京大学图书馆看书。"
    assert bleu(reference, reference) == 1.0
    assert 0.5 < bleu("我昨天在北京大学图书馆看报。", reference) < 1
    assert bleu("ฉันชอบกินข้าว", "ฉันชอบกินปลา") > 0.4


def test_bleu_keeps_no_texts() -> None:
    from sacrebleu.tokenizers.tokenizer_intl import TokenizerV14International

    before = TokenizerV14International.__call__.cache_info().currsize
    bleu("a text that nobody else has", "nor this one")
    assert TokenizerV14International.__call__.cache_info().currsize == before


# All of them


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_scores_are_numbers_within_their_bounds(prediction: str, reference: str) -> None:
    for score in BOUNDED:
        assert type(score(prediction, reference)) is float
        assert 0.0 <= score(prediction, reference) <= 1.0
    ratio = length_ratio(prediction, reference)
    assert type(ratio) is float
    assert math.isnan(ratio) or 0.0 <= ratio < math.inf


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_what_swapping_the_texts_does(prediction: str, reference: str) -> None:
    assert token_f1(prediction, reference) == token_f1(reference, prediction)
    assert rouge_l(prediction, reference) == rouge_l(reference, prediction)
    assert token_precision(prediction, reference) == token_recall(reference, prediction)
    assert rouge_l(prediction, reference) <= token_f1(prediction, reference)
    there, back = length_ratio(prediction, reference), length_ratio(reference, prediction)
    if there and back and not math.isnan(there + back):
        assert there * back == pytest.approx(1.0)


@settings(deadline=None)
@given(TEXTS)
def test_a_text_matches_itself(text: str) -> None:
    for score in (token_precision, token_recall, token_f1, rouge_l, length_ratio):
        assert score(text, text) == 1.0
    assert chrf(text, text) == float(bool(text.split()))
    assert bleu(text, text) == float(bool(text.split()))


@settings(deadline=None)
@given(TEXTS.filter(tokens))
def test_nothing_scores_zero(text: str) -> None:
    for score in BOUNDED:
        assert score("", text) == score(text, " ") == 0.0


def long_texts(letters: str, separator: str) -> tuple[str, str]:
    """Return two texts of 20,000 bytes of random letters."""
    draw = random.Random(7)
    size = 20_000 // len((letters[-1] + separator).encode(errors="surrogatepass"))
    return separator.join(draw.choices(letters, k=size)), separator.join(draw.choices(letters, k=size))


@pytest.mark.parametrize(
    ("letters", "separator"),
    [
        ("abcdefghijklmnop", " "),
        ("etaoin shrdlu", ""),
        ("ab", ""),
        ("?!.,;", ""),
        ("".join(map(chr, range(0x4E00, 0x9FA5))), ""),
        ("".join(map(chr, range(0x1F300, 0x1F600))), ""),
        ("\ud800\udc00\udfff", ""),
        ("שלום עולם", ""),
    ],
)
def test_long_texts_take_no_time(letters: str, separator: str) -> None:
    prediction, reference = long_texts(letters, separator)
    for score in SCORES:
        score("a", "b")  # imports come first
        times = []
        for attempt in range(3):
            start = time.thread_time()
            score(prediction + "x" * attempt, reference)  # another text: nothing from a cache
            times.append(time.thread_time() - start)
        assert min(times) < 0.1, score.__name__


def test_piles_of_marks_take_no_time() -> None:
    pile = "a" + "\u0301\u0316" * 5_000  # worst for Unicode normalisation, which sorts them
    start = time.thread_time()
    assert token_f1(pile, pile + "\u0316") == 0.0
    assert time.thread_time() - start < 0.1
