"""A run's answers as a file: CSV, Parquet, JSON lines."""

from __future__ import annotations

import re
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal, cast

import anyio
import anyio.to_thread
from fastapi import APIRouter, Query
from starlette.responses import Response, StreamingResponse

from timelapse.reading.choice import newest_attempts
from timelapse.reading.export import write_pieces
from timelapse.reading.tidy import pieces
from timelapse.report.report import make_report
from timelapse_plugins.api.access import MOST_DOWNLOADS, OfRun
from timelapse_plugins.api.answers import attachment, entity_tag, not_modified
from timelapse_plugins.api.problems import Problem

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from timelapse.reading.loader import RunRounds
    from timelapse_plugins.api.runs import StoredRun

router = APIRouter()

MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "jsonl": "application/jsonl",
}
_PIECE = 32 << 20  # bytes of rows that are in memory at a time
_CHUNK = 1 << 20

Format = Annotated[Literal["csv", "parquet", "jsonl"], Query(description="The format.")]
Attempts = Annotated[
    Literal["latest", "all"], Query(description="Of each step the newest attempt, or every one.")
]


@router.get(
    "/runs/{run_id}/export",
    response_class=Response,
    responses={
        200: {
            "description": "The file.",
            "content": {kind.partition(";")[0]: {} for kind in MEDIA_TYPES.values()},
        }
    },
)
async def export(access: OfRun, format: Format = "csv", attempts: Attempts = "latest") -> Response:  # noqa: A002
    """Return all answers of a run, of every sample set, with the columns of `timelapse.load_predictions`.

    In CSV a text that a spreadsheet would run as a formula has an apostrophe in front.
    """
    held = await access.service.data.load(access.run, access.caller)
    tag = entity_tag(repr((held.version, held.complete, format, attempts)))
    if known := not_modified(access.request, tag):
        return known
    downloads = access.service.downloads
    if downloads.locked():
        raise Problem(503, f"{MOST_DOWNLOADS} files are being written or sent, and no more at a time.")
    async with AsyncExitStack() as until_sent:
        await until_sent.enter_async_context(downloads)
        write = _written(access.run, held.loaded, format, attempts)
        file = until_sent.enter_context(await access.service.data.compute(write))
        headers = {
            "etag": tag,
            "content-length": str(file.seek(0, 2)),
            "content-disposition": f'attachment; filename="{_file_name(access.run)}.{format}"',
        }
        return _Download(file, until_sent.pop_all(), headers, MEDIA_TYPES[format])


class _Download(StreamingResponse):
    """A file that is sent piece by piece, and let go however that ends."""

    def __init__(
        self, file: BinaryIO, until_sent: AsyncExitStack, headers: dict[str, str], media_type: str
    ) -> None:
        super().__init__(_chunks(file), 200, headers, media_type)
        self._until_sent = until_sent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file."""
        async with self._until_sent:
            await super().__call__(scope, receive, send)


@router.get(
    "/runs/{run_id}/report",
    response_class=Response,
    responses={200: {"description": "The file.", "content": {"text/html": {}}}},
)
async def report(access: OfRun) -> Response:
    """Return the run page with its data in one HTML file, as `timelapse report` writes it."""
    service, run = access.service, access.run
    held = await service.data.load(run, access.caller)
    info = run.info(await service.experiment_of(run, access.caller))

    def made() -> bytes:
        return make_report(info, held.loaded).html.encode()

    content = await service.data.kept(("report", held.version, info), made, keep=held.complete)
    return attachment(access.request, content, "text/html; charset=utf-8", f"{_file_name(run)}.html")


def _written(run: StoredRun, loaded: RunRounds, kind: str, attempts: str) -> Callable[[], BinaryIO]:
    def write() -> BinaryIO:
        rounds = newest_attempts(loaded.rounds) if attempts == "latest" else loaded.rounds
        file = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - whoever sends it closes it
        write_pieces(pieces(run.entity(), rounds, loaded.samples, _PIECE), file, kind)
        return file

    return write


async def _chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    file.seek(0)
    while chunk := await anyio.to_thread.run_sync(file.read, _CHUNK):
        yield chunk


def _file_name(run: StoredRun) -> str:
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", run.name).strip("-.")[:80] or "run"
    return f"{name}-{run.run_id[:8]}"
