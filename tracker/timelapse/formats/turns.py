"""Chat turns and cells: what the formats share when they make a `Sample` of a row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from timelapse.errors import SampleError
from timelapse.samples import Message, Sample, message_text

ROLES = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "model", "chatgpt", "bard", "bing", "function_call"), "assistant"),
    **dict.fromkeys(("tool", "observation", "function_response"), "tool"),
    "system": "system",
}
"""The speakers of ShareGPT chats (`from`) and the roles that chat templates know for them."""

Turns = tuple[Message, ...]


class RowError(SampleError):
    """A row is no usable sample; the message is the reason, without place."""


@dataclass(frozen=True, slots=True)
class Split:
    """A chat, split at its last assistant turn."""

    before: Turns
    """The model's input; the whole chat where no assistant speaks."""
    answer: Message | None = None
    """The last assistant turn."""
    after: Turns = ()
    """What follows it."""


def split_turns(turns: Turns) -> Split:
    """Split a chat at its last assistant turn, so that the answer is not in the input."""
    for index in reversed(range(len(turns))):
        if turns[index]["role"] == "assistant":
            return Split(turns[:index], turns[index], turns[index + 1 :])
    return Split(turns)


def parse_turns(value: Any, name: str) -> Turns:
    """Return a cell's chat turns: a list of `role`/`content` or `from`/`value` objects, or the same as JSON.

    Keys without value are dropped: Arrow tables give every turn the keys of all.

    Raises:
        RowError: If the cell named `name` is no such list.
    """
    items = _from_json(value, name)
    if isinstance(items, Mapping):
        items = [items]
    if not isinstance(items, list | tuple):
        raise RowError(f"'{name}' is {_kind(items)}, not a list of turns")
    return tuple(_turn(item, f"turn {number} of '{name}'") for number, item in enumerate(items, 1))


def is_chat(value: Any) -> bool:
    """Tell whether a value is a chat turn or a list of them, and not some other JSON."""
    turns = [value] if isinstance(value, Mapping) else value
    if not isinstance(turns, list | tuple) or not turns:
        return False
    return all(isinstance(turn, Mapping) and ("role" in turn or "from" in turn) for turn in turns)


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
    return tuple(_without_none(tool) for tool in parsed)


def prompt_text(row: Mapping[str, Any], name: str) -> str:
    """Return a column's text, character for character, or raise `RowError`: blank, absent or no text."""
    value = row.get(name)
    if value is None:
        raise RowError(f"no '{name}'")
    if not isinstance(value, str):
        raise RowError(f"'{name}' is {_kind(value)}, not text")
    if not value.strip():
        raise RowError(f"'{name}' is blank")
    return value


def answer_text(row: Mapping[str, Any], name: str) -> str:
    """Return a column's expected answer as text: a number as Python writes it, lists and objects as JSON."""
    value = row.get(name)
    if value is None:
        raise RowError(f"no '{name}'")
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
    if not _has_text(system) or any(turn["role"] == "system" for turn in turns):
        return turns
    return ({"role": "system", "content": system}, *turns)


def make_sample(
    row: Mapping[str, Any],
    used: Sequence[str],
    messages: Turns,
    reference: str | None = None,
    *,
    turn: Message | None = None,
    after: Turns = (),
    tools: tuple[Mapping[str, Any], ...] = (),
    conversational: bool = True,
    tags: str = "tags",
) -> Sample:
    """Make a sample of a row: the columns named in `used` are left out of its metadata.

    `turn` is the answer's whole turn, `after` what follows it, `tags` the column that holds labels.

    Raises:
        RowError: If the messages ask nothing.
    """
    labels = _labels(row.get(tags))
    left_out = {*used, tags} if labels or row.get(tags) is None else {*used}
    metadata = {name: value for name, value in row.items() if name not in left_out}
    if after:
        metadata["messages_after_reference"] = list(after)
    whole = turn if turn is not None and not _is_plain(turn) else None
    sample = Sample(messages, reference, tools, conversational, whole, labels, metadata)
    if is_blank(sample):
        raise RowError("the prompt is empty")
    return sample


def is_blank(sample: Sample) -> bool:
    """Tell whether a sample asks nothing: no turns, no text, or a blank question at the end."""
    last = sample.messages[-1] if sample.messages else {"role": "user"}
    return not sample.prompt.strip() or (last.get("role") == "user" and not message_text(last).strip())


def _turn(item: Any, name: str) -> Message:
    if not isinstance(item, Mapping):
        raise RowError(f"{name} is {_kind(item)}, not an object")
    turn: dict[str, Any] = _without_none(item)
    if "role" not in turn and "from" in turn:
        turn = _sharegpt_turn(turn, name)
    role, content = turn.get("role"), turn.get("content", "")
    if not isinstance(role, str) or not role:
        raise RowError(f"{name} has no role")
    if not isinstance(content, str | list):
        raise RowError(f"the content of {name} is {_kind(content)}, not text")
    if turn.keys() == {"role"}:
        raise RowError(f"{name} has no content")
    return turn


def _sharegpt_turn(turn: dict[str, Any], name: str) -> dict[str, Any]:
    speaker = turn.pop("from")
    if not isinstance(speaker, str) or speaker.lower() not in ROLES:
        raise RowError(f"{name} is from {speaker!r}; known are {', '.join(ROLES)}")
    content = {"content": turn.pop("value")} if "value" in turn else {}
    return {"role": ROLES[speaker.lower()], **content, **turn}


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list | tuple) else value


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
