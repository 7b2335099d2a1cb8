"""Requests to an ASGI app in this process, message by message as a server would make them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Scope


@dataclass
class Reply:
    """What an app has sent."""

    messages: list[Message] = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        return [(bytes(name), bytes(value)) for name, value in self.messages[0]["headers"]]

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode().lower(): value.decode() for name, value in self.raw_headers}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])


def request(
    app: ASGIApp,
    path: str,
    *,
    method: str = "GET",
    headers: Sequence[tuple[str, str]] = (("host", "localhost"),),
    query: str = "",
    body: Sequence[bytes] = (b"",),
    **more: Any,
) -> Reply:
    """Make an HTTP request, whose body comes in pieces."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 5000),
        **more,
    }
    pieces = [
        {"type": "http.request", "body": piece, "more_body": place < len(body) - 1}
        for place, piece in enumerate(body)
    ]
    return exchange(app, scope, pieces)


def exchange(app: ASGIApp, scope: Scope, received: Sequence[Message]) -> Reply:
    """Hand an app a scope and messages in order, and return what it sends."""
    waiting, reply = list(received), Reply()

    async def receive() -> Message:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        reply.messages.append(message)

    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    return reply
