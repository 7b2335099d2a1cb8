"""The documents that the experiment page is made of: plain data, as the API hands them out."""

from __future__ import annotations

from dataclasses import dataclass

from timelapse.report.documents import RunInfo


@dataclass(frozen=True, slots=True)
class ExperimentRun:
    """A run with predictions, by what MLflow knows without reading its rounds."""

    run: RunInfo
    """What MLflow says of the run."""
    rounds: int | None
    """How many rounds it has logged; None where it does not say."""


@dataclass(frozen=True, slots=True)
class ExperimentRuns:
    """A page of an experiment's runs with predictions, the newest first."""

    experiment_id: str
    """Id of the experiment."""
    experiment: str
    """Its name."""
    runs: list[ExperimentRun]
    """The runs."""
    next_cursor: str | None
    """What asks for the next page; None on the last one."""


@dataclass(frozen=True, slots=True)
class RunTrends:
    """A run's numbers over its rounds, in one sample set."""

    set: str
    """The sample set."""
    score: str | None
    """The score that decides; None where there is none."""
    steps: list[int]
    """The steps of the rounds."""
    epochs: list[float | None]
    """Their epochs."""
    best_step: int | None
    """The step of the best round by the score that decides."""
    trends: dict[str, list[float | None]]
    """The numbers of each round by name, one value a round."""
