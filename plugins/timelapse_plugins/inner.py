"""The MLflow app behind our pages, and requests to it with the caller's own credentials.

Whatever is shown of a run was first asked of MLflow's public REST API as the caller: what MLflow allows or
refuses is the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Scope

MAX_BODY = 64 << 20
"""Bytes of an answer that are read unless the caller of `get` says otherwise."""

# Hop-by-hop headers, what belongs to a body or a cache, and what would make MLflow answer in part.
_NOT_PASSED_ON = frozenset(
    b"connection keep-alive proxy-connection te trailer transfer-encoding upgrade content-length "
    b"content-type content-encoding expect range if-range if-match if-none-match if-modified-since "
    b"if-unmodified-since accept-encoding".split()
)


class TooLargeError(Exception):
    """An answer is larger than may be read; `limit` is in bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the answer has more than {limit:,} bytes")
        self.limit = limit


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: all of a request that MLflow may know a user, or a workspace, by."""

    headers: tuple[tuple[bytes, bytes], ...] = ()
    """Its headers as they came, but those that belong to its connection, body or cache."""
    client: tuple[str, int] | None = None
    """Its address."""
    scheme: str = "http"
    """`http` or `https`."""
    server: tuple[str, int | None] | None = None
    """Where the request came in."""

    @classmethod
    def of(cls, scope: Scope) -> Caller:
        """Return who makes an HTTP request."""
        kept = tuple((name, value) for name, value in scope["headers"] if name.lower() not in _NOT_PASSED_ON)
        return cls(kept, scope.get("client"), scope.get("scheme", "http"), scope.get("server"))


@dataclass(frozen=True, slots=True)
class Answer:
    """What MLflow answered."""

    status: int
    """HTTP status."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers by lower-case name; of repeated ones the last."""
    body: bytes = b""
    """The whole body."""


class Inner(Protocol):
    """The MLflow app that we stand before."""

    async def get(
        self, path: str, params: Sequence[tuple[str, str]], caller: Caller, limit: int = MAX_BODY
    ) -> Answer:
        """Make a GET request as the caller.

        Args:
            path: Such as `/api/2.0/mlflow/runs/get`, below MLflow's static prefix if it has one.
            params: The query, in order.
            caller: Who asks.
            limit: The most bytes that the body may have.

        Raises:
            TooLargeError: It has more.
        """
        ...  # pragma: no cover

    async def search(self, path: str, question: bytes, caller: Caller, limit: int = MAX_BODY) -> Answer:
        """Ask as the caller what MLflow tells by POST only, such as `runs/search`: nothing is changed by it.

        Args:
            path: Such as `/api/2.0/mlflow/runs/search`.
            question: JSON.
            caller: Who asks.
            limit: The most bytes that the body of the answer may have.

        Raises:
            TooLargeError: It has more.
        """
        ...  # pragma: no cover


class InProcess:
    """An MLflow app in this process, called without a socket."""

    def __init__(self, app: ASGIApp, static_prefix: str = "") -> None:
        self._app, self._prefix = app, static_prefix

    async def get(
        self, path: str, params: Sequence[tuple[str, str]], caller: Caller, limit: int = MAX_BODY
    ) -> Answer:
        """Make a GET request as the caller, see `Inner.get`."""
        return await self._asked(self._scope(path, params, caller), b"", limit)

    async def search(self, path: str, question: bytes, caller: Caller, limit: int = MAX_BODY) -> Answer:
        """Ask what MLflow tells by POST only, see `Inner.search`."""
        scope = self._scope(path, (), caller) | {"method": "POST"}
        length = str(len(question)).encode()
        scope["headers"] += [(b"content-type", b"application/json"), (b"content-length", length)]
        return await self._asked(scope, question, limit)

    async def _asked(self, scope: dict[str, Any], body: bytes, limit: int) -> Answer:
        answer = _Collected(limit)

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        try:
            await self._app(scope, receive, answer.send)
        except* TooLargeError as errors:  # the app's own tasks wrap it
            raise TooLargeError(limit) from errors
        return answer.whole()

    def _scope(self, path: str, params: Sequence[tuple[str, str]], caller: Caller) -> dict[str, Any]:
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": caller.scheme,
            "path": f"{self._prefix}{path}",
            "raw_path": f"{self._prefix}{path}".encode(),
            "root_path": "",
            "query_string": urlencode(params).encode(),
            "headers": list(caller.headers),
            "client": caller.client,
            "server": caller.server,
            "state": {},
        }


class _Collected:
    """Receives an answer piece by piece."""

    def __init__(self, limit: int) -> None:
        self._limit, self._size = limit, 0
        self._status, self._headers = 500, dict[str, str]()
        self._pieces: list[bytes] = []

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in message["headers"]}
        elif message["type"] == "http.response.body":
            piece = message.get("body", b"")
            self._size += len(piece)
            if self._size > self._limit:
                raise TooLargeError(self._limit)
            self._pieces.append(piece)

    def whole(self) -> Answer:
        return Answer(self._status, self._headers, b"".join(self._pieces))
