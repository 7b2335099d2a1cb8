"""A run that opens itself when it is needed, so that `start_run` can decorate a function, too."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ContextDecorator
from typing import Any, TypeVar

from timelapse.fence import warn
from timelapse.run import TrainingRun

F = TypeVar("F", bound=Callable[..., Any])


class LazyRun(TrainingRun, ContextDecorator):
    """A run that is opened when it is entered or first used, so that it can decorate a function, too."""

    def __init__(self, begin: Callable[[TrainingRun | None], TrainingRun]) -> None:
        self._begin = begin
        self._used = False

    def __call__(self, function: F) -> F:
        """Make each call of a function a run of its own."""
        self._used = True
        return super().__call__(function)

    def __del__(self) -> None:
        if not self._used and not sys.is_finalizing():
            warn("timelapse.start_run(...) opened no run, as nothing used it: write `with` before it.")

    def __enter__(self) -> TrainingRun:
        self._begin_once()
        return self

    def _recreate_cm(self) -> TrainingRun:  # type: ignore[override] # each call of the function is a run
        return self._begin(None)

    def _begin_once(self) -> None:
        self._used = True
        if "_recorder" not in self.__dict__:
            self._begin(self)

    def __getattr__(self, name: str) -> Any:
        """Open the run when one of its attributes is asked for the first time."""
        if name.startswith("__") or name not in _ATTRIBUTES or "_recorder" in self.__dict__:
            raise AttributeError(f"'TrainingRun' has no attribute '{name}'")
        self._begin_once()
        return getattr(self, name)


_ATTRIBUTES = {
    *("experiment_id", "former_status", "fence", "_recorder", "_tracking_uri", "_ledger", "_status", "_sets"),
    *("_unfinished", "_ended", "_sending", "_unwatch"),
}
