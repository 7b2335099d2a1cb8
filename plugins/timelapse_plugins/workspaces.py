"""MLflow's workspaces: a page's address names one in its query, MLflow wants it in a header."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

HEADER = b"x-mlflow-workspace"
"""The header by which MLflow knows the workspace of a request."""


class WorkspaceOfAddress:
    """Turns `?workspace=…` into MLflow's header, unless the request has that already."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and HEADER not in dict(scope["headers"]):
            named = parse_qs(scope["query_string"].decode("latin-1")).get("workspace")
            if named and named[-1].isprintable():
                scope = {**scope, "headers": [*scope["headers"], (HEADER, named[-1].encode())]}
        await self._app(scope, receive, send)
