"""The explicit field mapping: which column is what, for data sets of no known format."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from timelapse.errors import SampleError
from timelapse.formats.turns import (
    RowError,
    Split,
    Turns,
    answer_text,
    make_sample,
    parse_tools,
    parse_turns,
    prompt_text,
    question,
    split_turns,
    with_system,
)
from timelapse.hints import nearest
from timelapse.samples import Sample, message_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class FieldMapping:
    """Says which columns hold what; exactly one of `prompt`, `messages` and `text` is needed.

    Raises:
        SampleError: If the parts contradict each other.
    """

    prompt: str | Sequence[str] | None = None
    """The column of the question, or several, joined by a blank line; blank ones are left out."""
    reference: str | None = None
    """The column of the expected answer. A row without a value there is skipped."""
    system: str | None = None
    """The column of the system message."""
    messages: str | None = None
    """The column of a chat. Without `reference`, its last assistant turn is the expected answer."""
    tools: str | None = None
    """The column of tool descriptions."""
    tags: str | None = None
    """The column of labels; `tags` if not given."""
    text: str | None = None
    """The column of a text that holds question and answer; needs `split`."""
    split: str | None = None
    """The marker in `text` after whose last occurrence the answer begins; it belongs to the question."""
    conversational: bool | None = None
    """False: the question is plain text to be continued. By default true, but for `text`."""

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self) if field.name not in ("prompt", "conversational")):
            _expect_text(name, getattr(self, name))
        if isinstance(self.prompt, list | tuple) and self.prompt:
            object.__setattr__(self, "prompt", tuple(self.prompt))
            for column in self.prompt:
                _expect_text("prompt", column, "a column name or a list of them")
        else:
            _expect_text("prompt", self.prompt, "a column name or a list of them")
        if self.conversational not in (None, True, False):
            raise SampleError(f"fields.conversational is {self.conversational!r}. Expected true or false.")
        self._check_parts()

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> FieldMapping:
        """Make a mapping of a dict such as `{"prompt": ["context", "question"], "reference": "answer"}`.

        Raises:
            SampleError: If a key is not known (the message names the nearest one) or the parts do not fit.
        """
        known = [field.name for field in fields(cls)]
        for key in mapping:
            if key not in known:
                raise SampleError(
                    f"fields.{key} is not known.{nearest(key, known)} Known: {', '.join(known)}."
                )
        return cls(**mapping)

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is mapped, the prompt's first."""
        prompt = (self.prompt,) if isinstance(self.prompt, str) else tuple(self.prompt or ())
        rest = (self.reference, self.system, self.messages, self.tools, self.tags, self.text)
        return (*prompt, *(column for column in rest if column is not None))

    def check_columns(self, rows: Iterable[Mapping[str, Any]], source: str) -> None:
        """Check that each mapped column stands in at least one row.

        Raises:
            SampleError: If one does not; lists the columns seen.
        """
        seen = sorted({name for row in rows for name in row})
        for column in self.columns:
            if column not in seen:
                raise SampleError(
                    f"{source} has no column '{column}', which the field mapping names."
                    f"{nearest(column, seen)} Columns seen: {', '.join(seen) or 'none'}."
                )

    def convert(self, row: Mapping[str, Any]) -> Sample:
        """Make a sample of a row, or raise `RowError` with the reason why the row is none."""
        if self.messages is not None:
            return self._from_messages(row, self.messages)
        if self.text is not None and self.split is not None:
            return self._from_text(row, self.text, self.split)
        return self._from_prompt(row)

    def _check_parts(self) -> None:
        given = [name for name in ("prompt", "messages", "text") if getattr(self, name) is not None]
        if len(given) != 1:
            raise SampleError(
                f"fields needs exactly one of prompt, messages and text; given: {', '.join(given) or 'none'}."
            )
        if (self.text is None) != (self.split is None):
            raise SampleError("fields.text and fields.split need each other: the marker parts the text.")
        if self.text is not None and self.reference is not None:
            raise SampleError("fields.reference does not go with fields.text: what follows the marker is it.")
        repeated = sorted({column for column in self.columns if self.columns.count(column) > 1})
        if repeated:
            raise SampleError(f"fields maps the column '{repeated[0]}' twice. Each column has one meaning.")
        needs_chat = [name for name in ("messages", "system", "tools") if getattr(self, name) is not None]
        if needs_chat and not self._is_chat:
            raise SampleError(
                f"fields.{needs_chat[0]} needs a chat, but the prompt is plain text. "
                f"Set fields.conversational to true, or leave {needs_chat[0]} out."
            )

    @property
    def _is_chat(self) -> bool:
        return self.text is None if self.conversational is None else self.conversational

    def _from_prompt(self, row: Mapping[str, Any]) -> Sample:
        columns = (self.prompt,) if isinstance(self.prompt, str) else tuple(self.prompt or ())
        parts = [prompt_text(row, column) for column in columns if _has_value(row, column)]
        if not parts:
            raise RowError(f"no {' or '.join(repr(column) for column in columns)}")
        return self._sample(row, "\n\n".join(parts), self._reference(row))

    def _from_text(self, row: Mapping[str, Any], column: str, marker: str) -> Sample:
        text = prompt_text(row, column)
        # The last occurrence: an earlier one would leave the turns behind it to the answer.
        head, found, answer = text.rpartition(marker)
        if not found:
            raise RowError(f"'{column}' has no marker {marker!r}")
        if not answer.strip():
            raise RowError(f"'{column}' has nothing after the marker {marker!r}")
        if not head.strip():
            raise RowError(f"'{column}' has nothing before the marker {marker!r}")
        return self._sample(row, head + found, answer)

    def _from_messages(self, row: Mapping[str, Any], column: str) -> Sample:
        if row.get(column) is None:
            raise RowError(f"no '{column}'")
        turns = parse_turns(row[column], column)
        chat = with_system(turns, self._value(row, self.system))
        # A system text beside a chat that has one of its own is not part of the input: it stays metadata.
        unused = self.system if chat is turns and self._value(row, self.system) else None
        tools = parse_tools(self._value(row, self.tools), self.tools or "tools")
        reference, parts = self._split(row, chat)
        return make_sample(
            row,
            [name for name in self.columns if name != unused],
            parts.before,
            reference,
            chat=parts,
            tools=tools,
            tags=self.tags or "tags",
        )

    def _split(self, row: Mapping[str, Any], chat: Turns) -> tuple[str | None, Split]:
        """Return the expected answer and the chat, split so that its input does not hold the answer."""
        reference = self._reference(row)
        parts = split_turns(chat, reference)
        said = None if parts.answer is None else message_text(parts.answer)
        return said if reference is None else reference, parts

    def _sample(self, row: Mapping[str, Any], text: str, reference: str | None) -> Sample:
        asked = question(text, self._value(row, self.system))
        tools = parse_tools(self._value(row, self.tools), self.tools or "tools")
        return make_sample(
            row,
            self.columns,
            asked,
            reference,
            tools=tools,
            conversational=self._is_chat,
            tags=self.tags or "tags",
        )

    def _reference(self, row: Mapping[str, Any]) -> str | None:
        return None if self.reference is None else answer_text(row, self.reference)

    @staticmethod
    def _value(row: Mapping[str, Any], column: str | None) -> Any:
        return None if column is None else row.get(column)


def _expect_text(name: str, value: Any, expected: str = "a text that is not empty") -> None:
    if value is not None and not (isinstance(value, str) and value):
        raise SampleError(f"fields.{name} is {value!r}. Expected {expected}.")


def _has_value(row: Mapping[str, Any], column: str) -> bool:
    value = row.get(column)
    return value is not None and not (isinstance(value, str) and not value.strip())
