"""A configuration as it is being typed into a page: checked without any file, and what it would do.

What is typed is a stranger's text on a server: nothing that it names is opened, imported or run, and what it
asks for is bounded before it is computed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from timelapse.config.file import reading_of
from timelapse.config.findings import Findings
from timelapse.config.limits import check_limits
from timelapse.config.sets import set_configs
from timelapse.config.yamlfile import parse_document
from timelapse.course import Course, course_of
from timelapse.errors import ConfigError
from timelapse.plan import PlannedRound, plan_set
from timelapse.report.config_documents import TypedConfig, TypedPlan, TypedProblem, TypedRound
from timelapse.round_cost import SetCounts

if TYPE_CHECKING:
    from timelapse.config.model import Config, PredictionsConfig

MOST_TEXT = 50_000
"""Characters of a configuration that are read."""
MOST_STEPS = 100_000
"""Optimizer steps of a training that is planned, times the number of its sample sets."""
MOST_ROUNDS = 10_000
"""Rounds of a training that is planned, of all sets together."""
MOST_ANSWERS = 100_000
"""Answers of a round that is planned."""
SHOWN_ROUNDS = 200
"""Rounds of a plan that are handed out one by one."""

_SOURCE = "config"


@dataclass(frozen=True, slots=True)
class Guess:
    """The counts that nobody can know without the files; all at least 1 and at most a thousand million."""

    rows: int = 1_000
    """Rows that the model is trained on."""
    row_tokens: int = 200
    """Tokens of a row."""
    samples: int = 32
    """Samples of a set that comes from a file, which is used whole."""
    prompt_tokens: int = 100
    """Tokens of a sample's prompt."""
    answer_tokens: int = 50
    """Tokens of an answer."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not 1 <= value <= 10**9:
                raise ConfigError(f"{each.name}: expected a number from 1 to {10**9:,}, got {value}.")


def check_typed(text: str, guess: Guess | None = None) -> TypedConfig:
    """Check a configuration that is no file (yet): fields, limits and schedule, but no file that it names.

    Args:
        text: YAML.
        guess: Counts for the plan.

    Raises:
        ConfigError: The text has more than `MOST_TEXT` characters.
    """
    if len(text) > MOST_TEXT:
        raise ConfigError(f"{_SOURCE}: expected at most {MOST_TEXT:,} characters, got {len(text):,}.")
    try:
        document = parse_document(text, _SOURCE)
    except ConfigError as error:
        return TypedConfig(None, [_unreadable(str(error))], [], None)
    reading = reading_of(Path(_SOURCE), document.data, document)
    found = Findings(reading, list(reading.problems), list(reading.notes))
    plan = None
    if reading.config is not None:
        found.attempt(partial(check_limits, reading.config.predictions))
        if not found.problems:  # else there is no telling how much it asks for
            plan = found.attempt(partial(_plan, reading.config, guess or Guess(), found))
    problems = [
        TypedProblem(list(each.path), document.line(each.path), each.text)
        for each in dict.fromkeys(found.problems)
    ]
    return TypedConfig(document.data, problems, found.notes, plan)


def _unreadable(message: str) -> TypedProblem:
    """Return what is wrong with a text that is no YAML: `config:3: is not valid YAML: …`."""
    place, colon, text = message.partition(": ")
    line = place.removeprefix(f"{_SOURCE}:")
    return TypedProblem([], int(line) if line.isdigit() else None, text if colon else message)


def _plan(config: Config, guess: Guess, found: Findings) -> TypedPlan | None:
    """Return the plan; None, with a note, where it would take a server too long to make."""
    course = course_of(config, guess.rows)
    told = set_configs(config.predictions) if config.predictions.enabled else {}
    counts = {name: _counts(name, predictions, guess) for name, predictions in told.items()}
    rounds: list[PlannedRound] = []
    fits = course.max_steps * len(told) <= MOST_STEPS and None not in counts.values()
    for name, each in counts.items():
        if fits and each is not None:
            rounds += plan_set(each, told[name], course)
            fits = len(rounds) <= MOST_ROUNDS
    if not fits:
        found.notes.append(
            f"No plan is made here of more than {MOST_STEPS:,} steps (times the sets), {MOST_ROUNDS:,} "
            f"rounds, or {MOST_ANSWERS:,} answers in a round: `timelapse config plan` makes it."
        )
        return None
    rounds.sort(key=lambda round_: round_.step)  # stable: at one step the sets keep their order
    return _typed_plan(course, rounds, told, guess)


def _counts(name: str, predictions: PredictionsConfig, guess: Guess) -> SetCounts | None:
    samples = guess.samples if predictions.samples_path else predictions.sample_count
    if samples * predictions.generations > MOST_ANSWERS:
        return None
    return SetCounts((guess.prompt_tokens,) * samples, (guess.answer_tokens,) * samples, name)


def _typed_plan(
    course: Course, rounds: list[PlannedRound], told: dict[str, PredictionsConfig], guess: Guess
) -> TypedPlan:
    shown = [
        TypedRound(each.set, each.step, each.epoch, each.trigger, each.why, each.samples)
        for each in rounds[:SHOWN_ROUNDS]
    ]
    return TypedPlan(
        steps=course.max_steps,
        epochs=course.epochs,
        steps_per_epoch=course.steps_per_epoch,
        rounds=len(rounds),
        shown=shown,
        answers=sum(each.samples * told[each.set].generations for each in rounds),
        train_tokens=round(guess.rows * guess.row_tokens * course.epochs),
        prompt_tokens=sum(each.prompt_tokens for each in rounds),
        new_tokens=sum(each.new_tokens for each in rounds),
        most_new_tokens=sum(each.most_new_tokens for each in rounds),
    )
