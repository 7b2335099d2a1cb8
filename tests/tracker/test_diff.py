from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from timelapse.analysis import diff
from timelapse.analysis.diff import word_diff

texts = st.text(max_size=80) | st.lists(st.sampled_from(["a", "b", " ", "\n", "去", "了", ".", "word"])).map(
    "".join
)


@given(texts, texts)
@example("", "")
@example("a b", "a  b")
def test_pieces_give_back_both_texts(before: str, after: str) -> None:
    pieces = word_diff(before, after)

    assert "".join(text for operation, text in pieces if operation != "insert") == before
    assert "".join(text for operation, text in pieces if operation != "delete") == after
    assert all(text for _, text in pieces)
    assert [operation for operation, _ in pieces] != ["insert", "delete"]


@given(texts)
def test_equal_texts_have_no_change(text: str) -> None:
    assert {operation for operation, _ in word_diff(text, text)} <= {"equal"}


def test_whole_words_change_and_punctuation_stands_alone() -> None:
    assert word_diff("He goed home.", "He went home!") == [
        ("equal", "He "),
        ("delete", "goed"),
        ("insert", "went"),
        ("equal", " home"),
        ("delete", "."),
        ("insert", "!"),
    ]


def test_neighbouring_changes_are_one() -> None:
    assert word_diff("the big cat sat", "the small dog sat") == [
        ("equal", "the "),
        ("delete", "big cat"),
        ("insert", "small dog"),
        ("equal", " sat"),
    ]


def test_scripts_without_spaces_are_compared_by_character() -> None:
    assert word_diff("我去了", "我来了") == [
        ("equal", "我"),
        ("delete", "去"),
        ("insert", "来"),
        ("equal", "了"),
    ]


def test_huge_texts_are_replaced_whole() -> None:
    before, after = "a b " * diff.MAX_TOKENS, "a c " * diff.MAX_TOKENS
    assert word_diff(before, after) == [("delete", before), ("insert", after)]
    assert word_diff(before, before) == [("equal", before)]
