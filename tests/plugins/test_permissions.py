"""Who sees what, against MLflow's own basic-auth with workspaces, behind us, with two workers."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import pytest
from servers import START_SECONDS, MlflowServer

from timelapse import start_run
from timelapse_plugins.doors import MlflowsDoors
from timelapse_plugins.inner import MAX_BODY, Answer, Caller, InProcess, TooLargeError
from timelapse_plugins.permissions import Permissions
from timelapse_plugins.refusals import Refused
from timelapse_plugins.remembered import MAX_ENTRIES, Identity, Remembered

API = "/timelapse/api/v1"
PASSWORD = "a long password 1"
SECRET = "what only readers know"
USERS = ("reader", "editor", "nobody")
GRANTS = {"reader": "READ", "editor": "EDIT"}
SETTINGS = """
[mlflow]
default_permission = NO_PERMISSIONS
database_uri = sqlite:///{folder}/auth.db
admin_username = admin
auth_cache_ttl_seconds = 600
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


@dataclass
class Company:
    """A server with users, two workspaces, and a run in each."""

    server: MlflowServer
    runs: dict[str, str] = field(default_factory=dict)

    def ask(
        self,
        user: str | None,
        method: str,
        path: str,
        content: Mapping[str, object] | None = None,
        **headers: str,
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        told = {
            **({"Authorization": basic(user)} if user else {}),
            "Content-Type": "application/json",
            **headers,
        }
        connection.request(method, path, json.dumps(content) if content else None, told)
        answer = connection.getresponse()
        found = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        connection.close()
        return found

    def make(self, path: str, workspace: str = "default", **content: object) -> dict[str, Any]:
        status, _, body = self.ask(
            "admin", "POST", f"/api/{path}", content, **{"X-MLFLOW-WORKSPACE": workspace}
        )
        assert status in (200, 201), body
        found: dict[str, Any] = json.loads(body or b"{}")
        return found


@dataclass
class Asking:
    """MLflow over HTTP with a caller's own headers, as an `Inner`; counts what it is asked."""

    server: MlflowServer
    asked: int = 0

    async def get(
        self, path: str, params: Sequence[tuple[str, str]], caller: Caller, limit: int = MAX_BODY
    ) -> Answer:
        from urllib.parse import urlencode

        self.asked += 1
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        connection.putrequest("GET", f"{path}?{urlencode(params)}", skip_host=True)
        for name, value in caller.headers:
            connection.putheader(name.decode(), value)
        connection.endheaders()
        answer = connection.getresponse()
        found = Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        connection.close()
        return found

    async def search(self, *_: object) -> Answer:
        raise NotImplementedError("permissions ask by GET")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def basic(user: str, password: str = PASSWORD) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def caller(
    user: str | None, workspace: str = "default", *, address: str = "127.0.0.1", **more: str
) -> Caller:
    headers = {"host": "localhost", "x-mlflow-workspace": workspace, **more}
    if user:
        headers["authorization"] = basic(user)
    told = tuple((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items())
    return Caller(told, (address, 50000))


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Company]:
    folder = tmp_path_factory.mktemp("company")
    shutil.copy(empty_store, folder / "server.db")
    (folder / "auth.ini").write_text(SETTINGS.format(folder=folder))
    environment = {
        "TIMELAPSE_INNER_APP": "basic-auth",
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "not so secret",
    }
    options = ("--app-name", "timelapse", "--workers", "2", "--enable-workspaces")
    options += ("--artifacts-destination", str(folder / "artifacts"))
    # On a slow machine uvicorn takes a worker that is still importing for a dead one.
    options += ("--uvicorn-opts", "--timeout-worker-healthcheck 120")
    with MlflowServer(folder, *options, environment=environment) as server:
        deadline = time.monotonic() + START_SECONDS
        while server.log.read_text().count("Application startup complete") < 2:
            assert time.monotonic() < deadline, "the second worker does not start"
            time.sleep(0.1)
        assert "Traceback" not in server.log.read_text(), "two workers make the same tables"
        found = Company(server)
        for user in USERS:
            found.make("2.0/mlflow/users/create", username=user, password=PASSWORD)
        found.make("3.0/mlflow/workspaces", name="team-b")
        for workspace in ("default", "team-b"):
            made = found.make("2.0/mlflow/experiments/create", workspace, name="verbs")
            run = found.make("2.0/mlflow/runs/create", workspace, experiment_id=made["experiment_id"])
            found.runs[workspace] = run["run"]["info"]["run_id"]
            for user, permission in GRANTS.items() if workspace == "default" else ():
                found.make(
                    "3.0/mlflow/users/permissions/grant",
                    username=user,
                    resource_type="experiment",
                    resource_id=made["experiment_id"],
                    permission=permission,
                )
        yield found


def outcome(asked: Awaitable[Mapping[str, Any]]) -> int:
    """The status with which a run is refused, or 200."""

    async def wait() -> int:
        try:
            await asked
        except Refused as refused:
            return refused.status
        return 200

    return asyncio.run(wait())


@pytest.mark.parametrize(
    ("user", "status"), [("admin", 200), ("reader", 200), ("editor", 200), ("nobody", 403), (None, 401)]
)
def test_mlflow_decides_who_sees_a_run(company: Company, user: str | None, status: int) -> None:
    permissions = Permissions(Asking(company.server), 30)
    run_id = company.runs["default"]
    assert outcome(permissions.may_read_run(run_id, caller(user))) == status
    if status == 200:
        run = asyncio.run(permissions.may_read_run(run_id, caller(user)))
        assert run["info"]["run_id"] == run_id
    if status == 401:
        with pytest.raises(Refused) as refused:
            asyncio.run(permissions.may_read_run(run_id, caller(user)))
        assert refused.value.headers["www-authenticate"].startswith("Basic")


def test_a_permission_for_one_user_serves_no_other(company: Company) -> None:
    asking = Asking(company.server)
    permissions = Permissions(asking, 30)
    run_id = company.runs["default"]
    assert outcome(permissions.may_read_run(run_id, caller("reader"))) == 200
    assert outcome(permissions.may_read_run(run_id, caller("nobody"))) == 403
    assert outcome(permissions.may_read_run(run_id, caller(None))) == 401
    assert (
        outcome(permissions.may_read_run(run_id, caller(None, authorization=basic("reader", "guess")))) == 401
    )
    before = asking.asked
    assert outcome(permissions.may_read_run(run_id, caller(None))) == 401
    assert asking.asked == before + 1, "a refusal is not remembered"


def test_a_run_of_another_workspace_is_not_there(company: Company) -> None:
    permissions = Permissions(Asking(company.server), 30)
    here, there = company.runs["default"], company.runs["team-b"]
    assert outcome(permissions.may_read_run(there, caller("admin", "team-b"))) == 200
    assert outcome(permissions.may_read_run(there, caller("admin"))) == 404
    assert outcome(permissions.may_read_run(here, caller("admin", "team-b"))) == 404
    assert outcome(permissions.may_read_run(there, caller("reader", "team-b"))) in (403, 404)
    assert outcome(permissions.may_read_run("f" * 32, caller("admin"))) == 404
    assert outcome(permissions.may_read_run("../../etc/passwd", caller("admin"))) in (400, 404)


def test_a_forged_host_is_refused_by_mlflow(company: Company) -> None:
    permissions = Permissions(Asking(company.server), 30)
    run_id = company.runs["default"]
    assert outcome(permissions.may_read_run(run_id, caller("admin"))) == 200
    assert outcome(permissions.may_read_run(run_id, caller("admin", host="evil.example"))) == 403
    for path in (f"/timelapse/runs/{run_id}", "/timelapse/static/plugin/mlflow-ui.js", "/timelapse/nothing"):
        status, _, body = company.ask("admin", "GET", path, Host="evil.example")
        assert status == (404 if path.endswith("nothing") else 403)
        assert b"script" not in body


@pytest.mark.parametrize("seconds", [0, 30])
def test_deleted_runs_are_gone_when_the_permission_is_forgotten(company: Company, seconds: int) -> None:
    asking, clock = Asking(company.server), Clock()
    permissions = Permissions(asking, seconds, clock)
    experiment = company.make("2.0/mlflow/experiments/create", name=f"deleted {seconds}")["experiment_id"]
    run_id = company.make("2.0/mlflow/runs/create", experiment_id=experiment)["run"]["info"]["run_id"]
    company.make("2.0/mlflow/runs/update", run_id=run_id, status="FINISHED")
    who = caller("admin")
    assert outcome(permissions.may_read_run(run_id, who)) == 200
    company.make("2.0/mlflow/runs/delete", run_id=run_id)
    clock.now += 29.9
    assert outcome(permissions.may_read_run(run_id, who)) == (200 if seconds else 404)
    assert asking.asked == (1 if seconds else 2)
    clock.now += 0.1
    assert outcome(permissions.may_read_run(run_id, who)) == 404


def test_a_fresh_answer_replaces_what_is_remembered(company: Company) -> None:
    asking = Asking(company.server)
    permissions = Permissions(asking, 30, Clock())
    run_id = company.make("2.0/mlflow/runs/create", experiment_id="0")["run"]["info"]["run_id"]
    who = caller("admin")
    assert outcome(permissions.may_read_run(run_id, who)) == 200
    company.make("2.0/mlflow/runs/delete", run_id=run_id)
    assert outcome(permissions.may_read_run(run_id, who, fresh=True)) == 404
    assert outcome(permissions.may_read_run(run_id, who)) == 404


def test_a_run_that_trains_is_remembered_for_moments(company: Company) -> None:
    asking, clock = Asking(company.server), Clock()
    permissions = Permissions(asking, 30, clock)
    for elapsed, asked in ((0.0, 1), (2.9, 1), (3.1, 2)):
        clock.now = elapsed
        assert outcome(permissions.may_read_run(company.runs["default"], caller("admin"))) == 200
        assert asking.asked == asked


@pytest.mark.parametrize(("user", "status"), [("admin", 200), ("nobody", 200), (None, 401)])
def test_pages_ask_for_a_password_as_mlflow_does(company: Company, user: str | None, status: int) -> None:
    for path in (
        "/timelapse/runs/1",
        "/timelapse/compare?run=1",
        "/timelapse/experiments/1",
        "/timelapse/config",
    ):
        found, headers, body = company.ask(user, "GET", path)
        assert found == status
        assert (b'id="app"' in body) == (status == 200)
        assert ("www-authenticate" in headers) == (status == 401)


def test_both_workers_let_the_same_people_in(company: Company) -> None:
    """Each connection may meet another worker: none of them answers otherwise."""
    for _ in range(8):
        assert company.ask("reader", "GET", "/timelapse/runs/1")[0] == 200
        assert company.ask(None, "GET", "/timelapse/runs/1")[0] == 401
    log = company.server.log.read_text()
    assert log.count("Created admin user") <= 1, "two workers make one admin"


@pytest.fixture(scope="module")
def answered(company: Company) -> str:
    """Rounds that somebody with EDIT has logged in the run that the tests look at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIMELAPSE_SPOOL", str(company.server.folder / "spool"))
        patch.setenv("MLFLOW_TRACKING_USERNAME", "editor")
        patch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
        patch.setenv("JOB_ID", "job/7")
        patch.setenv("JOB_USER_ID", "nobody")
        run_id = company.runs["default"]
        before = mlflow.get_tracking_uri()
        with start_run(run_id=run_id, tracking_uri=company.server.uri) as run:
            for step in (1, 2):
                asked = {"sample_id": "a", "prompt": "Who?", "reference": SECRET}
                run.log_predictions([{**asked, "prediction": f"{SECRET} at {step}"}], step=step)
        mlflow.set_tracking_uri(before)
    return run_id


def paths_of(run_id: str, experiment_id: str) -> list[str]:
    """Every address of the API that tells something of a run."""
    of_run = ["", "/rounds", "/trends", "/overview", "/matrix", "/texts?lane=0", "/search?text=w"]
    of_run += ["/samples/a", "/timeline?sample=a", "/predictions", "/export", "/report"]
    of_runs = [f"/compare?run={run_id}@1&run={run_id}@2", f"/compare/export?run={run_id}@1&run={run_id}@2"]
    return [*(f"/runs/{run_id}{path}" for path in of_run), *of_runs, f"/experiments/{experiment_id}/runs"]


def test_every_answer_is_for_those_whom_mlflow_shows_the_run(company: Company, answered: str) -> None:
    """As people with real passwords, over two workers, each after one who may: no cache leaks."""
    _, _, told = company.ask("reader", "GET", f"{API}/runs/{answered}")
    experiment_id = json.loads(told)["run"]["experiment_id"]
    for path in paths_of(answered, experiment_id):
        status, headers, body = company.ask("reader", "GET", API + path)
        assert status == 200, (path, body)
        tag = {"If-None-Match": headers["etag"]}
        assert "X-MLFLOW-WORKSPACE" in headers["vary"]
        for user, expected in (("nobody", 403), (None, 401), ("editor", 200), ("admin", 200)):
            assert company.ask(user, "GET", API + path)[0] == expected, (path, user)
            refused, _, body = company.ask(user, "GET", API + path, **tag)
            assert refused == (304 if expected == 200 else expected), (path, user)
            assert expected == 200 or SECRET.encode() not in body
        elsewhere, _, body = company.ask("admin", "GET", API + path, **{"X-MLFLOW-WORKSPACE": "team-b"})
        assert elsewhere == 404, path
        assert SECRET.encode() not in body
        forged = company.ask("reader", "GET", API + path, Host="evil.example")
        assert forged[0] == 403, path
        assert SECRET.encode() not in forged[2]


def test_who_claims_a_job_gets_nothing_by_it(company: Company, answered: str) -> None:
    found = {
        user: company.ask(user, "GET", f"{API}/jobs/job%2F7/runs")
        for user in ("reader", "admin", "nobody", None)
    }
    assert {user: status for user, (status, _, _) in found.items()} == {
        "reader": 200,
        "admin": 200,
        "nobody": 200,
        None: 401,
    }
    shown = {user: json.loads(body)["runs"] for user, (status, _, body) in found.items() if status == 200}
    assert [[line["run"]["run_id"] for line in lines] for lines in shown.values()] == [[answered]] * 2 + [[]]
    assert shown["reader"][0]["run"]["claimed_by"] == "nobody"
    assert company.ask("nobody", "GET", f"{API}/runs/{answered}/overview")[0] == 403


def test_doors_open_for_those_whom_mlflow_lets_in_and_are_remembered(company: Company) -> None:
    asking, clock = Asking(company.server), Clock()
    doors = MlflowsDoors(asking, 30, clock)
    assert asyncio.run(doors.page(caller("reader"))) is None
    assert asyncio.run(doors.page(caller("reader"))) is None
    assert asking.asked == 1
    refusal = asyncio.run(doors.page(caller(None)))
    assert refusal
    assert refusal.status == 401
    assert asyncio.run(doors.file(caller(None))) is None, "files hold nothing"
    clock.now = 30
    assert asyncio.run(doors.page(caller("reader"))) is None
    assert asking.asked == 4


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (caller("editor"), False),
        (caller("reader", "team-b"), False),
        (caller("reader", address="10.0.0.1"), False),
        (caller("reader", host="127.0.0.1"), False),
        (caller("reader", cookie="session=1"), False),
        (caller("reader", x_forwarded_user="root"), False),
        (caller("reader", x_unheard_of="1"), False),
        (caller("reader", user_agent="another browser"), True),
        (caller("reader", sec_fetch_mode="cors"), True),
    ],
)
def test_callers_are_told_apart_by_all_that_may_say_who_they_are(other: Caller, same: bool) -> None:
    identity = Identity()
    one = identity.key(caller("reader"), "run", "1")
    assert (identity.key(other, "run", "1") == one) is same
    assert identity.key(caller("reader"), "run", "2") != one
    assert Identity().key(caller("reader"), "run", "1") != one, "each process has a secret of its own"


def test_headers_cannot_be_shifted_into_one_another() -> None:
    identity = Identity()
    ab = Caller(((b"x", b"ab"), (b"y", b"c")))
    abc = Caller(((b"x", b"a"), (b"by", b"c")))
    assert identity.key(ab) != identity.key(abc)
    assert identity.key(Caller(), "a", "bc") != identity.key(Caller(), "ab", "c")


def test_what_is_remembered_is_bounded() -> None:
    remembered = Remembered[int](30, Clock())
    for number in range(MAX_ENTRIES + 10):
        remembered.put(str(number).encode(), number)
    assert len(remembered) == MAX_ENTRIES
    assert remembered.get(b"0") is None
    assert remembered.get(str(MAX_ENTRIES + 9).encode()) == MAX_ENTRIES + 9


@pytest.mark.parametrize(
    ("status", "content", "refused"),
    [
        (200, b"<html>log in</html>", 502),
        (200, b'{"run": {}}', 502),
        (200, b"[]", 502),
        (200, b"[" * 100_000, 502),
        (302, b"", 302),
        (503, b"database is away", 503),
    ],
)
def test_answers_that_are_no_runs_are_refusals(status: int, content: bytes, refused: int) -> None:
    async def inner(
        scope: object, receive: object, send: Callable[[dict[str, Any]], Awaitable[None]]
    ) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": content})

    permissions = Permissions(InProcess(inner), 30)  # type: ignore[arg-type]
    assert outcome(permissions.may_read_run("1", caller("admin"))) == refused


def test_a_run_too_large_to_read_says_so() -> None:
    class Large:
        async def get(self, *_: object) -> Answer:
            raise TooLargeError(5)

        search = get

    with pytest.raises(Refused, match="too large to read: the answer has more than 5 bytes"):
        asyncio.run(Permissions(Large(), 30).may_read_run("1", caller("admin")))
