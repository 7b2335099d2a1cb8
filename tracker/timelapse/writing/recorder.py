"""The recorder: takes what is logged, durably and at once, and has it sent in the background."""

from __future__ import annotations

import atexit
import os
import shlex
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from timelapse.errors import SpoolError
from timelapse.fence import Fence, attempt, describe, warn
from timelapse.scoring.engine import Judges
from timelapse.writing.delivery import Delivery
from timelapse.writing.entries import Entry, Kind
from timelapse.writing.spool import DEFAULT_LIMIT_MB, Header, Spool, spool_limit
from timelapse.writing.uploader import Uploader

if TYPE_CHECKING:
    from mlflow import MlflowClient

MOST_IN_MEMORY = 64
"""Rounds that are held in memory at most while the disk takes nothing."""
STOP_SECONDS = 2.0
_WHAT: Mapping[Kind, str] = {
    "samples": "samples",
    "round": "a round",
    "file": "a file",
    "numbers": "numbers",
    "checkpoint": "a checkpoint's place",
    "end": "the run's end",
}


class Recorder:
    """The write side of one run: a spool on disk, and an uploader behind it. `record` never raises.

    A forked child does not touch what belongs to its parent: when it logs, it gets a spool of its own.

    Args:
        header: Which run.
        connect: Returns MLflow's client; None if nothing is to be sent (`TIMELAPSE_OFFLINE`).
        judges: What judges every prediction.
        fence: Takes the failures.
    """

    def __init__(
        self,
        header: Header,
        connect: Callable[[], MlflowClient] | None,
        judges: Judges,
        fence: Fence,
    ) -> None:
        self.fence = fence
        self._creator = os.getpid()
        self._connect, self._judges = connect, judges
        self.troubles: list[str] = []
        """What has gone wrong with the disk, for the run's status."""
        self._open(header)

    def _open(self, header: Header) -> None:
        self._process, self._closed = os.getpid(), False
        self._temporary: Path | None = None
        self._spool = self._make_spool(header)
        self._uploader: Uploader | None = None

    @property
    def forked(self) -> bool:
        """Whether this is the copy that a forked child has: the run is its parent's."""
        return os.getpid() != self._creator

    @property
    def header(self) -> Header:
        """What is known about the run."""
        return self._spool.header

    @property
    def is_offline(self) -> bool:
        """Whether nothing is to be sent."""
        return self._connect is None

    @property
    def sync_command(self) -> str:
        """The command that sends what waits; it must be told of a folder outside the spool."""
        return (
            "timelapse sync" if self._temporary is None else f"timelapse sync {shlex.quote(str(self.folder))}"
        )

    @property
    def folder(self) -> Path:
        """Where the spool lies."""
        return self._spool.folder

    def identify(self, *, fresh: bool, **changes: object) -> None:
        """Write down which run it is, now that MLflow has told; `fresh`: we have just created it."""
        with self.fence.guard("writing down which run it is", "`timelapse sync` finds a run of ours anyway."):
            self._spool.update(**changes)
        self._start(fresh=fresh)

    def note_final(self, status: str) -> None:
        """Write down how the predictions end, for whoever finishes our work."""
        with self.fence.guard("writing down the run's end", "`timelapse sync` will call it unfinished."):
            self._spool.update(final=status)

    def record(self, kind: Kind, data: bytes) -> None:
        """Take something that was logged: on disk when this returns, else in memory, which is said."""
        if self._closed or os.getpid() != self._process:
            self._reopen()
        entry = self._store(kind, data)
        if entry is not None and self._connect is not None:
            if self._uploader is None:
                self._start(fresh=False)
            assert self._uploader is not None
            self._uploader.add(entry)

    def right_of_way(self) -> AbstractContextManager[None]:
        """Return what is entered while something is made ready to be recorded: sending stands back."""
        uploader = self._uploader if os.getpid() == self._process else None  # a fork's locks are not ours
        return uploader.right_of_way() if uploader is not None else nullcontext()

    def settle(self, patience: float, *, rest: bool, end_now: bool = False, longest: float = 600.0) -> bool:
        """Wait until MLflow holds everything, and return whether it does; see `Uploader.drain`."""
        if os.getpid() != self._process:  # a forked child that has logged nothing
            return True
        if self._uploader is None:
            return not self._spool.entries_but("samples")
        done = self._uploader.drain(patience, rest=rest, end_now=end_now, longest=longest)
        return done and not self._uploader.left

    def waiting(self) -> list[Entry]:
        """Return what MLflow does not hold yet."""
        if self._uploader is not None:
            return self._uploader.waiting()
        return self._spool.entries_but("samples")

    def why(self) -> str:
        """Return why MLflow does not hold everything yet."""
        if self._connect is None:
            return "TIMELAPSE_OFFLINE is set"
        error = self._uploader.trouble() if self._uploader else None
        if error is None and self._uploader and self._uploader.left:
            return "their files are damaged, or MLflow never takes them"
        return describe(error) if error else "it takes longer than the end of a run may wait"

    def close(self, *, done: bool) -> None:
        """Stop sending, and let go of the spool; its folder goes if all is `done`."""
        if os.getpid() != self._process:
            return
        self._closed = True
        if self._uploader is not None:
            self._uploader.stop(STOP_SECONDS)
        self._spool.close(remove=done)
        if done and self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _store(self, kind: Kind, data: bytes) -> Entry | None:
        try:
            return self._spool.put(kind, data)
        except (OSError, SpoolError) as error:
            reason = describe(error)
        held = self._connect is not None and (kind != "round" or self._rounds_in_memory() < MOST_IN_MEMORY)
        consequence = (
            "It is held in memory and sent directly, but would be lost if the program were killed."
            if held
            else "It is lost: the memory set aside for this is full, or nothing may be sent."
        )
        self.troubles.append(f"the spool takes nothing: {reason}")
        self.fence.report(f"keeping {_WHAT[kind]} on disk", reason, f"{consequence} The training goes on.")
        return Entry(self._spool.number(), kind, None, data) if held else None

    def _rounds_in_memory(self) -> int:
        """Return how many rounds the memory holds just now: those that were sent are gone from it."""
        return sum(entry.kind == "round" and entry.path is None for entry in self.waiting())

    def _start(self, *, fresh: bool) -> None:
        if self._connect is not None:
            delivery = Delivery(self._spool, self._connect(), self._judges, self.fence, fresh=fresh)
            self._uploader = Uploader(delivery, self.fence)

    def _make_spool(self, header: Header) -> Spool:
        limit, error = attempt(spool_limit)
        if error is not None:
            limit = DEFAULT_LIMIT_MB * 1_000_000
            warn(f"{error} Until then it is {DEFAULT_LIMIT_MB} MB.")
        try:
            return Spool.create(header, limit=limit)
        except (OSError, SpoolError) as error:
            root = Path(tempfile.mkdtemp(prefix="timelapse-"))
            warn(f"The spool cannot be used: {describe(error)}. Rounds wait for MLflow in {root} instead.")
            self._temporary = root
            return Spool.create(header, root, limit)

    def _reopen(self) -> None:
        """Begin anew in a forked child, whose parent goes on with the spool, the locks and the thread.

        And behind a run's end, for what is logged late: it is sent, but the run's end stays as it was.
        """
        samples, _error = attempt(self._stored_samples)  # the folder may be gone
        atexit.register(self._close_late)
        self._open(replace(self.header, owned=False, process=os.getpid()))
        for data in samples or ():  # to score with
            self.record("samples", data)

    def _stored_samples(self) -> list[bytes]:
        return [entry.read() for entry in self._spool.entries() if entry.kind == "samples"]

    def _close_late(self) -> None:
        if not self._closed and os.getpid() == self._process:
            self.close(done=self.settle(STOP_SECONDS, rest=not self.forked))
