"""How a child process has ended, in MLflow's words and in a shell's."""

from __future__ import annotations

import signal
from dataclasses import dataclass

NOT_STARTED = 127
"""Exit code of a child that could not be started, as a shell has it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child has ended."""

    code: int
    """Its exit code; below 0, the signal that ended it."""
    asked: str | None
    """The signal that the launcher was sent first, and handed on, if it was."""
    trouble: str | None = None
    """What has gone wrong with the launcher itself, if something has."""

    @property
    def exit_code(self) -> int:
        """The exit code that tells a shell the same: 128 + n for signal n."""
        return 128 - self.code if self.code < 0 else self.code

    @property
    def status(self) -> str:
        """MLflow's status for the run: FINISHED, FAILED, or KILLED by a signal."""
        if self.code < 0 or self.asked:
            return "KILLED"
        return "FAILED" if self.code else "FINISHED"

    @property
    def reason(self) -> str:
        """Why it has not finished, in a few words."""
        if self.trouble:
            return self.trouble
        if self.code == -signal.SIGKILL and not self.asked:
            return "SIGKILL: somebody killed the training, or it ran out of memory"
        if self.code < 0:
            end = _signal_name(-self.code)
            return f"{self.asked}, then {end}" if self.asked not in (None, end) else end
        return self.asked or f"the training ended with exit code {self.code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
