"""The outbox: what is on its way to MLflow lies on disk until the server has it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from platformdirs import user_state_path

from timelapse.fence import describe, warn


def outbox_root() -> Path:
    """Return the folder that holds every run's outbox: `$TIMELAPSE_SPOOL`, else the user's state folder."""
    configured = os.environ.get("TIMELAPSE_SPOOL")
    return Path(configured) if configured else user_state_path("timelapse") / "spool"


class Outbox:
    """Files of one run that MLflow does not hold yet, oldest first.

    A file appears whole or not at all (written aside, synced, renamed) and is private to the user.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._order: list[Path] = []

    def put(self, name: str, data: bytes) -> Path:
        """Store a file durably, and return where; a file of that name that still waits is replaced.

        Where the folder cannot be written (a full disk, no permission) a temporary one takes its place.
        """
        try:
            path = self._write(self.folder, name, data)
        except OSError as error:
            fallback = Path(tempfile.mkdtemp(prefix="timelapse-"))
            warn(
                f"{self.folder} cannot be written: {describe(error)}. Rounds are kept in {fallback} instead."
            )
            self.folder = fallback
            path = self._write(self.folder, name, data)
        if path not in self._order:
            self._order.append(path)
        return path

    @staticmethod
    def _write(folder: Path, name: str, data: bytes) -> Path:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        final, aside = folder / name, folder / f".{name}.part"
        with open(aside, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(final)
        return final

    def waiting(self) -> list[Path]:
        """Return the files that wait, in the order in which they were put."""
        return [path for path in self._order if path.exists()]

    def delivered(self, path: Path) -> None:
        """Forget a file that MLflow now holds; the folder goes with its last file."""
        self._order.remove(path)
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty: other files wait
            path.parent.rmdir()
