"""`timelapse ui`: over a store of this machine, and for a server elsewhere."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import mlflow
import pytest
from asgi import Reply, request
from click.testing import CliRunner
from servers import WITHOUT_JOBS, Server, free_port

from timelapse import names
from timelapse_plugins.cli.ui import listen, private_page, ui
from timelapse_plugins.remote_pages import remote_app
from timelapse_plugins.token_gate import TokenGate

TOKEN = "t0ken-of-this-start"


class Ui(Server):
    """`timelapse ui` as somebody starts it in a terminal."""

    def __init__(self, folder: Path, uri: str) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "timelapse.cli.main", "ui", "--tracking-uri", uri]
        # What a machine says of its MLflow server is not meant for this one.
        elsewhere = {"MLFLOW_STATIC_PREFIX": "/ml", "MLFLOW_GUNICORN_OPTS": "--threads 4"}
        settings = os.environ | WITHOUT_JOBS | elsewhere
        super().__init__(folder, [*command, "--port", str(self.port), "--no-browser"], env=settings)
        self.log = folder / f"ui-{self.port}.log"

    @property
    def address(self) -> str:
        return re.findall(r"^Timelapse: (\S+)$", self.log.read_text(), re.MULTILINE)[-1]

    def is_up(self) -> bool:
        if "Timelapse: " not in self.log.read_text():
            return False
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        found = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        connection.close()
        return found


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Ui]:
    folder = tmp_path_factory.mktemp("ui")
    shutil.copy(empty_store, folder / "mlflow.db")
    with Ui(folder, f"sqlite:///{folder / 'mlflow.db'}") as running:
        yield running


@pytest.fixture(scope="module")
def experiment(local: Ui) -> str:
    """An experiment with a run that has predictions."""
    client = mlflow.MlflowClient(tracking_uri=f"http://127.0.0.1:{local.port}")
    experiment = client.create_experiment("verbs")
    client.create_run(experiment, tags={names.TAG_SCHEMA: "1"})
    return experiment


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory, local: Ui, experiment: str) -> Iterator[Ui]:
    with Ui(tmp_path_factory.mktemp("remote"), f"http://127.0.0.1:{local.port}") as running:
        yield running


def test_a_local_store_is_served_by_mlflow_with_our_pages(local: Ui) -> None:
    assert local.address == f"http://127.0.0.1:{local.port}/"
    assert b"timelapse-script" in local.get("/")[2]
    assert local.get("/timelapse/config")[0] == 200


def test_the_store_with_its_password_stands_in_no_command_line_of_ours(local: Ui) -> None:
    assert local.process is not None
    pid = local.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    commands = [Path(f"/proc/{child}/cmdline").read_bytes() for child in children]
    assert any(b"--app-name" in each for each in commands)
    assert not any(b"sqlite:" in each for each in commands)


def test_a_remote_server_shows_behind_a_token(remote: Ui, local: Ui, experiment: str) -> None:
    found = re.fullmatch(
        rf"http://127\.0\.0\.1:{remote.port}(/timelapse/experiments/{experiment})\?token=([\w-]{{43}})",
        remote.address,
    )
    assert found
    path, token = found.groups()
    for without in (path, "/", f"{path}?token=guess", "/timelapse/static/plugin/mlflow-ui.js"):
        assert remote.get(without)[0] == 403
    status, headers, body = remote.get(f"{path}?token={token}&theme=dark")
    assert status == 200
    assert f'content="0; url={path}?theme=dark"'.encode() in body
    assert token.encode() not in body
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    known = {"Cookie": cookie.partition(";")[0]}
    status, headers, body = remote.get(path, **known)
    assert status == 200
    assert b'id="app"' in body
    assert headers["x-frame-options"] == "SAMEORIGIN"
    assert remote.get(path, **known, Host=f"evil.example:{remote.port}")[0] == 403
    status, headers, _ = remote.get("/", **known)
    assert (status, headers["location"]) == (307, f"http://127.0.0.1:{local.port}/"), "MLflow is there"
    assert token not in remote.log.read_text().replace(remote.address, ""), "printed once, logged never"


def test_the_gate_looks_at_host_token_and_cookie() -> None:
    async def behind(scope: object, receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b"in"})  # type: ignore[operator]

    gate = TokenGate(behind, TOKEN, 5000)  # type: ignore[arg-type]

    def knock(host: str, query: str = "", cookie: str = "", path: str = "/", method: str = "GET") -> Reply:
        headers = [("host", host), *([("cookie", cookie)] if cookie else [])]
        return request(gate, path, query=query, headers=headers, method=method)

    assert knock("localhost:5000", cookie=f"timelapse-5000={TOKEN}").body == b"in"
    assert knock("127.0.0.1:5000", cookie=f"a=b; timelapse-5000={TOKEN}").body == b"in"
    for host in ("127.0.0.1", "127.0.0.1:5001", "evil.example:5000", ""):
        assert knock(host, query=f"token={TOKEN}", cookie=f"timelapse-5000={TOKEN}").status == 403
    for cookie in (f"timelapse-5001={TOKEN}", "timelapse-5000=", "timelapse-5000=ä", '"\\', TOKEN):
        assert knock("localhost:5000", cookie=cookie).status == 403
    assert knock("localhost:5000", query=f"token={TOKEN}", method="POST").status == 403
    away = knock("localhost:5000", query=f"token={TOKEN}", path="//evil.example/timelapse")
    assert b'url=/evil.example/timelapse"' in away.body
    marked = knock("localhost:5000", query=f"token={TOKEN}&a=%22%3E%3Cscript%3E")
    assert b"<script>" not in marked.body


def test_the_token_stands_in_no_command_line() -> None:
    address = private_page("http://127.0.0.1:5000/timelapse?token=secret&a=1")
    file = Path(unquote(urlsplit(address).path))
    assert "secret" not in address
    assert 'url=http://127.0.0.1:5000/timelapse?token=secret&amp;a=1"' in file.read_text()
    assert file.parent.stat().st_mode & 0o077 == 0


def test_mlflows_address_is_told_without_its_password() -> None:
    app = remote_app("https://me:secret@mlflow.example/ml/", TOKEN, 5000)
    headers = [("host", "localhost:5000"), ("cookie", f"timelapse-5000={TOKEN}")]
    reply = request(app, "/", headers=headers)
    assert (reply.status, reply.headers["location"]) == (307, "https://mlflow.example/ml/")


def test_what_cannot_be_shown_says_why(tmp_path: Path) -> None:
    def said(*arguments: str) -> str:
        return str(CliRunner().invoke(ui, ["--no-browser", *arguments]).exception)

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"Port {port} of 127.0.0.1 is taken" in said(
            "--tracking-uri", "sqlite:///x", "--port", str(port)
        )
    assert "There is no database" in said("--tracking-uri", f"sqlite:///{tmp_path / 'none.db'}")
    assert "Databricks has pages of its own" in said("--tracking-uri", "databricks")
    assert "no MLflow server that answers (502)" in said("--tracking-uri", f"http://127.0.0.1:{free_port()}")


def test_another_port_is_taken_only_if_none_was_asked_for() -> None:
    with listen(None) as first, listen(None) as second:
        assert first.getsockname()[1] != second.getsockname()[1]
