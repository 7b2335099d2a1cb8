"""The headers that keep a browser from doing with our answers what nobody meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "font-src 'self'; base-uri 'none'; form-action 'none'"
)
"""What our pages may load: their own files and data, nothing inline, nothing from elsewhere."""


class SecurityHeaders:
    """Adds the headers to each answer of an app; what the app has set itself stays.

    Args:
        app: The app.
        frame_options: X-Frame-Options as MLflow sends it; NONE for no such header.
    """

    def __init__(self, app: ASGIApp, frame_options: str = "SAMEORIGIN") -> None:
        self._app = app
        self._headers = {
            "content-security-policy": CONTENT_SECURITY_POLICY,
            "x-content-type-options": "nosniff",
            "referrer-policy": "same-origin",
            "cross-origin-resource-policy": "same-origin",
        }
        if frame_options != "NONE":
            self._headers["x-frame-options"] = frame_options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, secured)
