"""A proxy that stands before a real MLflow server, and misbehaves on demand."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
import threading
from collections.abc import Coroutine
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Self
from urllib.parse import urlsplit

ARTIFACTS = r"/mlflow-artifacts/"
"""Matches the paths through which a server hands out and takes artifacts."""

Kind = Literal["refuse", "hang", "status", "reset_request", "reset_response"]


@dataclass(frozen=True)
class Fault:
    """What shall go wrong, and for which requests."""

    kind: Kind
    status: int
    path: re.Pattern[str]


@dataclass(frozen=True)
class Request:
    """The head of a request, and how long its body is (None: sent in chunks)."""

    line: str
    headers: tuple[str, ...]

    @property
    def path(self) -> str:
        return self.line.split(" ")[1]

    @property
    def length(self) -> int | None:
        fields = dict(header.lower().split(": ", 1) for header in self.headers)
        return None if "transfer-encoding" in fields else int(fields.get("content-length", 0))

    def closing(self) -> bytes:
        """Return the head for a connection that carries this one request, so that its end is the body's."""
        kept = [header for header in self.headers if not header.lower().startswith("connection:")]
        return "\r\n".join([self.line, *kept, "Connection: close", "", ""]).encode("latin-1")


class FaultProxy(AbstractContextManager["FaultProxy"]):
    """Passes HTTP on to a server until told to fail; runs in a thread of its own, on 127.0.0.1.

    Faults: `refuse` (nobody listens), `hang` (takes the request, never answers), `status` (answers with that
    status itself), `reset_request` (the connection breaks in the middle of the request's body: the server
    never sees the whole), `reset_response` (it breaks in the middle of the answer: the server has done what
    was asked, and the client cannot know).
    """

    def __init__(self, upstream: str) -> None:
        self._host, self._upstream_port = urlsplit(upstream).hostname, urlsplit(upstream).port
        self.port = 0
        self.requests: list[str] = []
        """First lines of all requests so far: `GET /health HTTP/1.1`."""
        self.failed: list[str] = []
        """Those of them that a fault has met."""
        self._fault: Fault | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._listener: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def uri(self) -> str:
        """Where clients find the proxy."""
        return f"http://127.0.0.1:{self.port}"

    def fault(self, kind: Kind, status: int = 503, *, path: str = "") -> None:
        """Fail every request whose path the pattern `path` matches somewhere, until `heal` is called."""
        assert not (kind == "refuse" and path), "a closed port cannot know the path"
        self._fault = Fault(kind, status, re.compile(path))
        if kind == "refuse":
            self._run(self._close())

    def heal(self) -> None:
        """Behave again; connections that hang are broken."""
        self._fault = None
        if self._listener is None:
            self._run(self._listen())

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(self, *error: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for connection in list(self._open):
                _reset(connection)
            await asyncio.wait(others, timeout=0.05)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the one request of a connection."""
        self._open.add(writer)
        try:
            request = await _read_head(reader)
            self.requests.append(request.line)
            fault = self._fault
            if fault is not None and fault.path.search(request.path):
                self.failed.append(request.line)
                await self._fail(fault, request, reader, writer)
            else:
                await self._pass_on(request, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # either side has gone: that is what this proxy is about
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            self._open.discard(writer)

    async def _fail(
        self, fault: Fault, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if fault.kind == "hang":
            while self._fault is fault and not writer.is_closing():
                await asyncio.sleep(0.01)
            _reset(writer)
        elif fault.kind == "status":
            await _skip_body(request, reader)  # a client that is still sending would miss the answer
            body = b'{"error_code": "FAULT", "message": "the proxy was told to fail"}'
            head = (
                f"HTTP/1.1 {fault.status} Fault\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            )
            writer.write(head.encode() + body)
            await writer.drain()
        elif fault.kind == "reset_request":
            await reader.readexactly((request.length or 0) // 2)
            _reset(writer)
        else:
            await self._pass_on(request, reader, writer, broken=True)

    async def _pass_on(
        self,
        request: Request,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        broken: bool = False,
    ) -> None:
        """Send a request on and its answer back; a `broken` answer ends within its last bytes."""
        answer, server = await asyncio.open_connection(self._host, self._upstream_port)
        server.write(request.closing())
        body = asyncio.create_task(_copy(reader, server))
        try:
            if broken:
                writer.write((await answer.read())[:-2])
                await writer.drain()
                _reset(writer)
            else:
                await _copy(answer, writer)
        finally:
            body.cancel()
            await asyncio.gather(body, return_exceptions=True)
            server.transport.abort()  # `close` would wait for what nobody reads


async def _read_head(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *headers = head.removesuffix("\r\n\r\n").split("\r\n")
    return Request(line, tuple(headers))


async def _skip_body(request: Request, reader: asyncio.StreamReader) -> None:
    if request.length is not None:
        await reader.readexactly(request.length)
        return
    while size := int(await reader.readline(), 16):
        await reader.readexactly(size + 2)
    await reader.readline()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        target.write(data)
        await target.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Break a connection at once: the other side gets "connection reset by peer"."""
    connection = writer.get_extra_info("socket")
    if connection is not None and not writer.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
