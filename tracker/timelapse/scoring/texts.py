"""Scores by overlap: the words, subsequences and n-grams that prediction and reference share.

They need no language setting, serve every script and raise on no string.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Callable
from functools import lru_cache, partial
from inspect import unwrap
from typing import TYPE_CHECKING, NamedTuple

from timelapse.scoring.scorers import normalise, parted

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import regex  # type: ignore[import-untyped]

    Codes = npt.NDArray[np.int64]

_BITS = 21  # a code point, or the number of a distinct word: three fit into an integer of 64 bits
_ENDS = (2**_BITS - 2, 2**_BITS - 1)  # what follows either text's end: above every code point

_UNSPACED = r"[[\p{Han}\p{Hiragana}\p{Katakana}\u30fc\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]&&[\p{L}\p{Nl}]]"


def tokens(text: str) -> list[str]:
    """Return the words of a text, as the overlap scores compare them.

    - Case, compatibility forms (full-width letters, ligatures) and invisible characters (joiners, direction
      marks, soft hyphens, variation selectors) make no difference, as in Unicode's NFKC_Casefold. Nothing
      is removed that only one language has: articles stay.
    - White space and punctuation separate words and are dropped. A point or comma between digits (3.14)
      and the minus of a number stay. Apostrophes within a word, and the quotation marks within a Hebrew
      one, are dropped without parting it: don't and don’t are dont.
    - A letter of a script written without spaces (Han, kana, Thai, Lao, Khmer, Burmese) is a word.
    - A symbol (+, €, an emoji with its skin tone, a flag) is a word.
    - Combining marks stay with what they follow.
    - A text of nothing but punctuation has its characters for words: "?" is not "!".

    The list is empty only where there is nothing to see. Sources: Rajpurkar et al. (2016), "SQuAD", EMNLP,
    whose normalisation this extends beyond English; Unicode Standard Annex 29 for what stays within a word.
    """
    return list(_tokens(text))


def token_precision(prediction: str, reference: str) -> float:
    """Return the share of the prediction's `tokens` that the reference has too, each as often as there.

    Range 0..1; 1.0 if both have none, 0.0 if one has none. Source: Rajpurkar et al. (2016), "SQuAD:
    100,000+ questions for machine comprehension of text", EMNLP.
    """
    shared, predicted, _ = _overlap(prediction, reference)
    return shared / predicted


def token_recall(prediction: str, reference: str) -> float:
    """Return the share of the reference's `tokens` that the prediction has too, each as often as there.

    Range, empty texts and source: those of `token_precision`.
    """
    shared, _, expected = _overlap(prediction, reference)
    return shared / expected


def token_f1(prediction: str, reference: str) -> float:
    """Return the harmonic mean of `token_precision` and `token_recall`.

    Range, empty texts and source: theirs. Neither the order of words counts, nor that of the two texts.
    """
    shared, predicted, expected = _overlap(prediction, reference)
    return 2 * shared / (predicted + expected)


def length_ratio(prediction: str, reference: str) -> float:
    """Return the characters of the prediction per character of the reference, both after `normalise`.

    Range 0 and up, 1.0 for two empty texts. NaN, "no score", if only the reference is empty: no number
    says how much longer than nothing a text is, and an infinite one would spoil every mean.
    """
    length, expected = len(normalise(prediction)), len(normalise(reference))
    if not expected:
        return math.nan if length else 1.0
    return length / expected


def rouge_l(prediction: str, reference: str) -> float:
    """Return ROUGE-L: the F1 of the longest common subsequence of `tokens`.

    Range 0..1; 1.0 if both have none, 0.0 if one has none. The order of the two texts does not count.
    Words are not stemmed. Source: Lin (2004), "ROUGE: a package for automatic evaluation of summaries",
    section 3.1 with beta = 1; the subsequence is computed by rapidfuzz.
    """
    from rapidfuzz.distance import LCSseq

    words, expected = _tokens(prediction), _tokens(reference)
    if not words and not expected:
        return 1.0
    # Only shared words can match; as small numbers they are compared exactly (not by hash) and fastest.
    numbers = {word: number for number, word in enumerate(set(words).intersection(expected))}
    common = LCSseq.similarity(*([numbers[w] for w in side if w in numbers] for side in (words, expected)))
    return 2 * common / (len(words) + len(expected))


def chrf(prediction: str, reference: str) -> float:
    """Return chrF: the F2 of character n-grams, n = 1..6, white space left out.

    Range 0..1: exactly sacreBLEU's `sentence_chrf(...).score / 100`, computed faster. Like there it is 0.0
    if a text is empty, even both. Case, punctuation and Unicode form count. Source: Popović (2015), "chrF:
    character n-gram F-score for automatic MT evaluation", WMT.
    """
    predicted, expected = _code_points(prediction), _code_points(reference)
    precision = recall = 0.0
    orders = min(6, len(predicted), len(expected))  # longer n-grams do not occur on both sides
    for n, shared in enumerate(_shared_ngrams(predicted, expected, orders)):
        precision += shared / (len(predicted) - n)
        recall += shared / (len(expected) - n)
    if not precision + recall:
        return 0.0
    precision, recall = precision / orders, recall / orders
    return 100 * (5 * precision * recall / (4 * precision + recall)) / 100  # rounded as sacreBLEU's is


def bleu(prediction: str, reference: str) -> float:
    """Return BLEU of a single text: n-grams of words, n = 1..4, with exponential smoothing.

    Range 0..1: sacreBLEU's `sentence_bleu(..., tokenize="intl").score / 100` (effective order), where
    letters of scripts without spaces (see `tokens`) are set apart by spaces beforehand, so that one rule
    serves every text, mixed ones too. Like there it is 0.0 if a text is empty, even both. Case and
    punctuation count. BLEU was made for whole corpora: of short texts it is a rough number. Source:
    Papineni et al. (2002), "BLEU", ACL; Post (2018), "A call for clarity in reporting BLEU scores", WMT.
    """
    from sacrebleu.metrics.bleu import BLEU

    words, expected = _bleu_words(prediction), _bleu_words(reference)
    numbers = {word: number for number, word in enumerate({*words, *expected})}
    shared = _shared_ngrams(_numbered(words, numbers), _numbered(expected, numbers), 4)
    totals = [max(0, len(words) - n) for n in range(4)]
    result = BLEU.compute_bleu(
        shared, totals, len(words), len(expected), smooth_method="exp", effective_order=True
    )
    return min(1.0, result.score / 100)  # equal texts come out a little above 100


class _Patterns(NamedTuple):
    """What cuts a text into words."""

    invisible: regex.Pattern[str]
    """Characters that never count."""
    inner: regex.Pattern[str]
    """Apostrophes and the like within words."""
    minus: regex.Pattern[str]
    """A typographic minus before a number."""
    word: regex.Pattern[str]
    """A word, once the others are dealt with."""
    letter: regex.Pattern[str]
    """A letter of a script without spaces, with its marks."""


@lru_cache(maxsize=1)
def _patterns() -> _Patterns:
    import regex

    letter = rf"{_UNSPACED}\p{{M}}*+"
    char = rf"[[^\p{{P}}\p{{S}}\p{{Z}}\p{{Cc}}\p{{Cf}}]--{_UNSPACED}]"
    word = rf"{char}++(?:(?<=\p{{Nd}})[.,٫٬](?=\p{{Nd}}){char}++)*+"
    symbol = r"\p{RI}{2}|[\p{Sm}\p{Sc}\p{So}][\p{M}\p{EMod}]*+"
    return _Patterns(
        invisible=regex.compile(r"\p{DI}++"),
        inner=regex.compile(r"""(?<=[\p{L}\p{M}])['’](?=\p{L})|(?<=\p{Hebrew})['"’׳״](?=\p{Hebrew})"""),
        minus=regex.compile(rf"(?V1)(?<!{char})−(?=\p{{Nd}})"),
        word=regex.compile(rf"(?V1){word}|{letter}|{symbol}|(?<!{char})-(?=\p{{Nd}}){word}"),
        letter=regex.compile(rf"(?V1){letter}"),
    )


@lru_cache(maxsize=64)  # a row's scores ask for the same two texts in turn; more would fill memory
def _tokens(text: str) -> tuple[str, ...]:
    patterns = _patterns()
    folded = text.lower() if text.isascii() else _folded(text)
    found = patterns.word.findall(patterns.minus.sub("-", patterns.inner.sub("", folded)))
    return tuple(found or (char for char in folded if not char.isspace()))


def _folded(text: str) -> str:
    patterns = _patterns()
    text = parted(patterns.invisible.sub("", text))
    # Case folding brings forth new compatibility forms, and the other way round.
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    visible: str = patterns.invisible.sub("", text)
    return visible


def _overlap(prediction: str, reference: str) -> tuple[int, int, int]:
    """Return the words shared and those of either text; where a text has none, what gives 0 or 1."""
    words, expected = _tokens(prediction), _tokens(reference)
    if not words or not expected:
        return int(words == expected), 1, 1
    return (Counter(words) & Counter(expected)).total(), len(words), len(expected)


def _bleu_words(text: str) -> list[str]:
    apart = _patterns().letter.sub(r" \g<0> ", text)
    return _intl()(apart.rstrip()).split()


@lru_cache(maxsize=1)
def _intl() -> Callable[[str], str]:
    from sacrebleu.tokenizers.tokenizer_intl import TokenizerV14International as Tokenizer

    # Without the cache around it, which would keep up to 65,536 texts in memory.
    return partial(unwrap(Tokenizer.__call__), Tokenizer())  # type: ignore[no-untyped-call]


def _numbered(words: list[str], numbers: dict[str, int]) -> Codes:
    import numpy as np

    return np.fromiter((numbers[word] for word in words), dtype=np.int64, count=len(words))


def _code_points(text: str) -> Codes:
    import numpy as np

    encoded = "".join(text.split()).encode("utf-32-le", "surrogatepass")
    return np.frombuffer(encoded, dtype="<u4").astype(np.int64)


def _shared_ngrams(ours: Codes, theirs: Codes, orders: int) -> list[int]:
    """Return how many n-grams both have, each as often as in both, for n = 1..`orders` (at most 6).

    All places in both are sorted once by the six codes that start there, packed into two integers: equal
    n-grams of every order are then neighbours.
    """
    import numpy as np

    if not len(ours) or not len(theirs):
        return [0] * orders
    packed = []
    for codes, end in zip((ours, theirs), _ENDS, strict=True):
        padded = np.concatenate([codes, np.full(5, end)])  # no n-gram beyond the end is shared
        packed.append(padded[:-2] << 2 * _BITS | padded[1:-1] << _BITS | padded[2:])
    first = np.concatenate([triples[:-3] for triples in packed])
    second = np.concatenate([triples[3:] for triples in packed])
    order = np.lexsort((second, first))
    first, second, is_ours = first[order], second[order], (order < len(ours)).astype(np.int64)
    starts = np.zeros(len(order), dtype=bool)  # where another n-gram begins than stands before
    starts[0] = True
    shared = []
    for n in range(1, orders + 1):
        codes = (first if n <= 3 else second) >> (-n % 3 * _BITS)
        starts[1:] |= codes[1:] != codes[:-1]
        places = np.flatnonzero(starts)
        count = np.add.reduceat(is_ours, places)
        shared.append(int(np.minimum(count, np.diff(places, append=len(order)) - count).sum()))
    return shared
