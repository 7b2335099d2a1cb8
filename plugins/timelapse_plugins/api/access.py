"""Who may see what: MLflow authorises every request, as its caller, before anything of a run is touched."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from fastapi import Depends, Path, Query, Request

from timelapse_plugins.api.answers import answer, encoded
from timelapse_plugins.api.problems import Problem
from timelapse_plugins.api.run_data import RunData
from timelapse_plugins.api.runs import RUN_ID, StoredRun
from timelapse_plugins.inner import Caller
from timelapse_plugins.refusals import Refused, object_of

if TYPE_CHECKING:
    from starlette.responses import Response

    from timelapse.report.documents import RunInfo
    from timelapse_plugins.api.run_data import HeldView
    from timelapse_plugins.inner import Inner

MOST_JSON = 16 << 20
"""Bytes of an answer of MLflow's REST API that are read."""
MOST_DOWNLOADS = 8
"""Files that are written to the server's disk and sent at a time, however slowly they are taken."""
NAME_SECONDS = 30.0
"""For how long the name of an experiment is kept."""
MOST_ID = 5_000
"""Characters of a sample's id: some take the question itself, and a query holds so many of any script."""

SetName = Annotated[
    str | None, Query(alias="set", max_length=200, description="The sample set; `main`, or the only one.")
]
Attempt = Annotated[
    int | None, Query(ge=0, le=1_000_000, description="The attempt; by default of each step the newest.")
]


class Authorise(Protocol):
    """Asks MLflow for a run as a caller."""

    async def __call__(self, run_id: str, caller: Caller) -> Mapping[str, Any]:
        """Return what `runs/get` answers.

        Raises:
            Refused: MLflow does not show them the run.
        """
        ...  # pragma: no cover


class AskMlflow:
    """Asks MLflow on every request."""

    def __init__(self, inner: Inner) -> None:
        self._inner = inner

    async def __call__(self, run_id: str, caller: Caller) -> Mapping[str, Any]:
        """Return what `runs/get` answers."""
        return await asked(self._inner, "/api/2.0/mlflow/runs/get", [("run_id", run_id)], caller)


async def asked(inner: Inner, path: str, params: list[tuple[str, str]], caller: Caller) -> Mapping[str, Any]:
    """Return what MLflow's REST API answers.

    Raises:
        Refused: It answers with another status than 200.
    """
    got = await inner.get(path, params, caller, MOST_JSON)
    if got.status != 200:
        raise Refused(got.status, got.headers, got.body)
    return object_of(got)


@dataclass(frozen=True, slots=True)
class Service:
    """What all requests share."""

    inner: Inner
    """MLflow's app."""
    authorise: Authorise
    """Asks it for runs."""
    data: RunData
    """What runs hold."""
    known_inner: bool
    """Whether the app is one whose permissions we know."""
    downloads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_DOWNLOADS))
    """The files that may be sent at a time."""

    async def admit(self, caller: Caller) -> None:
        """Let through whoever MLflow knows: for what shows nothing of anybody, but takes time to work out.

        Raises:
            Refused: MLflow wants to know who it is.
        """
        await asked(self.inner, "/api/2.0/mlflow/experiments/search", [("max_results", "1")], caller)

    async def run(self, run_id: str, caller: Caller) -> StoredRun:
        """Return a run that the caller may see.

        Raises:
            Refused: MLflow does not show it to them.
            Problem: It is deleted.
        """
        run = StoredRun.of(await self.authorise(run_id, caller))
        if run.deleted:
            raise Problem(404, f"Run {run_id} is deleted.", "Restore it in MLflow, or look at another run.")
        return run

    async def experiment(self, experiment_id: str, caller: Caller) -> str:
        """Return the name of an experiment.

        Raises:
            Refused: MLflow does not tell it to the caller.
        """
        path, params = "/api/2.0/mlflow/experiments/get", [("experiment_id", experiment_id)]
        found = await asked(self.inner, path, params, caller)
        experiment: Mapping[str, Any] = found.get("experiment", {})
        if experiment.get("lifecycle_stage", "active") != "active":
            raise Problem(404, f"Experiment {experiment_id} is deleted.", "Restore it in MLflow.")
        return str(experiment.get("name", ""))

    async def experiment_of(self, run: StoredRun, caller: Caller) -> str:
        """Return the name of the experiment of a run that the caller may see; empty if they may not know."""
        key = ("experiment", run.run_id)
        kept, name = self.data.memory.get(key) or (-NAME_SECONDS, "")
        if time.monotonic() - kept >= NAME_SECONDS or not self.known_inner:
            try:
                name = await self.experiment(run.experiment_id, caller)
            except (Refused, Problem):
                return ""
            self.data.memory.put(key, (time.monotonic(), name), len(name))
        return str(name)


@dataclass(frozen=True, slots=True)
class RunAccess:
    """One request for one run that its caller may see."""

    service: Service
    """What all requests share."""
    request: Request
    """The request."""
    caller: Caller
    """Who asks."""
    run: StoredRun
    """The run."""

    async def info(self) -> RunInfo:
        """Return the run as a document."""
        return self.run.info(await self.service.experiment_of(self.run, self.caller))

    async def view(self, set_name: str | None, attempt: int | None) -> HeldView:
        """Return what it holds in one sample set."""
        return await self.service.data.view(self.run, self.caller, set_name, attempt)

    async def document(self, view: HeldView, what: tuple[Hashable, ...], make: Callable[[], Any]) -> Response:
        """Answer with a document made of a view, once; `what` says which it is."""
        body = await self.service.data.made(view, ("json", *what), lambda: encoded(make()), len)
        return answer(self.request, body)


def service_of(request: Request) -> Service:
    """Return what all requests share."""
    service: Service = request.app.state.service
    return service


async def run_access(
    request: Request,
    run_id: Annotated[str, Path(pattern=RUN_ID, description="The run's id, as MLflow has it.")],
) -> RunAccess:
    """Authorise a request for a run."""
    service, caller = service_of(request), Caller.of(request.scope)
    return RunAccess(service, request, caller, await service.run(run_id, caller))


OfRun = Annotated[RunAccess, Depends(run_access)]
