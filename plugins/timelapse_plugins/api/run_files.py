"""A run's files, read through MLflow's own app as the caller, in the threads of the tracker's loader."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from timelapse import names
from timelapse.reading.bounds import Bounds, Budget, Budgets
from timelapse.reading.files import with_digest, with_size
from timelapse_plugins.inner import TooLargeError
from timelapse_plugins.refusals import Refused, object_of

if TYPE_CHECKING:
    from timelapse_plugins.api.memory import Memory
    from timelapse_plugins.api.runs import StoredRun
    from timelapse_plugins.inner import Caller, Inner

T = TypeVar("T")

ROUNDS = Bounds()
"""What is decoded of a run's rounds."""
SAMPLES = Bounds(rows=100_000, decoded_bytes=64 << 20)
"""What is decoded of a run's samples: less, because all of them become Python objects."""
MOST_MANIFEST = 4 << 20
"""Bytes of manifest.json, about 20,000 rounds."""
FILE_SECONDS = 60.0
"""How long a file may take: a store that hangs must not keep the few readers that there are for ever."""
MOST_LISTED = 16 << 20
"""Bytes of MLflow's list of a run's files."""

Listing = Mapping[str, int | None]
"""Names and sizes of a run's files; None if the store does not say."""


class InnerFiles:
    """The files of one run: see `timelapse.reading.files.RunFiles`.

    Its methods wait for the event loop, so they must be called from other threads. `complete` is False as
    soon as MLflow hands out something else than a file that was asked for: what was read then must not be
    kept.
    """

    def __init__(
        self, place: InnerPlace, caller: Caller, run: StoredRun, listing: Listing, memory: Memory | None
    ) -> None:
        self.tags = run.tags
        self.budgets: Budgets | None = Budgets(Budget(ROUNDS), Budget(SAMPLES))
        self.complete = True
        self._place, self._caller, self._run = place, caller, run
        self._listing, self._memory = listing, memory

    def sizes(self) -> dict[str, int | None]:
        """Return which files there are, as they were listed when the caller asked."""
        return dict(self._listing)

    def current(self, file: str) -> bytes:
        """Return a file as it is now.

        Raises:
            Refused: MLflow does not hand it out.
            TooLargeError: It is larger than is read here.
        """
        limit = ROUNDS.file_bytes if file.endswith(".parquet") else MOST_MANIFEST
        if (self._listing.get(file) or 0) > limit:
            raise TooLargeError(limit)
        path = f"{names.ARTIFACT_FOLDER}/{file}"
        try:
            return self._place.file(self._run.run_id, path, self._caller, limit)
        except Refused:
            self.complete = False
            raise

    def verified(self, file: str, sha256: str, decode: Callable[[bytes], T]) -> T:
        """Return a file, decoded, whose content has this SHA-256."""

        def fetch() -> bytes:
            return with_digest(self.current(file), sha256)

        return self._kept(("file", self._run.run_id, file, sha256), fetch, decode)

    def immutable(self, file: str, size: int | None, decode: Callable[[bytes], T]) -> T:
        """Return a file, decoded, that is never written over."""

        def fetch() -> bytes:
            return with_size(self.current(file), size)

        if size is None:
            return decode(fetch())
        return self._kept(("file", self._run.run_id, file, size), fetch, decode)

    def once(self, sha256: str, call: Callable[[], T]) -> T:
        """Make the call: what another run has is none of this caller's business."""
        return call()

    def _kept(self, key: tuple[Any, ...], fetch: Callable[[], bytes], decode: Callable[[bytes], T]) -> T:
        """Decode what is fetched, unless it is in memory: only for runs that grow, and are read again."""
        if self._memory is None:
            return decode(fetch())
        found = self._memory.get(key)
        if found is not None:
            self._spend(found)
            kept: T = found
            return kept
        decoded = decode(fetch())
        size = decoded.nbytes if hasattr(decoded, "nbytes") else len(json.dumps(decoded, default=str))
        self._memory.put(key, decoded, size)
        return decoded

    def _spend(self, table: Any) -> None:
        if self.budgets is not None and hasattr(table, "nbytes"):
            budget = self.budgets.rounds if "step" in table.column_names else self.budgets.samples
            budget.spend(table)


class InnerPlace:
    """Where MLflow's own app hands out files, for callers in other threads than its event loop's.

    Args:
        inner: The app.
        static_prefix: What the server's `--static-prefix` puts before `/get-artifact`.
        loop: The event loop that the app runs in.
    """

    def __init__(self, inner: Inner, static_prefix: str, loop: asyncio.AbstractEventLoop) -> None:
        self._inner, self._prefix, self._loop = inner, static_prefix, loop

    def file(self, run_id: str, path: str, caller: Caller, limit: int) -> bytes:
        """Return an artifact of a run.

        Raises:
            Refused: MLflow does not hand it out, or not before others should have their turn.
        """
        request = self._inner.get(
            f"{self._prefix}/get-artifact", [("run_id", run_id), ("path", path)], caller, limit
        )
        waiting = asyncio.run_coroutine_threadsafe(request, self._loop)
        try:
            answer = waiting.result(FILE_SECONDS)
        except TimeoutError:
            waiting.cancel()
            said = f"the artifact store did not hand out {path} within {FILE_SECONDS:g} seconds"
            raise Refused(504, {}, said.encode()) from None
        if answer.status != 200:
            raise Refused(answer.status, answer.headers, answer.body)
        return answer.body


async def listing(inner: Inner, run_id: str, caller: Caller) -> dict[str, int | None]:
    """Ask MLflow which files a run has in the folder `timelapse/`.

    Raises:
        Refused: It does not say.
    """
    params = [("run_id", run_id), ("path", names.ARTIFACT_FOLDER)]
    answer = await inner.get("/api/2.0/mlflow/artifacts/list", params, caller, MOST_LISTED)
    if answer.status != 200:
        raise Refused(answer.status, answer.headers, answer.body)
    files = object_of(answer).get("files", ())
    return {
        PurePosixPath(each["path"]).name: int(each["file_size"])
        if each.get("file_size") is not None
        else None
        for each in files
        if not each.get("is_dir")
    }
