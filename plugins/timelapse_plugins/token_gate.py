"""One user's door: nobody else on this machine, and no page of a browser, gets in without the token."""

from __future__ import annotations

import hmac
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

PARAMETER = "token"
"""The token's name in the address that is printed."""
HTTP = 80
"""The port that browsers leave out."""

_GO_ON = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Timelapse</title>
<meta http-equiv="refresh" content="0; url={address}">
</head>
<body><a href="{address}">Go on to Timelapse</a></body>
</html>
"""


class TokenGate:
    """Lets requests through that have the token: once in their address, then in a cookie.

    Args:
        app: What is behind the gate.
        token: The token.
        port: The port that we listen on: an address with another host or port is refused, so that no page
            elsewhere can point a name of its own at us.
    """

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app, self._token = app, token
        ours = ("127.0.0.1", "localhost")
        self._hosts = {f"{host}:{port}" for host in ours} | set(ours if port == HTTP else ())
        self.cookie = f"timelapse-{port}"  # browsers send cookies to all ports of a host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        answer = self._answer(request)
        await (answer or self._app)(scope, receive, send)

    def _answer(self, request: Request) -> Response | None:
        """Return what to answer at the gate; None to let the request through."""
        if request.headers.get("host", "") not in self._hosts:
            return PlainTextResponse("This host is not ours: use the address that was printed.", 403)
        given = request.query_params.get(PARAMETER)
        if given is not None and request.method == "GET" and self._is_right(given):
            return self._admitted(request)
        if any(map(self._is_right, _cookies(request, self.cookie))):
            return None
        return PlainTextResponse("Open the address that `timelapse ui` has printed: it holds a token.", 403)

    def _admitted(self, request: Request) -> Response:
        pairs = parse_qsl(request.url.query, keep_blank_values=True)
        query = urlencode([pair for pair in pairs if pair[0] != PARAMETER])
        # A path of two slashes would name another host.
        path = "/" + request.url.path.lstrip("/")
        # No redirect: a browser that comes from elsewhere (a terminal in a web page, a file) would follow it
        # without the strict cookie. A page of our own may go on with it.
        page = _GO_ON.format(address=escape(path + (f"?{query}" if query else "")))
        answer = HTMLResponse(page, 200, {"cache-control": "no-store", "referrer-policy": "no-referrer"})
        answer.set_cookie(self.cookie, self._token, httponly=True, samesite="strict")
        return answer

    def _is_right(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())


def _cookies(request: Request, name: str) -> list[str]:
    """Return the values of a cookie: other programs of this host may set odd ones, and one of our name."""
    pairs = (each.strip().partition("=") for each in request.headers.get("cookie", "").split(";"))
    return [value.strip('"') for key, _, value in pairs if key == name]
