"""Our pages for a tracking server that one cannot change: read-only, on this machine, for its user alone."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import RedirectResponse
from starlette.routing import Mount, Route

from timelapse.config.redact import without_credentials
from timelapse.errors import RunError
from timelapse.polite import silence_of
from timelapse_plugins.doors import OpenDoors
from timelapse_plugins.inner import MAX_BODY
from timelapse_plugins.inner_http import OverHttp
from timelapse_plugins.permissions import Permissions
from timelapse_plugins.security import SecurityHeaders
from timelapse_plugins.site import build_site
from timelapse_plugins.static_files import StaticFiles
from timelapse_plugins.token_gate import PARAMETER, TokenGate

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp

_REMEMBERED_SECONDS = 30


def remote_app(uri: str, token: str, port: int) -> ASGIApp:
    """Make the app: our pages, behind the token. Whatever is MLflow's own leads to the server itself.

    Args:
        uri: The tracking URI.
        token: What a browser must know.
        port: The port on 127.0.0.1 that the app is served at.
    """
    inner = OverHttp(uri)
    site = build_site(
        inner, Permissions(inner, _REMEMBERED_SECONDS), OpenDoors(), StaticFiles(), known_inner=True
    )
    mlflow = f"{without_credentials(uri).rstrip('/')}/"

    async def to_mlflow(request: Request) -> RedirectResponse:
        # A browser keeps the fragment, and with it MLflow's route: /#/experiments/1 finds its place.
        return RedirectResponse(mlflow, 307)

    app = Starlette(routes=[Route("/", to_mlflow), Mount("/", site)])
    return SecurityHeaders(TokenGate(app, token, port))


def check_server(uri: str) -> None:
    """Make sure that the server is there and lets us in.

    Raises:
        RunError: It does not. Says what to do.
    """
    path, asked = "/api/2.0/mlflow/experiments/search", {"max_results": "1"}
    answer = OverHttp(uri).ask("GET", path, {}, MAX_BODY, params=asked)
    place = without_credentials(uri)
    if answer.status in (401, 403):
        raise RunError(
            f"{place} does not let you in ({answer.status}): set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN."
        )
    if 300 <= answer.status < 400:
        to = answer.headers.get("location", "another address")
        raise RunError(f"{place} sends us to {to}: give that address to --tracking-uri if you trust it.")
    if answer.status != 200:
        said = answer.body.decode(errors="replace").strip()
        said = f"{silence}. Is it running?" if (silence := silence_of(said)) else said[:300]
        raise RunError(f"{place} is no MLflow server that answers ({answer.status}): {said}")


def first_page(uri: str) -> str:
    """Return the path of the page to begin with: the experiment of the newest run with predictions."""
    from timelapse.reading.runs import LAST, find_run

    try:
        experiment_id = find_run(LAST, tracking_uri=uri).info.experiment_id
    except RunError:  # no run has any yet
        experiment_id = "0"
    return f"/timelapse/experiments/{experiment_id}"


def serve_remote(uri: str, listener: socket.socket, path: str, announce: Callable[[str], None]) -> None:
    """Serve the pages until the process is told to stop.

    Args:
        uri: The tracking URI.
        listener: A socket that listens on 127.0.0.1.
        path: Path of the page to begin with.
        announce: Called with that page's address, token and all, when it can be opened.
    """
    import uvicorn

    token, port = secrets.token_urlsafe(32), listener.getsockname()[1]
    app = remote_app(uri, token, port)
    # No access log: the first address holds the token.
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", server_header=False)
    announce(f"http://127.0.0.1:{port}{path}?{PARAMETER}={token}")
    uvicorn.Server(config).run(sockets=[listener])
