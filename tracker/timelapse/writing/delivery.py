"""Delivery: requests to one MLflow run, in their order, whatever the server does."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from timelapse.fence import Fence, attempt, describe
from timelapse.writing.client import is_outage, is_refusal, polite_requests

if TYPE_CHECKING:
    from mlflow import MlflowClient

Request = Callable[["MlflowClient", str], object]
"""A call with the client and the run's id."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 30.0, 600.0
"""After a failure the training is spared another attempt for this long, twice as long after the next."""

MOST_TRIES = 3
"""A request that fails, and not because MLflow is away, must not hold up the others for ever."""


@dataclass
class _Waiting:
    activity: str
    request: Request
    tries: int = 0


class Delivery:
    """Sends requests in the order in which they come; none overtakes one that waits.

    A server that fails or does not answer is left alone for a while, longer each time, and what it has missed
    is sent then, or at the end. What it refuses for good (the run was deleted, a parameter is another
    already) is dropped, and said. Nothing is raised. Without a client nothing is sent.
    """

    def __init__(self, client: MlflowClient | None, run_id: str | None, fence: Fence) -> None:
        self._client, self._run_id, self._fence = client, run_id, fence
        self._queue: deque[_Waiting] = deque()
        self._pause, self._retry_at = FIRST_PAUSE_SECONDS, 0.0

    def send(self, activity: str, request: Request) -> None:
        """Send a request now, or behind those that wait; `activity` names it in a warning."""
        if self._client is not None:
            self._queue.append(_Waiting(activity, request))
            self.flush()

    def flush(self, *, now: bool = False) -> None:
        """Send what waits; soon after a failure only if `now`."""
        if not now and time.monotonic() < self._retry_at:
            return
        while self._queue and self._is_done(self._queue[0]):
            self._queue.popleft()

    def _is_done(self, waiting: _Waiting) -> bool:
        """Make a request, and return whether it is over and done with."""
        assert self._client is not None
        assert self._run_id is not None
        with polite_requests():
            _result, error = attempt(partial(waiting.request, self._client, self._run_id))
        if error is None:
            self._pause, self._retry_at = FIRST_PAUSE_SECONDS, 0.0
            return True
        waiting.tries += not is_outage(error)
        if is_refusal(error) or waiting.tries >= MOST_TRIES:
            self._fence.report(waiting.activity, describe(error), "It is not sent. The training goes on.")
            return True
        self._retry_at = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        self._fence.report(
            "sending to MLflow",
            f"{waiting.activity}: {describe(error)}",
            "The training goes on; rounds wait on disk, and are sent when MLflow answers again.",
        )
        return False
