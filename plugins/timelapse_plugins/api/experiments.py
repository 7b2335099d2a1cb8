"""Runs with predictions: those of an experiment, and those of a job."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from timelapse import names
from timelapse.errors import TimelapseError
from timelapse.names import metric
from timelapse.report.documents import RunInfo
from timelapse_plugins.api.access import MOST_ID, Service, service_of
from timelapse_plugins.api.answers import answer, encoded
from timelapse_plugins.api.problems import Problem
from timelapse_plugins.api.runs import StoredRun
from timelapse_plugins.api.searching import Point, experiments, main_score, score_series, search
from timelapse_plugins.inner import Caller, TooLargeError
from timelapse_plugins.refusals import Refused

router = APIRouter()

MOST_RUNS = 100
"""Runs of a page."""
MOST_WITH_TEXT = 25
"""Runs of a page whose files are read for the last text of a sample."""
LONGEST = 2_000
"""Characters of such a text."""

_WITH_PREDICTIONS = f"tags.`{names.TAG_SCHEMA}` LIKE '%'"

ExperimentId = Annotated[
    str, Path(pattern="^[a-zA-Z0-9][a-zA-Z0-9_-]{0,63}$", description="As MLflow has it.")
]
Cursor = Annotated[str | None, Query(max_length=2000, description="Where the page before ended.")]
Limit = Annotated[int, Query(ge=1, le=MOST_RUNS, description="Runs of a page, at most.")]


@dataclass(frozen=True, slots=True)
class LastText:
    """What a run last answered to a sample."""

    step: int | None
    """The step of the round; None if the run has no answer to it."""
    prediction: str | None
    """The answer; a long one is cut."""
    problem: str | None
    """Why there is none."""


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run in a list."""

    run: RunInfo
    """What MLflow says of it."""
    rounds: int | None
    """The rounds that it has logged, as its tag says."""
    main_score: str | None
    """The score that decides; None where it has none."""
    series: list[Point]
    """Its mean in each round, of many some."""
    learned: float | None
    """Samples that became right in the last round."""
    forgotten: float | None
    """Samples that were right before the last round, and no longer are."""
    last_text: LastText | None
    """What it last answered to the sample that was asked for; None if none was."""


@dataclass(frozen=True, slots=True)
class ExperimentRuns:
    """A page of an experiment's runs with predictions, the newest first."""

    experiment_id: str
    """The experiment's id."""
    experiment: str
    """Its name."""
    runs: list[RunLine]
    """The runs."""
    next_cursor: str | None
    """What to give as `cursor` for the page after this one; None: this was the last."""


@dataclass(frozen=True, slots=True)
class JobRuns:
    """The runs that say that they belong to a job: a claim, which nobody has checked."""

    job_id: str
    """The job's id."""
    runs: list[RunLine]
    """The runs, the newest first."""
    next_cursor: str | None
    """What to give as `cursor` for the page after this one; None: this was the last."""


@router.get("/experiments/{experiment_id}/runs", response_model=ExperimentRuns)
async def experiment_runs(
    request: Request,
    experiment_id: ExperimentId,
    cursor: Cursor = None,
    limit: Limit = 50,
    sample: Annotated[
        str | None, Query(max_length=MOST_ID, description="A sample whose last answers are wanted.")
    ] = None,
) -> Response:
    """Return the runs of an experiment that have predictions."""
    service, caller = service_of(request), Caller.of(request.scope)
    if experiment_id.isdigit() and int(experiment_id) >= 2**63:  # MLflow's database fails at it
        raise Problem(404, f"There is no experiment {experiment_id}.")
    name = await service.experiment(experiment_id, caller)
    limit = min(limit, MOST_WITH_TEXT) if sample else limit
    runs, token = await search(service.inner, [experiment_id], _WITH_PREDICTIONS, caller, limit, cursor)
    lines = await _lines(service, caller, runs, {experiment_id: name}, sample)
    return answer(request, encoded(ExperimentRuns(experiment_id, name, lines, token)))


@router.get("/jobs/{job_id:path}/runs", response_model=JobRuns)
async def job_runs(
    request: Request,
    job_id: Annotated[
        str, Path(min_length=1, max_length=200, description="The job's id, as `JOB_ID` had it.")
    ],
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """Return the runs of a job, in all experiments that the caller may see."""
    service, caller = service_of(request), Caller.of(request.scope)
    known = await experiments(service.inner, caller)
    # MLflow's filters have no escape for quotes: `_` matches one, and so do other signs; we look again.
    pattern = re.sub(r"['\"`\\%\x00-\x1f]", "_", job_id)
    condition = f"tags.`{names.TAG_JOB}` LIKE '{pattern}' AND {_WITH_PREDICTIONS}"
    found: tuple[list[StoredRun], str | None] = ([], None)
    if known:
        found = await search(service.inner, list(known), condition, caller, limit, cursor)
    runs, token = found
    mine = [run for run in runs if run.tags.get(names.TAG_JOB) == job_id]
    lines = await _lines(service, caller, mine, known, None)
    return answer(request, encoded(JobRuns(job_id, lines, token)))


async def _lines(
    service: Service, caller: Caller, runs: list[StoredRun], known: dict[str, str], sample: str | None
) -> list[RunLine]:
    series = await score_series(service.inner, runs, caller)
    texts = (
        await asyncio.gather(*(_last_text(service, caller, run, sample) for run in runs))
        if sample
        else [None] * len(runs)
    )
    return [
        RunLine(
            run=run.info(known.get(run.experiment_id, "")),
            rounds=run.rounds,
            main_score=main_score(run),
            series=series.get(run.run_id, []),
            learned=run.metrics.get(metric("learned")),
            forgotten=run.metrics.get(metric("forgotten")),
            last_text=text,
        )
        for run, text in zip(runs, texts, strict=True)
    ]


async def _last_text(service: Service, caller: Caller, run: StoredRun, sample: str) -> LastText:
    """Return what a run last answered to a sample; MLflow is asked whether the caller may see the run."""
    import pyarrow.compute as pc

    try:
        held = await service.data.view(await service.run(run.run_id, caller), caller, None, None)
    except (Refused, Problem, TimelapseError, TooLargeError) as error:  # the other runs are there
        return LastText(None, None, str(error))
    rows = held.view.grid.rows
    mine = rows.filter(pc.equal(rows.column("sample_id"), sample)).select(["step", "prediction", "error"])
    last = max(mine.to_pylist(), key=lambda row: row["step"], default=None)
    if last is None:
        return LastText(None, None, "The run has no answer to this sample.")
    text = last["prediction"]
    if text is not None and len(text) > LONGEST:
        text = text[: LONGEST - 1] + "…"
    return LastText(last["step"], text, last["error"])
