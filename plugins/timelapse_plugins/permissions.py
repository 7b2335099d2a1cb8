"""Who may see a run: whoever MLflow shows it to, asked with the caller's own credentials."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from timelapse_plugins.inner import TooLargeError
from timelapse_plugins.remembered import Identity, Remembered

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from timelapse_plugins.inner import Answer, Caller, Inner

MAX_RUN = 16 << 20
"""Bytes of a run's description (parameters, newest metrics, tags) that are read."""
_REMEMBERED_RUN = 64 << 10  # larger descriptions are asked for each time: memory stays bounded


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a run is not shown, as MLflow says it."""

    status: int
    """HTTP status: 401, 403, 404, or 502 if MLflow's answer could not be read."""
    detail: str
    """MLflow's own words, or ours where it has none."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """What goes with the status: `www-authenticate`."""


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

    async def may_read_run(
        self, run_id: str, caller: Caller, *, fresh: bool = False
    ) -> dict[str, Any] | Refusal:
        """Return the run as MLflow describes it to the caller, or why it does not.

        Args:
            run_id: The run's id, as it was asked for.
            caller: Who asks.
            fresh: Ask MLflow even if it has allowed this a moment ago.

        Returns:
            The object `run` of MLflow's answer to `runs/get`, with `info`, `data` and `inputs`; it may be
            as old as permissions are remembered. A deleted run is refused as one that is not there.
        """
        key = self._identity.key(caller, "run", run_id)
        known = None if fresh else self._runs.get(key)
        if known is not None:
            return known
        try:
            answer = await self._inner.get("/api/2.0/mlflow/runs/get", [("run_id", run_id)], caller, MAX_RUN)
        except TooLargeError as error:
            return Refusal(502, f"MLflow's description of the run is too large to read: {error}.")
        run = _run_of(answer)
        self._runs.drop(key)
        if isinstance(run, dict) and len(answer.body) <= _REMEMBERED_RUN:
            self._runs.put(key, run)
        return run


def refusal_of(answer: Answer) -> Refusal:
    """Return a refusal of MLflow's as one of ours; one that sends to a login page says 401."""
    headers = {name: answer.headers[name] for name in ("www-authenticate",) if name in answer.headers}
    if 300 <= answer.status < 400:
        return Refusal(401, "MLflow asks for a login: sign in to MLflow, then come back.", headers)
    return Refusal(answer.status, _words_of(answer), headers)


def _run_of(answer: Answer) -> dict[str, Any] | Refusal:
    if answer.status != 200:
        return refusal_of(answer)
    try:
        run = json.loads(answer.body)["run"]
        stage = run["info"].get("lifecycle_stage", "active")
    except (ValueError, KeyError, TypeError, AttributeError):
        return Refusal(502, "MLflow answered something else than a run: is its login page in the way?")
    if stage != "active":
        return Refusal(404, f"Run '{run['info'].get('run_id')}' is deleted.")
    return dict(run)


def _words_of(answer: Answer) -> str:
    """Return what MLflow says in an error: the `message` of its JSON, or its short plain text."""
    text = answer.body[:2000].decode("utf-8", errors="replace").strip()
    try:
        said = json.loads(answer.body)["message"]
    except (ValueError, KeyError, TypeError):
        plain = answer.headers.get("content-type", "").startswith("text/plain") or not text.startswith("<")
        return text if text and plain else f"MLflow answered {answer.status}."
    return str(said)
