"""Putting the API together."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from timelapse_plugins.api import compare, config, experiments, export, predictions, run
from timelapse_plugins.api.access import AskMlflow, Authorise, Service
from timelapse_plugins.api.http import ReadOnly
from timelapse_plugins.api.memory import Memory, memory_limit
from timelapse_plugins.api.problems import MEDIA_TYPE, ProblemDocument, handle_problems
from timelapse_plugins.api.run_data import RunData

if TYPE_CHECKING:
    from timelapse_plugins.inner import Inner

_STATIC_PREFIX = "_MLFLOW_STATIC_PREFIX"  # where `mlflow server --static-prefix` tells it to its own app

_PROBLEM = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    304: {"description": "What the caller's `If-None-Match` names is still right."},
    400: {"description": "MLflow refuses a parameter."},
    401: {"description": "MLflow does not know the caller.", "model": ProblemDocument},
    403: {"description": "MLflow does not let the caller see it."},
    404: {"description": "There is no such thing."},
    405: {"description": "Only GET, HEAD and OPTIONS are possible."},
    422: {"description": "A parameter is wrong."},
    500: {"description": "Timelapse itself failed."},
    502: {"description": "MLflow itself failed."},
    503: {"description": "Too much is being done at a time."},
}


def build(
    inner: Inner,
    authorise: Authorise | None = None,
    *,
    known_inner: bool = True,
    static_prefix: str | None = None,
) -> FastAPI:
    """Return the API as an app to be mounted.

    Args:
        inner: MLflow's app, which authorises every request and hands out every file.
        authorise: Asks it for a run as a caller; by default on every request.
        known_inner: Whether it is known to let whoever may see a run see its artifacts. If it is not, every
            caller must be able to list a run's artifacts, too, and no names are kept.
        static_prefix: What MLflow's `--static-prefix` puts before `/get-artifact`; by default what MLflow's
            own server process was told.

    Raises:
        ConfigError: `TIMELAPSE_SERVER_CACHE_MB` is no number.
    """
    prefix = os.environ.get(_STATIC_PREFIX, "") if static_prefix is None else static_prefix
    app = FastAPI(
        title="Timelapse",
        version="1",
        summary="What a language model answers at each round of its training.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # it would send callers to whatever host they name
        responses={
            status: {**each, "content": _PROBLEM} if status != 304 else each
            for status, each in _ANSWERS.items()
        },
    )
    data = RunData(inner, Memory(memory_limit()), prefix.rstrip("/"), known_inner=known_inner)
    app.state.service = Service(inner, authorise or AskMlflow(inner), data, known_inner)
    for module in (experiments, run, predictions, export, compare, config):
        app.include_router(module.router)
    handle_problems(app)
    app.add_middleware(ReadOnly)
    return app
