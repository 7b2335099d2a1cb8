"""What a run's tag `timelapse.status` says: how it goes, what went wrong, what a budget has left out."""

from __future__ import annotations

from collections.abc import Sequence


class RunStatus:
    """Collects what is to be said of a run's predictions. What stops rounds for good is said first."""

    def __init__(self) -> None:
        self.troubles: list[str] = []
        """What went wrong, in its order."""
        self._halted: list[str] = []
        self._left_out: dict[str, str] = {}
        self._disabled: str | None = None

    def disable(self, reason: str) -> str:
        """No predictions will be made; return the status."""
        self._disabled = f"disabled: {reason}"
        return self._disabled

    def degrade(self, trouble: str) -> str:
        """Something went wrong; return the status."""
        self.troubles.append(trouble)
        return f"degraded: {trouble}"

    def give_up(self, reason: str) -> str:
        """No more rounds of a set are made; return the status."""
        self._halted.append(reason)
        return f"degraded: {reason}"

    def limit(self, about: str, left_out: str) -> str | None:
        """A budget has left something out; return the status, None if something worse is said already.

        A later text `about` the same replaces this.
        """
        self._left_out[about] = left_out
        return None if self.troubles or self._halted else self._with_limits("live")

    def final(self, rounds: int, more_troubles: Sequence[str] = ()) -> str:
        """Return the status of a run that has come to its end with so many rounds."""
        troubles = [*self._halted, *self.troubles, *more_troubles]
        if troubles:
            more = f" (and {len(troubles) - 1} more)" if len(troubles) > 1 else ""
            return self._with_limits(f"degraded: {troubles[0]}{more}")
        if self._disabled and not rounds:
            return self._disabled
        return self._with_limits("finished" if rounds else "finished: no round was made")

    def _with_limits(self, status: str) -> str:
        """Return a status with what the budgets have left out behind it."""
        left_out = "; ".join(self._left_out.values())
        if not left_out:
            return status
        return f"{status}; {left_out}" if ":" in status else f"{status}: {left_out}"
