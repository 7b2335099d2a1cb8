"""The wrapper: what is not ours passes through as if we were not there; MLflow's index gets one script."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from asgi import Reply, exchange, request
from servers import MlflowServer
from starlette.types import Message, Receive, Scope, Send

from timelapse_plugins.settings import ServerSettings
from timelapse_plugins.wrapper import Wrapper, wrap

MOMENT = ("date", "expires")
INDEX = b"<!doctype html><html><body><div id=root></div></body></html>"


class Inner:
    """A small ASGI app that keeps what it is given, and answers what a test says."""

    def __init__(self, *answer: Message) -> None:
        self.answer = answer
        self.scopes: list[Scope] = []
        self.received: list[Message] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        while True:
            message = await receive()
            self.received.append(message)
            if not message.get("more_body"):
                break
        for message in self.answer:
            await send(message)


def start(status: int = 200, *headers: tuple[bytes, bytes]) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(content: bytes, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": content, "more_body": more}


def page(*more: tuple[bytes, bytes]) -> Inner:
    length = (b"content-length", str(len(INDEX)).encode())
    return Inner(start(200, (b"content-type", b"text/html; charset=utf-8"), length, *more), body(INDEX))


def wrapped(inner: Inner, **settings: object) -> Wrapper:
    known = {"_MLFLOW_STATIC_PREFIX": settings.pop("prefix", "")}
    return wrap(inner, ServerSettings.model_validate({**known, **settings}), remembers=True)


def test_answers_pass_through_message_by_message() -> None:
    headers = (b"set-cookie", b"a=1"), (b"X-Case", b"Kept"), (b"set-cookie", b"b=2")
    inner = Inner(start(206, *headers), body(b"one", True), body(b"two", True), body(b""))
    reply = request(
        wrapped(inner),
        "/api/2.0/mlflow/runs/search",
        method="POST",
        headers=[("host", "h"), ("range", "bytes=0-3"), ("x-a", "1"), ("x-a", "2")],
        body=(b"first", b"second"),
    )
    assert reply.messages == list(inner.answer), "the very messages, none joined, none reordered"
    assert [piece["body"] for piece in inner.received] == [b"first", b"second"]
    names = [name for name, _ in inner.scopes[0]["headers"]]
    assert names == [b"host", b"range", b"x-a", b"x-a"]


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
def test_lifespan_and_websockets_are_the_inner_apps_own(kind: str) -> None:
    closes: Message = {"type": "websocket.close", "code": 4003, "reason": "not here"}
    inner = Inner(closes if kind == "websocket" else {"type": "lifespan.startup.complete"})
    scope = {"type": kind, "path": "/gateway/live", "headers": [], "root_path": ""}
    reply = exchange(wrapped(inner), scope, [{"type": f"{kind}.startup"}])
    assert inner.scopes == [scope]
    assert reply.messages == list(inner.answer)


def test_an_error_of_the_inner_app_reaches_the_server() -> None:
    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("the inner app's own")

    with pytest.raises(RuntimeError, match="inner app's own"):
        request(wrap(fails, ServerSettings(), remembers=True), "/api/2.0/mlflow/runs/get")


def test_streams_are_not_held_back() -> None:
    """The first piece arrives although the inner app waits before it sends the second."""
    arrived = asyncio.Event()
    got: list[bytes] = []

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200, (b"content-type", b"text/event-stream")))
        await send(body(b"first", True))
        await asyncio.wait_for(arrived.wait(), 5)
        await send(body(b"second"))

    async def send(message: Message) -> None:
        got.append(message.get("body", b""))
        if message.get("body") == b"first":
            arrived.set()

    app = wrap(slow, ServerSettings(), remembers=True)
    scope = {"type": "http", "method": "GET", "path": "/ajax-api/3.0/stream", "headers": [], "root_path": ""}
    asyncio.run(app(scope, lambda: asyncio.sleep(0, {}), send))  # type: ignore[arg-type,return-value]
    assert got == [b"", b"first", b"second"]


@pytest.mark.parametrize(
    ("path", "prefix", "root", "ours"),
    [
        ("/timelapse", "", "", True),
        ("/timelapse/runs/1", "", "", True),
        ("/timelapses", "", "", False),
        ("/api/timelapse/runs/1", "", "", False),
        ("/ml/timelapse/runs/1", "/ml", "", True),
        ("/timelapse/runs/1", "/ml", "", False),
        ("/root/ml/timelapse/runs/1", "/ml", "/root", True),
    ],
)
def test_only_what_is_below_our_name_is_ours(path: str, prefix: str, root: str, ours: bool) -> None:
    inner = page()
    reply = request(wrapped(inner, prefix=prefix), path, root_path=root)
    asked = [scope["path"] for scope in inner.scopes]
    if ours:
        assert path not in asked
        assert "content-security-policy" in reply.headers
        assert asked in ([], [f"{prefix}/"]), "MLflow is asked for its own page, to see whether it opens"
    else:
        assert asked == [path]
        assert reply.body == INDEX


def test_a_websocket_below_our_name_is_closed() -> None:
    inner = page()
    scope = {
        "type": "websocket",
        "path": "/timelapse/live",
        "headers": [],
        "root_path": "",
        "query_string": b"",
    }
    reply = exchange(wrapped(inner), scope, [{"type": "websocket.connect"}])
    assert [message["type"] for message in reply.messages] == ["websocket.close"]
    assert inner.scopes == []


@pytest.mark.parametrize(("prefix", "method"), [("", "GET"), ("", "HEAD"), ("/ml", "GET")])
def test_the_index_page_gets_one_script(prefix: str, method: str) -> None:
    inner = page(
        (b"etag", b'"1"'), (b"last-modified", b"now"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")
    )
    asks = [
        ("host", "h"),
        ("if-none-match", '"1"'),
        ("range", "bytes=0-1"),
        ("accept-encoding", "gzip"),
        ("x", "y"),
    ]
    reply = request(wrapped(inner, prefix=prefix), f"{prefix}/", method=method, headers=asks)
    added = b'<script type="module" src="timelapse/static/'
    content = INDEX if method == "HEAD" else reply.body
    assert content.startswith(INDEX)
    assert reply.body.count(added) == (method == "GET")
    if method == "GET":
        assert reply.headers["content-length"] == str(len(reply.body))
    assert int(reply.headers["content-length"]) > len(INDEX)
    assert not {"etag", "last-modified"} & reply.headers.keys()
    assert [value for name, value in reply.raw_headers if name == b"set-cookie"] == [b"a=1", b"b=2"]
    assert [name for name, _ in inner.scopes[0]["headers"]] == [b"host", b"x"]


@pytest.mark.parametrize(
    "answer",
    [
        (start(401, (b"content-type", b"text/html")), body(b"who are you?")),
        (start(200, (b"content-type", b"text/plain")), body(b"no index.html")),
        (start(200, (b"content-type", b"text/html"), (b"content-encoding", b"br")), body(b"\x00")),
        (start(302, (b"location", b"/login")), body(b"")),
    ],
)
def test_whatever_else_the_index_address_answers_stays(answer: tuple[Message, Message]) -> None:
    assert request(wrapped(Inner(*answer)), "/").messages == list(answer)


def test_the_script_can_be_turned_off() -> None:
    inner = page((b"etag", b'"1"'))
    reply = request(wrapped(inner, mlflow_ui="off"), "/", headers=[("if-none-match", '"2"')])
    assert reply.messages == list(inner.answer)
    assert (b"if-none-match", b'"2"') in inner.scopes[0]["headers"]


def test_where_frames_are_forbidden_the_script_is_told() -> None:
    told = request(wrapped(page(), MLFLOW_SERVER_X_FRAME_OPTIONS="deny"), "/")
    assert b'data-frames="no"' in told.body
    assert b"data-frames" not in request(wrapped(page()), "/").body


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[dict[str, MlflowServer]]:
    """MLflow as it is, and inside ours, over the same store and below the same prefix."""
    folder = tmp_path_factory.mktemp("wrapped")
    store = f"sqlite:///{folder / 'store.db'}"
    (folder / "store.db").write_bytes(empty_store.read_bytes())
    options = ("--artifacts-destination", str(folder / "artifacts"), "--static-prefix", "/ml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MlflowServer, "is_up", lambda server: get(server, "/ml/health").status == 200)
        settings = {"backend": store, "environment": {"PYTHONHASHSEED": "0"}}  # sets in the same order
        bare = MlflowServer(folder, *options, **settings)
        ours = MlflowServer(folder, *options, "--app-name", "timelapse", **settings)
        with ThreadPoolExecutor(2) as together, ExitStack() as stack:
            list(together.map(stack.enter_context, (bare, ours)))
            yield {"bare": bare, "ours": ours}


def get(server: MlflowServer, path: str, method: str = "GET", content: bytes = b"", **headers: str) -> Reply:
    """Ask a server; the answer's headers are without those that tell of the moment."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request(method, path, content or None, headers)
        answer = connection.getresponse()
        told = [(k.lower().encode(), v.encode()) for k, v in answer.getheaders() if k.lower() not in MOMENT]
        return Reply([start(answer.status, *told), body(answer.read())])
    except OSError:
        return Reply([start(0)])
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("GET", "/ml/health", b""),
        ("GET", "/ml/version", b""),
        ("GET", "/ml/api/2.0/mlflow/experiments/get?experiment_id=0", b""),
        ("GET", "/ml/ajax-api/2.0/mlflow/runs/get?run_id=none", b""),
        ("POST", "/ml/api/2.0/mlflow/experiments/search", b'{"max_results": 5}'),
        ("OPTIONS", "/ml/api/2.0/mlflow/experiments/search", b""),
        ("GET", "/ml/static-files/favicon.ico", b""),
        ("HEAD", "/ml/static-files/favicon.ico", b""),
        ("GET", "/ml", b""),
        ("GET", "/", b""),
        ("GET", "/timelapse", b""),
        ("GET", "/ml/nothing", b""),
    ],
)
def test_a_real_mlflow_answers_the_same(
    servers: dict[str, MlflowServer], method: str, path: str, content: bytes
) -> None:
    asks = {"Content-Type": "application/json", "Origin": "http://localhost"}
    bare, ours = (get(servers[name], path, method, content, **asks) for name in ("bare", "ours"))
    assert (ours.status, ours.raw_headers, ours.body) == (bare.status, bare.raw_headers, bare.body) or (
        # Flask builds this one from the address, and the two have different ports.
        path == "/ml" and ours.status == bare.status == 308
    )


def test_artifacts_stream_through_unchanged(servers: dict[str, MlflowServer]) -> None:
    content, path = bytes(range(256)) * 4096, "/api/2.0/mlflow-artifacts/artifacts/0/streamed.bin"
    assert get(servers["ours"], path, "PUT", content).status == 200
    bare, ours = get(servers["bare"], path), get(servers["ours"], path)
    assert ours.body == bare.body == content
    assert ours.raw_headers == bare.raw_headers


def test_below_a_prefix_the_page_finds_its_script(servers: dict[str, MlflowServer]) -> None:
    html = get(servers["ours"], "/ml/").body.decode()
    assert html.startswith(get(servers["bare"], "/ml/").body.decode())
    address = html.rpartition('src="')[2].partition('"')[0]
    script = get(servers["ours"], f"/ml/{address}")
    assert script.status == 200
    assert script.headers["content-type"].startswith("text/javascript")
    assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert get(servers["ours"], "/ml/timelapse/runs/1").status == 200
