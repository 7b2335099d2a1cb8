"""The data set formats that Timelapse knows, each with the fields by which it is recognised."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from timelapse.formats.turns import (
    RowError,
    Split,
    Turns,
    answer_text,
    as_chat,
    is_chat,
    make_sample,
    parse_tools,
    parse_turns,
    prompt_text,
    question,
    split_end,
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
    fits: Callable[[Fields], bool] = bool
    """What must hold for a row besides."""

    def matches(self, row: Fields) -> bool:
        """Tell whether a row has all the fields; one without a value counts as absent."""
        present = all(any(row.get(name) is not None for name in names) for names in self.needs)
        return present and self.fits(row)

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(' or '.join(names) for names in self.needs)})"


def _messages(row: Fields) -> Sample:
    return _whole_chat(row, "messages")


def _sharegpt(row: Fields) -> Sample:
    return _whole_chat(row, "conversations")


def _dpo(row: Fields) -> Sample:
    return _prompted(row, "chosen")


def _alpaca(row: Fields) -> Sample:
    text, given = prompt_text(row, "instruction"), row.get("input")
    if given is not None and not (isinstance(given, str) and not given.strip()):
        text = f"{text}\n\n{prompt_text(row, 'input')}"
    return _chat(row, ("instruction", "input", "output"), question(text), answer_text(row, "output"))


def _question_answer(row: Fields) -> Sample:
    asked = question(prompt_text(row, "question"))
    return _chat(row, ("question", "answer"), asked, answer_text(row, "answer"))


def _prompt_completion(row: Fields) -> Sample:
    answers = [name for name in ("completion", "response") if row.get(name) is not None]
    return _prompted(row, answers[0] if answers else "completion")


def _input_output(row: Fields) -> Sample:
    asked = question(prompt_text(row, "input"))
    return _chat(row, ("input", "output"), asked, answer_text(row, "output"))


def _prompt_only(row: Fields) -> Sample:
    prompt = as_chat(_present(row, "prompt"), "prompt")
    if not isinstance(prompt, list | dict):
        return make_sample(row, ("prompt",), question(prompt_text(row, "prompt")), conversational=False)
    chat = split_end(parse_turns(prompt, "prompt"))
    reference = None if chat.answer is None else message_text(chat.answer)
    return _chat(row, ("prompt", "tools"), chat.before, reference, chat)


def _prefers(row: Fields) -> bool:
    """Tell whether `chosen` is an answer, where `rejected` has no value or is no column at all."""
    if row.get("rejected") is not None or is_chat(_turns_or_text(row.get("chosen"))):
        return True
    answered = any(row.get(name) is not None for name in ("completion", "response"))
    return isinstance(row.get("chosen"), str) and row.get("prompt") is not None and not answered


def _turns_or_text(value: Any) -> Any:
    try:
        return as_chat(value, "")
    except RowError:
        return value


FORMATS = (
    Format("messages", (("messages",),), _messages),
    Format("sharegpt", (("conversations",),), _sharegpt),
    Format("dpo", (("chosen",),), _dpo, _prefers),
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


def _whole_chat(row: Fields, name: str) -> Sample:
    """Make a sample of a column that holds a chat: asked is what stands before the last assistant turn."""
    chat = split_turns(parse_turns(_present(row, name), name))
    reference = None if chat.answer is None else message_text(chat.answer)
    return _chat(row, (name, "tools"), chat.before, reference, chat)


def _chat(
    row: Fields, used: tuple[str, ...], messages: Turns, reference: str | None, chat: Split | None = None
) -> Sample:
    """Make a sample of a conversation, with the row's `system` text and, where they are used, its `tools`."""
    asked = with_system(messages, row.get("system"))
    # A system text beside a chat that has one of its own is not part of the input: it stays metadata.
    unused = asked is messages and row.get("system")
    tools = parse_tools(row.get("tools")) if "tools" in used else ()
    return make_sample(row, used if unused else (*used, "system"), asked, reference, chat=chat, tools=tools)


def _prompted(row: Fields, answer: str) -> Sample:
    """Make a sample of a prompt and an answer, each of them text or chat turns (as in TRL)."""
    prompt, value = as_chat(row.get("prompt"), "prompt"), as_chat(_present(row, answer), answer)
    if prompt is None and not is_chat(value):
        raise RowError(
            f"no 'prompt', and '{answer}' is no chat that holds it (prompt under another name, or one text "
            "with a marker before the answer: map the fields)"
        )
    reference = answer_text(row, answer)
    if not isinstance(prompt, list | dict) and not is_chat(value):
        text = prompt_text(row, "prompt")
        if answer == "chosen":
            reference = _continuation(text, reference)
        return make_sample(row, ("prompt", answer), question(text), reference, conversational=False)
    told = split_turns(parse_turns(value, answer)) if is_chat(value) else Split(())
    # Earlier turns are history, also where they happen to say the same ("Yes", and again "Yes").
    turns = _prompt_turns(row, prompt)
    asked = split_turns(turns, reference) if split_end(turns).answer else Split(turns)
    chat = replace(told, after=told.after or asked.after, between=told.between or asked.between)
    messages = _joined(asked.before, told.before)
    return _chat(row, ("prompt", answer, "tools"), messages, reference, chat)


def _prompt_turns(row: Fields, prompt: Any) -> Turns:
    if prompt is None:
        return ()
    if isinstance(prompt, list | dict):
        return parse_turns(prompt, "prompt")
    return question(prompt_text(row, "prompt"))


def _continuation(prompt: str, text: str) -> str:
    """Return a text without the prompt that it repeats at its start, as some preference data sets do."""
    for whole, start in ((text, prompt), (text.lstrip(), prompt.strip())):
        rest = whole.removeprefix(start)
        if rest != whole and rest.strip():
            return rest
    return text


def _joined(prompt: Turns, before: Turns) -> Turns:
    """Join the prompt's turns and those before the answer, without repeating what stands in both."""
    asked, told = _spoken(prompt), _spoken(before)
    if any(told[start : start + len(asked)] == asked for start in range(len(told) - len(asked) + 1)):
        return before
    shared = next((size for size in range(len(told), 0, -1) if asked[-size:] == told[:size]), 0)
    return prompt + before[shared:]


def _spoken(turns: Turns) -> list[tuple[str, str]]:
    return [(turn["role"], message_text(turn).strip()) for turn in turns]
