"""What runs hold, read once for all who may see them, and kept by content."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakValueDictionary

import anyio
import anyio.to_thread

from timelapse.names import TAG_MANIFEST
from timelapse.reading.loader import RunRounds, read_run
from timelapse.reading.threads import Threads
from timelapse.report.run_view import RunView
from timelapse.resting import RestingFiles
from timelapse_plugins.api.extent import check_extent
from timelapse_plugins.api.memory import Memory
from timelapse_plugins.api.run_files import InnerFiles, InnerPlace, Listing, listing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from timelapse_plugins.api.runs import StoredRun
    from timelapse_plugins.inner import Caller, Inner

T = TypeVar("T")

LISTING_SECONDS = 30.0
"""For how long a run at rest is not asked again whether its files are still there."""
_READS = 2  # runs that are decoded at a time, each within the bounds of `run_files`
_COMPUTATIONS = 2  # threads that compute at a time: more would only hand Python's lock to and fro
_FETCHES = 4  # files of a run that are fetched at a time


@dataclass(frozen=True, slots=True)
class Held:
    """What a run holds, and which content that is."""

    version: str
    """A hash of what its content depends on."""
    loaded: RunRounds
    """The rows."""
    complete: bool
    """Whether MLflow handed out every file that was asked for; else nothing made of it may be kept."""

    @property
    def nbytes(self) -> int:
        """How many bytes the rows have in memory."""
        return int(self.loaded.rounds.nbytes + self.loaded.samples.nbytes)


@dataclass(frozen=True, slots=True, eq=False)
class HeldView:
    """A run in one sample set, and which content that is."""

    key: tuple[str, ...]
    """The run's id, and a hash of what its content depends on, the set and the attempt among it."""
    held: Held
    """All that the run holds."""
    view: RunView
    """The rows, arranged."""


class RunData:
    """Reads runs as their callers, who were authorised before, and keeps what was read in memory.

    Args:
        inner: MLflow's app.
        memory: Where to keep it.
        static_prefix: The server's `--static-prefix`.
        known_inner: Whether the app is known to let whoever may see a run see its artifacts. If it is not,
            each caller is made to list the files before anything that was kept is handed out.
    """

    def __init__(self, inner: Inner, memory: Memory, static_prefix: str, *, known_inner: bool) -> None:
        self.memory = memory
        """What is kept."""
        self._inner, self._prefix, self._known = inner, static_prefix, known_inner
        self._reads, self._computations = anyio.CapacityLimiter(_READS), anyio.CapacityLimiter(_COMPUTATIONS)
        self._turns: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    async def version(self, run: StoredRun, caller: Caller) -> tuple[str, Listing]:
        """Return a hash of what a run holds and is called, and its files, by one question to MLflow at most.

        Raises:
            Refused: MLflow does not say which files it has.
        """
        files = await self._listing(run, caller)
        return _digest([run.run_id, run.name, run.ours, sorted(files.items())]), files

    async def load(self, run: StoredRun, caller: Caller) -> Held:
        """Return what a run holds."""
        version, files = await self.version(run, caller)

        async def read() -> tuple[Held, int]:
            grows = RestingFiles.parse(run.tags.get(TAG_MANIFEST, "")) is None
            place = InnerPlace(self._inner, self._prefix, asyncio.get_running_loop())
            source = InnerFiles(place, caller, run, files, self.memory if grows else None)
            loaded = await anyio.to_thread.run_sync(_read, source, limiter=self._reads)
            held = Held(version, loaded, source.complete)
            return held, held.nbytes if held.complete else -1

        return await self._once(("run", run.run_id, version), read)

    async def view(
        self, run: StoredRun, caller: Caller, set_name: str | None, attempt: int | None
    ) -> HeldView:
        """Return a run in one sample set.

        Raises:
            RunError: There is no such set or attempt.
        """
        held = await self.load(run, caller)
        key = (run.run_id, _digest([held.version, set_name, attempt]))

        async def arrange() -> tuple[HeldView, int]:
            view = await self.compute(lambda: _arranged(held.loaded, set_name, attempt))
            return HeldView(key, held, view), _weight(held.loaded, view) if held.complete else -1

        return await self._once(("view", *key), arrange)

    async def made(
        self, view: HeldView, what: tuple[Hashable, ...], make: Callable[[], T], size: Callable[[T], int]
    ) -> T:
        """Return something made of a view, once; `what` says what it is, `size` how many bytes it has."""
        return await self.kept(("made", *view.key, *what), make, size, keep=view.held.complete)

    async def kept(
        self,
        key: Hashable,
        make: Callable[[], T],
        size: Callable[[T], int] = len,  # type: ignore[assignment]
        *,
        keep: bool = True,
    ) -> T:
        """Return what is kept under a key, which says what content it is made of; else make and keep it."""

        async def made() -> tuple[T, int]:
            value = await self.compute(make)
            return value, size(value) if keep else -1

        return await self._once(key, made)

    async def compute(self, call: Callable[[], T]) -> T:
        """Make a call in a thread, of which few compute at a time."""
        return await anyio.to_thread.run_sync(call, limiter=self._computations)

    async def _once(self, key: Hashable, make: Callable[[], AwaitableOfSized[T]]) -> T:
        """Return what is kept under a key; else make it, once for all who wait, and keep it.

        `make` returns a value and its size in bytes; a negative one says not to keep it.
        """
        found = self.memory.get(key)
        if found is None:
            async with self._turn(key):
                found = self.memory.get(key)
                if found is None:
                    found, size = await make()
                    if size >= 0:
                        self.memory.put(key, found, size)
        value: T = found
        return value

    @asynccontextmanager
    async def _turn(self, key: Hashable) -> AsyncIterator[None]:
        lock = self._turns.setdefault(key, asyncio.Lock())
        async with lock:
            yield

    async def _listing(self, run: StoredRun, caller: Caller) -> Listing:
        """Return the files of a run; those of a run at rest as they were some seconds ago, if need be."""
        at_rest = RestingFiles.parse(run.tags.get(TAG_MANIFEST, "")) is not None
        if not (at_rest and self._known):
            return await listing(self._inner, run.run_id, caller)
        key = ("listing", run.run_id, run.ours)
        asked, files = self.memory.get(key) or (-LISTING_SECONDS, {})
        now = time.monotonic()
        if now - asked >= LISTING_SECONDS:
            files = await listing(self._inner, run.run_id, caller)
            self.memory.put(key, (now, files), 200 * len(files))
        found: Listing = files
        return found


if TYPE_CHECKING:
    from collections.abc import Awaitable

    AwaitableOfSized = Awaitable[tuple[T, int]]


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _read(source: InnerFiles) -> RunRounds:
    with Threads(_FETCHES) as downloads:
        loaded = read_run(source, downloads, conditions=True)
    check_extent(loaded)
    return loaded


def _arranged(loaded: RunRounds, set_name: str | None, attempt: int | None) -> RunView:
    view = RunView(loaded, set_name, attempt)
    _ = view.marks, view.steps  # here, once, and not in whichever thread asks first
    return view


def _weight(loaded: RunRounds, view: RunView) -> int:
    """Return about how many bytes a view takes: rows, samples as Python objects, and numbers by cell."""
    numbers = 2 + len(view.grid.scores)
    cells: int = view.grid.places.size
    return int(view.grid.rows.nbytes + 4 * loaded.samples.nbytes + 8 * numbers * cells)
