"""The document that the compare page is made of: plain data, as the API hands it out."""

from __future__ import annotations

from dataclasses import dataclass

from timelapse.analysis.alignment import Outcome
from timelapse.report.documents import Right, RunInfo, ScoreInfo


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One of the rounds compared: a run at a step. Its place in `CompareDocument.runs` names it elsewhere."""

    selector: str
    """What named it: a run's id, perhaps with `@` and a round behind it."""
    label: str
    """The run's name, with its step or id where the name alone does not tell the rounds apart."""
    run: RunInfo
    """What MLflow says of the run."""
    step: int
    """The step of the round."""
    epoch: float | None
    """Passes over the training data at that step."""
    answers: int
    """Rows of the round: one an answer."""
    failed: int
    """Rows whose status is `error`."""
    skipped: int
    """Rows whose status is `skipped`."""
    steps: list[int]
    """The steps of all rounds of the run."""
    epochs: list[float | None]
    """Their epochs."""
    best_step: int | None
    """The step of the best round by the score that decides."""
    trends: dict[str, list[float | None]]
    """The numbers of each round by name, one value a round, see `timelapse.report.trends`."""


@dataclass(frozen=True, slots=True)
class Paired:
    """How a run stands against the one compared against, by one score, counted over samples."""

    wins: int
    """Samples on which the run is better, recovered ones included."""
    losses: int
    """Samples on which it is worse, failed ones included."""
    ties: int
    """Samples on which both score the same."""
    failed: int
    """Of the losses, those where its answer failed and the other one's did not."""
    recovered: int
    """Of the wins, those where the other one's answer failed and its own did not."""
    difference: float | None
    """Mean paired difference; None if no sample is scored on both sides."""
    low: float | None
    """Lower end of its 95 % bootstrap interval; None for fewer than two samples."""
    high: float | None
    """Upper end of it."""
    p_value: float
    """Two-sided sign test over wins and losses."""


@dataclass(frozen=True, slots=True)
class ScoreCell:
    """One score of one round."""

    mean: float | None
    """Its mean over the answers that have it; None if there are none."""
    scored: int
    """Answers that have it."""
    unscored: int
    """Answers without it: failed, skipped, without a reference, or no finite number."""
    paired: Paired | None
    """How it stands against the run compared against; None for that run itself."""


@dataclass(frozen=True, slots=True)
class RunLikeness:
    """What a run and the one compared against have in common, and what not."""

    run: int
    """The run's place."""
    alike: bool
    """Whether nothing is known that makes the comparison unfair."""
    shared: int
    """Samples that both rounds hold."""
    only_against: int
    """Samples that only the round compared against holds."""
    only_run: int
    """Samples that only the run's round holds."""
    references: int
    """Samples whose references differ."""
    settings: list[str]
    """What differs of sample set, template, decoding and draws, by name: `decoding.max_new_tokens`."""
    unknown: list[str]
    """What cannot be compared, because a run did not record it."""
    sentences: list[str]
    """All of it in words, package versions too, with a few examples."""


@dataclass(frozen=True, slots=True)
class ComparedAnswer:
    """What one round says to one question."""

    status: str
    """`ok`, `error` or `skipped`."""
    text: str | None
    """The answer; a long one is cut."""
    cut: bool
    """Whether it is."""
    error: str | None
    """What went wrong."""
    scores: list[float | None]
    """Its scores in the order of `CompareDocument.scores`."""
    right: bool | None
    """Whether it is right; None where that is not known."""


@dataclass(frozen=True, slots=True)
class ComparedRow:
    """One question, and what each run says to it."""

    sample_id: str
    """The hash of the question."""
    generation: int
    """Which of the answers drawn for it, from 0."""
    index: int | None
    """The sample's place in the set; None if no run knows it."""
    prompt: str | None
    """The question for human eyes; a long one is cut."""
    reference: str | None
    """The expected answer, that of the run compared against if it has one; a long one is cut."""
    tags: list[str]
    """The sample's tags."""
    answers: list[ComparedAnswer | None]
    """An answer a run; None where the round has no row for the question."""
    outcomes: list[Outcome | None]
    """A value a run: `win`, `loss` or `tie` against the run compared against; None for that run itself, and
    where the score cannot be compared."""
    differences: list[float | None]
    """A value a run: how much the score that decides differs; None unless both answers have it."""


@dataclass(frozen=True, slots=True)
class ComparedSlice:
    """How a run stands against the one compared against on some of the samples."""

    run: int
    """The run's place."""
    name: str
    """What the samples have in common: `tag:hard`, or column and value as `category=irregular`."""
    count: int
    """Samples scored on both sides."""
    failed: int
    """Samples of which an answer of the run failed where the other one has the score."""
    before: float | None
    """Mean score of the run compared against."""
    after: float | None
    """Mean score of the run."""
    difference: float | None
    """After minus before."""
    why: str
    """Why it stands out: `fell most`, `lowest`; empty where it does not."""


@dataclass(frozen=True, slots=True)
class CompareDocument:
    """Runs held against one of them: all that the compare page shows."""

    runs: list[ComparedRun]
    """The rounds, in the order asked for: a column each."""
    against: int
    """The place of the one that the others are compared with."""
    round: str
    """The round that was asked for, of runs that name none: `best`, `last`, `first`, or a step."""
    set: str
    """The sample set."""
    sets: list[str]
    """The sample sets that all runs have."""
    score: str | None
    """The score that decides, a higher one being better; None: only texts are compared."""
    scores: list[ScoreInfo]
    """The scores that all runs have, the one that decides first."""
    right: Right | None
    """What makes an answer right; None where no score says."""
    shared: int
    """Samples that all rounds hold."""
    alike: bool
    """Whether nothing is known that makes any of the comparisons unfair."""
    likeness: list[RunLikeness]
    """A line for each run but the one compared against."""
    scoreboard: dict[str, list[ScoreCell]]
    """For every score that any run has a cell a run, the score that decides first."""
    rows: list[ComparedRow]
    """The questions, in the order of the sample set."""
    left_out: int
    """Rows beyond `MOST_ROWS`, which are counted in the scoreboard and not shown."""
    slices: list[ComparedSlice]
    """The score that decides by tag and by column, what fell most first."""
    notes: list[str]
    """What a reader must know besides."""
