"""What holds for every request and answer, whichever resource it is about: pure ASGI, around the app."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import MutableHeaders
from starlette.responses import Response

from timelapse_plugins.api.problems import Problem, problem_response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = "GET, HEAD, OPTIONS"
MOST_QUERY = 64 << 10
"""Bytes of a query: more than most servers let through."""

MOST_PARAMETERS = 2_000
"""Parameters of a query."""

_HEADERS = {
    "cache-control": "private, no-cache",
    "vary": "Cookie, Authorization, X-MLFLOW-WORKSPACE",
    "x-content-type-options": "nosniff",
}


class ReadOnly:
    """Lets GET, HEAD and OPTIONS through, and puts the headers on every answer that all of them have."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method, silent = scope["method"], scope["method"] == "HEAD"

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            elif silent:
                message = {**message, "body": b""}
            await send(message)

        app: ASGIApp = self._app
        if method == "OPTIONS":
            app = Response(None, 204, {"allow": METHODS})
        elif method not in ("GET", "HEAD"):
            app = problem_response(Problem(405, f"{method} is not possible here."), {"allow": METHODS})
        elif problem := _too_much(scope["query_string"]):
            app = problem_response(Problem(422, problem))
        await app({**scope, "method": "GET", "query_string": _told(scope)}, receive, send_with_headers)


def _told(scope: Scope) -> bytes:
    """Return the query without parameters that are empty: `?set=` asks for no set in particular."""
    query: bytes = scope["query_string"]
    pairs = [] if _too_much(query) else parse_qsl(query.decode("latin-1"), errors="replace")
    return urlencode(pairs).encode()


def _too_much(query: bytes) -> str:
    """Return why a query is not read; empty if it is."""
    if len(query) > MOST_QUERY:
        return f"The query has more than {MOST_QUERY:,} bytes."
    return (
        f"The query has more than {MOST_PARAMETERS:,} parameters."
        if query.count(b"&") >= MOST_PARAMETERS
        else ""
    )
