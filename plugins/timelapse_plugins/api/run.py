"""One run: its summary, rounds, numbers, and the documents that its page is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from timelapse.report import documents
from timelapse_plugins.api.access import MOST_ID, Attempt, OfRun, SetName
from timelapse_plugins.api.answers import answer, encoded
from timelapse_plugins.api.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from timelapse.report.run_view import RunView

router = APIRouter()

MOST_LANES = 1_000
"""Lanes whose texts are answered at once."""
MOST_TEXT = 64 << 20
"""Bytes of texts that are answered at once."""

Text = Annotated[str, Query(min_length=1, max_length=1000, description="The text; case does not matter.")]
SampleId = Annotated[str, Path(min_length=1, max_length=MOST_ID, description="The sample's id.")]
SampleOfAnyId = Annotated[
    str, Query(alias="sample", min_length=1, max_length=MOST_ID, description="The sample's id.")
]
Lanes = Annotated[
    list[Annotated[int, Query(ge=0, le=10_000_000)]],
    Query(
        alias="lane",
        min_length=1,
        max_length=MOST_LANES,
        description="Places in the overview's `lanes`; may be repeated.",
    ),
]
Score = Annotated[
    str | None, Query(max_length=250, description="The score; by default the one that decides.")
]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in a few words: what MLflow says, and how many rounds it says that it has logged."""

    run: documents.RunInfo
    """What MLflow says of the run."""
    rounds: int | None
    """The rounds that it has logged, as its tag says; None where it does not."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """The rounds of a run in one sample set."""

    set: str
    """The sample set."""
    sets: list[str]
    """All sample sets, `main` first."""
    attempts: list[int]
    """All attempts of the set."""
    rounds: list[documents.RoundInfo]
    """The rounds by step."""
    problems: list[str]
    """What could not be read."""


@dataclass(frozen=True, slots=True)
class Trends:
    """The numbers of a run over its rounds."""

    set: str
    """The sample set."""
    steps: list[int]
    """The steps of the rounds."""
    epochs: list[float | None]
    """Their epochs."""
    trends: dict[str, list[float | None]]
    """The numbers of each round by name, one value a round."""
    right: documents.Right | None
    """What makes an answer right; None where no score says."""
    best_step: int | None
    """The step of the best round by the score that decides."""
    settled_since: int | None
    """The step since which no text changed."""
    classes: dict[str, int]
    """How many samples are of each class."""


@router.get("/runs/{run_id}", response_model=RunSummary)
async def summary(access: OfRun) -> Response:
    """Return a run's summary; none of its files is read for it."""
    return answer(access.request, encoded(RunSummary(await access.info(), access.run.rounds)))


@router.get("/runs/{run_id}/rounds", response_model=Rounds)
async def rounds(access: OfRun, set_name: SetName = None, attempt: Attempt = None) -> Response:
    """Return which rounds there are."""
    held, info = await access.view(set_name, attempt), access.run.info("")

    def make() -> Rounds:
        found = held.view.overview(info)
        return Rounds(found.set, found.sets, found.attempts, found.rounds, found.problems)

    return await access.document(held, ("rounds",), make)


@router.get("/runs/{run_id}/trends", response_model=Trends)
async def trends(access: OfRun, set_name: SetName = None, attempt: Attempt = None) -> Response:
    """Return the numbers of each round: means of scores, rates, learned and forgotten, churn, cost."""
    held, info = await access.view(set_name, attempt), access.run.info("")

    def make() -> Trends:
        found = held.view.overview(info)
        return Trends(
            set=found.set,
            steps=held.view.steps,
            epochs=[each.epoch for each in found.rounds],
            trends=found.trends,
            right=found.right,
            best_step=found.best_step,
            settled_since=found.settled_since,
            classes=found.classes,
        )

    return await access.document(held, ("trends",), make)


@router.get("/runs/{run_id}/overview", response_model=documents.Overview)
async def overview(access: OfRun, set_name: SetName = None, attempt: Attempt = None) -> Response:
    """Return everything of a run that a page shows but the answers' texts and scores."""
    held, info = await access.view(set_name, attempt), await access.info()
    return await access.document(held, ("overview", info), lambda: held.view.overview(info))


@router.get("/runs/{run_id}/matrix", response_model=documents.Matrix)
async def matrix(
    access: OfRun, score: Score = None, set_name: SetName = None, attempt: Attempt = None
) -> Response:
    """Return one score of every answer, sample by round."""
    held = await access.view(set_name, attempt)
    chosen = score or held.view.main_score
    if chosen is None:
        raise Problem(404, "The run has no scores.", "Scores need references, or scorers without any.")
    return await access.document(held, ("matrix", chosen), lambda: held.view.matrix(chosen))


@router.get("/runs/{run_id}/texts", response_model=documents.Texts)
async def texts(access: OfRun, lane: Lanes, set_name: SetName = None, attempt: Attempt = None) -> Response:
    """Return what some lanes answered in every round."""
    held = await access.view(set_name, attempt)
    if (size := _text_bytes(held.view, lane)) > MOST_TEXT:
        raise Problem(
            422,
            f"lane: the texts of these {len(lane)} lanes have {size:,} bytes; {MOST_TEXT:,} are answered.",
            "Ask for fewer lanes at a time.",
        )
    return await access.document(held, ("texts", *lane), lambda: held.view.texts(lane))


@router.get("/runs/{run_id}/search", response_model=documents.Found)
async def search(access: OfRun, text: Text, set_name: SetName = None, attempt: Attempt = None) -> Response:
    """Return where a text occurs in prompts, references and answers."""
    held = await access.view(set_name, attempt)
    return await access.document(held, ("search", text), lambda: held.view.search(text))


@router.get("/runs/{run_id}/samples/{sample_id:path}", response_model=documents.Timeline)
async def timeline(
    access: OfRun, sample_id: SampleId, set_name: SetName = None, attempt: Attempt = None
) -> Response:
    """Return one sample whole, and every answer to it."""
    held = await access.view(set_name, attempt)
    return await access.document(held, ("timeline", sample_id), lambda: held.view.timeline(sample_id))


@router.get("/runs/{run_id}/timeline", response_model=documents.Timeline)
async def timeline_by_query(
    access: OfRun, sample_id: SampleOfAnyId, set_name: SetName = None, attempt: Attempt = None
) -> Response:
    """Return the same of a sample whose id no path can hold: `..`, or one of several lines."""
    return await timeline(access, sample_id, set_name, attempt)


def _text_bytes(view: RunView, lanes: Sequence[int]) -> int:
    """Return how many bytes the answers of some lanes have together; lanes that there are not have none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    known = [lane for lane in lanes if lane < len(view.grid.lanes)]
    places = view.grid.places[known].ravel()
    found = view.grid.rows.column("prediction").take(pa.array(places[places >= 0]))
    return int(pc.sum(pc.binary_length(found).cast(pa.int64())).as_py() or 0)
