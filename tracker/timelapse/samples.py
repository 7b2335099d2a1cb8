"""Samples: the fixed questions a model answers round after round."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from timelapse.errors import SampleError
from timelapse.names import DEFAULT_SET, is_set_name
from timelapse.rounds import storable

Message = Mapping[str, Any]
"""One turn of a chat: `role`, `content`, and what the chat template knows besides (`tool_calls`, …)."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One evaluation example: what the model is asked, and what it should answer.

    The id is a hash of the model's input alone, so the same question is the same sample in every run,
    whatever its reference or metadata.
    """

    messages: tuple[Message, ...]
    """The model's input as chat turns, oldest first. Never holds the expected answer."""
    reference: str | None = None
    """The expected answer, if there is one."""
    tools: tuple[Mapping[str, Any], ...] = ()
    """JSON-schema descriptions of the functions that the model may call; given to the chat template."""
    conversational: bool = True
    """False for a plain text prompt (`prompt`/`completion` strings), to be continued without a template."""
    reference_message: Message | None = None
    """The whole assistant turn behind `reference`, where it is more than its text (tool calls)."""
    tags: tuple[str, ...] = ()
    """Labels to group by."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Every other column of the source, untouched."""
    source: str | None = None
    """Where the sample came from, as `file:line`."""
    sample_id: str = field(init=False)
    """16 hexadecimal digits: SHA-256 over the canonical JSON of messages and tools.

    A plain text prompt has another id than a chat of the same words: the model sees another input.
    """

    def __post_init__(self) -> None:
        object.__setattr__(self, "sample_id", _input_hash(self.messages, self.tools, self.conversational))

    @property
    def prompt(self) -> str:
        """The input for human eyes: the question alone, or the transcript where there are several turns.

        System messages are left out; the prompt as the model sees it is stored as `rendered_prompt`.
        """
        turns = [message for message in self.messages if message.get("role") != "system"]
        if len(turns) <= 1:
            return message_text(turns[0] if turns else self.messages[0]) if self.messages else ""
        return "\n".join(f"{turn.get('role', '?')}: {message_text(turn)}" for turn in turns)


@dataclass(frozen=True, slots=True)
class SkippedRow:
    """A row of a source that is no usable sample."""

    place: str
    """Where it stands: `line 7` or `item 7`."""
    reason: str
    """What is wrong with it."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What was found while samples were read."""

    source: str
    """The file or object that was read."""
    format: str
    """Name of the detected or given format."""
    rows: int
    """Rows seen, blank and broken ones included."""
    skipped: tuple[SkippedRow, ...] = ()
    """Rows that were left out, each with its place and reason."""

    def __str__(self) -> str:
        text = (
            f"{self.source}: {self.rows - len(self.skipped)} of {self.rows} rows usable, format {self.format}"
        )
        if not self.skipped:
            return text
        shown = "; ".join(f"{row.place}: {row.reason}" for row in self.skipped[:10])
        more = f"; and {len(self.skipped) - 10} more" if len(self.skipped) > 10 else ""
        return f"{text}; skipped {len(self.skipped)}: {shown}{more}"


@dataclass(frozen=True, slots=True)
class SampleSet(Sequence[Sample]):
    """Samples in a fixed order, with a name and a fingerprint; each input occurs once."""

    samples: tuple[Sample, ...]
    """The samples, in the order in which they are shown."""
    name: str = DEFAULT_SET
    """`main`, unless a run has several sets."""
    report: LoadReport | None = field(default=None, compare=False)
    """How the samples were read, if they came from a file or data set."""

    def __post_init__(self) -> None:
        if not is_set_name(self.name):
            raise SampleError(
                f"{self.name!r} is no name for a sample set: use up to 64 letters, digits, '_', '-' and '.', "
                "beginning with a letter and not ending like an attempt ('a1'); such as 'probe'."
            )
        seen: dict[str, int] = {}
        for index, sample in enumerate(self.samples):
            if sample.sample_id in seen:
                raise SampleError(
                    f"Samples {seen[sample.sample_id]} and {index} of set '{self.name}' ask the same: "
                    f"{sample.prompt[:80]!r}. A sample is identified by its input, so keep one of them."
                )
            seen[sample.sample_id] = index

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    def __getitem__(self, index: Any) -> Any:  # int -> Sample, slice -> tuple, as tuples do
        return self.samples[index]

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits over ids and references in order: equal sets are like for like."""
        return set_fingerprint((sample.sample_id, sample.reference) for sample in self.samples)

    def draw(self, count: int, seed: int) -> SampleSet:
        """Return `count` samples drawn with a generator of our own, in their original order.

        All of them are returned if there are no more than `count`. Global random state is not touched.
        """
        if count >= len(self.samples):
            return self
        chosen = sorted(random.Random(seed).sample(range(len(self.samples)), count))  # noqa: S311 - not secret
        return replace(self, samples=tuple(self.samples[index] for index in chosen))


def set_fingerprint(pairs: Iterable[tuple[str, str | None]]) -> str:
    """Return the fingerprint of a sample set from its samples' ids and references, in order."""
    return _digest([[sample_id, storable(reference)] for sample_id, reference in pairs])


def message_text(message: Message) -> str:
    """Return a turn's text: its content, the text parts of its content, or its tool calls as JSON."""
    content = message.get("content")
    if isinstance(content, str) and content:
        return content
    if isinstance(content, Sequence) and not isinstance(content, str):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, Mapping))
    if message.get("tool_calls"):
        return json.dumps(message["tool_calls"], ensure_ascii=False)
    return ""


def _input_hash(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], conversational: bool) -> str:
    # Data sets fill absent keys with None; the same turn must hash alike with and without them.
    turns = [{key: value for key, value in message.items() if value is not None} for message in messages]
    plain = {} if conversational else {"conversational": False}
    return _digest({"messages": turns, "tools": list(tools), **plain})


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
