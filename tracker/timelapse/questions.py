"""Which question an answer belongs to: samples found by their id, by their input, or by what is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from timelapse.formats.turns import RowError, Turns, as_chat, parse_tools, parse_turns, question, with_system
from timelapse.rounds import storable
from timelapse.samples import Sample
from timelapse.tables import sample_row

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a row says about its question."""

    sample: Sample
    """The question."""
    by_text: bool
    """Its text is all that is given: a chat that asks the same, such as one with a system message, is it."""


class KnownSamples:
    """The samples of a set so far: rows of `samples_schema`, found by id or by what is asked."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self.rows: dict[str, Row] = {}
        """The rows by id."""
        self.has_prompts = False
        """Whether any of them says what it asks."""
        self._by_input: dict[str, list[str]] = {}
        self._by_text: dict[str, list[str]] = {}
        self.add(rows)

    def add(self, rows: Iterable[Row]) -> None:
        """Take further samples, and those of which more is known now."""
        for row in rows:
            key, before = row["sample_id"], self.rows.get(row["sample_id"])
            self.rows[key] = row
            if row["prompt"] is not None and (before is None or before["prompt"] is None):
                self.has_prompts = True
                self._by_input.setdefault(_input(row), []).append(key)
                for text in {row["prompt"], row["rendered_prompt"]} - {None}:
                    self._by_text.setdefault(text, []).append(key)

    def find(self, asked: Asked) -> str:
        """Return the id under which a question is known, or else its hash.

        Raises:
            RowError: Several known samples ask the same.
        """
        sample = asked.sample
        if sample.sample_id in self.rows:
            return sample.sample_id
        found = self._by_input.get(_input(sample_row(sample, 0, "")), [])
        if not found and asked.by_text:
            found = self._by_text.get(storable(sample.prompt) or "", [])
        if len(found) > 1:
            raise RowError(f"{len(found)} samples ask this, {', '.join(found[:3])}, …: give 'sample_id'")
        return found[0] if found else sample.sample_id


class Questions:
    """The questions of one round, matched with the samples of a set; `known` is not changed."""

    def __init__(self, known: KnownSamples, set_name: str) -> None:
        self.changed: dict[str, Row] = {}
        """By id the samples that are new, or of which more is known now: rows of `samples_schema`."""
        self._known, self._set_name = known, set_name
        self._new = 0

    def match(self, given_id: str | None, asked: Asked | None) -> str:
        """Return the id of the sample that a row answers.

        Raises:
            RowError: Nothing says which it is, or id and question contradict each other.
        """
        if given_id is None and asked is None:
            raise RowError("the row has neither a prompt nor an id")
        key = given_id if given_id is not None else self._known.find(asked)  # type: ignore[arg-type]
        before = self._now(key)
        row = self._new_row(key, asked) if before is None else _with_question(before, asked)
        if row is not before:
            self.changed[key] = row
        return key

    def expect(self, key: str, reference: str | None) -> None:
        """Take the expected answer to a question that was matched before.

        Raises:
            RowError: Another one is known.
        """
        row = self._now(key)
        assert row is not None
        if reference is None or reference == row["reference"]:
            return
        if row["reference"] is not None:
            raise RowError(
                f"it holds {reference[:80]!r}, but the reference of the same question is "
                f"{row['reference'][:80]!r} already. Give the same one, or use another set (set='v2')"
            )
        self.changed[key] = row | {"reference": reference}

    def _now(self, key: str) -> Row | None:
        return self.changed.get(key) or self._known.rows.get(key)

    def _new_row(self, key: str, asked: Asked | None) -> Row:
        known = self._known
        if asked is None and known.has_prompts:
            raise RowError(
                f"no sample has the id {key!r}; set '{self._set_name}' has {len(known.rows)}, such as "
                f"{next(iter(known.rows))!r}. Give the prompt as well, or the ids of `load_samples`"
            )
        sample = asked.sample if asked else Sample(())
        row = sample_row(sample, len(known.rows) + self._new, self._set_name)
        self._new += 1
        return row | {"sample_id": key} | ({} if asked else {"prompt": None})


def question_of(cell: Any, column: str, system: Any = None, tools: Any = None) -> Asked | None:
    """Return the question of a row; None if it has none.

    It is read as `load_samples` reads it, so that the same question is the same sample: turns as a chat, text
    as a user's turn, but text in the column `prompt` as plain text.

    Args:
        cell: A text, or chat turns (also as JSON).
        column: The name of its column.
        system: The text of a system message, if there is one.
        tools: The functions that the model may call, if there are any.

    Raises:
        RowError: It is no text and no chat, asks nothing, or holds the answer.
    """
    if cell is None:
        return None
    value, functions = as_chat(cell, column), parse_tools(tools)
    if not isinstance(value, str | Mapping | list):
        raise RowError(f"it holds {cell!r:.80}. Give a text, or a list of turns with 'role' and 'content'")
    if not isinstance(value, str):
        return Asked(Sample(with_system(_turns(value, column), system), tools=functions), by_text=False)
    if not value.strip():
        raise RowError("it is blank")
    turns = question(value, system)
    alone = len(turns) == 1 and not functions
    return Asked(Sample(turns, tools=functions, conversational=not (alone and column == "prompt")), alone)


def id_of(cell: Any) -> str:
    """Return the id that a cell gives: a text, a whole number, a UUID.

    Raises:
        RowError: It gives none.
    """
    if (
        isinstance(cell, float) and cell.is_integer()
    ):  # pandas makes floats of whole numbers if one is missing
        cell = int(cell)
    if isinstance(cell, bool) or not isinstance(cell, str | int | UUID) or not str(cell).strip():
        raise RowError(f"it holds {cell!r:.80}. Give an id that is a text, not blank, or a whole number")
    return storable(str(cell)) or ""


def _with_question(row: Row, asked: Asked | None) -> Row:
    """Return a known row with the question that it lacks; another question than its own is an error."""
    if asked is None or storable(asked.sample.prompt) in (row["prompt"], row["rendered_prompt"]):
        return row
    if row["prompt"] is not None:
        raise RowError(
            f"it asks {asked.sample.prompt[:80]!r}, but the sample {row['sample_id']!r} asks "
            f"{row['prompt'][:80]!r}. Leave the prompt out, give another id, or use another set (set='v2')"
        )
    asks = sample_row(asked.sample, row["index"], row["set"])
    return row | {name: asks[name] for name in ("prompt", "messages", "tools")}


def _turns(value: Any, column: str) -> Turns:
    turns = parse_turns(value, column)
    if not turns or turns[-1]["role"] == "assistant":
        raise RowError(
            "it ends with an answer: leave that turn out, and give it as 'prediction' or as 'reference'"
            if turns
            else "it has no turns"
        )
    return turns


def _input(row: Row) -> str:
    return f"{row['messages']}{row['tools']}"
