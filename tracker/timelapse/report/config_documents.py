"""The document that the config page is made of: plain data, as the API hands it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TypedProblem:
    """One thing that is wrong."""

    path: list[str | int]
    """The field: `["training", "learning_rate"]`; empty where it is of no field."""
    line: int | None
    """The line of the text, from 1, if it is known."""
    text: str
    """What was expected and what is there, without the field's name."""


@dataclass(frozen=True, slots=True)
class TypedRound:
    """A round that will happen."""

    set: str
    """The sample set."""
    step: int
    """The global step."""
    epoch: float
    """Passes over the training data so far."""
    trigger: str
    """What causes it."""
    why: str
    """The cause in words."""
    samples: int
    """Samples that are answered."""


@dataclass(frozen=True, slots=True)
class TypedPlan:
    """What a training would do, from guessed counts: `timelapse config plan` counts the real ones."""

    steps: int
    """Optimizer steps."""
    epochs: float
    """Passes over the data."""
    steps_per_epoch: int
    """Optimizer steps in a pass."""
    rounds: int
    """Rounds of all sample sets together."""
    shown: list[TypedRound]
    """The first ones, at most `timelapse.report.config_view.SHOWN_ROUNDS`."""
    answers: int
    """Answers of all rounds together."""
    train_tokens: int
    """Tokens that the model is trained on."""
    prompt_tokens: int
    """Tokens of all prompts, each as often as it is answered."""
    new_tokens: int
    """Tokens of all answers, if they are as long as guessed."""
    most_new_tokens: int
    """Tokens of all answers, if each is as long as it may become."""


@dataclass(frozen=True, slots=True)
class TypedConfig:
    """What there is to say of a configuration."""

    values: dict[str, Any] | None
    """What stands there, as plain data; None if it is no YAML mapping."""
    problems: list[TypedProblem]
    """What is wrong; nothing: `timelapse train` accepts it, if the files are as it says."""
    notes: list[str]
    """What its author should know, a sentence each."""
    plan: TypedPlan | None
    """What it would do; None while something is wrong."""
