"""Pages and their files: what is handed out, with which headers, and what never is."""

from __future__ import annotations

import re

import pytest
from asgi import Reply, request
from starlette.types import Receive, Scope, Send

from timelapse_plugins.security import CONTENT_SECURITY_POLICY
from timelapse_plugins.settings import ServerSettings
from timelapse_plugins.static_files import StaticFiles
from timelapse_plugins.wrapper import Wrapper, wrap

FILES = StaticFiles()
MODULE = "report/vendor/preact.js"
PAGES = ("/runs/1", "/compare", "/experiments/0", "/config")


async def mlflow(scope: Scope, receive: Receive, send: Send) -> None:
    """Lets everybody in, but under a forged host."""
    forged = dict(scope["headers"]).get(b"host") == b"evil.example"
    headers = [(b"content-type", b"text/plain"), (b"x-inner", b"1")]
    await send({"type": "http.response.start", "status": 403 if forged else 200, "headers": headers})
    await send(
        {"type": "http.response.body", "body": b"host" if forged else b"workspace " + _workspace(scope)}
    )


def _workspace(scope: Scope) -> bytes:
    return dict(scope["headers"]).get(b"x-mlflow-workspace", b"none")


def site(**settings: object) -> Wrapper:
    return wrap(mlflow, ServerSettings.model_validate(settings), remembers=True)


def get(path: str, app: Wrapper | None = None, **more: object) -> Reply:
    return request(app or site(), f"/timelapse{path}", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", PAGES)
def test_a_shell_names_what_it_is_made_of_and_holds_nothing_inline(path: str) -> None:
    reply = get(path)
    html = reply.body.decode()
    assert reply.status == 200
    assert reply.headers["cache-control"] == "no-cache"
    assert '<div id="app"></div>' in html
    assert re.findall(r"<script[^>]*>([^<]*)", html) == [""]
    assert "<style" not in html
    assert "style=" not in html
    sources = re.findall(r'(?:src|href)="([^"]*)"', html)
    up = "../" * path.count("/", 1)
    assert sources[0] == "data:,", "no request for an icon"
    assert sources[1:]
    assert all(source.startswith(f"{up}static/{FILES.version}/") for source in sources[1:])


@pytest.mark.parametrize("path", [*PAGES, f"/static/{MODULE}", "/static/none.js", "/nothing", "", "/"])
def test_every_answer_has_the_headers(path: str) -> None:
    reply = get(path)
    assert reply.status < 500
    for name, value in {
        "content-security-policy": CONTENT_SECURITY_POLICY,
        "x-content-type-options": "nosniff",
        "x-frame-options": "SAMEORIGIN",
        "referrer-policy": "same-origin",
    }.items():
        assert [found for key, found in reply.raw_headers if key.decode() == name] == [value.encode()]


@pytest.mark.parametrize(
    ("setting", "sent"), [("deny", "DENY"), ("SAMEORIGIN", "SAMEORIGIN"), ("NONE", None)]
)
def test_frames_are_as_mlflow_has_them(setting: str, sent: str | None) -> None:
    assert get("/config", site(MLFLOW_SERVER_X_FRAME_OPTIONS=setting)).headers.get("x-frame-options") == sent


def test_files_are_named_by_their_content_and_kept_for_ever() -> None:
    pinned, plain = get(f"/static/{FILES.version}/{MODULE}"), get(f"/static/{MODULE}")
    assert pinned.body == plain.body
    assert b"export" in plain.body
    assert plain.headers["content-type"] == "text/javascript; charset=utf-8"
    assert pinned.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert plain.headers["cache-control"] == "no-cache"
    again = get(f"/static/{MODULE}", headers=[("host", "h"), ("if-none-match", plain.headers["etag"])])
    assert (again.status, again.body) == (304, b"")
    assert get(f"/static/{'0' * 16}/{MODULE}").status == 404, "another version may be another content"


@pytest.mark.parametrize(
    "name",
    [
        "plugin/../../app.py",
        "report/../__init__.py",
        "../../../../etc/passwd",
        "/etc/passwd",
        "report//vendor/preact.js",
        "report/./vendor/preact.js",
        "report/vendor",
        "plugin/..%2f..%2fapp.py",
        "report\\vendor\\preact.js",
        "plugin/mlflow-ui.js\x00",
        "",
    ],
)
def test_only_files_that_are_listed_exist(name: str) -> None:
    assert get(f"/static/{name}").status == 404


def test_every_module_that_a_file_imports_is_there() -> None:
    modules = [name for name in FILES if name.startswith("plugin/mlflow")]
    assert "plugin/mlflow-ui.js" in modules
    for name in modules:
        text = get(f"/static/{name}").body.decode()
        for imported in re.findall(r"from '\./([^']+)'|import '\./([^']+)'", text):
            assert f"plugin/{''.join(imported)}" in FILES


@pytest.mark.parametrize("path", ["/config", f"/static/{MODULE}"])
def test_a_forged_host_gets_what_mlflow_answers(path: str) -> None:
    reply = get(path, headers=[("host", "evil.example")])
    assert (reply.status, reply.body) == (403, b"host")
    assert "x-inner" not in reply.headers


@pytest.mark.parametrize("path", ["", "/", "/config/", "/api/v1", "/api/v1/compare/", "/api/v1/runs/1/"])
def test_nobody_is_sent_to_a_host_that_a_request_names(path: str) -> None:
    reply = get(path, headers=[("host", "evil.example")])
    assert reply.status == 404
    assert b"evil" not in reply.body
    assert "location" not in reply.headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_changed(method: str) -> None:
    assert get("/config", method=method).status == 405


@pytest.mark.parametrize(
    ("query", "header", "told"),
    [
        ("workspace=team-b", None, b"team-b"),
        ("run=1", None, b"none"),
        ("workspace=team-b", "team-a", b"team-a"),
        ("workspace=a%0d%0ax: y", None, b"none"),
    ],
)
def test_the_workspace_of_an_address_is_mlflows_header(query: str, header: str | None, told: bytes) -> None:
    seen: list[bytes] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(_workspace(scope))
        await mlflow(scope, receive, send)

    headers = [("host", "h"), *([("x-mlflow-workspace", header)] if header else [])]
    app = wrap(inner, ServerSettings(), remembers=True)
    assert get("/config", app, query=query, headers=headers).status == 200
    assert seen == [told]


def test_a_wrong_address_is_told_which_pages_there_are() -> None:
    reply = get("/run/1")
    assert reply.status == 404
    assert b"/timelapse/runs/{run id}" in reply.body
