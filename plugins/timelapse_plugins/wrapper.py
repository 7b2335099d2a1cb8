"""The wrapper around MLflow's app: our addresses are ours, all else passes through untouched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from timelapse_plugins.doors import MlflowsDoors
from timelapse_plugins.inner import InProcess
from timelapse_plugins.mlflow_ui import AlteredIndex
from timelapse_plugins.permissions import Permissions
from timelapse_plugins.site import build_site
from timelapse_plugins.static_files import StaticFiles

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from timelapse_plugins.settings import ServerSettings


class Wrapper:
    """Sends requests below `<prefix>/timelapse` to our site, and everything else to MLflow.

    Args:
        inner: MLflow's app. Lifespan, websockets and every request that is not ours are its own.
        site: Our site.
        prefix: MLflow's static prefix.
    """

    def __init__(self, inner: ASGIApp, site: ASGIApp, prefix: str = "") -> None:
        self._inner, self._site = inner, site
        self._home = f"{prefix}/timelapse"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or whatever else a server asks."""
        ours = scope["type"] in ("http", "websocket") and self._is_ours(_path(scope))
        await (self._site if ours else self._inner)(scope, receive, send)

    def _is_ours(self, path: str) -> bool:
        return path == self._home or path.startswith(f"{self._home}/")


def wrap(inner: ASGIApp, settings: ServerSettings, *, remembers: bool) -> Wrapper:
    """Put our site, and our additions to MLflow's own pages, around MLflow's app.

    Args:
        inner: MLflow's app.
        settings: What the environment says.
        remembers: Whether the inner app's permissions may be remembered at all.
    """
    prefix, seconds = settings.static_prefix, settings.permission_seconds if remembers else 0
    files = StaticFiles()
    requests = InProcess(inner, prefix)
    site = build_site(
        requests,
        Permissions(requests, seconds),
        MlflowsDoors(requests, seconds),
        files,
        known_inner=remembers,
        prefix=prefix,
        frame_options=settings.frame_options,
    )
    if settings.mlflow_ui == "on":
        inner = AlteredIndex(inner, files, prefix=prefix, frames=settings.frame_options != "DENY")
    return Wrapper(inner, site, prefix)


def _path(scope: Scope) -> str:
    """Return a request's path without what uvicorn's `--root-path` puts before it."""
    path, root = str(scope["path"]), scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path
