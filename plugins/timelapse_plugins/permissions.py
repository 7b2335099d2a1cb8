"""Who may see a run: whoever MLflow shows it to, asked with the caller's own credentials."""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Any

from timelapse_plugins.inner import TooLargeError
from timelapse_plugins.refusals import Refused
from timelapse_plugins.remembered import Identity, Remembered

if TYPE_CHECKING:
    from collections.abc import Callable

    from timelapse_plugins.inner import Answer, Caller, Inner

MAX_RUN = 16 << 20
"""Bytes of a run's description (parameters, newest metrics, tags) that are read."""
_REMEMBERED_RUN = 64 << 10  # larger descriptions are asked for each time: memory stays bounded

_LIVE_SECONDS = 3.0  # the tags of a run that still trains say how far it is


class Permissions:
    """Asks MLflow who may see what, and remembers for some seconds what it allowed.

    Args:
        inner: The MLflow app.
        seconds: How long a permission is remembered; 0 for not at all. A refusal never is.
        clock: Seconds that only grow.
    """

    def __init__(self, inner: Inner, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._inner = inner
        self._identity = Identity()
        self._runs = Remembered[dict[str, Any]](seconds, clock)

    async def may_read_run(self, run_id: str, caller: Caller, *, fresh: bool = False) -> dict[str, Any]:
        """Return a run as MLflow describes it to the caller.

        Args:
            run_id: The run's id, as it was asked for.
            caller: Who asks.
            fresh: Ask MLflow even if it has allowed this a moment ago.

        Returns:
            The object `run` of MLflow's answer to `runs/get`, with `info`, `data` and `inputs`; it may be
            as old as permissions are remembered.

        Raises:
            Refused: MLflow does not show it to the caller, or it is deleted.
        """
        key = self._identity.key(caller, "run", run_id)
        known = None if fresh else self._runs.get(key)
        if known is not None:
            return known
        self._runs.drop(key)
        answer = await self._ask(run_id, caller)
        run = _run_of(answer)
        if len(answer.body) <= _REMEMBERED_RUN:
            live = run["info"].get("status") == "RUNNING"
            self._runs.put(key, run, _LIVE_SECONDS if live else math.inf, len(answer.body))
        return run

    async def _ask(self, run_id: str, caller: Caller) -> Answer:
        try:
            return await self._inner.get("/api/2.0/mlflow/runs/get", [("run_id", run_id)], caller, MAX_RUN)
        except TooLargeError as error:
            raise _ours(502, f"MLflow's description of the run is too large to read: {error}.") from None


def _run_of(answer: Answer) -> dict[str, Any]:
    if answer.status != 200:
        raise Refused(answer.status, answer.headers, answer.body)
    try:
        run = json.loads(answer.body)["run"]
        stage = run["info"].get("lifecycle_stage", "active")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _ours(502, "MLflow answered something else than a run: is a login page in the way?") from None
    if stage != "active":
        raise _ours(404, f"Run '{run['info'].get('run_id')}' is deleted.")
    return dict(run)


def _ours(status: int, detail: str) -> Refused:
    return Refused(status, {}, json.dumps({"detail": detail}).encode())
