"""The documents that the pages are made of: plain data, one class a document, as the API hands them out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class State:
    """How a run's predictions stand."""

    kind: str
    """`not_started`, `disabled`, `live`, `finished`, `degraded`, `failed` or `killed`."""
    text: str
    """The same for people, with the reason: `degraded: 3 rows failed at step 40`."""


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What MLflow says of a run."""

    run_id: str
    """Its id."""
    name: str
    """Its name."""
    experiment_id: str
    """Id of its experiment."""
    experiment: str
    """Name of its experiment."""
    status: str
    """MLflow's status: RUNNING, FINISHED, FAILED, KILLED, SCHEDULED."""
    state: State
    """How its predictions stand."""
    start_time: int | None
    """Milliseconds since 1970."""
    end_time: int | None
    """Milliseconds since 1970."""
    job_id: str | None
    """The id of the job that it says it belongs to."""
    claimed_by: str | None
    """The user that the job names: a claim, which nobody has checked."""
    share_of_training_time: float | None
    """What the rounds have cost, as a share of the training's time; 0..1."""


@dataclass(frozen=True, slots=True)
class RoundInfo:
    """One round of a sample set."""

    step: int
    """The trainer's `global_step`."""
    epoch: float | None
    """Passes over the training data so far."""
    trigger: str
    """What caused it."""
    attempt: int
    """Grows by one each time training is resumed behind an existing round."""
    rows: int
    """Answers in it, failed and skipped ones too."""
    failed: int
    """Rows whose status is `error`."""


@dataclass(frozen=True, slots=True)
class ScoreInfo:
    """What is known of a score."""

    name: str
    """Its name."""
    higher_is_better: bool
    """The direction."""
    low: float | None
    """The lowest value there is, if that is known."""
    high: float | None
    """The highest value there is, if that is known."""


@dataclass(frozen=True, slots=True)
class SampleInfo:
    """One sample, as a row of a table shows it."""

    index: int
    """Its place in the set, from 0."""
    sample_id: str
    """The hash of its input."""
    prompt: str | None
    """The question for human eyes; a long one is cut, see the timeline."""
    reference: str | None
    """The expected answer; a long one is cut."""
    tags: list[str]
    """Its tags."""
    metadata: dict[str, Any]
    """Its other columns: texts (long ones are cut), numbers and truth values."""
    sample_class: str | None
    """`always_right`, `learned`, `forgotten`, `oscillating`, `never`; None where nothing is known."""
    class_step: int | None
    """The step of the last change between right and wrong."""


@dataclass(frozen=True, slots=True)
class Right:
    """What makes an answer right."""

    score: str
    """The score's name."""
    least: float
    """The value from which on it does."""


@dataclass(frozen=True, slots=True)
class Overview:
    """A run in one sample set: all that a page shows but the answers' texts."""

    run: RunInfo
    """What MLflow says of the run."""
    set: str
    """The sample set."""
    sets: list[str]
    """All sample sets, `main` first."""
    attempt: int | None
    """Which attempt is shown; None: of each step the newest."""
    attempts: list[int]
    """All attempts of the set."""
    rounds: list[RoundInfo]
    """The rounds by step."""
    scores: list[ScoreInfo]
    """The scores, the one that decides first."""
    right: Right | None
    """What makes an answer right; None where no score says."""
    trends: dict[str, list[float | None]]
    """The numbers of each round by name, one value a round."""
    settled_since: int | None
    """The step since which no text changed."""
    best_step: int | None
    """The step of the best round by the score that decides."""
    classes: dict[str, int]
    """How many samples are of each class."""
    samples: list[SampleInfo]
    """The samples in the set's order."""
    lanes: list[list[int]]
    """For each answer that is drawn, [place in `samples`, generation]."""
    marks: list[list[int]]
    """A line a lane, a value a round: the sum of `Mark`s; 0 where there is no answer."""
    problems: list[str]
    """What could not be read."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """One score of every answer."""

    score: str
    """Its name."""
    steps: list[int]
    """The steps of the rounds."""
    values: list[list[float | None]]
    """A line a lane, a value a round, to six digits; None where there is none."""


@dataclass(frozen=True, slots=True)
class LaneTexts:
    """What one lane answered, in every round."""

    lane: int
    """Its place in `Overview.lanes`."""
    reference: str | None
    """The sample's reference, whole."""
    predictions: list[str | None]
    """Its answers by round; None where there is none."""
    errors: list[str | None]
    """What went wrong, by round."""
    findings: list[str | None]
    """What validators found in the answer, by round, a line a finding; None where there is nothing."""
    finish_reasons: list[str | None]
    """Why the answer ended, by round: `stop`, `length`, `error`, or the server's own word."""


@dataclass(frozen=True, slots=True)
class Texts:
    """What some lanes answered, in every round."""

    steps: list[int]
    """The steps of the rounds."""
    lanes: list[LaneTexts]
    """The lanes, as asked for."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where a text occurs."""

    always: list[int]
    """Lanes whose prompt or reference has it: in every round."""
    rounds: list[list[int]]
    """For each round the lanes whose answer has it."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """One sample: what was asked, and every answer to it."""

    sample: dict[str, Any]
    """`index`, `sample_id`, `prompt`, `reference`, `messages`, `tools`, `rendered_prompt`, `tags`,
    `metadata`, `source` and `class`: whole."""
    rounds: list[dict[str, Any]]
    """By step: `step`, `epoch`, `trigger`, `attempt`, and `answers`, each with all columns of its row."""
