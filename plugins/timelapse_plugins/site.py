"""Everything below `/timelapse`: pages, their files, and the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Mount, Route

from timelapse_plugins.api import build
from timelapse_plugins.inner import Caller
from timelapse_plugins.pages import PAGES, Page, not_found, passed_on, shell
from timelapse_plugins.security import SecurityHeaders
from timelapse_plugins.workspaces import WorkspaceOfAddress

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from timelapse_plugins.doors import Doors
    from timelapse_plugins.inner import Inner
    from timelapse_plugins.permissions import Permissions
    from timelapse_plugins.static_files import StaticFiles


def build_site(
    inner: Inner,
    permissions: Permissions,
    doors: Doors,
    files: StaticFiles,
    *,
    known_inner: bool = False,
    prefix: str = "",
    frame_options: str = "SAMEORIGIN",
) -> ASGIApp:
    """Make the app that answers below `<prefix>/timelapse`.

    Args:
        inner: The MLflow app that the data come from.
        permissions: Who may see which run.
        doors: Who gets pages and files.
        files: The pages' files.
        known_inner: Whether the inner app is one whose permissions we know.
        prefix: MLflow's static prefix.
        frame_options: MLflow's X-Frame-Options.
    """
    routes = [
        Mount("/api/v1", build(inner, permissions.may_read_run, known_inner=known_inner, static_prefix="")),
        Route("/static/{name:path}", _file_endpoint(doors, files)),
        *(Route(page.path, _page_endpoint(page, doors, files)) for page in PAGES),
        Route("/{rest:path}", not_found),
    ]
    home = f"{prefix}/timelapse"
    # The first, because Starlette would redirect from there to whatever host the request names.
    site = Starlette(routes=[Route(home, not_found), Mount(home, routes=routes)])
    return SecurityHeaders(WorkspaceOfAddress(site), frame_options)


def _page_endpoint(page: Page, doors: Doors, files: StaticFiles) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        refusal = await doors.page(Caller.of(request.scope))
        return passed_on(refusal) if refusal else shell(page, files)

    return endpoint


def _file_endpoint(doors: Doors, files: StaticFiles) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        refusal = await doors.file(Caller.of(request.scope))
        return passed_on(refusal) if refusal else files.respond(request.path_params["name"], request)

    return endpoint
