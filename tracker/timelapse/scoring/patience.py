"""Calling what may never come back: somebody else's scorer or validator."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE_SECONDS = 120.0
"""How long a judge of the user's may look at one answer; longer if its budget for a round is greater."""

_Job = tuple[Callable[[], Any], "SimpleQueue[Any]"]


class Caller:
    """Calls functions in a thread that can be left behind, as Python can end no call from outside.

    A context manager: its thread ends with it, but for one that hangs.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job | None] | None = None
        self._thread: threading.Thread | None = None

    def call(self, function: Callable[[], T], seconds: float) -> T:
        """Return what a function that never raises returns.

        Raises:
            TimeoutError: It took longer than these seconds.
        """
        if self._jobs is None:
            jobs: SimpleQueue[_Job | None] = SimpleQueue()
            thread = threading.Thread(target=_work, args=(jobs,), name="timelapse-judge", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # Python 3.12 and later start none while the interpreter ends
                return function()
            self._jobs, self._thread = jobs, thread
        answer: SimpleQueue[T] = SimpleQueue()
        self._jobs.put((function, answer))
        try:
            return answer.get(timeout=seconds)
        except Empty:
            self._jobs.put(None)  # should it ever come back, its thread ends
            self._jobs = self._thread = None
            raise TimeoutError(f"no answer within {seconds:g} s; it is not asked again") from None

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        if self._jobs is not None and self._thread is not None:
            self._jobs.put(None)
            self._thread.join()


def _work(jobs: SimpleQueue[_Job | None]) -> None:
    while (job := jobs.get()) is not None:
        function, answer = job
        answer.put(function())
