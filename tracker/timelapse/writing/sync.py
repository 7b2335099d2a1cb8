"""Sync: finishing what other processes began, from what they left in the spool."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from timelapse import names
from timelapse.config.redact import without_credentials
from timelapse.errors import SpoolError
from timelapse.fence import Fence, attempt, describe, warn
from timelapse.polite import is_refusal, polite_requests
from timelapse.scoring.engine import revived_judges
from timelapse.writing.delivery import Delivery
from timelapse.writing.entries import Entry, pack
from timelapse.writing.spool import Header, Spool, read_header, spool_folders
from timelapse.writing.uploader import REACHING, Uploader

if TYPE_CHECKING:
    from mlflow import MlflowClient

State = Literal["sent", "waits", "damaged", "busy", "elsewhere", "unusable"]
"""All is in MLflow; something still waits; something cannot be read; its process lives; it belongs to another
tracking URI; the folder cannot be used."""

VANISHED = "the process that trained ended without a word (killed, out of memory, power failure)"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one folder of the spool."""

    folder: str
    """Its name."""
    state: State
    """How it went."""
    reason: str = ""
    """Why it is not `sent`, and what to do."""
    run_id: str | None = None
    """The MLflow run."""
    run_name: str | None = None
    """The MLflow run's name."""
    created: bool = False
    """Whether the run was created now: it had begun without MLflow."""
    rounds: int = 0
    """Rounds that were sent now."""
    waiting: int = 0
    """Entries that still wait."""
    lost: tuple[str, ...] = field(default=())
    """Files that are not what was written, never were whole, or that MLflow refuses for good."""


def sync(
    client: MlflowClient,
    *,
    anywhere: bool = False,
    folders: Iterable[Path] | None = None,
    patience: float = 15.0,
    reopened: bool = False,
) -> Iterator[Outcome]:
    """Send what waits in the spool, folder by folder, oldest first.

    Args:
        client: Where to. Runs that belong to its tracking URI are sent, and those that began without any.
        anywhere: Send the runs of other tracking URIs there, too.
        folders: Which folders; all by default.
        patience: Seconds without progress after which a folder is given up for now.
        reopened: The runs are about to go on: they are not ended, whatever became of their process.

    Raises:
        SpoolError: The spool's root is not the user's alone.
    """
    for folder in spool_folders() if folders is None else folders:
        work = partial(_sync_folder, folder, client, anywhere=anywhere, patience=patience, reopened=reopened)
        outcome, error = attempt(work)
        if outcome is None:
            assert error is not None
            if not os.path.lexists(folder):  # another sync has just finished it
                continue
            text = str(error) if isinstance(error, SpoolError) else describe(error)
            outcome = Outcome(folder.name, "unusable", text)
        yield outcome


def deliver_leftovers(run_id: str, connect: Callable[[], MlflowClient]) -> None:
    """Send first what earlier processes have left of a run that is opened again."""
    folders, _error = attempt(lambda: [folder for folder in spool_folders() if _run_of(folder) == run_id])
    if not folders:
        return
    for outcome in sync(connect(), folders=folders, reopened=True):
        if outcome.state not in ("sent", "busy"):
            warn(f"An earlier process left rounds of this run in {outcome.folder}: {outcome.reason}")


def _run_of(folder: Path) -> str | None:
    header, _error = attempt(lambda: read_header(folder))
    return header.run_id if header else None


def _sync_folder(
    folder: Path, client: MlflowClient, *, anywhere: bool, patience: float, reopened: bool
) -> Outcome:
    spool = Spool.take(folder)
    if spool is None:
        header = read_header(folder)
        return Outcome(
            folder.name,
            "busy",
            f"left alone: its training (process {header.process} on {header.host}) or a sync is at work",
            header.run_id,
            header.run_name,
        )
    done = False
    try:
        place = spool.header.tracking_uri
        here = without_credentials(client.tracking_uri).rstrip("/")
        if not anywhere and place is not None and place != here:
            return Outcome(
                folder.name,
                "elsewhere",
                f"it belongs to {place}, MLflow is {here} here: set MLFLOW_TRACKING_URI, or use --to {place}",
                spool.header.run_id,
                spool.header.run_name,
                waiting=len(spool.entries_but("samples")),
            )
        outcome = _send(spool, client, patience, reopened=reopened)
        done = outcome.state == "sent"
        return outcome
    finally:
        spool.close(remove=done)


def _send(spool: Spool, client: MlflowClient, patience: float, *, reopened: bool) -> Outcome:
    """Send a folder's entries, and end its run if its process could not."""
    before, entries = spool.header, spool.entries()
    fence = Fence(said=[REACHING])  # the outcome says it
    uploader = Uploader(
        Delivery(spool, client, revived_judges(before.scorers, before.validators), fence), fence
    )
    unended = before.owned and not before.ended and before.final is None
    taken = unended and (reopened or _is_taken_over(client, before))
    for entry in [*entries, *([] if taken else _missing_end(spool, entries))]:
        uploader.add(entry)
    try:
        done = uploader.drain(patience, rest=not taken)
    finally:
        uploader.stop(2.0)
    waiting = [entry for entry in uploader.waiting() if entry not in uploader.left]
    sent = [entry for entry in entries if entry.kind == "round" and entry not in uploader.waiting()]
    lost = [str(entry.path) for entry in uploader.left] + [str(path) for path in spool.unfinished()]
    if done and (sent or before.final is None or not uploader.left):
        with polite_requests():
            _leave_word(spool, client, len(sent), taken=taken)
    trouble = uploader.trouble()
    return Outcome(
        folder=spool.folder.name,
        state="waits" if not done else "damaged" if uploader.left else "sent",
        reason=_reason(done, trouble, uploader.left),
        run_id=spool.header.run_id,
        run_name=spool.header.run_name,
        created=before.run_id is None and spool.header.run_id is not None,
        rounds=len(sent),
        waiting=len(waiting),
        lost=tuple(lost),
    )


def _is_taken_over(client: MlflowClient, header: Header) -> bool:
    """Return whether somebody else has gone on with a run, or ended it, since its process died."""
    if header.run_id is None:
        return False
    with polite_requests():
        run = client.get_run(header.run_id)
    owner = run.data.tags.get(names.TAG_TOKEN, header.token)
    return bool(owner != header.token or run.info.status != "RUNNING")


def _missing_end(spool: Spool, entries: list[Entry]) -> list[Entry]:
    """Return the end of a run whose process could not write it any more."""
    if not spool.header.owned or spool.header.ended or any(entry.kind == "end" for entry in entries):
        return []
    last = max(
        [spool.folder.stat().st_mtime, *(entry.path.stat().st_mtime for entry in entries if entry.path)]
    )
    # In memory: every sync makes it anew, and a full disk must not stand in its way.
    return [Entry(spool.number(), "end", None, pack({"status": "KILLED", "time": int(last * 1000)}))]


def _leave_word(spool: Spool, client: MlflowClient, rounds: int, *, taken: bool) -> None:
    """Say in the run what happened."""
    header = spool.header
    assert header.run_id is not None
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    story = f"{when}: timelapse sync sent {rounds} rounds"
    if header.final is None and header.owned and not taken:
        story += f"; {VANISHED}"
    client.set_tag(header.run_id, names.TAG_SYNC, story)
    if header.final is not None:
        client.set_tag(header.run_id, names.TAG_STATUS, header.final)
    elif header.owned and not taken:
        client.set_tag(header.run_id, names.TAG_STATUS, f"failed: {VANISHED}")


def _reason(done: bool, trouble: BaseException | None, left: list[Entry]) -> str:
    if not done and trouble is not None and is_refusal(trouble):
        return (
            f"MLflow refuses it: {describe(trouble)}. Restore there what was deleted, or see to your rights, "
            "and run `timelapse sync` again; if nobody needs these answers, remove the folder"
        )
    if not done:
        return (
            f"{describe(trouble) if trouble else 'MLflow takes too long'}; run `timelapse sync` again later"
        )
    if left:
        return (
            f"{len(left)} entries are damaged, or MLflow never takes them; all others were sent. Look at "
            "them, then remove the folder"
        )
    return ""
