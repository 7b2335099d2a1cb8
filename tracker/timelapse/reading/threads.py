"""Bounded pools of threads, for reading many files and runs at the same time."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from contextvars import copy_context
from typing import TYPE_CHECKING, Self, TypeVar, cast

from timelapse.fence import attempt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

S = TypeVar("S")
T = TypeVar("T")

DOWNLOADS = 8
"""How many files are fetched at the same time."""


class Threads(AbstractContextManager["Threads"]):
    """A bounded pool of threads; what is still waiting when its block is left is not begun."""

    def __init__(self, count: int = DOWNLOADS) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="timelapse-reading")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def all(self, calls: Mapping[str, Callable[[], T]]) -> tuple[dict[str, T], dict[str, BaseException]]:
        """Make calls at the same time; return the results and the errors, by name, in order."""
        waiting = {name: self.begin(attempt, call) for name, call in calls.items()}
        results, errors = {}, {}
        for name, future in waiting.items():
            result, error = future.result()
            if error is None:
                results[name] = cast("T", result)
            else:
                errors[name] = error
        return results, errors

    def each(self, call: Callable[[S], T], items: Iterable[S], *, ahead: int) -> Iterator[T]:
        """Make a call for each item at the same time; yield the results in order, raise the first error.

        `ahead`: how many items are taken before the oldest one's result is asked for.
        """
        waiting: deque[Future[T]] = deque()
        for item in items:
            waiting.append(self.begin(call, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def begin(self, call: Callable[[S], T], item: S) -> Future[T]:
        """Begin a call in one of the threads."""
        return self._pool.submit(copy_context().run, call, item)  # each thread has our request settings
