"""Signs of broken generation that no reference is needed to see: flags of answers, rates of rounds.

They say how a text looks, not whether it is right or polite: a refusal is as healthy as any other answer.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from operator import itemgetter

from timelapse.scoring.scorers import normalise

FLAGS = ("truncated", "empty", "loop", "echo", "length_drift", "script_switch")
"""The names of the flags, in the order in which they are given."""

_WIDE = "\u2e80"  # from here on a character (CJK, kana, Hangul, emoji) says about as much as two letters
_WINDOW = 10_000  # characters that are searched for a loop: a unit of up to 2,857 of them
_LOOP = 36  # columns: "the" ten times, a sentence of nine letters four times, and "ha" a dozen times not
_FILLER_LOOP = 160  # longer than rulers, rows of a table and numbers are written
_FILLER = frozenset("0123456789-=_*~#+.,·•…|:/\\ \t\r\n" + "".join(map(chr, range(0x2500, 0x2580))))
_TAIL = 12  # characters; recurs in every loop: the shortest is 18 long, its unit at most 5
_FULL_STOPS = (".", "!", "?", "…", "。", "！", "？")
_ECHO = 40  # columns
_QUOTES = "\"'“”‘’«»> "
_DRIFT_FACTOR = 4
_DRIFT_CHARACTERS = 200
_LEAST_LETTERS = 5  # columns
_AMBIGUOUS = ({"Han", "Japanese"}, {"Han", "Korean"})
_AMBIGUOUS_CHARACTERS = 20
_NOT_LETTERS = bytes(code for code in range(128) if not chr(code).isalpha())
_EVERYDAY = (  # scripts, by the first word of their characters' Unicode names
    "LATIN GREEK CYRILLIC ARMENIAN GEORGIAN HEBREW ARABIC SYRIAC THAANA ETHIOPIC DEVANAGARI BENGALI GURMUKHI "
    "GUJARATI ORIYA TAMIL TELUGU KANNADA MALAYALAM SINHALA THAI LAO TIBETAN MYANMAR KHMER MONGOLIAN HANGUL"
)
_SCRIPTS = {word: word.title() for word in _EVERYDAY.split()}
_SCRIPTS |= {"CJK": "Han", "HIRAGANA": "Kana", "KATAKANA": "Kana", "KATAKANA-HIRAGANA": "Kana"}
_PLURALS = dict(
    zip(
        FLAGS,
        ("cut-off answers", "empty answers", "loops", "echoes", "drifts in length", "switches of script"),
        strict=True,
    )
)


def is_loop(text: str) -> bool:
    """Return whether text ends in a repetition loop.

    It does if its end is one unit of 1..2,857 characters, three and a half times or more in direct
    succession and over 36 columns or more (a character from U+2E80 on, such as a Chinese one, is two columns
    wide). Three and a half are four whose last one was cut short. A unit of digits, white space, dots and
    ruler characters alone must go on for 160 columns. White space at the end and one full stop are left out.

    The unit must recur to the letter: lists that count up are no loops, nor is a loop that was left again.
    Time is linear in the text's length.

    Source: the shortest period of each prefix of the reversed text, by the failure function of Knuth, Morris
    and Pratt (1977), "Fast pattern matching in strings", SIAM Journal on Computing 6.
    """
    end = text.rstrip()
    if len(text) - len(end) >= _FILLER_LOOP:
        return True
    end = (end[:-1] if end.endswith(_FULL_STOPS) else end)[-_WINDOW:]
    if 2 * len(end) < _LOOP:
        return False
    before = end.rfind(end[-_TAIL:], 0, -1)
    period = len(end) - _TAIL - before  # no loop's is shorter
    if before < 0 or 7 * period > 2 * len(end):  # nearly every sound answer
        return False
    return _begins_in_repetition(end[::-1])


def _begins_in_repetition(text: str) -> bool:
    borders = [0] * len(text)
    border = 0  # of the prefix that ends here: its length minus its shortest period
    for last in range(1, len(text)):
        character = text[last]
        while border and text[border] != character:
            border = borders[border - 1]
        if text[border] == character:
            border += 1
        borders[last] = border
        length = last + 1
        if 7 * border >= 5 * length and _is_long(text[: length - border], length):  # length >= 3.5 periods
            return True
    return False


def _is_long(unit: str, length: int) -> bool:
    """Return whether a repetition of unit over so many characters is long enough for a loop."""
    if length >= _FILLER_LOOP:  # first, so that no long unit is looked at
        return True
    return length * _columns(unit) >= _LOOP * len(unit) and not _FILLER.issuperset(unit)


def _columns(text: str) -> int:
    return len(text) if text.isascii() else len(text) + sum(character >= _WIDE for character in text)


def is_echo(text: str, prompt: str) -> bool:
    """Return whether text repeats its prompt instead of answering it.

    It does if, after `normalise`, it

    - begins with 40 columns or more that stand verbatim in the prompt (a Chinese character is two);
    - or begins with the whole last user message, if that has three words or six Chinese characters;
    - or is verbatim from the prompt but for its first and its last tenth, and this is 40 columns or more.

    Quotation marks at the beginning are left out. A short answer that is a word of the prompt is no echo.
    Where copying is the task ("Repeat after me", a quotation, a corrected sentence) it looks the same;
    `row_flags` tells it by the reference.
    """
    answer, whole = normalise(text).lstrip(_QUOTES), normalise(prompt)
    if any(_is_part(answer[:length], whole) for length in (_ECHO, _ECHO // 2)):
        return True
    margin = len(answer) // 10
    if _is_part(answer[margin : len(answer) - margin], whole):
        return True
    question = normalise(_last_user_message(prompt)).lstrip(_QUOTES)
    wordy = len(question.split()) >= 3 or _columns(question) - len(question) >= 6
    return wordy and answer.startswith(question)


def _is_part(piece: str, whole: str) -> bool:
    return piece in whole and _columns(piece) >= _ECHO  # in this order: the search is the faster one


def _last_user_message(prompt: str) -> str:
    """Return it from the text of a chat, as `Sample.prompt` writes it; else the prompt as it is."""
    turns = ("\n" + prompt).rpartition("\nuser: ")
    return turns[2].partition("\nassistant: ")[0] if turns[1] else prompt


def script(text: str) -> str | None:
    """Return the script that most letters of text are in, by its Unicode name: `Latin`, `Han`, `Cyrillic`, ….

    Kana and Han together are `Japanese`, Hangul and Han `Korean`, if kana or Hangul are a tenth of them. Han,
    kana and Hangul count as two letters each. None if there are fewer than five letters, or equally many of
    two scripts. The letters of scripts outside everyday use are not counted.
    """
    if text.isascii():
        return "Latin" if len(text.encode().translate(None, _NOT_LETTERS)) >= _LEAST_LETTERS else None
    letters = dict.fromkeys(("Han", "Kana", "Hangul"), 0)
    for character, count in Counter(text).items():
        name = _script_of(character)
        if name is not None:
            letters[name] = letters.get(name, 0) + count
    _join_han(letters)
    (first, most), *others = sorted(letters.items(), key=itemgetter(1), reverse=True)
    enough = sum(letters.values()) >= _LEAST_LETTERS
    return first if enough and most > others[0][1] else None


def _join_han(letters: dict[str, int]) -> None:
    """Count kana and Hangul as languages, each with the Han characters it is mixed with, and all twice."""
    for part, language in (("Kana", "Japanese"), ("Hangul", "Korean")):
        count = letters.pop(part)
        if 10 * count >= count + letters["Han"]:
            count, letters["Han"] = count + letters["Han"], 0
        letters[language] = 2 * count
    letters["Han"] *= 2


@lru_cache(maxsize=65_536)
def _script_of(character: str) -> str | None:
    if unicodedata.category(character)[0] not in "LM":  # marks: the vowels of Indian scripts
        return None
    name = unicodedata.name(character, "").removeprefix("FULLWIDTH ").removeprefix("HALFWIDTH ")
    return _SCRIPTS.get(name.partition(" ")[0])


def is_script_switch(text: str, expected: str | None) -> bool:
    """Return whether the `script` of text is another one than expected; False if either is not known.

    In a text of fewer than 20 characters `Han` counts as `Japanese` and as `Korean`, and these as `Han`: a
    name or a term has no kana or Hangul in it.
    """
    found = script(text)
    if found is None or expected is None or found == expected:
        return False
    return len(text) >= _AMBIGUOUS_CHARACTERS or {found, expected} not in _AMBIGUOUS


def is_length_drift(text: str, base_text: str) -> bool:
    """Return whether text is another length than the base round's answer to the same prompt.

    It is if one is more than four times as long as the other, and 200 characters or more longer, white space
    at the ends left out. An empty text on either side is no drift.
    """
    short, long = sorted((len(text.strip()), len(base_text.strip())))
    return short > 0 and long > _DRIFT_FACTOR * short and long - short >= _DRIFT_CHARACTERS


def row_flags(
    prediction: str,
    finish_reason: str | None,
    *,
    prompt: str | None = None,
    reference: str | None = None,
    base: str | None = None,
) -> tuple[str, ...]:
    """Return the flags of an answer, in the order of `FLAGS`.

    - `truncated`: `finish_reason` is `length`; `empty`: no text but white space (then nothing else is said);
    - `loop`, `echo`: see `is_loop` and `is_echo`; not if the reference is one too;
    - `length_drift`: see `is_length_drift`, against `base`; not if the length is near the reference's;
    - `script_switch`: see `is_script_switch`; expected is the first script that is known of the reference,
      the base answer and the prompt.

    What is not given is not compared with.
    """
    if not prediction.strip():
        return ("truncated", "empty") if finish_reason == "length" else ("empty",)
    expected = next((name for text in (reference, base, prompt) if text and (name := script(text))), None)
    signs = {
        "truncated": finish_reason == "length",
        "loop": is_loop(prediction) and not is_loop(reference or ""),
        "echo": is_echo(prediction, prompt or "") and not is_echo(reference or "", prompt or ""),
        "length_drift": base is not None and _is_wrong_length(prediction, base, reference),
        "script_switch": is_script_switch(prediction, expected),
    }
    return tuple(flag for flag in FLAGS if signs.get(flag))


def _is_wrong_length(text: str, base: str, reference: str | None) -> bool:
    return is_length_drift(text, base) and (reference is None or is_length_drift(text, reference))


def flag_rates(flags_of_rows: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return the share of rows with each flag, 0..1, as `loop_rate` and so on; nothing without rows.

    The rows are the answered ones of a round, those without a flag included.
    """
    if not flags_of_rows:
        return {}
    counts = Counter(flag for flags in flags_of_rows for flag in set(flags))
    return {f"{flag}_rate": counts[flag] / len(flags_of_rows) for flag in FLAGS}


def onsets(rates_by_step: Mapping[int, Mapping[str, float]], *, least: float = 0.1) -> dict[str, int]:
    """Return the step at which each flag came to stay, in the order of `FLAGS`; only those that did.

    Takes the `flag_rates` of a run's rounds by step, in any order. A flag came at the earliest round from
    which on, to the last one, its rate is at least `least` above that of the first round. The last round
    alone is enough. Rounds without the rate, or where it is NaN, are passed over.
    """
    found = {}
    for flag in FLAGS:
        rates = [(step, rates_by_step[step].get(f"{flag}_rate", math.nan)) for step in sorted(rates_by_step)]
        rates = [(step, rate) for step, rate in rates if not math.isnan(rate)]
        for step, rate in reversed(rates[1:]):
            if round(rate - rates[0][1], 9) < least:  # 0.3 - 0.2 is a little less than 0.1
                break
            found[flag] = step
    return found


def onset_sentence(onsets: Mapping[str, int]) -> str:
    """Return the onsets as a text, the earliest first: `loops began at step 40; echoes began at step 60`.

    Empty without onsets.
    """
    ordered = sorted(onsets.items(), key=lambda onset: onset[1])
    return "; ".join(f"{_PLURALS.get(flag, flag)} began at step {step}" for flag, step in ordered)
