"""What we add to MLflow's own pages: one script at the end of its index page, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from timelapse_plugins.static_files import StaticFiles

SCRIPT = "plugin/mlflow-ui.js"
"""The script among our static files."""

# With these MLflow might answer with a part of its page, with none, or with a compressed one.
_NOT_ASKED = frozenset(
    b"if-none-match if-modified-since if-match if-unmodified-since if-range range accept-encoding".split()
)
_GONE = ("etag", "last-modified", "accept-ranges")
"""What MLflow says of its page, and is not true of the altered one."""


class AlteredIndex:
    """Appends our script to MLflow's index page; all other answers pass through untouched.

    Args:
        app: MLflow's app.
        files: Our static files.
        prefix: MLflow's static prefix.
        frames: Whether our pages may be shown in a frame of MLflow's pages.
    """

    def __init__(self, app: ASGIApp, files: StaticFiles, *, prefix: str = "", frames: bool = True) -> None:
        self._app, self._index = app, f"{prefix}/"
        self._tag = _script_tag(files.address(SCRIPT), frames)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or whatever else a server asks."""
        if not self._is_index(scope):
            await self._app(scope, receive, send)
            return
        headers = [(name, value) for name, value in scope["headers"] if name.lower() not in _NOT_ASKED]
        appending = _Appending(self._tag, send, bodiless=scope["method"] == "HEAD")
        await self._app({**scope, "headers": headers}, receive, appending.send)

    def _is_index(self, scope: Scope) -> bool:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            return False
        return bool(scope["path"] == scope.get("root_path", "") + self._index)


class _Appending:
    """Passes an answer on; one that is a whole HTML page, with the tag at its end.

    What stands behind `</html>` belongs to the body for every browser, so that no byte of the page need be
    read or kept.
    """

    def __init__(self, tag: bytes, send: Send, *, bodiless: bool) -> None:
        self._tag, self._send, self._bodiless = tag, send, bodiless
        self._appends = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._appends = _is_page(message)
            message = self._announced(message) if self._appends else message
        elif self._appends and not self._bodiless and not message.get("more_body"):
            message = {**message, "body": message.get("body", b"") + self._tag}
        await self._send(message)

    def _announced(self, message: Message) -> Message:
        message = {**message, "headers": list(message["headers"])}
        headers = MutableHeaders(scope=message)
        for name in _GONE:
            del headers[name]
        if "content-length" in headers:
            headers["content-length"] = str(int(headers["content-length"]) + len(self._tag))
        return message


def _is_page(message: Message) -> bool:
    headers = MutableHeaders(raw=list(message["headers"]))
    html = headers.get("content-type", "").startswith("text/html")
    return bool(message["status"] == 200 and html and "content-encoding" not in headers)


def _script_tag(address: str, frames: bool) -> bytes:
    framed = "" if frames else ' data-frames="no"'
    return f'<script type="module" src="timelapse/{address}" id="timelapse-script"{framed}></script>'.encode()
