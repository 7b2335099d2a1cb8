"""The outbox: what is on its way to MLflow lies on disk until the server has it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from platformdirs import user_state_path


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

    def put(self, name: str, data: bytes) -> None:
        """Store a file durably; a file of the same name that still waits is replaced."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        final, aside = self.folder / name, self.folder / f".{name}.part"
        with open(aside, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(final)
        if final not in self._order:
            self._order.append(final)

    def waiting(self) -> list[Path]:
        """Return the files that wait, in the order in which they were put."""
        return list(self._order)

    def delivered(self, path: Path) -> None:
        """Forget a file that MLflow now holds; the folder goes with its last file."""
        self._order.remove(path)
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty: other files wait
            self.folder.rmdir()
