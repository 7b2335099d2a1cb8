"""Chat turns and cells: what the formats share when they make a `Sample` of a row."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from timelapse.errors import SampleError
from timelapse.samples import Message, Sample, message_text

_SPELLINGS = {
    "system": ("system",),
    "developer": ("developer",),
    "user": ("user", "human", "prompter"),
    "assistant": (
        *("assistant", "gpt", "model", "bot", "chatbot", "ai", "chatgpt", "bard", "bing", "claude"),
        *("function_call", "tool_call"),
    ),
    "tool": ("tool", "function", "observation", "function_response", "tool_response", "ipython"),
}
ROLES = {spelling: role for role, spellings in _SPELLINGS.items() for spelling in spellings}
"""How data sets name the speakers (in lower case), and the roles that chat templates know for them."""

_SETTINGS = ("system", "developer")
_ASKING = (*_SETTINGS, "user", "tool")
_CONTENTS = ("content", "value", "tool_calls", "function_call")
_CHAT_START = re.compile(r"""\s*\[\s*\{\s*['"](role|from|content|value)['"]\s*:""")

Turns = tuple[Message, ...]


class RowError(SampleError):
    """A row is no usable sample; the message is the reason, without place."""


@dataclass(frozen=True, slots=True)
class Split:
    """A chat, split at the answer."""

    before: Turns
    """The model's input, which never ends with an assistant turn; the whole chat if no assistant speaks."""
    answer: Message | None = None
    """The assistant turn that is the answer."""
    after: Turns = ()
    """What follows it."""
    between: Turns = ()
    """Assistant turns that directly precede it: neither input nor reference."""


def split_turns(turns: Turns, reference: str | None = None) -> Split:
    """Split a chat at its last assistant turn, or at the last that says `reference` where one is given.

    If none says it, the chat is the input, without the answer that may stand at its end.
    """
    if reference is None:
        spoken = [index for index, turn in enumerate(turns) if turn["role"] == "assistant"]
    else:
        others = (index for index, turn in enumerate(turns) if turn["role"] not in _ASKING)
        spoken = [index for index in others if same_text(message_text(turns[index]), reference)]
    if spoken:
        index = end = spoken[-1]
        while end and turns[end - 1]["role"] == "assistant":
            end -= 1
        return Split(turns[:end], turns[index], turns[index + 1 :], turns[end:index])
    end = len(turns) if reference is None else len(split_end(turns).before)
    return Split(turns[:end], after=turns[end:])


def split_end(turns: Turns) -> Split:
    """Split a chat that ends with an answer; one that goes on with a question stays whole."""
    chat = split_turns(turns)
    return Split(turns) if any(turn["role"] not in _SETTINGS for turn in chat.after) else chat


def same_text(one: str, other: str) -> bool:
    """Tell whether two texts say the same, whatever their white space, case and Unicode form."""
    return _bare(one) == _bare(other)


def parse_turns(value: Any, name: str) -> Turns:
    """Return a cell's chat turns: a list of objects with `role` (or `from`) and `content` (or `value`).

    JSON text of such a list will do too. Roles are spelled as chat templates know them. A turn's keys
    without value are dropped.

    Raises:
        RowError: If the cell named `name` is no such list, or if a turn that may be the answer has a role
            that is not known.
    """
    items = _from_json(value, name)
    if isinstance(items, Mapping):
        items = [items]
    if not isinstance(items, list | tuple):
        raise RowError(f"'{name}' is {_kind(items)}, not a list of turns")
    turns = tuple(_turn(item, f"turn {number} of '{name}'") for number, item in enumerate(items, 1))
    _check_speakers(turns, name)
    return turns


def as_chat(value: Any, name: str) -> Any:
    """Return the turns of a text cell that holds them as JSON, as tables do; any other value as it is.

    Raises:
        RowError: If the text is a list of turns in another notation than JSON.
    """
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError) as error:
        if _CHAT_START.match(value):
            raise RowError(f"'{name}' is chat turns as text that is not valid JSON ({error})") from error
        return value
    return parsed if is_chat(parsed) else value


def is_chat(value: Any) -> bool:
    """Tell whether a value is a chat turn or a list of them, and not some other JSON."""
    if isinstance(value, Mapping):
        return _is_turn(value) and _role(value) in ROLES
    return isinstance(value, list | tuple) and bool(value) and all(map(_is_turn, value))


def parse_tools(value: Any, name: str = "tools") -> tuple[Mapping[str, Any], ...]:
    """Return the tool descriptions of a cell: a list of objects, or the same as JSON; nothing if it is empty.

    Raises:
        RowError: If the cell named `name` is something else.
    """
    tools = (_from_json(value, name) if value else None) or []
    if not isinstance(tools, list | tuple):
        raise RowError(f"'{name}' is {_kind(tools)}, not a list of tool descriptions")
    parsed = [_from_json(tool, name) for tool in tools]
    if not all(isinstance(tool, Mapping) for tool in parsed):
        raise RowError(f"'{name}' holds something else than tool descriptions (objects)")
    return tuple(parsed)


def prompt_text(row: Mapping[str, Any], name: str) -> str:
    """Return a column's text, character for character, or raise `RowError`: blank, absent or no text."""
    value = row.get(name)
    if value is None:
        raise RowError(f"no '{name}'")
    if not isinstance(value, str):
        raise RowError(f"'{name}' is {_kind(value)}, not text")
    if not value.strip():
        raise RowError(f"'{name}' is blank")
    if not isinstance(as_chat(value, name), str):  # an answer may stand in it
        raise RowError(f"'{name}' is a chat, not text")
    return value


def answer_text(row: Mapping[str, Any], name: str) -> str:
    """Return a column's expected answer as text: what the assistant says last where it is a chat.

    A number is written as Python writes it, any other list or object as JSON.
    """
    value = as_chat(row.get(name), name)
    if value is None:
        raise RowError(f"no '{name}'")
    if is_chat(value):
        answer = split_turns(parse_turns(value, name)).answer
        if answer is None:
            raise RowError(f"'{name}' has no assistant turn")
        return message_text(answer)
    if isinstance(value, str):
        return value
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def question(text: str, system: Any = None) -> Turns:
    """Return a question as chat turns, behind a system turn if `system` holds text."""
    asked: Message = {"role": "user", "content": text}
    return ({"role": "system", "content": system}, asked) if _has_text(system) else (asked,)


def with_system(turns: Turns, system: Any) -> Turns:
    """Return a chat behind a system turn, unless there is no such text or the chat has a system turn."""
    if not _has_text(system) or any(turn["role"] in _SETTINGS for turn in turns):
        return turns
    return ({"role": "system", "content": system}, *turns)


def make_sample(
    row: Mapping[str, Any],
    used: Sequence[str],
    messages: Turns,
    reference: str | None = None,
    *,
    chat: Split | None = None,
    tools: tuple[Mapping[str, Any], ...] = (),
    conversational: bool = True,
    tags: str = "tags",
) -> Sample:
    """Make a sample of a row: the columns named in `used` are left out of its metadata.

    `chat` tells the answer's whole turn and what stands around it, `tags` the column that holds labels.

    Raises:
        RowError: If the messages ask nothing.
    """
    labels = _labels(row.get(tags))
    left_out = {*used, tags} if labels or row.get(tags) is None else {*used}
    metadata = {name: value for name, value in row.items() if name not in left_out}
    answer = None if chat is None else chat.answer
    if chat is not None and chat.between:
        metadata["messages_before_reference"] = list(chat.between)
    if chat is not None and chat.after:
        metadata["messages_after_reference"] = list(chat.after)
    whole = answer if answer is not None and not _is_plain(answer) else None
    sample = Sample(messages, reference, tools, conversational, whole, labels, metadata)
    if is_blank(sample):
        raise RowError("the prompt is empty")
    return sample


def without_none(value: Any) -> Any:
    """Return a value without the keys that have no value, at any depth."""
    if isinstance(value, Mapping):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    return [without_none(item) for item in value] if isinstance(value, list | tuple) else value


def is_blank(sample: Sample) -> bool:
    """Tell whether a sample asks nothing: no turns, no text, or a blank question at the end."""
    last = sample.messages[-1] if sample.messages else {"role": "user"}
    return not sample.prompt.strip() or (last.get("role") == "user" and not message_text(last).strip())


def _turn(item: Any, name: str) -> Message:
    if not isinstance(item, Mapping):
        raise RowError(f"{name} is {_kind(item)}, not an object")
    turn: dict[str, Any] = {key: value for key, value in item.items() if value is not None}
    named = "role" in turn
    for key, other in (("content", "value"), ("role", "from")):
        if key not in turn and other in turn:
            turn = {key: turn.pop(other), **turn}
    role, content = turn.get("role"), turn.get("content", "")
    if not isinstance(role, str) or not role.strip():
        raise RowError(f"{name} has no role")
    if not named and _role(turn) not in ROLES:
        raise RowError(f"{name} is from {role!r}; known are {', '.join(ROLES)}")
    if not isinstance(content, str | list):
        raise RowError(f"the content of {name} is {_kind(content)}, not text")
    if turn.keys() == {"role"}:
        raise RowError(f"{name} has no content")
    return {**turn, "role": ROLES.get(_role(turn), role)}


def _check_speakers(turns: Turns, name: str) -> None:
    """Refuse a turn of an unknown role that may be the answer: the last, or a reply to the last question."""
    for index in reversed(range(len(turns))):
        role = turns[index]["role"]
        if role == "assistant":
            return
        replies = index > 0 and turns[index - 1]["role"] == "user"
        if role not in _ASKING and (replies or index == len(turns) - 1):
            raise RowError(
                f"turn {index + 1} of '{name}' has the role {role!r}; known are {', '.join(ROLES)}"
            )


def _is_turn(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(_role(value)) and any(key in value for key in _CONTENTS)


def _role(turn: Mapping[str, Any]) -> str:
    role: Any = turn.get("from") if turn.get("role") is None else turn["role"]
    return role.strip().casefold() if isinstance(role, str) else ""


def _bare(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def _from_json(value: Any, name: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise RowError(f"'{name}' is text that is not valid JSON ({error})") from error


def _labels(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,) if value.strip() else ()
    if isinstance(value, list | tuple) and all(isinstance(label, str) for label in value):
        return tuple(value)
    return ()


def _is_plain(turn: Message) -> bool:
    return turn.keys() <= {"role", "content"} and isinstance(turn.get("content"), str)


def _has_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _kind(value: Any) -> str:
    names = {
        str: "text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), f"a value of type {type(value).__name__}")
