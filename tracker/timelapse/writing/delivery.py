"""Delivery: requests to one MLflow run, in their order, whatever the server does."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from timelapse.fence import Fence, attempt, describe
from timelapse.writing.client import is_refusal, polite_requests

if TYPE_CHECKING:
    from mlflow import MlflowClient

Request = Callable[["MlflowClient", str], object]
"""A call with the client and the run's id."""

RETRY_AFTER_SECONDS = 30.0
"""After a failure the training is spared another attempt for this long."""


class Delivery:
    """Sends requests in the order in which they come; none overtakes one that waits.

    A server that fails or does not answer is left alone for a while, and what it has missed is sent then, or
    at the end. What it refuses for good (the run was deleted, a parameter is another already) is dropped, and
    said. Nothing is raised. Without a client nothing is sent.
    """

    def __init__(self, client: MlflowClient | None, run_id: str | None, fence: Fence) -> None:
        self._client, self._run_id, self._fence = client, run_id, fence
        self._waiting: deque[tuple[str, Request]] = deque()
        self._retry_at = 0.0

    def send(self, activity: str, request: Request) -> None:
        """Send a request now, or behind those that wait; `activity` names it in a warning."""
        if self._client is not None:
            self._waiting.append((activity, request))
            self.flush()

    def flush(self, *, now: bool = False) -> None:
        """Send what waits; soon after a failure only if `now`."""
        if not now and time.monotonic() < self._retry_at:
            return
        while self._waiting and self._attempt(*self._waiting[0]):
            self._waiting.popleft()

    def _attempt(self, activity: str, request: Request) -> bool:
        """Make a request, and return whether it is over and done with."""
        assert self._client is not None
        assert self._run_id is not None
        with polite_requests():
            _result, error = attempt(partial(request, self._client, self._run_id))
        if error is None:
            return True
        if is_refusal(error):
            self._fence.report(activity, f"MLflow refuses it: {describe(error)}", "The training goes on.")
            return True
        self._retry_at = time.monotonic() + RETRY_AFTER_SECONDS
        self._fence.report(
            "sending to MLflow",
            f"{activity}: {describe(error)}",
            "The training goes on; rounds wait on disk, and are sent when MLflow answers again.",
        )
        return False
