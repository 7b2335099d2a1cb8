"""The data set formats that Timelapse knows, each with the fields by which it is recognised."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from timelapse.formats.turns import (
    RowError,
    Split,
    Turns,
    answer_text,
    is_chat,
    make_sample,
    parse_tools,
    parse_turns,
    prompt_text,
    question,
    split_turns,
    with_system,
)
from timelapse.samples import Sample, message_text

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Format:
    """One shape of rows, and how a sample is made of it."""

    name: str
    """How users and reports call it."""
    needs: tuple[tuple[str, ...], ...]
    """The fields that a row must have; where several names stand together, one of them."""
    convert: Callable[[Fields], Sample]
    """Makes a sample of a row, or raises `RowError` with the reason why the row is none."""

    def matches(self, row: Fields) -> bool:
        """Tell whether a row has all the fields; one without a value counts as absent."""
        return all(any(row.get(name) is not None for name in names) for names in self.needs)

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(' or '.join(names) for names in self.needs)})"


def _messages(row: Fields) -> Sample:
    return _chat(row, ("messages", "tools"), parse_turns(_present(row, "messages"), "messages"))


def _sharegpt(row: Fields) -> Sample:
    turns = parse_turns(_present(row, "conversations"), "conversations")
    chat = with_system(turns, row.get("system"))
    # A system text beside a chat that has one of its own is not part of the input: it stays metadata.
    used = (
        ("conversations", "tools")
        if chat is turns and row.get("system")
        else ("conversations", "tools", "system")
    )
    return _chat(row, used, chat)


def _dpo(row: Fields) -> Sample:
    _present(row, "rejected")
    return _prompted(row, "chosen")


def _alpaca(row: Fields) -> Sample:
    text, given = prompt_text(row, "instruction"), row.get("input")
    if given is not None and not (isinstance(given, str) and not given.strip()):
        text = f"{text}\n\n{prompt_text(row, 'input')}"
    used = ("instruction", "input", "output", "system")
    return make_sample(row, used, question(text, row.get("system")), answer_text(row, "output"))


def _question_answer(row: Fields) -> Sample:
    asked = question(prompt_text(row, "question"))
    return make_sample(row, ("question", "answer"), asked, answer_text(row, "answer"))


def _prompt_completion(row: Fields) -> Sample:
    answers = [name for name in ("completion", "response") if row.get(name) is not None]
    return _prompted(row, answers[0] if answers else "completion")


def _input_output(row: Fields) -> Sample:
    asked = question(prompt_text(row, "input"))
    return make_sample(row, ("input", "output"), asked, answer_text(row, "output"))


def _prompt_only(row: Fields) -> Sample:
    if isinstance(row.get("prompt"), list):
        turns = parse_turns(row["prompt"], "prompt")
        return make_sample(row, ("prompt", "tools"), turns, tools=parse_tools(row.get("tools")))
    return make_sample(row, ("prompt",), question(prompt_text(row, "prompt")), conversational=False)


FORMATS = (
    Format("messages", (("messages",),), _messages),
    Format("sharegpt", (("conversations",),), _sharegpt),
    Format("dpo", (("chosen",), ("rejected",)), _dpo),
    Format("alpaca", (("instruction",), ("output",)), _alpaca),
    Format("question_answer", (("question",), ("answer",)), _question_answer),
    Format("prompt_completion", (("prompt",), ("completion", "response")), _prompt_completion),
    Format("input_output", (("input",), ("output",)), _input_output),
    Format("prompt_only", (("prompt",),), _prompt_only),
)
"""All known formats, the most telling first: a row belongs to the first that it matches."""


def _present(row: Fields, name: str) -> Any:
    if row.get(name) is None:
        raise RowError(f"no '{name}'")
    return row[name]


def _chat(row: Fields, used: tuple[str, ...], turns: Turns) -> Sample:
    """Make a sample of a whole chat: asked is what stands before the last assistant turn."""
    chat = split_turns(turns)
    reference = None if chat.answer is None else message_text(chat.answer)
    tools = parse_tools(row.get("tools"))
    return make_sample(row, used, chat.before, reference, turn=chat.answer, after=chat.after, tools=tools)


def _prompted(row: Fields, answer: str) -> Sample:
    """Make a sample of a prompt and an answer, each of them text or chat turns (as in TRL)."""
    prompt, value = row.get("prompt"), _present(row, answer)
    if prompt is None and not is_chat(value):
        raise RowError(
            f"no 'prompt', and '{answer}' is no chat that holds it (prompt under another name, or one text "
            "with a marker before the answer: map the fields)"
        )
    if not isinstance(prompt, list) and not is_chat(value):
        asked = question(prompt_text(row, "prompt"))
        return make_sample(row, ("prompt", answer), asked, answer_text(row, answer), conversational=False)
    chat = split_turns(parse_turns(value, answer)) if is_chat(value) else Split(())
    if is_chat(value) and chat.answer is None:
        raise RowError(f"'{answer}' has no assistant turn")
    reference = answer_text(row, answer) if chat.answer is None else message_text(chat.answer)
    messages = _joined(_prompt_turns(row, reference), chat.before)
    tools, used = parse_tools(row.get("tools")), ("prompt", answer, "tools")
    return make_sample(row, used, messages, reference, turn=chat.answer, after=chat.after, tools=tools)


def _prompt_turns(row: Fields, reference: str) -> Turns:
    prompt = row.get("prompt")
    if prompt is None:
        return ()
    turns = (
        parse_turns(prompt, "prompt") if isinstance(prompt, list) else question(prompt_text(row, "prompt"))
    )
    # A prompt column may hold the whole chat; the answer at its end is not part of the question.
    if turns and turns[-1]["role"] == "assistant" and message_text(turns[-1]) == reference:
        return turns[:-1]
    return turns


def _joined(prompt: Turns, before: Turns) -> Turns:
    """Join the prompt's turns and those before the answer, without repeating what stands in both."""
    asked, told = _spoken(prompt), _spoken(before)
    if any(told[start : start + len(asked)] == asked for start in range(len(told) - len(asked) + 1)):
        return before
    shared = next((size for size in range(len(told), 0, -1) if asked[-size:] == told[:size]), 0)
    return prompt + before[shared:]


def _spoken(turns: Turns) -> list[tuple[str, str]]:
    return [(turn["role"], message_text(turn).strip()) for turn in turns]
