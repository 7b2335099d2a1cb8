"""The spool: what is on its way to MLflow lies on disk until the server has it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import stat
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timelapse.errors import SpoolError
from timelapse.fence import attempt
from timelapse.writing.entries import Entry, Kind, entry_at, entry_name

if TYPE_CHECKING:
    from filelock import BaseFileLock

HEADER_FILE, LOCK_FILE, STORED_FOLDER = "run.json", "lock", "stored"
UNFINISHED = ".part"
_NEW = f".{HEADER_FILE}{UNFINISHED}"
_GONE = ".gone"
_NAME = re.compile(r"\d{8}-\d{6}-.+")
DEFAULT_LIMIT_MB = 4096
LOOK_SECONDS = 10.0
"""How often at most a full spool is counted anew for numbers, which come at every step of a training."""


def spool_root() -> Path:
    """Return the folder of all spools: `$TIMELAPSE_SPOOL`, else `spool` in the user's state folder."""
    configured = os.environ.get("TIMELAPSE_SPOOL")
    if configured:
        return Path(configured).expanduser().absolute()
    from platformdirs import user_state_path

    return user_state_path("timelapse") / "spool"


def spool_limit() -> int:
    """Return how many bytes all spools may take together: `$TIMELAPSE_SPOOL_MB`, else 4096 MB.

    Raises:
        SpoolError: The variable is no positive number.
    """
    text = os.environ.get("TIMELAPSE_SPOOL_MB") or str(DEFAULT_LIMIT_MB)
    try:
        limit = float(text)
    except ValueError:
        limit = 0
    if not 0 < limit < float("inf"):
        raise SpoolError(f"TIMELAPSE_SPOOL_MB={text!r} is no size: give a number of megabytes, such as 4096.")
    return int(limit * 1_000_000)


@dataclass(frozen=True, slots=True)
class Header:
    """Which run a spool folder belongs to, so that another process can finish what ours began."""

    run_id: str | None
    """The MLflow run; None as long as it has not been created there."""
    tracking_uri: str | None
    """Where the run is, without credentials; None if MLflow's place was not chosen by anybody."""
    owned: bool
    """Whether we opened the run, and so end it."""
    start_time: int
    """When the run began, in milliseconds since 1970."""
    experiment: str | None = None
    """Name of the experiment for a run that is still to be created."""
    experiment_id: str | None = None
    """Id of the experiment, where only that is known."""
    run_name: str | None = None
    """The run's name."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Tags for a run that is still to be created."""
    scorers: Mapping[str, Any] = field(default_factory=dict)
    """What each scorer is made from, by name."""
    validators: Sequence[Any] = field(default_factory=list)
    """What each validator is made from."""
    ended: bool = False
    """Whether MLflow has been told that the run is over."""
    final: str | None = None
    """The predictions' status at the end of the training; None if its process did not come to that."""
    shifts: Mapping[str, int] = field(default_factory=dict)
    """By sample set, what is added to the attempts of rounds logged while MLflow's own were not known."""
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Marks the run that we create, so that it is found again if we die before we know its id."""
    process: int = field(default_factory=os.getpid)
    """Id of the process that writes."""
    host: str = field(default_factory=socket.gethostname)
    """The machine of that process."""


class Spool:
    """The folder of one run, held by one process at a time.

    `run.json` says which run it is; the entries lie beside it in the order of their numbers; `stored/` keeps
    the round files that MLflow holds already, for the compaction at the end. An entry appears whole or not at
    all: it is written aside, synced to disk and renamed. Everything is private to the user (0700, 0600).

    Raises:
        SpoolError: The folder is not ours alone, or another process holds it.
    """

    def __init__(self, folder: Path, header: Header, lock: BaseFileLock, limit: int) -> None:
        self.folder, self.header = folder, header
        self._lock, self._limit = lock, limit
        self.in_use = threading.Lock()
        """Held while somebody sends entries."""
        self._guard = threading.RLock()  # a signal handler of ours may log, too
        self._next = 1 + max((entry.number for entry in self.entries()), default=0)
        self._look()

    @classmethod
    def create(cls, header: Header, root: Path | None = None, limit: int | None = None) -> Spool:
        """Make a new folder under `root`, by default the spool's, and hold it.

        All folders there may take `limit` bytes together, by default `spool_limit()`.
        """
        root, limit = root or spool_root(), limit or spool_limit()
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        _check_private(root)
        folder = root / f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:8]}"
        folder.mkdir(mode=0o700)
        lock = _acquire(folder)
        assert lock is not None, "nobody else knows of this folder yet"
        _write(folder, HEADER_FILE, json.dumps(asdict(header), indent=2).encode())
        return cls(folder, header, lock, limit)

    @classmethod
    def take(cls, folder: Path) -> Spool | None:
        """Hold a folder that another process left; None while that process lives.

        Raises:
            SpoolError: The folder is not ours alone, or its header cannot be read.
        """
        limit = spool_limit()
        _check_private(folder)
        lock = _acquire(folder)
        if lock is None:
            return None
        try:
            return cls(folder, read_header(folder), lock, limit)
        except SpoolError:
            lock.release()
            raise

    @property
    def stored(self) -> Path:
        """The folder of round files that MLflow holds."""
        return self.folder / STORED_FOLDER

    def update(self, **changes: Any) -> None:
        """Write down what has become known about the run."""
        self.header = replace(self.header, **changes)
        _write(self.folder, HEADER_FILE, json.dumps(asdict(self.header), indent=2).encode())

    def put(self, kind: Kind, data: bytes) -> Entry:
        """Store an entry durably and return it; the disk holds it when this returns.

        Raises:
            SpoolError: The spools have reached their limit.
            OSError: The disk is full, or cannot be written.
        """
        number = self.number()
        if len(data) > self._room and (kind != "numbers" or time.monotonic() >= self._look_at):
            self._look()  # what took the room may have been sent
        if len(data) > self._room:
            raise SpoolError(
                f"the spool {self.folder.parent} has reached its limit of {self._limit / 1e6:g} MB, with "
                "what waits for MLflow and the rounds of runs that go on: send what waits with `timelapse "
                "sync`, or raise TIMELAPSE_SPOOL_MB"
            )
        path = _write(self.folder, entry_name(number, kind, data), data)
        self._room -= len(data)
        return Entry(number, kind, path)

    def number(self) -> int:
        """Return the number of the next entry."""
        with self._guard:
            number, self._next = self._next, self._next + 1
        return number

    def entries(self) -> list[Entry]:
        """Return the entries on disk, in order."""
        found = (entry_at(path) for path in self.folder.iterdir() if path.is_file() and not path.is_symlink())
        return sorted((entry for entry in found if entry), key=lambda entry: entry.number)

    def entries_but(self, kind: Kind) -> list[Entry]:
        """Return the entries on disk that are not of a kind: samples are kept until the run's folder goes."""
        return [entry for entry in self.entries() if entry.kind != kind]

    def unfinished(self) -> list[Path]:
        """Return entries that were being written when their process died; they were never whole."""
        return sorted(self.folder.glob(f".*{UNFINISHED}"))

    def discard(self, entry: Entry) -> None:
        """Forget an entry that MLflow holds."""
        if entry.path is not None:
            with contextlib.suppress(OSError):
                entry.path.unlink()
                self._look_at = 0.0  # its room is found when there seems to be none

    def close(self, *, remove: bool) -> None:
        """Let go of the folder; with `remove` nothing of it is needed any more.

        Whoever takes it over must not meet us there: while it is `in_use`, letting go waits in a thread of
        its own, at the latest for the end of the process.
        """
        if not self.in_use.locked():
            self._let_go(remove)
            return
        with contextlib.suppress(RuntimeError):  # the interpreter ends
            threading.Thread(target=self._let_go, args=(remove,), daemon=True).start()

    def _look(self) -> None:
        """Find out how much room there is: whatever lies under the root takes some."""
        self._room = self._limit - _size(self.folder.parent)
        self._look_at = time.monotonic() + LOOK_SECONDS

    def _let_go(self, remove: bool) -> None:
        with self.in_use:
            folder = self.folder
            if remove:  # at once for everybody else: half a folder is no run
                with contextlib.suppress(OSError):
                    folder = folder.rename(folder.with_name(f".{folder.name}{_GONE}"))
                shutil.rmtree(folder, ignore_errors=True)
            self._lock.release()
            if remove:  # filelock makes its file anew if it was released late
                shutil.rmtree(folder, ignore_errors=True)


def spool_folders() -> Iterator[Path]:
    """Yield the run folders under the spool's root, oldest first; what has no name of ours is not ours.

    Raises:
        SpoolError: The root is not ours alone.
    """
    root = spool_root()
    if not root.exists():
        return
    _check_private(root)
    for folder in sorted(root.iterdir()):
        if folder.name.startswith(".") and folder.name.endswith(_GONE):  # its process died while clearing it
            shutil.rmtree(folder, ignore_errors=True)
        elif _NAME.fullmatch(folder.name):
            stillborn, _error = attempt(partial(_is_stillborn, folder))  # it may vanish, or not be ours
            if not stillborn:
                yield folder


def read_header(folder: Path) -> Header:
    """Return a folder's header.

    Raises:
        SpoolError: There is none, or it cannot be read.
    """
    try:
        return Header(**json.loads((folder / HEADER_FILE).read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise SpoolError(
            f"{folder / HEADER_FILE} cannot be read ({error}): the folder does not say which run it belongs "
            "to. Its round entries are Arrow streams that pyarrow.ipc opens."
        ) from error


def _is_stillborn(folder: Path) -> bool:
    """Return whether a process died before it had written anything here; such a folder is cleared away."""
    if (
        folder.is_symlink()
        or not folder.is_dir()
        or {path.name for path in folder.iterdir()} - {LOCK_FILE, _NEW}
    ):
        return False
    if time.time() - folder.stat().st_mtime > 60:  # else its process may be about to write
        shutil.rmtree(folder, ignore_errors=True)
    return True


def _acquire(folder: Path) -> BaseFileLock | None:
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK_FILE, mode=0o600, blocking=False, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        return None
    return lock


def _check_private(folder: Path) -> None:
    """Raise a `SpoolError` unless the folder is a real one, ours, and writable for nobody else."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise SpoolError(
            f"{folder} is no folder (links are not followed here): remove it, or set TIMELAPSE_SPOOL."
        )
    if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
        raise SpoolError(
            f"{folder} belongs to another user: set TIMELAPSE_SPOOL to a folder of your own, or, if it comes "
            "from a training of yours under another name (sudo, a container), give it to yourself with chown."
        )
    if os.name == "posix" and status.st_mode & 0o022:
        raise SpoolError(
            f"{folder} can be written by others: run `chmod 700 {folder}`, and look what lies in it."
        )


def _write(folder: Path, name: str, data: bytes) -> Path:
    final, aside = folder / name, folder / f".{name}{UNFINISHED}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
    flags |= getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(aside, flags, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(handle, view) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        aside.replace(final)
    except OSError:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise
    return final


def _size(folder: Path) -> int:
    """Return the bytes under a folder; what vanishes meanwhile does not count."""
    total = 0
    for base, _folders, files in os.walk(folder):
        for file in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(base, file)).st_size  # noqa: PTH118 - many files
    return total
