"""Attacks on what needs no server: memory and time that a small request or file could ask for."""

from __future__ import annotations

import base64
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from asgi import request
from starlette.testclient import TestClient

from timelapse.errors import RunError
from timelapse.reading.bounds import Bounds, Budget, ExcessError
from timelapse.reading.loader import RunRounds
from timelapse.report.config_view import check_typed
from timelapse.report.run_view import RunView
from timelapse.rounds import round_schema
from timelapse.tables import samples_table
from timelapse_plugins.api import build
from timelapse_plugins.api.cursors import Cursor
from timelapse_plugins.api.extent import check_extent
from timelapse_plugins.api.problems import _refused
from timelapse_plugins.inner import Caller
from timelapse_plugins.inner_http import OverHttp
from timelapse_plugins.refusals import Refused
from timelapse_plugins.remembered import MAX_BYTES, Remembered
from timelapse_plugins.token_gate import TokenGate


def loaded(steps: list[int], ids: list[str], **columns: Any) -> RunRounds:
    given = {"step": steps, "sample_id": ids, "set": ["main"] * len(steps), **columns}
    schema = round_schema()
    arrays = [
        pa.array(given[field.name], field.type) if field.name in given else pa.nulls(len(steps), field.type)
        for field in schema
    ]
    return RunRounds(pa.table(arrays, schema=schema), samples_table([], {}))


def test_answers_scattered_over_rounds_are_not_arranged() -> None:
    count = 30_000  # a file of some 200 kB; as lanes by rounds 7 GB a number
    with pytest.raises(RunError, match="30,000 rounds of 30,000 answers: 900,000,000 cells"):
        check_extent(loaded(list(range(count)), [str(n) for n in range(count)]))
    check_extent(loaded([0, 5] * 1000, [str(n // 2) for n in range(2000)]))
    check_extent(loaded([], []))


def test_samples_that_no_round_answers_count_as_cells() -> None:
    found = loaded(list(range(1000)), ["s"] * 1000)
    samples = pa.table({"set": ["main"] * 5000, "sample_id": [str(n) for n in range(5000)]})
    with pytest.raises(RunError, match="5,000,000 cells"):
        check_extent(RunRounds(found.rounds, samples))


def test_a_score_of_its_own_for_every_answer_is_not_arranged() -> None:
    count = 20_000
    scores = [[(f"score {n}", 1.0)] for n in range(count)]
    with pytest.raises(RunError, match="20,000 scores of 20,000 answers"):
        check_extent(loaded([0] * count, [str(n) for n in range(count)], scores=scores))


def test_columns_of_many_files_are_bounded_together() -> None:
    budget = Budget(Bounds(cells=1000))
    for number in range(3):
        budget.spend(pa.table({f"{number} {column}": [1] * 10 for column in range(10)}))
    with pytest.raises(ExcessError, match="40 columns of 40 rows"):
        budget.spend(pa.table({f"3 {column}": [1] * 10 for column in range(10)}))
    budget.renew()
    budget.spend(pa.table({"x": [1] * 1000}))


class Counted:
    """A table that counts how often it is looked at."""

    def __init__(self, table: pa.Table) -> None:
        self.table, self.looks = table, 0

    def __len__(self) -> int:
        return len(self.table)

    def column(self, name: str) -> pa.ChunkedArray:
        self.looks += 1
        return self.table.column(name)


def cursor(*key: object) -> Cursor:
    return Cursor.parse(base64.urlsafe_b64encode(json.dumps(["q", 9, key]).encode()).decode(), "q")


def test_a_forged_cursor_costs_no_look_at_every_row() -> None:
    count = 5000
    rows = Counted(
        pa.table(
            {
                "step": pa.array(range(count), pa.int64()),
                "sample_id": [str(n) for n in range(count)],
                "generation": pa.array([0] * count, pa.int32()),
                "attempt": pa.array([0] * count, pa.int32()),
            }
        )
    )
    found = cast("Any", SimpleNamespace(table=rows))
    order = np.arange(count)[::-1]
    assert cursor(7, "7", 0, 0).start(found, order) == count - 7, "found where it has moved to"
    assert cursor(7, "nobody", 0, 0).start(found, order) == 9
    assert rows.looks < 50


@pytest.mark.parametrize("text", ["a: !!bool x\n", "a: !!int ''\n"])
def test_a_value_that_does_not_fit_its_tag_is_a_problem(text: str) -> None:
    [problem] = check_typed(text).problems
    assert "does not fit its tag" in problem.text


@pytest.mark.parametrize("right", [{"score": "x"}, {"score": "x", "least": []}, {"score": "x", "least": "a"}])
def test_a_manifest_that_does_not_say_what_is_right_says_nothing(right: object) -> None:
    found = loaded([0], ["s"])
    assert RunView(RunRounds(found.rounds, found.samples, manifest={"right": right})).right is None


def test_what_is_remembered_is_bounded_in_bytes() -> None:
    remembered = Remembered[int](30)
    for number in range(20):
        remembered.put(str(number).encode(), number, size=MAX_BYTES // 10)
    assert len(remembered) == 10
    assert remembered.get(b"19") == 19
    remembered.put(b"19", 20, size=1)
    assert len(remembered) == 10
    assert remembered.get(b"19") == 20


@pytest.mark.anyio
@pytest.mark.parametrize(("status", "answered"), [(520, 502), (499, 502), (403, 403)])
async def test_a_status_that_nobody_knows_is_answered(status: int, answered: int) -> None:
    answer = await _refused(cast("Any", None), Refused(status, {}, b""))
    assert answer.status_code == answered


@pytest.mark.anyio
async def test_a_refusal_that_is_nested_without_end_is_answered() -> None:
    answer = await _refused(cast("Any", None), Refused(403, {}, b"[" * 10_000))
    assert answer.status_code == 403


def test_what_nobody_thought_of_is_a_problem_that_says_nothing_of_the_inside() -> None:
    async def broken(*_: object) -> dict[str, Any]:
        raise ZeroDivisionError("secret")

    answer = TestClient(build(cast("Any", None), broken), raise_server_exceptions=False).get("/runs/1")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "log of the MLflow server" in answer.json()["hint"]
    assert "secret" not in answer.text


@pytest.mark.anyio
async def test_no_browser_is_asked_for_the_password_of_a_server_elsewhere() -> None:
    """It would send it to us, who need it not: the credentials are those of our own environment."""

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="mlflow"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        Thread(target=server.serve_forever).start()
        try:
            answer = await OverHttp(f"http://127.0.0.1:{server.server_port}").get("/x", [], Caller())
        finally:
            server.shutdown()
    assert answer.status == 401
    assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize("before", ['theme={"a":1}; ', 'x="; ', "timelapse-5000=planted; ", "@=[]; "])
def test_cookies_of_other_programs_shut_nobody_out(before: str) -> None:
    async def behind(scope: object, receive: object, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"in"})

    gate = TokenGate(cast("Any", behind), "right", 5000)
    for cookies in (f"{before}timelapse-5000=right", f"timelapse-5000=right; {before}"):
        assert request(gate, "/", headers=[("host", "localhost:5000"), ("cookie", cookies)]).status == 200
    assert request(gate, "/", headers=[("host", "localhost:5000"), ("cookie", before)]).status == 403


def test_a_browser_leaves_out_the_usual_port_of_http() -> None:
    async def behind(scope: object, receive: object, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"in"})

    for port, expected in ((80, 200), (5000, 403)):
        gate = TokenGate(cast("Any", behind), "right", port)
        headers = [("host", "localhost"), ("cookie", f"timelapse-{port}=right")]
        assert request(gate, "/", headers=headers).status == expected
