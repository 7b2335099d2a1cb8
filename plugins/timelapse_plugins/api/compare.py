"""Runs held against one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from timelapse.analysis.history import split_selector
from timelapse.errors import RunError
from timelapse.report.compare_documents import CompareDocument
from timelapse.report.compare_export import MEDIA_TYPES, ExportFormat, comparison_file
from timelapse.report.compare_view import compare_document, compare_read
from timelapse_plugins.api.access import Service, SetName, service_of
from timelapse_plugins.api.answers import answer, attachment, encoded
from timelapse_plugins.api.problems import Problem
from timelapse_plugins.api.run import Score
from timelapse_plugins.api.run_data import Held
from timelapse_plugins.api.runs import StoredRun, is_run_id
from timelapse_plugins.inner import Caller

if TYPE_CHECKING:
    from timelapse.report.compare_view import Compared

router = APIRouter()

MOST_RUNS = 10
"""Rounds that are compared at once."""
MOST_BYTES = 512 << 20
"""Bytes in memory of the runs that are compared at once; comparing takes some five times as much."""
_AT_A_TIME = 2  # runs that are read: the others wait, and perhaps are too much

T = TypeVar("T")

Selector = Annotated[str, Query(min_length=1, max_length=300)]


class Asked(NamedTuple):
    """Which rounds are compared, and how."""

    runs: tuple[str, ...]
    """Ids of runs, each perhaps with `@` and a round behind it."""
    round: str
    """The round of every run that names none."""
    against: str | None
    """Which of the runs the others are compared with."""
    score: str | None
    """The score that decides."""
    set_name: str | None
    """The sample set."""


def asked(
    runs: Annotated[
        list[Selector],
        Query(
            alias="run",
            min_length=2,
            max_length=MOST_RUNS,
            description="Ids of runs, each perhaps with `@` and a round behind it: `ID@120`, `ID@best`.",
        ),
    ],
    round_: Annotated[
        str,
        Query(
            alias="round",
            pattern="^(best|last|first|[0-9]{1,18})$",
            description="The round of every run that names none: best, last, first, or a step.",
        ),
    ] = "best",
    against: Annotated[
        str | None, Query(max_length=300, description="Which of the runs the others are compared with.")
    ] = None,
    score: Score = None,
    set_name: SetName = None,
) -> Asked:
    """Return what a query asks to be compared."""
    return Asked(tuple(runs), round_, against or None, score, set_name)


OfRuns = Annotated[Asked, Depends(asked)]


@router.get("/compare", response_model=CompareDocument)
async def compare(request: Request, asked: OfRuns) -> Response:
    """Compare rounds of runs, paired by what was asked: scoreboard, aligned rows, likeness, curves."""
    return answer(
        request, await _made(request, asked, "document", lambda found: encoded(compare_document(found)))
    )


@router.get(
    "/compare/export",
    response_class=Response,
    responses={
        200: {
            "description": "The file.",
            "content": {kind.partition(";")[0]: {} for kind in MEDIA_TYPES.values()},
        }
    },
)
async def export(
    request: Request,
    asked: OfRuns,
    format: Annotated[ExportFormat, Query(description="The format.")] = "csv",  # noqa: A002
) -> Response:
    """Return a whole comparison as a file, as `timelapse compare --format` writes it.

    In CSV a text that a spreadsheet would run as a formula has an apostrophe in front.
    """
    body = await _made(request, asked, format, lambda found: comparison_file(found, format))
    return attachment(request, body, MEDIA_TYPES[format], f"comparison.{format}")


async def _made(request: Request, asked: Asked, kind: str, make: Callable[[Compared], bytes]) -> bytes:
    """Return what `make` makes of the comparison, once every run is authorised."""
    service, caller = service_of(request), Caller.of(request.scope)
    wanted = [*asked.runs, *([asked.against] if asked.against else [])]
    ids = list(dict.fromkeys(split_selector(each)[0] for each in wanted))
    for run_id in ids:
        if not is_run_id(run_id):
            raise Problem(422, "run: this is no id of a run.", "Take the ids from MLflow.")
    found = dict(zip(ids, await _all(service, ids, caller), strict=True))
    infos = {
        run_id: run.info(await service.experiment_of(run, caller)) for run_id, (run, _held) in found.items()
    }

    def made() -> bytes:
        read = {run_id: (infos[run_id], held.loaded) for run_id, (_run, held) in found.items()}
        try:
            return make(compare_read(read, *asked))
        except RunError as error:
            raise Problem(
                422, str(error), "Choose other runs, another round, score or sample set."
            ) from error

    versions = tuple((held.version, held.complete) for _run, held in found.values())
    key = ("compare", kind, versions, tuple(infos.values()), asked)
    complete = all(held.complete for _run, held in found.values())
    return await service.data.kept(key, made, keep=complete)


async def _all(service: Service, ids: list[str], caller: Caller) -> list[tuple[StoredRun, Held]]:
    """Return all runs, each authorised before any is read.

    Raises:
        Problem: Together they are more than a server compares; the rest was not read then.
    """
    runs = await asyncio.gather(*(service.run(run_id, caller) for run_id in ids))
    held: list[Held] = []
    for start in range(0, len(runs), _AT_A_TIME):
        next_ones = runs[start : start + _AT_A_TIME]
        held += await asyncio.gather(*(service.data.load(run, caller) for run in next_ones))
        if (size := sum(each.nbytes for each in held)) > MOST_BYTES:
            raise Problem(
                422,
                f"run: the first {len(held)} of {len(runs)} runs hold {size >> 20:,} MiB, and a server "
                f"compares {MOST_BYTES >> 20:,}.",
                "Compare fewer at a time, or all of them with `timelapse compare` on your machine.",
            )
    return list(zip(runs, held, strict=True))
