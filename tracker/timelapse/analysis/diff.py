"""How one text became another, in words."""

from __future__ import annotations

import re
from typing import Literal

Operation = Literal["equal", "insert", "delete"]
Piece = tuple[Operation, str]

MAX_TOKENS = 20_000
"""A longer text is not compared word by word: it is shown as replaced."""

# White space, words, and single other characters. Scripts without spaces (kana, Han) are taken
# character by character: otherwise a whole sentence would be one word.
_TOKEN = re.compile(r"\s+|[぀-ヿ㐀-䶿一-鿿豈-﫿]|[^\W぀-ヿ㐀-䶿一-鿿豈-﫿]+|[^\w\s]")


def word_diff(before: str, after: str) -> list[Piece]:
    """Return how `before` became `after`: pieces of text that are equal, deleted or inserted, in order.

    The equal and inserted pieces together are `after`; the equal and deleted ones are `before`. Where
    words were replaced, the deleted piece stands before the inserted one, and the white space between
    replaced words belongs to them. Texts of more than `MAX_TOKENS` tokens count as replaced whole.

    Source: the longest common subsequence of tokens (Indel distance), as computed by rapidfuzz.
    """
    if before == after:
        return [("equal", after)] if after else []
    old, new = _TOKEN.findall(before), _TOKEN.findall(after)
    if max(len(old), len(new)) > MAX_TOKENS:
        return _joined([("delete", before), ("insert", after)])
    return _joined(_absorb_white_space(_token_pieces(old, new)))


def _token_pieces(old: list[str], new: list[str]) -> list[Piece]:
    from rapidfuzz.distance import Indel

    numbers: dict[str, int] = {}  # rapidfuzz compares hashes; numbers of our own cannot collide
    codes = [[numbers.setdefault(token, len(numbers)) for token in tokens] for tokens in (old, new)]
    pieces: list[Piece] = []
    for step in Indel.opcodes(*codes):
        if step.tag == "equal":
            pieces.append(("equal", "".join(new[step.dest_start : step.dest_end])))
            continue
        pieces.append(("delete", "".join(old[step.src_start : step.src_end])))
        pieces.append(("insert", "".join(new[step.dest_start : step.dest_end])))
    return pieces


def _absorb_white_space(pieces: list[Piece]) -> list[Piece]:
    """Make white space that stayed between two changes part of them: one change reads better than two."""
    result: list[Piece] = []
    for index, (operation, text) in enumerate(pieces):
        if operation == "equal" and text.isspace() and 0 < index < len(pieces) - 1:
            result += [("delete", text), ("insert", text)]
        else:
            result.append((operation, text))
    return result


def _joined(pieces: list[Piece]) -> list[Piece]:
    """Join neighbouring changes into one deletion and one insertion, and drop empty pieces."""
    result: list[Piece] = []
    deleted = inserted = ""
    for operation, text in [*pieces, ("equal", "")]:
        if operation == "delete":
            deleted += text
        elif operation == "insert":
            inserted += text
        else:
            changes: list[Piece] = [("delete", deleted), ("insert", inserted), ("equal", text)]
            result += [piece for piece in changes if piece[1]]
            deleted = inserted = ""
    return result
